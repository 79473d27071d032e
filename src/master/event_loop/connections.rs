//! Listing the connections of all workers: each gets a file to write its list
//! into, and says when that is done. The files are the master's own, so reading
//! them never waits, whatever a worker does.

use std::fs::File;
use std::io::{Read, Seek};
use std::time::{Duration, Instant};

use serde_json::json;

use super::Master;
use crate::log;
use crate::master::control::{Command, Response};
use crate::master::exit::Exit;
use crate::master::workers::message::ToWorker;
use crate::sys::memory;
use crate::sys::process::Pid;
use crate::worker::{Listed, Live};

/// How long a worker may take.
const LISTED: Duration = Duration::from_secs(2);

/// A longer list is none of ours.
const LIST_MAX: u64 = 4 << 20;

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
    match read(file) {
        Ok(Listed { live, total }) => {
            pending_list.total += total;
            pending_list
                .live
                .extend(live.into_iter().map(|one| (number, one)));
        }
        Err(error) => {
            log::error!("read the connections of worker {number}: {error}");
            pending_list.missing.push(number);
        }
    }
}

fn read(mut file: File) -> std::io::Result<Listed> {
    let mut text = Vec::new();
    file.rewind()?;
    file.take(LIST_MAX).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
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
        "{:<17} {:<23} {:<21} {:>6} {:>6} {:>6} {:>6} {:>6}\n",
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
