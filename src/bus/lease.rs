//! Jobs that one worker runs for all: who does it now, when the next time is, and a
//! number that rises from one run to the next.
//!
//! ```text
//! name | held by (row, epoch) until | due | fence | ...
//! ```
//!
//! Who finds a job due and held by nobody takes it with one exchange of a word, says
//! when it is due again, and prolongs what he holds while he works. A worker that
//! died holds nothing; one that was stopped holds it for a period, and may run beside
//! the next: its fence is the smaller one.

use std::hash::Hasher;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use siphasher::sip::SipHasher13;

use super::member::Member;
use super::shape::{LEASES, LINE};
use crate::sys::sync::{AtomicU64, Ordering};

/// Bits of the time until which a lease is held: 17 years in milliseconds.
const UNTIL: u32 = 39;

/// Words of a lease, by what they are.
#[derive(Clone, Copy, Debug)]
enum Of {
    /// The hash of the job's name; 0: no job's.
    Name = 0,
    /// Row and epoch of the worker, and until when; 0: nobody.
    Held = 1,
    /// When the job is to run.
    Due = 2,
    /// Of the last run.
    Fence = 3,
}

/// A job that one worker runs for all. Times are those of the machine's clock, in
/// milliseconds.
#[derive(Debug)]
pub struct Lease(Words);

#[derive(Debug)]
enum Words {
    /// Of a server of one worker.
    Own(Box<[AtomicU64; LINE]>),
    Shared(Arc<Member>, usize),
}

impl Lease {
    /// Where there are no other workers.
    #[must_use]
    pub fn alone() -> Self {
        Self(Words::Own(Box::new(std::array::from_fn(|_| {
            AtomicU64::new(0)
        }))))
    }

    /// The lease of a job with this name, as all workers call it. `None`: all places
    /// are other jobs'.
    #[must_use]
    pub fn of(member: &Arc<Member>, name: &str) -> Option<Self> {
        let key = member.bus().key();
        let mut hasher = SipHasher13::new_with_keys(key[0], key[1]);
        hasher.write_u8(b'j');
        hasher.write(name.as_bytes());
        let hash = hasher.finish().max(1);
        let is_its = |at: &usize| {
            let word = &member.bus().lease(*at)[Of::Name as usize];
            let claimed = word.compare_exchange(0, hash, Ordering::SeqCst, Ordering::SeqCst);
            claimed.is_ok() || claimed == Err(hash)
        };
        let at = (0..LEASES).find(is_its)?;
        Some(Self(Words::Shared(Arc::clone(member), at)))
    }

    fn word(&self, what: Of) -> &AtomicU64 {
        match &self.0 {
            Words::Own(words) => &words[what as usize],
            Words::Shared(member, at) => &member.bus().lease(*at)[what as usize],
        }
    }

    /// Row and epoch of this worker, in their place.
    fn own(&self) -> u64 {
        match &self.0 {
            Words::Own(_) => 1 << UNTIL,
            Words::Shared(member, _) => member.life_word() << UNTIL,
        }
    }

    fn is_held(&self, held: u64, now: u64) -> bool {
        let lives = match &self.0 {
            Words::Own(_) => held != 0,
            Words::Shared(member, _) => held != 0 && member.lives(held >> UNTIL),
        };
        lives && held & ((1 << UNTIL) - 1) > now
    }

    /// Whether the job is to run now and nobody does it. Begins to count from the
    /// first time that anybody asks.
    #[must_use]
    pub fn is_due(&self, now: u64, period: u64) -> bool {
        let due = self.word(Of::Due);
        let first = due.compare_exchange(0, now + period, Ordering::SeqCst, Ordering::SeqCst);
        first.is_err_and(|due| due <= now)
            && !self.is_held(self.word(Of::Held).load(Ordering::SeqCst), now)
    }

    /// Takes the job, if nobody was faster; gives the number of this run.
    #[must_use]
    pub fn take(&self, now: u64, period: u64) -> Option<u64> {
        let held = self.word(Of::Held);
        let before = held.load(Ordering::SeqCst);
        let ours = self.own() | (now + period);
        if !self.is_due(now, period)
            || held
                .compare_exchange(before, ours, Ordering::SeqCst, Ordering::SeqCst)
                .is_err()
        {
            return None;
        }
        // Whoever held it may have been done in between.
        let due = self.word(Of::Due).load(Ordering::SeqCst);
        if due > now || self.is_held(before, now) {
            let _lost = held.compare_exchange(ours, 0, Ordering::SeqCst, Ordering::SeqCst);
            return None;
        }
        let next = if due + period > now { due } else { now } + period;
        // One that slept until here finds what others have said.
        self.word(Of::Due).fetch_max(next, Ordering::SeqCst);
        Some(self.next_fence())
    }

