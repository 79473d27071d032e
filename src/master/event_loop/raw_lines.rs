//! What workers write to standard error past the log, as lines of the log. On the
//! master's thread.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::{Master, RAW_LINES};
use crate::log::{self, Limiter};
use crate::master::plain::plain;
use crate::master::workers::raw_lines::{Next, RawLines};
use crate::sys::clock::coarse_millis;
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::process::{Cause, Pid};

/// Lines of all of them.
const LINES_PER_SECOND: u32 = 200;

/// Characters of a line.
const LINE_MAX: usize = 1000;

/// How long one that writes too much waits to be read again.
const PAUSE: Duration = Duration::from_millis(200);

/// At most so many are open: of all workers that there may be, and of as many that
/// are gone while something that they have started goes on.
const OPEN_MAX: usize = 2 * 255;

/// The workers' standard errors.
pub(super) struct StandardErrors {
    /// The oldest first.
    open: Vec<Open>,
    limiter: Limiter,
    /// When those are read again that wrote too much.
    again_at: Option<Instant>,
}

struct Open {
    token: u64,
    lines: RawLines,
    /// It wrote too much.
    is_paused: bool,
    /// The worker is gone; something that it has started may go on.
    is_left: bool,
}

impl StandardErrors {
    pub(super) fn new() -> Self {
        Self {
            open: Vec::new(),
            limiter: Limiter::new(1, LINES_PER_SECOND),
            again_at: None,
        }
    }

    /// Reads that of a worker that was just forked.
    pub(super) fn add(&mut self, reader: OwnedFd, pid: Pid, number: usize, epoll: &Epoll) {
        if self.open.len() >= OPEN_MAX {
            self.open.remove(0);
        }
        let is_free = |token: &u64| self.open.iter().all(|one| one.token != *token);
        let token = (RAW_LINES..).find(is_free).unwrap_or(RAW_LINES);
        let lines = RawLines::new(reader, pid, number);
        match epoll.add(&lines, Interest::Read, token) {
            Ok(()) => self.open.push(Open {
                token,
                lines,
                is_paused: false,
                is_left: false,
            }),
            Err(error) => log::error!("read what worker {pid} writes: {error}"),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.again_at
    }

    /// Reads those again that wrote too much.
    pub(super) fn turn(&mut self, now: Instant, epoll: &Epoll) {
        if self.again_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        for one in self.open.iter_mut().filter(|one| one.is_paused) {
            one.is_paused = false;
            if let Err(error) = epoll.add(&one.lines, Interest::Read, one.token) {
                log::error!("read what worker {} writes: {error}", one.lines.pid);
            }
        }
    }

    /// There is something to read.
    pub(super) fn hear(&mut self, token: u64, epoll: &Epoll) {
        let (limiter, millis) = (&self.limiter, coarse_millis());
        let Some(at) = self.open.iter().position(|one| one.token == token) else {
            return;
        };
        let one = &mut self.open[at];
        let whose = (one.lines.number, one.lines.pid);
        let next = (one.lines).read(millis, |line| tell(limiter, millis, whose, line));
        if next == Next::Lines {
            return;
        }
        let _it_was_there = epoll.delete(&one.lines);
        if next == Next::TooMany {
            one.is_paused = true;
            self.again_at.get_or_insert(Instant::now() + PAUSE);
        } else if one.is_left {
            self.open.remove(at);
        }
    }

    /// A worker is gone: gives what it wrote last, if that may be why.
    fn last_words(&mut self, pid: Pid) -> Option<String> {
        let (limiter, millis) = (&self.limiter, coarse_millis());
        let is_it = |one: &Open| one.lines.pid == pid && !one.is_left;
        let at = self.open.iter().position(is_it)?;
        let one = &mut self.open[at];
        one.is_left = true;
        let whose = (one.lines.number, pid);
        let next = (one.lines).finish(millis, |line| tell(limiter, millis, whose, line));
        let words = one.lines.last_words(millis);
        let words = words.map(|words| plain(words, LINE_MAX));
        if next == Next::End {
            // It leaves the epoll with its only descriptor.
            self.open.remove(at);
        }
        words
    }
}

fn tell(limiter: &Limiter, millis: u64, (number, pid): (usize, Pid), line: &str) {
    if let Some(suppressed) = limiter.admit(0, millis) {
        let line = plain(line, LINE_MAX);
        log::warn!("worker {number}, pid {pid}, wrote: {line}{suppressed}");
    }
}

impl Master<'_> {
    /// What a worker wrote past the log before it ended is told before its end; if
    /// it was killed and said no reason, that is one.
    pub(super) fn hear_last_lines(&mut self, pid: Pid, cause: Cause) {
        let wrote = self.standard_errors.last_words(pid);
        let was_killed = matches!(cause, Cause::Killed { .. });
        if let Some(member) = self.workers.with_pid(pid).filter(|_| was_killed)
            && member.last_words.is_none()
        {
            member.last_words = wrote;
        }
    }
}
