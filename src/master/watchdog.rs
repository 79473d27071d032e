//! Decides which workers hang and which handlers are slow; does nothing about
//! it.
//!
//! The master looks at every worker at a fixed pace and hands in what it saw.
//! Nothing here asks a clock: time is the number of *looks*. A master that was
//! stopped itself, or a machine that slept, made none meanwhile, so nobody is
//! accused of what happened to the accuser.
//!
//! ```text
//!                  the same turn of the loop, awake, for
//!              `watchdog`                      `watchdog_abort`        `MERCY`
//! goes on ----------------> Stuck (and again) ------------------> Abort ------> Kill
//! ```
//!
//! A worker that is stopped does not go on either, whatever its loop says.

use std::time::Duration;

use crate::net::accept_mutex::Owner;
use crate::scoreboard::activity::ThreadActivity;
use crate::sys::process::Pid;

/// How long a worker that was told to abort may write its core.
pub(super) const MERCY: Duration = Duration::from_secs(2);

/// Looks within the shortest of the periods.
const LOOKS: u32 = 4;

/// However short the periods are: a look costs microseconds for each worker.
const OFTEN: Duration = Duration::from_millis(25);

/// However long they are: a message's word would otherwise come round.
const SELDOM: Duration = Duration::from_secs(1);

/// How long is too long. `None`: never.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Periods {
    /// For an event loop to be given the accept mutex.
    pub(super) turn: Option<Duration>,
    /// For an event loop to be left alone.
    pub(super) abort: Option<Duration>,
    /// For a handler to go unmentioned.
    pub(super) slow: Option<Duration>,
}

impl Periods {
    /// As long as nobody serves.
    pub(super) const OFF: Self = Self {
        turn: None,
        abort: None,
        slow: None,
    };

    /// How often to look; `None`: not at all.
    pub(super) fn pace(&self) -> Option<Duration> {
        let periods = [self.turn, self.abort, self.slow];
        let shortest = periods.into_iter().flatten().min()?;
        Some((shortest / LOOKS).clamp(OFTEN, SELDOM))
    }

    /// How many looks make up `period`.
    fn looks(&self, period: Option<Duration>) -> Option<u32> {
        let (pace, period) = (self.pace()?, period?);
        let looks = period.as_nanos().div_ceil(pace.as_nanos()).max(1);
        Some(u32::try_from(looks).unwrap_or(u32::MAX))
    }
}

/// A worker that serves or drains, as it is seen now.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) pid: Pid,
    /// Which of its generation's workers, from 0.
    pub(super) number: usize,
    pub(super) owner: Owner,
    /// The turn of its loop; `None` while that sleeps.
    pub(super) awake_in: Option<u64>,
    /// Its threads, that of the loop first.
    pub(super) activities: Vec<ThreadActivity>,
}

/// What to do about a worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Its loop does not go on: it must not have the accept mutex. `first`: it
    /// was not so the last time.
    Stuck { first: bool },
    /// This handler has been running for so long.
    Slow(ThreadActivity, Duration),
    /// Each of its business threads has been in one handler for so long.
    Exhausted(Duration),
    /// Its loop has not gone on for so long: end it, by SIGABRT.
    Abort(Duration),
    /// It was told so and is still there: end it, by SIGKILL.
    Kill,
}

/// Everything that is remembered from one look to the next.
#[derive(Debug)]
pub(super) struct Watch {
    periods: Periods,
    seen: Vec<Seen>,
    /// Workers that were stopped and did not go on since.
    stopped: Vec<Pid>,
}

/// One worker, and for how many looks nothing has changed there.
#[derive(Debug)]
struct Seen {
    pid: Pid,
    awake_in: Option<u64>,
    looks: u32,
    activities: Vec<(ThreadActivity, u32)>,
    /// Looks since it was told to abort.
    aborting: Option<u32>,
}

impl Watch {
    pub(super) fn new(periods: Periods) -> Self {
        Self {
            periods,
            seen: Vec::new(),
            stopped: Vec::new(),
        }
    }

