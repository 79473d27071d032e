//! What a pool knows: decides who gets which connection, when one is made, and when
//! nobody tries. Pure: no socket, no clock, no lock.

use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::error::Error;

/// Between two commands that try although the last attempt has failed.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// A connection in somebody's hands.
pub(super) struct Held<L> {
    pub(super) link: L,
    /// Faults of the pool before it was made.
    generation: u64,
    /// When it is closed at the latest.
    ends: Instant,
    /// When it was last used.
    pub(super) used: Instant,
}

/// What a caller is to do.
pub(super) enum Turn<L> {
    /// Use this one.
    Use(Held<L>),
    /// Make one.
    Make,
    /// Wait until something changes.
    Wait,
    /// Nobody tries now.
    Refuse(Error),
}

/// For reports.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Counts {
    pub(super) open: usize,
    pub(super) idle: usize,
    pub(super) waiting: usize,
    pub(super) broken: usize,
}

/// How long connections stay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) size: usize,
    pub(super) idle: Duration,
    pub(super) max_lifetime: Duration,
    pub(super) backoff_max: Duration,
}

pub(super) struct State<L> {
    limits: Limits,
    idle: Vec<Held<L>>,
    /// All that there are or are being made.
    open: usize,
    broken: usize,
    pub(super) waiting: usize,
    /// Counts faults: what is older than the last one is not used again.
    generation: u64,
    /// Why nobody tries; `None`: everybody may.
    down: Option<Error>,
    /// When the next command tries nevertheless.
    try_at: Option<Instant>,
    backoff: Backoff,
    /// When the mending thread tries.
    mend_at: Option<Instant>,
}

