//! Listing the connections of all workers: each gets a file to write its list
//! into, and says when that is done. The files are the master's own, so reading
//! them never waits, whatever a worker does; and what stands in them is any
//! text: parsed, cut, and made fit for a terminal.

use std::fs::File;
use std::io::{Read, Seek};
use std::time::{Duration, Instant};

use serde_json::json;

use super::Master;
use crate::log;
use crate::master::control::{Command, Response};
use crate::master::exit::Exit;
use crate::master::plain::plain;
use crate::master::workers::message::ToWorker;
use crate::net::UserName;
use crate::sys::memory;
use crate::sys::process::Pid;
use crate::worker::{Listed, Live};

/// How long a worker may take.
const LISTED: Duration = Duration::from_secs(2);

/// A longer list is none of ours: a connection takes some 200 bytes, its user at
/// most 128 characters, and its rooms eight times 64.
const LIST_MAX: u64 = 1 << 22;

/// Connections that a worker lists at most.
const LISTED_MAX: usize = 1000;

/// Characters of an address: the longest path of a Unix socket.
const LOCAL_MAX: usize = 108;

/// A list that is being put together.
pub(super) struct PendingList {
    /// Who has not answered, and where its answer will stand.
    asked: Vec<(Pid, usize, File)>,
    live: Vec<(usize, Live)>,
    /// Connections that live, listed or not.
    total: usize,
    /// Workers whose list is missing.
    missing: Vec<usize>,
    pub(super) until: Instant,
}

/// Asks every worker. Who asks while a list is put together gets the same one.
pub(super) fn begin(master: &mut Master<'_>, now: Instant) {
    if master.pending_list.is_some() {
        return;
    }
    let mut pending_list = PendingList {
        asked: Vec::new(),
        live: Vec::new(),
        total: 0,
        missing: Vec::new(),
        until: now + LISTED,
    };
    for member in master.workers.all() {
        let made = memory::file().and_then(|file| Ok((file.try_clone()?, file)));
        match made {
            Ok((theirs, ours)) => {
                member.hand(ToWorker::List, vec![theirs.into()]);
                pending_list.asked.push((member.pid, member.number, ours));
            }
            Err(error) => {
                log::warn!("list the connections of worker {}: {error}", member.number);
                pending_list.missing.push(member.number);
            }
        }
    }
    master.pending_list = Some(pending_list);
    look(master, now);
}

/// The worker `pid` has written its list.
pub(super) fn hear(master: &mut Master<'_>, pid: Pid) {
    let Some(pending_list) = &mut master.pending_list else {
        return;
    };
    let Some(at) = pending_list
        .asked
        .iter()
        .position(|(asked, ..)| *asked == pid)
    else {
        return;
    };
    let (_, number, file) = pending_list.asked.swap_remove(at);
    pending_list.take_in(number, read(file));
}

impl PendingList {
    /// Adds what worker `number` has listed.
    fn take_in(&mut self, number: usize, listed: std::io::Result<Listed>) {
        match listed {
            Ok(Listed { live, total }) => {
                self.total = self.total.saturating_add(total);
                self.live.extend(live.into_iter().map(|one| (number, one)));
            }
            Err(error) => {
                log::error!("read the connections of worker {number}: {error}");
                self.missing.push(number);
            }
        }
    }
}

fn read(mut file: File) -> std::io::Result<Listed> {
    let mut text = Vec::new();
    file.rewind()?;
    file.take(LIST_MAX).read_to_end(&mut text)?;
    parse(&text)
}

/// The list in `text`, whoever wrote that.
pub(in crate::master) fn parse(text: &[u8]) -> std::io::Result<Listed> {
    let mut listed: Listed = serde_json::from_slice(text)?;
    listed.live.truncate(LISTED_MAX);
    listed.total = listed.total.max(listed.live.len());
    for one in &mut listed.live {
        one.local = plain(&one.local, LOCAL_MAX);
        one.user = (one.user.take()).map(|user| plain(&user, UserName::MAX));
        // Nothing is kept of as many as a worker may say.
        let rooms = one.rooms.iter().take(Live::ROOMS_MAX);
        one.rooms = rooms.map(|room| plain(room, Live::ROOM_MAX)).collect();
    }
    Ok(listed)
}