    /// Obeys these periods from now on, and begins to count anew.
    pub(super) fn set(&mut self, periods: Periods) {
        if periods != self.periods {
            self.periods = periods;
            self.seen.retain(|seen| seen.aborting.is_some());
        }
    }

    /// How long until the next look; `None`: there is none.
    pub(super) fn pace(&self) -> Option<Duration> {
        self.periods.pace()
    }

    /// Takes note of SIGSTOP and SIGCONT.
    pub(super) fn stopped(&mut self, pid: Pid, is_stopped: bool) {
        self.stopped.retain(|stopped| *stopped != pid);
        if is_stopped {
            self.stopped.push(pid);
        }
    }

    /// Whether it was stopped and did not go on since.
    pub(super) fn is_stopped(&self, pid: Pid) -> bool {
        self.stopped.contains(&pid)
    }

    /// Begins to count anew for `pid`: it has a reason not to go on.
    pub(super) fn spare(&mut self, pid: Pid) {
        self.seen.retain(|seen| seen.pid != pid);
    }

    /// Looks at everybody once. Workers that are not among the samples are
    /// forgotten.
    pub(super) fn look(&mut self, samples: &[Sample]) -> Vec<(Pid, Verdict)> {
        let is_there = |pid: &Pid| samples.iter().any(|sample| sample.pid == *pid);
        self.seen.retain(|seen| is_there(&seen.pid));
        self.stopped.retain(is_there);
        let mut verdicts = Vec::new();
        for sample in samples {
            let is_stopped = self.stopped.contains(&sample.pid);
            let at = self.seen.iter().position(|seen| seen.pid == sample.pid);
            let Some(at) = at else {
                self.seen.push(Seen::new(sample));
                continue;
            };
            let seen = &mut self.seen[at];
            seen.again(sample, is_stopped);
            let said = seen.judge(&self.periods, is_stopped);
            verdicts.extend(said.into_iter().map(|verdict| (sample.pid, verdict)));
        }
        verdicts
    }
}

impl Seen {
    fn new(sample: &Sample) -> Self {
        Self {
            pid: sample.pid,
            awake_in: sample.awake_in,
            looks: 0,
            activities: sample
                .activities
                .iter()
                .map(|&activity| (activity, 0))
                .collect(),
            aborting: None,
        }
    }

    /// Counts what is as it was.
    fn again(&mut self, sample: &Sample, is_stopped: bool) {
        let same = sample.awake_in == self.awake_in;
        let goes_on = !is_stopped && (!same || sample.awake_in.is_none());
        self.looks = if goes_on { 0 } else { self.looks + 1 };
        self.awake_in = sample.awake_in;
        let before = std::mem::take(&mut self.activities);
        let looks = |n: usize, activity: &ThreadActivity| match before.get(n) {
            // Nobody works while the whole process is stopped.
            Some((old, looks)) if old == activity && is_stopped => *looks,
            Some((old, looks)) if old == activity => looks + 1,
            _ => 0,
        };
        let activities = sample.activities.iter().enumerate();
        self.activities = activities
            .map(|(n, activity)| (*activity, looks(n, activity)))
            .collect();
        self.aborting = self.aborting.map(|looks| looks + 1);
    }

