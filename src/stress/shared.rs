//! What the threads of a run share: atomic words, the start, and a bell.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::utils::CachePadded;

use crate::sys::eventfd::Bell;

/// How far the operator wants the run to end.
const DRAIN: u8 = 1;
const AT_ONCE: u8 = 2;

/// Shared by the lanes and the main thread.
#[derive(Debug)]
pub(super) struct Shared {
    /// Asked to end: 0 no, then [`DRAIN`], then [`AT_ONCE`].
    ending: AtomicU8,
    /// Any connection was ever made.
    reached: AtomicBool,
    /// Lanes that have their connections: the first requests go out together.
    ready: AtomicUsize,
    start: OnceLock<Instant>,
    lanes: Vec<CachePadded<Progress>>,
    ended: AtomicUsize,
    bell: Bell,
}

/// Written by a lane, read by the main thread; neither orders anything.
#[derive(Debug, Default)]
pub(super) struct Progress {
    replies: AtomicU64,
    errors: AtomicU64,
}

impl Progress {
    pub(super) fn set(&self, replies: u64, errors: u64) {
        self.replies.store(replies, Ordering::Relaxed);
        self.errors.store(errors, Ordering::Relaxed);
    }
}

impl Shared {
    pub(super) fn new(lanes: usize) -> std::io::Result<Self> {
        Ok(Self {
            ending: AtomicU8::new(0),
            reached: AtomicBool::new(false),
            ready: AtomicUsize::new(0),
            start: OnceLock::new(),
            lanes: (0..lanes).map(|_| CachePadded::default()).collect(),
            ended: AtomicUsize::new(0),
            bell: Bell::new()?,
        })
    }

    /// Waits until every lane is here or has ended; gives the one start of all.
    pub(super) fn begin_together(&self) -> Instant {
        self.ready.fetch_add(1, Ordering::AcqRel);
        let missing = || {
            let here = self.ready.load(Ordering::Acquire);
            here + self.ended.load(Ordering::Acquire) < self.lanes.len()
        };
        while missing() {
            thread::park_timeout(Duration::from_micros(200));
        }
        self.begin()
    }

    /// The start: now, for whoever asks first.
    pub(super) fn begin(&self) -> Instant {
        *self.start.get_or_init(Instant::now)
    }

    pub(super) fn started(&self) -> Option<Instant> {
        self.start.get().copied()
    }

    /// Asks the lanes to end; asked again, at once.
    pub(super) fn end(&self) {
        let next = if self.is_ending() { AT_ONCE } else { DRAIN };
        self.ending.store(next, Ordering::Relaxed);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed) >= DRAIN
    }

    pub(super) fn is_ending_at_once(&self) -> bool {
        self.ending.load(Ordering::Relaxed) >= AT_ONCE
    }

    pub(super) fn reach(&self) {
        self.reached.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    pub(super) fn progress(&self, lane: usize) -> &Progress {
        &self.lanes[lane]
    }

    /// Replies and errors so far.
    pub(super) fn totals(&self) -> (u64, u64) {
        let sum = |word: fn(&Progress) -> &AtomicU64| {
            let words = self.lanes.iter().map(|lane| word(lane));
            words.map(|word| word.load(Ordering::Relaxed)).sum()
        };
        (sum(|lane| &lane.replies), sum(|lane| &lane.errors))
    }

    /// Rings when a lane has ended.
    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }

    pub(super) fn all_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire) == self.lanes.len()
    }
}

/// Says that a lane has ended, on unwinding as well.
pub(super) struct Ended<'a>(pub(super) &'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Release);
        self.0.bell.ring();
    }
}