impl<L> State<L> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            idle: Vec::new(),
            open: 0,
            broken: 0,
            waiting: 0,
            generation: 0,
            down: None,
            try_at: None,
            backoff: Backoff::new(limits.backoff_max),
            mend_at: None,
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            open: self.open,
            idle: self.idle.len(),
            waiting: self.waiting,
            broken: self.broken,
        }
    }

    /// What a caller does next.
    pub(super) fn take(&mut self, now: Instant) -> Turn<L> {
        if let Some(held) = self.idle.pop() {
            return Turn::Use(held);
        }
        if let Some(cause) = &self.down {
            if self.try_at.is_some_and(|at| now < at) {
                return Turn::Refuse(cause.clone());
            }
            self.try_at = Some(now + TRY_AGAIN);
        } else if self.open >= self.limits.size {
            return Turn::Wait;
        }
        self.open += 1;
        Turn::Make
    }

    /// One was made that answers: whatever was broken, the server is there.
    pub(super) fn made(&mut self, link: L, now: Instant, random: u64) -> Held<L> {
        self.down = None;
        self.try_at = None;
        self.broken = 0;
        self.backoff.succeeded();
        self.mend_at = None;
        let life = self.limits.max_lifetime;
        let fortieth = u64::try_from(life.as_millis() / 40).unwrap_or(u64::MAX);
        let spread = Duration::from_millis(random % fortieth.max(1));
        Held {
            link,
            generation: self.generation,
            ends: now + life.saturating_sub(spread),
            used: now,
        }
    }

    /// One comes back; given, it is to be closed.
    pub(super) fn give_back(&mut self, mut held: Held<L>, now: Instant) -> Option<L> {
        if held.generation != self.generation || now >= held.ends {
            self.open -= 1;
            return Some(held.link);
        }
        held.used = now;
        self.idle.push(held);
        None
    }

    /// A connection broke or was not made; given are those to be closed with it.
    pub(super) fn failed(&mut self, error: &Error, now: Instant, random: u64) -> Vec<L> {
        self.open -= 1;
        self.broken = (self.broken + 1).min(self.limits.size);
        self.generation += 1;
        // One that breaks says nothing about the next. A server that cannot be reached,
        // or is silent, would keep every caller waiting.
        if !matches!(error, Error::Broken { .. }) {
            self.down = Some(error.clone());
        }
        if self.mend_at.is_none() {
            self.mend_at = Some(now + self.backoff.failed(random));
        }
        let older = std::mem::take(&mut self.idle);
        self.open -= older.len();
        older.into_iter().map(|held| held.link).collect()
    }

    /// Whether the mending thread is to make one now; it says how that went.
    pub(super) fn mends(&mut self, now: Instant) -> bool {
        let is_due = self.mend_at.is_some_and(|at| at <= now);
        if is_due {
            self.mend_at = None;
            self.open += 1;
        }
        is_due
    }

    /// Those that nobody has used for long, or that are old.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<L> {
        let unused = self.limits.idle;
        let is_over = |held: &Held<L>| now >= held.ends || now >= held.used + unused;
        let (over, idle): (Vec<_>, Vec<_>) = std::mem::take(&mut self.idle)
            .into_iter()
            .partition(is_over);
        self.idle = idle;
        self.open -= over.len();
        over.into_iter().map(|held| held.link).collect()
    }

    /// When the mending thread has something to do; `None`: not before something changes.
    pub(super) fn next(&self) -> Option<Instant> {
        let unused = self.limits.idle;
        let ends = self
            .idle
            .iter()
            .map(|held| held.ends.min(held.used + unused));
        ends.chain(self.mend_at).min()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn state(size: usize) -> State<u32> {
        State::new(Limits {
            size,
            idle: 600 * SECOND,
            max_lifetime: 1800 * SECOND,
            backoff_max: 1024 * SECOND,
        })
    }

    fn gone() -> Error {
        Error::Unavailable {
            server: "s".into(),
            cause: "refused".into(),
        }
    }

    fn broke() -> Error {
        Error::Broken {
            server: "s".into(),
            cause: "reset".into(),
        }
    }

    fn makes(state: &mut State<u32>, now: Instant) -> bool {
        matches!(state.take(now), Turn::Make)
    }

    #[test]
    fn there_are_as_many_as_are_needed_and_no_more_than_allowed() {
        let (mut state, now) = (state(2), Instant::now());
        assert_eq!(state.counts(), Counts::default());
        for _ in 0..3 {
            assert!(state.counts().open > 0 || makes(&mut state, now));
            let held = match state.take(now) {
                Turn::Use(held) => held,
                Turn::Make | Turn::Wait | Turn::Refuse(_) => state.made(1, now, 0),
            };
            state.open = 1;
            assert!(state.give_back(held, now).is_none());
        }
        assert_eq!(
            state.counts().open,
            1,
            "one caller after the other needs one"
        );
        let Turn::Use(first) = state.take(now) else {
            panic!()
        };
        assert!(makes(&mut state, now));
        let _second = state.made(2, now, 0);
        assert!(matches!(state.take(now), Turn::Wait));
        state.give_back(first, now);
        assert!(matches!(state.take(now), Turn::Use(_)));
    }

    #[test]
    fn while_nobody_answers_one_command_a_second_tries() {
        let (mut state, start) = (state(8), Instant::now());
        assert!(makes(&mut state, start));
        state.failed(&gone(), start, 0);
        let mut tries = 0;
        for millis in (0..10_000).step_by(10) {
            let now = start + Duration::from_millis(millis);
            match state.take(now) {
                Turn::Make => {
                    tries += 1;
                    state.failed(&gone(), now, 0);
                }
                Turn::Refuse(error) => assert_eq!(error, gone()),
                Turn::Use(_) | Turn::Wait => panic!("nothing is there to use or wait for"),
            }
        }
        assert_eq!(tries, 10);
        assert_eq!(state.counts().open, 0);
        let later = start + 11 * SECOND;
        assert!(makes(&mut state, later));
        let held = state.made(1, later, 0);
        assert_eq!(state.counts().broken, 0);
        state.give_back(held, later);
        assert!(matches!(state.take(later), Turn::Use(_)), "all is well");
    }

    #[test]
    fn without_commands_it_is_tried_again_after_2_4_8_and_so_on_seconds() {
        let (mut state, start) = (state(2), Instant::now());
        assert!(makes(&mut state, start));
        state.failed(&gone(), start, 0);
        let mut now = start;
        let mut delays = Vec::new();
        for _ in 0..12 {
            let next = state.next().unwrap();
            assert!(!state.mends(next - Duration::from_millis(1)));
            assert!(state.mends(next));
            delays.push((next - now).as_secs());
            now = next;
            state.failed(&gone(), now, 0);
        }
        assert_eq!(
            delays,
            [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1024, 1024]
        );
        assert!(state.mends(state.next().unwrap()));
        let held = state.made(1, now, 0);
        state.give_back(held, now);
        assert_eq!(
            state.counts(),
            Counts {
                open: 1,
                idle: 1,
                ..Counts::default()
            }
        );
        state.take(now);
        state.failed(&gone(), now, 0);
        assert_eq!(
            (state.next().unwrap() - now).as_secs(),
            2,
            "a success begins anew"
        );
    }

    #[test]
    fn what_is_older_than_a_fault_is_not_used_again() {
        let (mut state, now) = (state(3), Instant::now());
        let mut held: Vec<_> = (0..3)
            .map(|n| {
                assert!(makes(&mut state, now));
                state.made(n, now, 0)
            })
            .collect();
        assert!(state.give_back(held.pop().unwrap(), now).is_none());
        let _broken = held.pop().unwrap();
        assert_eq!(
            state.failed(&broke(), now, 0),
            [2],
            "the idle one is closed"
        );
        let busy = held.pop().unwrap();
        assert_eq!(
            state.give_back(busy, now),
            Some(0),
            "the busy one when it comes back"
        );
        assert_eq!(state.counts().open, 0);
        assert_eq!(state.counts().broken, 1);
        // One that broke keeps nobody from making another.
        assert!(makes(&mut state, now));
    }

    #[test]
    fn old_and_unused_ones_are_closed() {
        let (mut state, start) = (state(2), Instant::now());
        for n in 0..2 {
            state.open += 1;
            let held = state.made(n, start, 44_999);
            state.idle.push(held);
        }
        state.idle[1].used = start + 300 * SECOND;
        assert_eq!(state.next(), Some(start + 600 * SECOND));
        assert_eq!(state.expired(start + 600 * SECOND), [0]);
        assert_eq!(state.counts().open, 1);
        let Turn::Use(held) = state.take(start) else {
            panic!()
        };
        // 1800 s less what chance takes, a fortieth at most.
        assert_eq!(state.give_back(held, start + 1756 * SECOND), Some(1));
    }
}
