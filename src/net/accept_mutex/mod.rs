//! The accept mutex: which of the workers accepts connections now.
//!
//! ```text
//!          hand over: balance, 64 accepts       all full
//! holder ---------------------------> peer  holder ------> parked
//!    \                                  ^                     |
//!     dead: the master passes it on ----+<--------------------+
//!                                          whoever has room takes it
//! ```
//!
//! One shared word names the holder; nobody ever waits for it. The others
//! sleep in epoll until their bell rings. Only the holder has the listeners
//! in its epoll: it takes them out *before* it moves the word, and asks
//! [`Contender::check`] after every wait and before it accepts.
//!
//! Invariant: the word names a worker that is [`Standing::Open`] and has been
//! rung, or somebody alive is about to move it or to ring. Whoever moves the
//! word looks at the new holder's standing afterwards; whoever changes a
//! standing looks at the word afterwards. With a fence in between, at least
//! one of two who do so at once sees the other. What the dead left undone, the
//! master does when it reaps them. So nobody polls, and no owner is waited for.
//!
//! Every word is data: a worker that is not ours any more may have written it.
//! A word that names no row is nobody's, a move that is undone again and again
//! is given up, and once a second the master looks whether whoever the word
//! names accepts ([`AcceptMutex::repair`]).
//!
//! Pure: the words and the bells are the caller's. A `Contender` belongs to one
//! reactor thread, the rest of [`AcceptMutex`] to the master.

use crate::sys::fault::{Spot, kill_point};
use crate::sys::sync::{AtomicU64, Ordering, fence};

mod board;
mod names;
mod watchdog;

#[cfg(all(test, loom))]
mod loom_tests;

pub use names::{Owner, Standing};

/// Accepts after which the mutex goes on, so that short connections are spread.
pub const ACCEPTS_MAX: u32 = 64;
/// Live connections by which the holder may be ahead of the least loaded.
pub const AHEAD_MAX: u64 = 8;

/// Moves after which the mutex is left where it is: whoever it went to has lost
/// its room each time, which only a stranger among the workers can bring about.
const MOVES_MAX: usize = 1024;

/// Nobody holds the mutex, because nobody has room.
const PARKED: u64 = 0;

/// The shared words and the bells, wherever they are.
///
/// All words start at 0. A row belongs to one worker process at a time.
pub trait Words {
    /// Names the holder.
    fn mutex(&self) -> &AtomicU64;
    /// How many rows there are, at most 256.
    fn rows(&self) -> usize;
    /// The row's epoch and standing.
    fn life(&self, row: usize) -> &AtomicU64;
    /// The epoch of the row's last worker. The master alone writes it.
    fn epoch(&self, row: usize) -> &AtomicU64;
    /// Connections that the row's worker has open.
    fn live(&self, row: usize) -> &AtomicU64;
    /// Turns of its event loop, counted right after each wait.
    fn loops(&self, row: usize) -> &AtomicU64;
    /// Not 0 while its event loop waits.
    fn asleep(&self, row: usize) -> &AtomicU64;
    /// Wakes the row's reactor, now or when it waits next.
    fn ring(&self, row: usize);
}

/// The mutex, as every process sees it.
#[derive(Clone, Debug)]
pub struct AcceptMutex<W>(W);

impl<W: Words> AcceptMutex<W> {
    /// The mutex that these words hold.
    pub fn new(words: W) -> Self {
        Self(words)
    }

    /// Who holds the mutex; `None` when it is parked, or its word names nobody.
    #[must_use]
    pub fn holder(&self) -> Option<Owner> {
        self.named(self.0.mutex().load(Ordering::Acquire))
    }

    /// The holder that this word names, if there is such a row.
    fn named(&self, word: u64) -> Option<Owner> {
        let holder = Owner::from_word(word)?;
        (holder.row() < self.0.rows() && holder.word() == word).then_some(holder)
    }

    /// Whether the worker lives, and what it can do.
    #[must_use]
    pub fn standing(&self, worker: Owner) -> Standing {
        let life = self.0.life(worker.row()).load(Ordering::Acquire);
        let (epoch, standing) = Standing::from_life(life);
        if epoch == worker.epoch {
            standing
        } else {
            Standing::Dead
        }
    }

    /// The worker to which `row` was given last.
    #[must_use]
    pub fn occupant(&self, row: u8) -> Owner {
        let epoch = self.0.epoch(row.into()).load(Ordering::Acquire);
        Owner::of_epoch(row, epoch)
    }