/// Answers when all have said theirs, are gone, or take too long.
pub(super) fn look(master: &mut Master<'_>, now: Instant) {
    let Some(pending_list) = &mut master.pending_list else {
        return;
    };
    let workers = &mut master.workers;
    pending_list
        .asked
        .retain(|(pid, ..)| workers.with_pid(*pid).is_some());
    if !pending_list.asked.is_empty() && pending_list.until > now {
        return;
    }
    let late = pending_list.asked.drain(..).map(|(_, number, _)| number);
    pending_list.missing.extend(late);
    let answer = answer(pending_list);
    master.pending_list = None;
    (master.clients).answer_all(&[Command::Connections], &answer, &master.epoll);
}

/// Those for whom most bytes wait come first, then those that were silent for
/// longest: whoever looks for trouble finds it on top.
fn answer(pending_list: &mut PendingList) -> Response {
    let rank = |(_, live): &(usize, Live)| (std::cmp::Reverse((live.queued, live.idle)), live.id);
    pending_list.live.sort_unstable_by_key(rank);
    let mut text = format!(
        "{:<17} {:<23} {:<21} {:>6} {:>6} {:>6} {:>6} {:>6}  user  rooms\n",
        "id", "peer", "local", "age", "idle", "in", "out", "queued"
    );
    for (_, live) in &pending_list.live {
        text += &live.line();
        text.push('\n');
    }
    text += &format!("{} connections", pending_list.total);
    let unlisted = pending_list.total - pending_list.live.len().min(pending_list.total);
    if unlisted > 0 {
        text += &format!(", of which {unlisted} are not listed: a worker lists 1000 at most");
    }
    for number in &pending_list.missing {
        text += &format!("\nworker {number} did not answer: its connections are missing");
    }
    let list: Vec<_> = (pending_list.live.iter())
        .map(|(worker, live)| live.object(*worker))
        .collect();
    Response {
        code: Exit::Ok as u8,
        text,
        json: json!({
            "total": pending_list.total,
            "connections": list,
            "workers_missing": pending_list.missing,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pending() -> PendingList {
        PendingList {
            asked: Vec::new(),
            live: Vec::new(),
            total: 0,
            missing: Vec::new(),
            until: Instant::now(),
        }
    }

    fn live(local: &str) -> Live {
        Live {
            id: u64::MAX,
            peer: None,
            local: local.into(),
            age: u64::MAX,
            idle: u64::MAX,
            bytes: Some((u64::MAX, u64::MAX)),
            queued: usize::MAX,
            user: Some(local.into()),
            rooms: vec![local.into(); 9],
        }
    }

    fn add(pending_list: &mut PendingList, listed: &Listed) {
        let text = serde_json::to_vec(listed).unwrap();
        pending_list.take_in(7, parse(&text));
    }

    #[test]
    fn escape_sequences_and_forged_lines_stay_text() {
        let mut pending_list = pending();
        let local = "\x1b[2J\x1b]0;root\x07\n0 connections\n";
        let listed = Listed {
            live: vec![live(local)],
            total: 1,
        };
        add(&mut pending_list, &listed);
        let Response { text, .. } = answer(&mut pending_list);
        let obeyed = text.chars().filter(|one| one.is_control() && *one != '\n');
        assert_eq!(obeyed.count(), 0, "{text}");
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.ends_with("\n1 connections"), "{text}");
    }

    #[test]
    fn forged_totals_saturate_and_a_long_list_is_cut() {
        let mut pending_list = pending();
        let forged = Listed {
            live: vec![live("x"); LISTED_MAX + 5],
            total: usize::MAX,
        };
        add(&mut pending_list, &forged);
        add(&mut pending_list, &forged);
        let listed = pending_list.live.len();
        assert_eq!((listed, pending_list.total), (2 * LISTED_MAX, usize::MAX));
        assert!(
            answer(&mut pending_list)
                .text
                .contains("18446744073709551615 connections")
        );
    }

    proptest! {
        #[test]
        fn any_text_is_a_list_or_an_error(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut pending_list = pending();
            pending_list.take_in(1, parse(&text));
            prop_assert_eq!(answer(&mut pending_list).code, Exit::Ok as u8);
        }
    }
}