    fn judge(&mut self, periods: &Periods, is_stopped: bool) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        if let Some(looks) = &mut self.aborting {
            if Some(*looks) >= periods.looks(Some(MERCY)) {
                *looks = 0;
                verdicts.push(Verdict::Kill);
            }
            return verdicts;
        }
        if let Some(looks) = periods.looks(periods.turn)
            && self.looks >= looks
            && self.looks.is_multiple_of(looks)
        {
            let first = self.looks == looks;
            verdicts.push(Verdict::Stuck { first });
        }
        if !is_stopped {
            self.judge_activities(periods, &mut verdicts);
        }
        if let (Some(looks), Some(abort)) = (periods.looks(periods.abort), periods.abort)
            && self.looks >= looks
        {
            self.aborting = Some(0);
            verdicts.push(Verdict::Abort(abort));
        }
        verdicts
    }

    fn judge_activities(&self, periods: &Periods, verdicts: &mut Vec<Verdict>) {
        if let (Some(looks), Some(slow)) = (periods.looks(periods.slow), periods.slow) {
            let slow_ones = self.activities.iter().filter(|(activity, same)| {
                // Once, whatever becomes of it.
                *same == looks && activity.work().is_some()
            });
            verdicts.extend(slow_ones.map(|(activity, _)| Verdict::Slow(*activity, slow)));
        }
        let Some((looks, abort)) = periods.looks(periods.abort).zip(periods.abort) else {
            return;
        };
        let pool = self.activities.get(1..).unwrap_or_default();
        let is_busy = |(activity, _): &(ThreadActivity, u32)| activity.work().is_some();
        let shortest = pool.iter().map(|(_, same)| *same).min();
        if shortest == Some(looks) && pool.iter().all(is_busy) {
            verdicts.push(Verdict::Exhausted(abort));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: u64 = 0;
    /// Message 7, and the same id once more.
    const SEVEN: [u64; 2] = [1 << 35 | 1 << 32 | 7, 2 << 35 | 1 << 32 | 7];

    const SECOND: Duration = Duration::from_secs(1);

    const PERIODS: Periods = Periods {
        turn: Some(SECOND),
        abort: Some(Duration::from_secs(3)),
        slow: Some(Duration::from_secs(2)),
    };

    fn pid() -> Pid {
        Pid::new(41).unwrap()
    }

    fn sample(awake_in: Option<u64>, words: &[u64]) -> Sample {
        Sample {
            pid: pid(),
            number: 0,
            owner: Owner { row: 0, epoch: 1 },
            awake_in,
            activities: (1..)
                .zip(words)
                .map(|(thread, &word)| ThreadActivity { thread, word })
                .collect(),
        }
    }

    /// Looks at one sample again and again; at which look which verdict came.
    fn looks(watch: &mut Watch, sample: &Sample, times: u32) -> Vec<(u32, Verdict)> {
        (1..=times)
            .flat_map(|n| {
                let said = watch.look(std::slice::from_ref(sample));
                said.into_iter().map(move |(_, verdict)| (n, verdict))
            })
            .collect()
    }

    #[test]
    fn the_pace_is_a_quarter_of_the_shortest_period_within_bounds() {
        let of = |turn, abort, slow| {
            let periods = Periods { turn, abort, slow };
            periods.pace().map(|pace| pace.as_millis())
        };
        assert_eq!(PERIODS.pace(), Some(SECOND / 4));
        assert_eq!(of(None, None, None), None);
        assert_eq!(of(None, Some(100 * SECOND), None), Some(1000));
        assert_eq!(of(None, None, Some(SECOND / 100)), Some(25));
        assert_eq!(PERIODS.looks(Some(SECOND)), Some(4));
        assert_eq!(PERIODS.looks(Some(SECOND / 3)), Some(2));
    }

    #[test]
    fn a_loop_that_hangs_loses_the_turn_again_and_again_and_is_then_ended() {
        let mut watch = Watch::new(PERIODS);
        let stuck = |first| Verdict::Stuck { first };
        let abort = Verdict::Abort(3 * SECOND);
        assert_eq!(
            looks(&mut watch, &sample(Some(9), &[IDLE]), 30),
            [
                (5, stuck(true)),
                (9, stuck(false)),
                (13, stuck(false)),
                (13, abort),
                (21, Verdict::Kill),
                (29, Verdict::Kill),
            ]
        );
    }

    #[test]
    fn loops_that_advance_or_sleep_are_left_alone() {
        let mut watch = Watch::new(PERIODS);
        for n in 0..100 {
            let advances = sample(Some(n), &[IDLE]);
            assert_eq!(looks(&mut watch, &advances, 3), []);
        }
        assert_eq!(looks(&mut watch, &sample(None, &[IDLE]), 100), []);
    }

    #[test]
    fn a_stopped_worker_hangs_whatever_its_loop_and_its_handlers_say() {
        let mut watch = Watch::new(PERIODS);
        let asleep = sample(None, &[IDLE, SEVEN[0]]);
        assert_eq!(looks(&mut watch, &asleep, 1), []);
        watch.stopped(pid(), true);
        let said = looks(&mut watch, &asleep, 12);
        assert_eq!(said[0], (4, Verdict::Stuck { first: true }));
        assert_eq!(said.last(), Some(&(12, Verdict::Abort(3 * SECOND))));
        assert!(!said.iter().any(|(_, one)| matches!(one, Verdict::Slow(..))));
    }

    #[test]
    fn one_that_goes_on_after_a_stop_begins_anew() {
        let mut watch = Watch::new(PERIODS);
        let asleep = sample(None, &[IDLE]);
        for _ in 0..9 {
            watch.stopped(pid(), true);
            assert_eq!(looks(&mut watch, &asleep, 3), []);
            watch.stopped(pid(), false);
            assert_eq!(looks(&mut watch, &asleep, 3), []);
        }
    }

    #[test]
    fn a_slow_handler_is_named_once_and_the_same_id_again_is_another_one() {
        let mut watch = Watch::new(PERIODS);
        for word in SEVEN {
            let busy = sample(None, &[IDLE, word, IDLE]);
            let activity = busy.activities[1];
            let slow = Verdict::Slow(activity, 2 * SECOND);
            assert_eq!(looks(&mut watch, &busy, 30), [(9, slow)], "{word:x}");
        }
        for n in 1..100 {
            let word = (n << 36) | SEVEN[0];
            let quick = sample(None, &[IDLE, word]);
            assert_eq!(looks(&mut watch, &quick, 5), []);
        }
    }

    #[test]
    fn a_pool_without_a_free_thread_is_told_of_and_not_ended() {
        let mut watch = Watch::new(PERIODS);
        let [one, other] = SEVEN;
        let said = looks(&mut watch, &sample(None, &[IDLE, one, other]), 40);
        let exhausted = Verdict::Exhausted(3 * SECOND);
        let is_it = |verdict: &Verdict| *verdict == exhausted;
        let at: Vec<u32> = said
            .iter()
            .filter(|said| is_it(&said.1))
            .map(|said| said.0)
            .collect();
        assert_eq!(at, [13]);
        assert!(!said.iter().any(|said| matches!(said.1, Verdict::Abort(_))));
        let one_is_free = looks(&mut watch, &sample(None, &[IDLE, one, IDLE]), 40);
        assert!(!one_is_free.iter().any(|said| is_it(&said.1)));
    }

    #[test]
    fn what_is_off_is_never_said() {
        let off = Periods::OFF;
        for (periods, expected) in [
            (
                Periods {
                    turn: PERIODS.turn,
                    ..off
                },
                "Stuck",
            ),
            (
                Periods {
                    abort: PERIODS.abort,
                    ..off
                },
                "Abort Exhausted Kill",
            ),
            (
                Periods {
                    slow: PERIODS.slow,
                    ..off
                },
                "Slow",
            ),
        ] {
            let mut watch = Watch::new(periods);
            let said = looks(&mut watch, &sample(Some(1), &[IDLE, SEVEN[0]]), 400);
            assert!(!said.is_empty());
            for (_, verdict) in said {
                let text = format!("{verdict:?}");
                let name = text.split([' ', '(']).next().unwrap();
                assert!(expected.contains(name), "{periods:?} said {text}");
            }
        }
    }

    #[test]
    fn whoever_is_spared_has_all_the_time_again() {
        let mut watch = Watch::new(PERIODS);
        let stuck = sample(Some(1), &[IDLE]);
        for _ in 0..5 {
            let said = looks(&mut watch, &stuck, 12);
            assert!(!said.iter().any(|said| matches!(said.1, Verdict::Abort(_))));
            watch.spare(pid());
        }
    }

    #[test]
    fn new_periods_count_from_their_first_look() {
        let mut watch = Watch::new(PERIODS);
        let stuck = sample(Some(1), &[IDLE]);
        looks(&mut watch, &stuck, 4);
        watch.set(PERIODS);
        assert_eq!(looks(&mut watch, &stuck, 1).len(), 1, "nothing is new");
        let turn = Some(2 * SECOND);
        watch.set(Periods { turn, ..PERIODS });
        assert_eq!(looks(&mut watch, &stuck, 4), []);
    }
}
