//! Every interleaving of the mutex's moves, with deaths at every step.
//!
//! Run by `RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 cargo test --release
//! --lib loom_ --target-dir target/loom`. A bell is a flag that stays up.

use loom::sync::Arc;
use loom::sync::atomic::AtomicUsize;
use loom::thread;

use super::*;

const ROWS: usize = 3;

#[derive(Debug)]
struct Memory {
    mutex: AtomicU64,
    life: [AtomicU64; ROWS],
    epochs: [AtomicU64; ROWS],
    bells: [AtomicU64; ROWS],
    nothing: AtomicU64,
}

impl Words for Arc<Memory> {
    fn mutex(&self) -> &AtomicU64 {
        &self.mutex
    }
    fn rows(&self) -> usize {
        ROWS
    }
    fn life(&self, row: usize) -> &AtomicU64 {
        &self.life[row]
    }
    fn epoch(&self, row: usize) -> &AtomicU64 {
        &self.epochs[row]
    }
    fn live(&self, _: usize) -> &AtomicU64 {
        &self.nothing
    }
    fn loops(&self, _: usize) -> &AtomicU64 {
        &self.nothing
    }
    fn asleep(&self, _: usize) -> &AtomicU64 {
        &self.nothing
    }
    fn ring(&self, row: usize) {
        // The kernel orders all rings and hushes of one bell, as this does.
        self.bells[row].fetch_or(1, Ordering::AcqRel);
    }
}

type TestMutex = AcceptMutex<Arc<Memory>>;
type TestSeat = Contender<Arc<Memory>>;

/// Three workers with these standings; row 0 holds the mutex.
fn setup(standings: [Standing; ROWS]) -> (TestMutex, [TestSeat; ROWS]) {
    let word = |value| AtomicU64::new(value);
    let owner = |row| Owner { row, epoch: 1 };
    let mutex = AcceptMutex::new(Arc::new(Memory {
        mutex: word(owner(0).word()),
        life: standings.map(|standing| word(standing.life(1))),
        epochs: [word(1), word(1), word(1)],
        bells: [word(0), word(0), word(0)],
        nothing: word(0),
    }));
    let contenders = [0, 1, 2].map(|row| Contender::new(mutex.clone(), owner(row)));
    (mutex, contenders)
}

/// The steps of `hand_over`, of which the giver survives only the first ones.
fn hand_over_and_die(contender: &TestSeat, peer: Owner, steps: usize) {
    let mutex = &contender.mutex;
    if steps == 0 || !swap(mutex.0.mutex(), contender.me.word(), peer.word()) {
        return;
    }
    if steps == 1 {
        return;
    }
    mutex.0.ring(peer.row());
    if steps == 2 || mutex.is_well_placed(Some(peer)) || steps == 3 {
        return;
    }
    swap(mutex.0.mutex(), peer.word(), contender.me.word());
}

/// Nothing is lost: the holder has room and knows, or nobody has room.
fn assert_settled(mutex: &TestMutex, knows: Option<Owner>) {
    match mutex.holder() {
        Some(holder) => {
            assert_eq!(mutex.standing(holder), Standing::Open, "{holder:?} has it");
            let rung = mutex.0.bells[holder.row()].load(Ordering::Acquire) == 1;
            assert!(rung || knows == Some(holder), "{holder:?} sleeps on");
        }
        None => assert_eq!(mutex.least_loaded(None), None, "parked in spite of room"),
    }
}

use Standing::{Full, Open};

#[test]
fn loom_a_peer_that_dies_during_the_hand_over_does_not_keep_it() {
    loom::model(|| {
        let (mutex, [mut giver, peer, _other]) = setup([Open; ROWS]);
        let (me, dead) = (giver.me, peer.me);
        let giving = thread::spawn(move || giver.hand_over(dead));
        mutex.release_dead(dead);
        let came_back = giving.join().unwrap();
        assert_settled(&mutex, came_back.then_some(me));
    });
}

#[test]
fn loom_an_owner_that_dies_at_any_step_loses_nothing() {
    for steps in 0..=4 {
        loom::model(move || {
            let (mutex, [giver, mut peer, _other]) = setup([Open; ROWS]);
            let (dead, to) = (giver.me, peer.me);
            let giving = thread::spawn(move || hand_over_and_die(&giver, to, steps));
            let filling = thread::spawn(move || peer.fill());
            giving.join().unwrap();
            mutex.release_dead(dead);
            filling.join().unwrap();
            assert_settled(&mutex, None);
            assert_eq!(mutex.holder().map(|holder| holder.row), Some(2));
        });
    }
}