    /// Has the epochs of `row` begin behind this one, before it is given to
    /// anybody: those before it name workers of another program.
    pub fn begin_behind(&self, row: u8, epoch: u16) {
        let owner = Owner { row, epoch };
        self.name(owner);
        self.stand(owner, Standing::Dead);
    }

    /// Gives `row` to a new worker. The master calls it before each fork.
    pub fn admit(&self, row: u8) -> Owner {
        self.admit_unlike(row, |_| false)
    }

    /// As [`Self::admit`], by no name that `is_borne`: connections are named after
    /// their worker, may outlive it in others, and epochs come round.
    pub fn admit_unlike(&self, row: u8, is_borne: impl Fn(Owner) -> bool) -> Owner {
        let before = self.occupant(row).epoch;
        let behind = |steps| Owner {
            row,
            epoch: before.wrapping_add(steps),
        };
        let mut epochs = (1..=u16::MAX).map(behind);
        let owner = epochs.find(|owner| !is_borne(*owner));
        let owner = owner.unwrap_or_else(|| behind(1));
        self.name(owner);
        self.stand(owner, Standing::Starting);
        owner
    }

    /// Takes note of a death, and puts right what `dead` may have left undone.
    /// The master calls it for each worker it reaped, before it forks again.
    ///
    /// The holder's bell is rung in any case: `dead` may have handed the mutex
    /// over and not lived to ring it.
    pub fn release_dead(&self, dead: Owner) {
        // "Dead" first: a peer that hands the mutex to `dead` right now sees it
        // here, or its handing over is seen below.
        self.stand(dead, Standing::Dead);
        let word = self.0.mutex().load(Ordering::Acquire);
        match self.named(word) {
            Some(holder) if self.standing(holder) == Standing::Open => self.0.ring(holder.row()),
            _ => self.pass_on(word),
        }
    }

    /// Takes the mutex from `stuck`, if it has it, and lets nobody give it the
    /// turn before its loop has gone on. False: it could not have had it.
    pub fn take_from(&self, stuck: Owner) -> bool {
        let open = Standing::Open.life(stuck.epoch);
        let marked = Standing::Stuck.life(stuck.epoch);
        if !swap(self.0.life(stuck.row()), open, marked) {
            return false;
        }
        fence(Ordering::SeqCst);
        self.pass_on(stuck.word());
        // It may only have been slow, and about to sleep: asked for by nobody,
        // it would never look again.
        self.0.ring(stuck.row());
        true
    }

    /// Puts right what no worker of ours leaves behind: a word that names nobody,
    /// or somebody who does not accept, or nobody while somebody would. The
    /// master calls it once a second, with what the word was the last time;
    /// whoever is about to move the mutex takes less. Returns whether it did
    /// anything.
    pub fn repair(&self, before: &mut Option<u64>) -> bool {
        let word = self.0.mutex().load(Ordering::Acquire);
        let is_new = before.replace(word) != Some(word);
        let is_right = match self.named(word) {
            Some(holder) if self.standing(holder) == Standing::Open => {
                // Whoever wrote it need not have rung.
                if is_new {
                    self.0.ring(holder.row());
                }
                true
            }
            Some(_) => is_new,
            None if word == PARKED => is_new || self.least_loaded(None).is_none(),
            None => false,
        };
        if !is_right {
            self.pass_on(word);
        }
        !is_right && self.0.mutex().load(Ordering::Acquire) != word
    }

    /// Has the loop of a worker go on that may sleep: it may have the mutex
    /// again.
    pub fn wake(&self, worker: Owner) {
        self.0.ring(worker.row());
    }

    /// Moves the mutex from where it is to the least loaded that is open, or
    /// parks it. Does nothing when somebody else moved it first.
    fn pass_on(&self, mut from: u64) {
        for _ in 0..MOVES_MAX {
            let to = self.least_loaded(None).map(|(owner, _)| owner);
            let word = to.map_or(PARKED, Owner::word);
            if !self.shift(from, word) {
                return;
            }
            if self.is_well_placed(to) {
                return;
            }
            from = word;
        }
    }

    /// Whether the mutex, just moved, may stay with `to`.
    fn is_well_placed(&self, to: Option<Owner>) -> bool {
        fence(Ordering::SeqCst);
        match to {
            Some(to) => self.standing(to) == Standing::Open,
            None => self.least_loaded(None).is_none(),
        }
    }

