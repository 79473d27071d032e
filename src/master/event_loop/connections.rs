//! Listing the connections of all workers: each gets a file to write its list
//! into, and says when that is done. The files are the master's own, so reading
//! them never waits, whatever a worker does.

use std::fs::File;
use std::io::{Read, Seek};
use std::time::{Duration, Instant};

use serde_json::json;

use super::Office;
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
pub(super) struct Inquiry {
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
pub(super) fn begin(office: &mut Office<'_>, now: Instant) {
    if office.inquiry.is_some() {
        return;
    }
    let mut inquiry = Inquiry {
        asked: Vec::new(),
        live: Vec::new(),
        total: 0,
        missing: Vec::new(),
        until: now + LISTED,
    };
    for member in office.crew.all() {
        let made = memory::file().and_then(|file| Ok((file.try_clone()?, file)));
        match made {
            Ok((theirs, ours)) => {
                member.hand(ToWorker::List, vec![theirs.into()]);
                inquiry.asked.push((member.pid, member.number, ours));
            }
            Err(error) => {
                log::warn!("list the connections of worker {}: {error}", member.number);
                inquiry.missing.push(member.number);
            }
        }
    }
    office.inquiry = Some(inquiry);
    look(office, now);
}

/// The worker `pid` has written its list.
pub(super) fn hear(office: &mut Office<'_>, pid: Pid) {
    let Some(inquiry) = &mut office.inquiry else {
        return;
    };
    let Some(at) = inquiry.asked.iter().position(|(asked, ..)| *asked == pid) else {
        return;
    };
    let (_, number, file) = inquiry.asked.swap_remove(at);
    match read(file) {
        Ok(Listed { live, total }) => {
            inquiry.total += total;
            inquiry
                .live
                .extend(live.into_iter().map(|one| (number, one)));
        }
        Err(error) => {
            log::error!("read the connections of worker {number}: {error}");
            inquiry.missing.push(number);
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
pub(super) fn look(office: &mut Office<'_>, now: Instant) {
    let Some(inquiry) = &mut office.inquiry else {
        return;
    };
    let crew = &mut office.crew;
    inquiry
        .asked
        .retain(|(pid, ..)| crew.with_pid(*pid).is_some());
    if !inquiry.asked.is_empty() && inquiry.until > now {
        return;
    }
    let late = inquiry.asked.drain(..).map(|(_, number, _)| number);
    inquiry.missing.extend(late);
    let answer = answer(inquiry);
    office.inquiry = None;
    (office.clients).answer_all(&[Command::Connections], &answer, &office.epoll);
}

/// Those for whom most bytes wait come first, then those that were silent for
/// longest: whoever looks for trouble finds it on top.
fn answer(inquiry: &mut Inquiry) -> Response {
    let rank = |(_, live): &(usize, Live)| (std::cmp::Reverse((live.queued, live.idle)), live.id);
    inquiry.live.sort_unstable_by_key(rank);
    let mut text = format!(
        "{:<17} {:<23} {:<21} {:>6} {:>6} {:>6} {:>6} {:>6}\n",
        "id", "peer", "local", "age", "idle", "in", "out", "queued"
    );
    for (_, live) in &inquiry.live {
        text += &live.line();
        text.push('\n');
    }
    text += &format!("{} connections", inquiry.total);
    let unlisted = inquiry.total - inquiry.live.len().min(inquiry.total);
    if unlisted > 0 {
        text += &format!(", of which {unlisted} are not listed: a worker lists 1000 at most");
    }
    for number in &inquiry.missing {
        text += &format!("\nworker {number} did not answer: its connections are missing");
    }
    let list: Vec<_> = (inquiry.live.iter())
        .map(|(worker, live)| live.object(*worker))
        .collect();
    Response {
        code: Exit::Ok as u8,
        text,
        json: json!({
            "total": inquiry.total,
            "connections": list,
            "workers_missing": inquiry.missing,
        }),
    }
}