#[test]
fn loom_a_peer_is_woken_even_if_the_giver_dies_before_it_rang() {
    for steps in 0..=4 {
        loom::model(move || {
            let (mutex, [giver, mut peer, _full]) = setup([Open, Open, Full]);
            let (dead, to) = (giver.me, peer.me);
            let giving = thread::spawn(move || hand_over_and_die(&giver, to, steps));
            let looking = thread::spawn(move || {
                peer.mutex.0.bells[1].swap(0, Ordering::AcqRel) == 1 && peer.check()
            });
            giving.join().unwrap();
            mutex.release_dead(dead);
            let knows = looking.join().unwrap();
            assert_settled(&mutex, knows.then_some(to));
            assert_eq!(mutex.holder(), Some(to));
        });
    }
}

#[test]
fn loom_the_third_gets_it_when_giver_and_peer_die() {
    for steps in 0..=4 {
        loom::model(move || {
            let (mutex, [giver, peer, other]) = setup([Open; ROWS]);
            let (one, two) = (giver.me, peer.me);
            let giving = thread::spawn(move || hand_over_and_die(&giver, two, steps));
            mutex.release_dead(two);
            giving.join().unwrap();
            mutex.release_dead(one);
            assert_settled(&mutex, None);
            assert_eq!(mutex.holder(), Some(other.me));
        });
    }
}

#[test]
fn loom_a_turn_is_not_parked_beside_a_worker_that_gets_room() {
    loom::model(|| {
        let (mutex, [mut filling, mut opening, _full]) = setup([Open, Full, Full]);
        let opener = opening.me;
        let filling = thread::spawn(move || filling.fill());
        let taken = opening.open();
        filling.join().unwrap();
        assert_settled(&mutex, taken.then_some(opener));
        assert_eq!(mutex.holder(), Some(opener));
    });
}

#[test]
fn loom_a_parker_that_dies_midway_leaves_it_to_the_master() {
    loom::model(|| {
        let (mutex, [parker, mut opening, _full]) = setup([Open, Full, Full]);
        let (dead, opener) = (parker.me, opening.me);
        let parking = thread::spawn(move || {
            parker.mutex.stand(parker.me, Full);
            swap(parker.mutex.0.mutex(), parker.me.word(), PARKED);
        });
        let opening = thread::spawn(move || opening.open());
        parking.join().unwrap();
        mutex.release_dead(dead);
        let taken = opening.join().unwrap();
        assert_settled(&mutex, taken.then_some(opener));
        assert_eq!(mutex.holder(), Some(opener));
    });
}

#[test]
fn loom_the_watchdog_and_the_holder_it_suspects_agree() {
    loom::model(|| {
        let (mutex, [mut suspect, peer, _other]) = setup([Open; ROWS]);
        let (me, to) = (suspect.me, peer.me);
        let suspected = thread::spawn(move || {
            let came_back = suspect.hand_over(to);
            // What its loop does next, and would do again when rung.
            came_back || suspect.check()
        });
        mutex.take_from(me);
        let holds = suspected.join().unwrap();
        assert_settled(&mutex, holds.then_some(me));
    });
}

/// What a worker does when its bell rang: it accepts if the mutex is its own.
fn accept_if_it_is_mine(contender: &mut TestSeat, accepting: &AtomicUsize) {
    if contender.mutex.0.bells[contender.me.row()].swap(0, Ordering::AcqRel) == 1
        && contender.check()
    {
        let others = accepting.fetch_add(1, Ordering::AcqRel);
        assert_eq!(others, 0, "two accept at a time");
    }
}

#[test]
fn loom_two_never_have_the_listeners_at_a_time() {
    loom::model(|| {
        let (mutex, [mut giver, mut peer, mut other]) = setup([Open; ROWS]);
        let (to, third) = (peer.me, other.me);
        let accepting = Arc::new(AtomicUsize::new(1));
        let [one, two] = [Arc::clone(&accepting), Arc::clone(&accepting)];
        let giving = thread::spawn(move || {
            one.fetch_sub(1, Ordering::AcqRel);
            if giver.hand_over(to) {
                assert_eq!(one.fetch_add(1, Ordering::AcqRel), 0);
            }
        });
        let taking = thread::spawn(move || {
            if peer.mutex.0.bells[1].swap(0, Ordering::AcqRel) == 1 && peer.check() {
                assert_eq!(two.fetch_add(1, Ordering::AcqRel), 0);
                two.fetch_sub(1, Ordering::AcqRel);
                let _back = peer.hand_over(third);
            }
        });
        accept_if_it_is_mine(&mut other, &accepting);
        giving.join().unwrap();
        taking.join().unwrap();
        assert_settled(&mutex, Some(third));
    });
}