    /// Not smaller than the time of day, so that it rises over a restart as well.
    fn next_fence(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let wall = since.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(0));
        let fence = self.word(Of::Fence);
        let mut last = fence.load(Ordering::SeqCst);
        loop {
            let next = wall.max(last.saturating_add(1));
            match fence.compare_exchange(last, next, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return next,
                Err(other) => last = other,
            }
        }
    }

    /// Holds it for a period more, if this worker does hold it.
    pub fn prolong(&self, now: u64, period: u64) {
        self.change(|own| own | (now + period));
    }

    /// The run is over.
    pub fn give_back(&self) {
        self.change(|_| 0);
    }

    fn change(&self, to: impl Fn(u64) -> u64) {
        let (held, own) = (self.word(Of::Held), self.own());
        let now = held.load(Ordering::SeqCst);
        if now >> UNTIL == own >> UNTIL {
            let _lost = held.compare_exchange(now, to(own), Ordering::SeqCst, Ordering::SeqCst);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::{Bus, Shape};
    use super::*;
    use crate::scoreboard::Scoreboard;

    fn host() -> (Bus, Scoreboard) {
        let shape = Shape {
            rows: 3,
            ring: 1 << 11,
            names: 64,
        };
        let board = Scoreboard::new(3).expect("memory");
        (Bus::new(shape).expect("memory"), board)
    }

    fn member(host: &(Bus, Scoreboard), row: u8) -> Arc<Member> {
        let counted = host.1.row(row.into());
        Arc::new(Member::new(&host.0, row, 65_535, counted, 1 << 16))
    }

    #[test]
    fn one_of_them_takes_it_once_a_period() {
        let host = host();
        let members = [0, 1].map(|row| member(&host, row));
        let [one, two] = members.each_ref().map(|of| Lease::of(of, "tidy").unwrap());
        assert!(!one.is_due(1000, 100), "it has a period to go");
        assert!(!two.is_due(1099, 100) && two.take(1099, 100).is_none());
        let fence = two.take(1100, 100).expect("it is due");
        assert!(!one.is_due(1150, 100) && one.take(1150, 100).is_none());
        two.give_back();
        assert_eq!(one.take(1150, 100), None, "it has run");
        let next = one.take(1225, 100).expect("it is due");
        assert!(next > fence);
        one.give_back();
        assert!(
            two.is_due(1300, 100),
            "a late run does not move the next one"
        );
        // After a long pause there is one run, and not all that were missed.
        assert!(two.take(9000, 100).is_some());
        two.give_back();
        assert_eq!(one.take(9099, 100), None);
        assert!(one.take(9100, 100).is_some());
    }

    #[test]
    fn who_works_on_keeps_it_and_who_dies_or_stops_does_not() {
        let host = host();
        let members = [0, 1].map(|row| member(&host, row));
        let [one, two] = members.each_ref().map(|of| Lease::of(of, "tidy").unwrap());
        assert!(!one.is_due(1000, 100));
        let first = one.take(1100, 100).unwrap();
        one.prolong(1190, 100);
        two.prolong(1250, 100);
        two.give_back();
        assert_eq!(two.take(1280, 100), None, "the other one is at it");
        let second = two.take(1290, 100).expect("it was stopped");
        one.prolong(1300, 100);
        one.give_back();
        assert!(!one.is_due(1389, 100), "what the late one says is nothing");
        assert!(second > first);
        two.prolong(1389, 1_000_000);
        assert_eq!(one.take(1500, 100), None);
        host.0.bury(1);
        assert!(one.take(1500, 100).unwrap() > second, "it died");
    }

    #[test]
    fn jobs_have_leases_of_their_own_as_long_as_there_are_places() {
        let host = host();
        let one = member(&host, 0);
        let places: Vec<_> = (0..LEASES)
            .map(|n| Lease::of(&one, &n.to_string()).unwrap())
            .collect();
        assert!(Lease::of(&one, "one more").is_none());
        assert!(Lease::of(&member(&host, 1), "7").is_some());
        for lease in &places {
            assert!(!lease.is_due(1, 1));
            assert!(lease.take(2, 1).is_some());
        }
    }

    #[test]
    fn alone_it_is_everybodys() {
        let lease = Lease::alone();
        assert!(!lease.is_due(1, 10) && lease.take(11, 10).is_some());
        assert!(!lease.is_due(11, 10));
        lease.give_back();
        assert!(!lease.is_due(20, 10) && lease.is_due(21, 10));
    }

    /// However many ask at the same moment.
    #[test]
    fn of_many_at_once_one_takes_it() {
        let host = host();
        let members = [0, 1, 2].map(|row| member(&host, row));
        let first = Lease::of(&members[0], "tidy").unwrap();
        assert!(!first.is_due(1, 1));
        for now in 2..2000 {
            let taken: usize = std::thread::scope(|scope| {
                let take = |of: &Arc<Member>| {
                    let lease = Lease::of(of, "tidy").unwrap();
                    scope.spawn(move || {
                        let fence = lease.take(now, 1);
                        if fence.is_some() {
                            lease.give_back();
                        }
                        usize::from(fence.is_some())
                    })
                };
                let all: Vec<_> = members.iter().map(take).collect();
                all.into_iter().map(|one| one.join().unwrap()).sum()
            });
            assert_eq!(taken, 1, "at {now}");
        }
    }
}