    /// Moves the word and wakes who has it now.
    fn shift(&self, from: u64, to: u64) -> bool {
        let moved = swap(self.0.mutex(), from, to);
        if let (true, Some(to)) = (moved, Owner::from_word(to)) {
            kill_point(Spot::TurnMoved);
            self.0.ring(to.row());
            kill_point(Spot::TurnRung);
        }
        moved
    }

    fn name(&self, worker: Owner) {
        let epoch = self.0.epoch(worker.row());
        epoch.store(worker.epoch.into(), Ordering::Release);
    }

    fn stand(&self, worker: Owner, standing: Standing) {
        let life = standing.life(worker.epoch);
        self.0.life(worker.row()).store(life, Ordering::Release);
        kill_point(Spot::StandingChanged);
        fence(Ordering::SeqCst);
    }

    /// The open worker with the fewest live connections, and how many. Equals
    /// take turns: the next one behind `but` comes first.
    fn least_loaded(&self, but: Option<Owner>) -> Option<(Owner, u64)> {
        let rows = self.0.rows();
        let first = but.map_or(0, |but| but.row() + 1);
        (first..first + rows)
            .filter_map(|row| u8::try_from(row.checked_rem(rows)?).ok())
            .filter(|&row| but.is_none_or(|but| but.row != row))
            .filter_map(|row| {
                let life = self.0.life(row.into()).load(Ordering::Acquire);
                let (epoch, standing) = Standing::from_life(life);
                let live = self.0.live(row.into()).load(Ordering::Relaxed);
                (standing == Standing::Open).then_some((Owner { row, epoch }, live))
            })
            .min_by_key(|&(_, live)| live)
    }
}

fn swap(word: &AtomicU64, from: u64, to: u64) -> bool {
    word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
        .is_ok()
}

/// One worker's place at the mutex. Its reactor alone uses it.
#[derive(Debug)]
pub struct Contender<W> {
    mutex: AcceptMutex<W>,
    me: Owner,
    /// What the words say of this worker, unless somebody else wrote there.
    standing: Standing,
    /// Accepts since the mutex came.
    accepts: u32,
}

impl<W: Words> Contender<W> {
    /// The place of `me`, as [`AcceptMutex::admit`] named it. It gets nothing
    /// before [`open`](Self::open).
    pub fn new(mutex: AcceptMutex<W>, me: Owner) -> Self {
        Self {
            standing: mutex.standing(me),
            mutex,
            me,
            accepts: 0,
        }
    }

    /// Whether this worker may accept now. When it says no, take the listeners
    /// out of epoll; when it says yes, put them in.
    ///
    /// Ask after every wait and before every accept: the master may have taken
    /// the mutex away while this process was stopped.
    pub fn check(&mut self) -> bool {
        let found = self.mutex.standing(self.me);
        if found == Standing::Stuck {
            self.open();
        } else if found != self.standing {
            // A sibling that is not ours any more wrote there.
            self.mutex.stand(self.me, self.standing);
        }
        self.mutex.holder() == Some(self.me)
    }

    /// There is room: at the start, and after [`fill`](Self::fill) when a slot
    /// is free again. Takes a parked turn; returns whether that happened.
    pub fn open(&mut self) -> bool {
        self.standing = Standing::Open;
        self.mutex.stand(self.me, Standing::Open);
        let taken = swap(self.mutex.0.mutex(), PARKED, self.me.word());
        if taken {
            self.accepts = 0;
        }
        taken
    }

    /// There is no room left; the mutex, if held, goes to somebody who has.
    /// Take the listeners out of epoll before.
    pub fn fill(&mut self) {
        self.leave(Standing::Full);
    }

    /// As [`fill`](Self::fill), for good.
    pub fn drain(&mut self) {
        self.leave(Standing::Draining);
    }

    fn leave(&mut self, standing: Standing) {
        self.standing = standing;
        self.mutex.stand(self.me, standing);
        self.accepts = 0;
        if self.mutex.holder() == Some(self.me) {
            self.mutex.pass_on(self.me.word());
        }
    }

    /// Takes note of `count` accepted connections.
    pub fn accepted(&mut self, count: u32) {
        self.accepts = self.accepts.saturating_add(count);
    }

