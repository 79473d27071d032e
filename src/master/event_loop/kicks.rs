//! Closing a connection by its name, or all of a user: each worker is asked, for
//! neither name says where it is, and says how many it closed. On the master's
//! thread.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Master;
use crate::log;
use crate::master::control::{Command, Response};
use crate::master::exit::Exit;
use crate::master::plain::plain;
use crate::master::workers::message::ToWorker;
use crate::net::{ConnId, UserName, Words};
use crate::sys::process::Pid;

/// How long a worker may take.
const KICKED: Duration = Duration::from_secs(2);

/// Whom an operator wants closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Whom {
    /// One connection.
    Conn(ConnId),
    /// Every connection of a user.
    User(UserName),
}

impl Whom {
    const fn order(self, say: Option<Words>) -> ToWorker {
        match self {
            Self::Conn(id) => ToWorker::Kick(id, say),
            Self::User(user) => ToWorker::KickUser(user, say),
        }
    }

    /// What those asked who wait for it.
    const fn command(self, say: Option<Words>) -> Command {
        match self {
            Self::Conn(id) => Command::Kick { id, say },
            Self::User(user) => Command::KickUser { user, say },
        }
    }
}

/// Whose connections are being closed.
pub(super) struct PendingKick {
    whom: Whom,
    say: Option<Words>,
    /// Who has not answered.
    asked: Vec<(Pid, usize)>,
    closed: usize,
    pub(super) until: Instant,
}

/// Asks every worker. Who asks for the same meanwhile gets the same answer.
pub(super) fn begin(master: &mut Master<'_>, (whom, say): (Whom, Option<Words>), now: Instant) {
    let is_it = |one: &PendingKick| (one.whom, one.say) == (whom, say);
    if master.pending_kicks.iter().any(is_it) {
        return;
    }
    let mut asked = Vec::new();
    for member in master.workers.all() {
        // One that reads nothing does not answer either.
        if member.reads() {
            member.tell(whom.order(say));
        }
        asked.push((member.pid, member.number));
    }
    master.pending_kicks.push(PendingKick {
        whom,
        say,
        asked,
        closed: 0,
        until: now + KICKED,
    });
    look(master, now);
}

/// The worker `pid` has closed so many.
pub(super) fn hear(master: &mut Master<'_>, pid: Pid, whom: Whom, count: usize) {
    // Of two who want the same closed with other words, the first was told first.
    for one in &mut master.pending_kicks {
        let at = one.asked.iter().position(|(asked, _)| *asked == pid);
        if let Some(at) = at.filter(|_| one.whom == whom) {
            one.asked.swap_remove(at);
            // Whatever the worker says: it is shown, and nothing more.
            one.closed = one.closed.saturating_add(count);
            return;
        }
    }
}

/// Answers when all have said theirs, are gone, or take too long.
pub(super) fn look(master: &mut Master<'_>, now: Instant) {
    for one in &mut master.pending_kicks {
        let workers = &mut master.workers;
        (one.asked).retain(|(pid, _)| workers.with_pid(*pid).is_some());
    }
    // There is one connection of a name: who had it need not wait for the others.
    let is_found = |one: &PendingKick| matches!(one.whom, Whom::Conn(_)) && one.closed > 0;
    let is_done = |one: &mut PendingKick| is_found(one) || one.asked.is_empty() || one.until <= now;
    let done: Vec<PendingKick> = master.pending_kicks.extract_if(.., is_done).collect();
    for one in done {
        let answer = answer(&one);
        log::info!("ordered: {}", answer.text);
        (master.clients).answer_all(&[one.whom.command(one.say)], &answer, &master.epoll);
    }
}

fn answer(one: &PendingKick) -> Response {
    match one.whom {
        Whom::Conn(id) => answer_conn(id, one),
        Whom::User(user) => answer_user(user, one),
    }
}

fn answer_conn(id: ConnId, one: &PendingKick) -> Response {
    if one.closed > 0 {
        return Response::new(Exit::Ok as u8, format!("closed {id}"));
    }
    let mut text = format!("no connection has the id {id}; `connections` lists those that live");
    for (_, number) in &one.asked {
        text += &format!("; worker {number} did not answer and may be stuck: see `status`");
    }
    let exit = if one.asked.is_empty() {
        Exit::Failed
    } else {
        Exit::Internal
    };
    Response::new(exit as u8, text)
}

fn answer_user(user: UserName, one: &PendingKick) -> Response {
    let (user, closed) = (plain(user.as_str(), UserName::MAX), one.closed);
    let late: Vec<usize> = one.asked.iter().map(|(_, number)| *number).collect();
    let mut text = match closed {
        0 => format!("no connection is of user {user}; `connections` lists those that live"),
        1 => format!("closed 1 connection of user {user}"),
        _ => format!("closed {closed} connections of user {user}"),
    };
    for number in &late {
        text += &format!("; worker {number} did not answer and may be stuck: see `status`");
    }
    let exit = match (closed, late.is_empty()) {
        (_, false) => Exit::Internal,
        (0, true) => Exit::Failed,
        (_, true) => Exit::Ok,
    };
    Response {
        code: exit as u8,
        text,
        json: json!({ "closed": closed, "workers_missing": late }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_says_how_many_and_who_did_not_say() {
        let pid = Pid::own();
        for (closed, asked, code, expected) in [
            (
                0,
                &[][..],
                1,
                "no connection is of user ann\\u{7}; `connections` lists",
            ),
            (1, &[], 0, "closed 1 connection of user ann"),
            (
                usize::MAX,
                &[],
                0,
                "closed 18446744073709551615 connections of user ann",
            ),
            (
                2,
                &[(pid, 3)],
                70,
                "; worker 3 did not answer and may be stuck",
            ),
        ] {
            let response = answer(&PendingKick {
                whom: Whom::User("ann\u{7}".parse().unwrap()),
                say: None,
                asked: asked.to_vec(),
                closed,
                until: Instant::now(),
            });
            assert_eq!(response.code, code, "{response:?}");
            assert!(response.text.contains(expected), "{response:?}");
        }
    }
}
