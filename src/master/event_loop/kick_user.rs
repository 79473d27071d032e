//! Closing all connections of a user: each worker is asked, and says how many it
//! closed. On the master's thread.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Master;
use crate::log;
use crate::master::control::{Command, Response};
use crate::master::exit::Exit;
use crate::master::plain::plain;
use crate::master::workers::message::ToWorker;
use crate::net::UserName;
use crate::sys::process::Pid;

/// How long a worker may take.
const KICKED: Duration = Duration::from_secs(2);

/// A user whose connections are being closed.
pub(super) struct PendingKick {
    user: UserName,
    /// Who has not answered.
    asked: Vec<(Pid, usize)>,
    closed: usize,
    pub(super) until: Instant,
}

/// Asks every worker. Who asks for the same user meanwhile gets the same answer.
pub(super) fn begin(master: &mut Master<'_>, user: UserName, now: Instant) {
    if master.pending_kicks.iter().any(|one| one.user == user) {
        return;
    }
    let mut asked = Vec::new();
    for member in master.workers.all() {
        member.tell(ToWorker::KickUser(user));
        asked.push((member.pid, member.number));
    }
    master.pending_kicks.push(PendingKick {
        user,
        asked,
        closed: 0,
        until: now + KICKED,
    });
    look(master, now);
}

/// The worker `pid` has closed so many.
pub(super) fn hear(master: &mut Master<'_>, pid: Pid, user: UserName, count: usize) {
    let mut pending = master.pending_kicks.iter_mut();
    if let Some(one) = pending.find(|one| one.user == user)
        && let Some(at) = one.asked.iter().position(|(asked, _)| *asked == pid)
    {
        one.asked.swap_remove(at);
        // Whatever the worker says: it is shown, and nothing more.
        one.closed = one.closed.saturating_add(count);
    }
}

/// Answers when all have said theirs, are gone, or take too long.
pub(super) fn look(master: &mut Master<'_>, now: Instant) {
    for one in &mut master.pending_kicks {
        let workers = &mut master.workers;
        (one.asked).retain(|(pid, _)| workers.with_pid(*pid).is_some());
    }
    let is_done = |one: &mut PendingKick| one.asked.is_empty() || one.until <= now;
    let done: Vec<PendingKick> = master.pending_kicks.extract_if(.., is_done).collect();
    for one in done {
        let answer = answer(&one);
        log::info!("ordered: {}", answer.text);
        (master.clients).answer_all(&[Command::KickUser(one.user)], &answer, &master.epoll);
    }
}

fn answer(one: &PendingKick) -> Response {
    let (user, closed) = (plain(one.user.as_str(), UserName::MAX), one.closed);
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
                user: "ann\u{7}".parse().unwrap(),
                asked: asked.to_vec(),
                closed,
                until: Instant::now(),
            });
            assert_eq!(response.code, code, "{response:?}");
            assert!(response.text.contains(expected), "{response:?}");
        }
    }
}