    /// Who should have the mutex instead, if anybody. For the holder, before
    /// and after it accepts; its live connections are counted by then.
    #[must_use]
    pub fn successor(&self) -> Option<Owner> {
        let own = self.mutex.0.live(self.me.row()).load(Ordering::Relaxed);
        let (peer, live) = self.mutex.least_loaded(Some(self.me))?;
        let is_ahead = own > live.saturating_add(AHEAD_MAX);
        // A peer that is ahead itself would send it right back.
        let is_enough = self.accepts >= ACCEPTS_MAX && live <= own.saturating_add(AHEAD_MAX);
        (is_ahead || is_enough).then_some(peer)
    }

    /// Gives the mutex to `peer`. Take the listeners out of epoll before.
    ///
    /// Returns whether the mutex came back, because the peer died or closed
    /// meanwhile; then put them in again.
    #[must_use]
    pub fn hand_over(&mut self, peer: Owner) -> bool {
        self.accepts = 0;
        if !self.mutex.shift(self.me.word(), peer.word()) {
            return false;
        }
        if self.mutex.is_well_placed(Some(peer)) {
            return false;
        }
        swap(self.mutex.0.mutex(), peer.word(), self.me.word())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    #[derive(Debug, Default)]
    struct Memory {
        mutex: AtomicU64,
        rows: [[AtomicU64; 6]; 4],
    }

    impl Words for Arc<Memory> {
        fn mutex(&self) -> &AtomicU64 {
            &self.mutex
        }
        fn rows(&self) -> usize {
            self.rows.len()
        }
        fn life(&self, row: usize) -> &AtomicU64 {
            &self.rows[row][0]
        }
        fn live(&self, row: usize) -> &AtomicU64 {
            &self.rows[row][1]
        }
        fn loops(&self, row: usize) -> &AtomicU64 {
            &self.rows[row][2]
        }
        fn asleep(&self, row: usize) -> &AtomicU64 {
            &self.rows[row][3]
        }
        fn epoch(&self, row: usize) -> &AtomicU64 {
            &self.rows[row][5]
        }
        fn ring(&self, row: usize) {
            self.rows[row][4].fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Memory {
        fn set_live(&self, live: [u64; 4]) {
            for (row, live) in self.rows.iter().zip(live) {
                row[1].store(live, Ordering::Relaxed);
            }
        }

        fn rings(&self, row: usize) -> u64 {
            self.rows[row][4].swap(0, Ordering::Relaxed)
        }
    }

    type Seats = [Contender<Arc<Memory>>; 4];

    /// Four open workers; row 0 holds the mutex.
    fn four() -> (Arc<Memory>, AcceptMutex<Arc<Memory>>, Seats) {
        let memory = Arc::new(Memory::default());
        let mutex = AcceptMutex::new(Arc::clone(&memory));
        let contenders = [0, 1, 2, 3].map(|row| {
            let mut contender = Contender::new(mutex.clone(), mutex.admit(row));
            assert_eq!(contender.open(), row == 0, "the first one takes it");
            contender
        });
        (memory, mutex, contenders)
    }

    #[test]
    fn the_turn_goes_to_the_least_loaded_when_the_holder_is_ahead() {
        let (memory, _, contenders) = four();
        for (live, expected) in [
            ([0, 0, 0, 0], None),
            ([8, 0, 0, 0], None),
            ([9, 0, 0, 0], Some(1)),
            ([9, 3, 0, 2], Some(2)),
            ([9, 1, 1, 1], None),
            ([109, 200, 200, 100], Some(3)),
        ] {
            memory.set_live(live);
            let successor = contenders[0].successor().map(|owner| owner.row);
            assert_eq!(successor, expected, "{live:?}");
        }
    }

    #[test]
    fn after_sixty_four_accepts_it_goes_round_unless_it_would_come_right_back() {
        let (memory, _, mut contenders) = four();
        contenders[0].accepted(ACCEPTS_MAX - 1);
        assert_eq!(contenders[0].successor(), None);
        contenders[0].accepted(1);
        for (live, expected) in [
            ([5, 5, 5, 5], Some(1)),
            ([5, 13, 13, 13], Some(1)),
            ([5, 14, 14, 14], None),
        ] {
            memory.set_live(live);
            let successor = contenders[0].successor().map(|owner| owner.row);
            assert_eq!(successor, expected, "{live:?}");
        }
        memory.set_live([0; 4]);
        let mut holder = 0;
        for expected in [1, 2, 3, 0] {
            contenders[holder].accepted(ACCEPTS_MAX);
            let next = contenders[holder].successor().unwrap();
            assert!(!contenders[holder].hand_over(next));
            assert!(!contenders[holder].check());
            holder = expected;
            assert!(contenders[holder].check());
            assert_eq!(memory.rings(holder), 1);
            assert_eq!(contenders[holder].successor(), None, "counted anew");
        }
    }

    #[test]
    fn eight_hundred_idle_connections_are_spread_evenly() {
        let (memory, mutex, mut contenders) = four();
        for _ in 0..800 {
            let holder = mutex.holder().unwrap().row();
            if let Some(next) = contenders[holder].successor() {
                assert!(!contenders[holder].hand_over(next));
            }
            let holder = mutex.holder().unwrap().row();
            assert!(contenders[holder].check());
            contenders[holder].accepted(1);
            memory.rows[holder][1].fetch_add(1, Ordering::Relaxed);
        }
        let live: Vec<u64> = memory
            .rows
            .iter()
            .map(|row| row[1].load(Ordering::Relaxed))
            .collect();
        assert!(live.iter().all(|&live| live <= 220), "{live:?}");
    }

    #[test]
    fn a_name_that_connections_bear_is_given_to_nobody() {
        let mutex = AcceptMutex::new(Arc::new(Memory::default()));
        mutex.begin_behind(0, 65_530);
        let borne = [65_531, 65_535, 0, 1];
        let give = || {
            mutex
                .admit_unlike(0, |owner| borne.contains(&owner.epoch))
                .epoch
        };
        let given: Vec<u16> = (0..5).map(|_| give()).collect();
        assert_eq!(given, [65_532, 65_533, 65_534, 2, 3]);
        // As many as there are: better the next one than none.
        assert_eq!(mutex.admit_unlike(0, |_| true).epoch, 4);
    }

    #[test]
    fn the_dead_lose_the_turn_to_the_least_loaded_of_the_living() {
        let (memory, mutex, mut contenders) = four();
        memory.set_live([0, 7, 5, 6]);
        mutex.release_dead(contenders[0].me);
        assert_eq!(mutex.holder(), Some(contenders[2].me));
        assert_eq!(memory.rings(2), 1);
        let newborn = mutex.admit(0);
        assert_ne!(newborn, contenders[0].me);
        assert!(!contenders[0].check(), "a name is never used twice");
        mutex.release_dead(contenders[1].me);
        assert_eq!(
            mutex.holder(),
            Some(contenders[2].me),
            "it was not the holder"
        );
        assert_eq!(memory.rings(2), 1, "rung for one who may have died before");
    }

    #[test]
    fn handing_it_to_the_dead_brings_it_back() {
        let (_, mutex, mut contenders) = four();
        let dead = contenders[1].me;
        mutex.release_dead(dead);
        assert!(contenders[0].hand_over(dead));
        assert!(contenders[0].check());
        let other = mutex.admit(1);
        assert!(
            contenders[0].hand_over(dead),
            "the row lives, the worker does not"
        );
        assert!(contenders[0].hand_over(other), "not open yet");
    }

    #[test]
    fn a_full_worker_gives_it_away_and_it_is_parked_when_all_are_full() {
        let (_, mutex, mut contenders) = four();
        for (row, contender) in contenders.iter_mut().enumerate() {
            assert!(contender.check(), "{row} is the first with room");
            contender.fill();
        }
        assert_eq!(mutex.holder(), None);
        assert!(contenders[2].open());
        assert!(!contenders[1].open());
        assert_eq!(mutex.holder(), Some(contenders[2].me));
        contenders[2].drain();
        assert_eq!(mutex.holder(), Some(contenders[1].me));
    }

    #[test]
    fn a_loop_is_judged_while_it_is_awake_alone() {
        let (memory, mutex, contenders) = four();
        let [loops, asleep] = [&memory.rows[0][2], &memory.rows[0][3]];
        loops.store(7, Ordering::Relaxed);
        assert_eq!(mutex.awake_in(contenders[0].me), Some(7));
        asleep.store(1, Ordering::Relaxed);
        assert_eq!(mutex.awake_in(contenders[0].me), None);
    }

    #[test]
    fn a_stuck_holder_loses_it_and_nobody_gives_it_back_before_it_goes_on() {
        let (memory, mutex, mut contenders) = four();
        assert!(mutex.take_from(contenders[0].me));
        assert!(
            !mutex.take_from(contenders[0].me),
            "it cannot have it any more"
        );
        assert_eq!(mutex.holder(), Some(contenders[1].me));
        assert_eq!(memory.rings(0), 1, "it is to look as soon as it can");
        assert!(!contenders[1].hand_over(contenders[2].me));
        assert!(
            contenders[2].hand_over(contenders[0].me),
            "not to the stuck one"
        );
        assert!(!contenders[0].check());
        assert!(
            !contenders[2].hand_over(contenders[0].me),
            "it went on: trusted again"
        );
        assert!(contenders[0].check());
    }

    /// A row of 255 in the word, and the death of whoever wrote it: the master
    /// panicked.
    #[test]
    fn a_word_that_names_no_row_is_nobodys_and_put_right() {
        let nobody = Owner { row: 254, epoch: 9 };
        for word in [nobody.word(), u64::MAX, 1, 1 << 40] {
            let (memory, mutex, mut contenders) = four();
            memory.mutex.store(word, Ordering::Relaxed);
            assert_eq!(mutex.holder(), None, "{word:x}");
            assert!(!contenders[0].check());
            let mut before = None;
            assert!(mutex.repair(&mut before), "{word:x}");
            assert!(!mutex.repair(&mut before));
            let holder = mutex.holder().unwrap().row();
            assert!(contenders[holder].check() && memory.rings(holder) > 0);
            memory.mutex.store(word, Ordering::Relaxed);
            mutex.release_dead(contenders[3].me);
            assert!(mutex.holder().is_some(), "{word:x}");
        }
    }

    #[test]
    fn a_holder_that_does_not_accept_loses_it_at_the_second_look() {
        let (memory, mutex, mut contenders) = four();
        let mut before = None;
        assert!(!mutex.repair(&mut before), "all is well");
        for word in [contenders[1].me.word(), PARKED] {
            contenders[1].mutex.stand(contenders[1].me, Standing::Full);
            memory.mutex.store(word, Ordering::Relaxed);
            assert!(
                !mutex.repair(&mut before),
                "somebody may be about to move it"
            );
            assert!(mutex.repair(&mut before));
            assert_eq!(mutex.holder(), Some(contenders[0].me));
        }
        assert!(contenders[0].check());
    }

    #[test]
    fn a_worker_whose_standing_was_overwritten_says_it_again() {
        let (memory, mutex, mut contenders) = four();
        for life in [u64::MAX, 0, Standing::Open.life(77), Standing::Full.life(1)] {
            memory.rows[0][0].store(life, Ordering::Relaxed);
            assert!(contenders[0].check(), "it is the holder all the same");
            assert_eq!(mutex.standing(contenders[0].me), Standing::Open);
        }
        contenders[2].drain();
        memory.rows[2][0].store(Standing::Open.life(1), Ordering::Relaxed);
        contenders[2].check();
        assert_eq!(mutex.standing(contenders[2].me), Standing::Draining);
    }

    fn word() -> impl Strategy<Value = u64> {
        let owner =
            (any::<u8>(), any::<u16>()).prop_map(|(row, epoch)| Owner { row, epoch }.word());
        let life = (0_usize..6, 0_u16..4).prop_map(|(n, epoch)| Standing::ALL[n].life(epoch));
        prop_oneof![any::<u64>(), 0_u64..10, owner, life, Just(u64::MAX)]
    }

    proptest! {
        /// Whatever stands in the words: nothing panics, nothing goes on for
        /// ever, and two looks later the mutex is with somebody who accepts, or
        /// parked because nobody does.
        #[test]
        fn any_words_are_put_right(
            mutex_word in word(),
            rows in prop::array::uniform4(prop::array::uniform5(word())),
            row in 0_u8..4,
        ) {
            let (memory, mutex, mut contenders) = four();
            let scramble = || {
                memory.mutex.store(mutex_word, Ordering::Relaxed);
                for (to, from) in memory.rows.iter().zip(rows) {
                    for (to, from) in to.iter().zip(from) {
                        to.store(from, Ordering::Relaxed);
                    }
                }
            };
            scramble();
            let _may_be_anything = (mutex.holder(), mutex.awake_in(contenders[0].me));
            let owner = mutex.occupant(row);
            mutex.take_from(owner);
            mutex.release_dead(owner);
            scramble();
            let _also = (contenders[1].successor(), contenders[1].check());
            contenders[1].fill();
            contenders[1].open();
            scramble();
            let mut before = None;
            mutex.repair(&mut before);
            mutex.repair(&mut before);
            match mutex.holder() {
                Some(holder) => prop_assert_eq!(mutex.standing(holder), Standing::Open),
                None => prop_assert!(mutex.least_loaded(None).is_none()),
            }
            scramble();
            mutex.admit(row);
        }
    }
}
