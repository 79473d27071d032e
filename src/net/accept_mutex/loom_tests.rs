//! Every interleaving of the turn's moves, with deaths at every step.
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
    turn: AtomicU64,
    life: [AtomicU64; ROWS],
    bells: [AtomicU64; ROWS],
    nothing: AtomicU64,
}

impl Words for Arc<Memory> {
    fn turn(&self) -> &AtomicU64 {
        &self.turn
    }
    fn rows(&self) -> usize {
        ROWS
    }
    fn life(&self, row: usize) -> &AtomicU64 {
        &self.life[row]
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

type TestTurn = Turn<Arc<Memory>>;
type TestSeat = Seat<Arc<Memory>>;

/// Three workers with these standings; row 0 holds the turn.
fn setup(standings: [Standing; ROWS]) -> (TestTurn, [TestSeat; ROWS]) {
    let word = |value| AtomicU64::new(value);
    let owner = |row| Owner { row, epoch: 1 };
    let turn = Turn::new(Arc::new(Memory {
        turn: word(owner(0).word()),
        life: standings.map(|standing| word(standing.life(1))),
        bells: [word(0), word(0), word(0)],
        nothing: word(0),
    }));
    let seats = [0, 1, 2].map(|row| Seat::new(turn.clone(), owner(row)));
    (turn, seats)
}

/// The steps of `hand_over`, of which the giver survives only the first ones.
fn hand_over_and_die(seat: &TestSeat, peer: Owner, steps: usize) {
    let turn = &seat.turn;
    if steps == 0 || !swap(turn.0.turn(), seat.me.word(), peer.word()) {
        return;
    }
    if steps == 1 {
        return;
    }
    turn.0.ring(peer.row());
    if steps == 2 || turn.is_well_placed(Some(peer)) || steps == 3 {
        return;
    }
    swap(turn.0.turn(), peer.word(), seat.me.word());
}

/// Nothing is lost: the holder has room and knows, or nobody has room.
fn assert_settled(turn: &TestTurn, knows: Option<Owner>) {
    match turn.holder() {
        Some(holder) => {
            assert_eq!(turn.standing(holder), Standing::Open, "{holder:?} has it");
            let rung = turn.0.bells[holder.row()].load(Ordering::Acquire) == 1;
            assert!(rung || knows == Some(holder), "{holder:?} sleeps on");
        }
        None => assert_eq!(turn.least_loaded(None), None, "parked in spite of room"),
    }
}

use Standing::{Full, Open};

#[test]
fn loom_a_peer_that_dies_during_the_hand_over_does_not_keep_it() {
    loom::model(|| {
        let (turn, [mut giver, peer, _other]) = setup([Open; ROWS]);
        let (me, dead) = (giver.me, peer.me);
        let giving = thread::spawn(move || giver.hand_over(dead));
        turn.release_dead(dead);
        let came_back = giving.join().unwrap();
        assert_settled(&turn, came_back.then_some(me));
    });
}

#[test]
fn loom_an_owner_that_dies_at_any_step_loses_nothing() {
    for steps in 0..=4 {
        loom::model(move || {
            let (turn, [giver, mut peer, _other]) = setup([Open; ROWS]);
            let (dead, to) = (giver.me, peer.me);
            let giving = thread::spawn(move || hand_over_and_die(&giver, to, steps));
            let filling = thread::spawn(move || peer.fill());
            giving.join().unwrap();
            turn.release_dead(dead);
            filling.join().unwrap();
            assert_settled(&turn, None);
            assert_eq!(turn.holder().map(|holder| holder.row), Some(2));
        });
    }
}

#[test]
fn loom_a_peer_is_woken_even_if_the_giver_dies_before_it_rang() {
    for steps in 0..=4 {
        loom::model(move || {
            let (turn, [giver, mut peer, _full]) = setup([Open, Open, Full]);
            let (dead, to) = (giver.me, peer.me);
            let giving = thread::spawn(move || hand_over_and_die(&giver, to, steps));
            let looking = thread::spawn(move || {
                peer.turn.0.bells[1].swap(0, Ordering::AcqRel) == 1 && peer.check()
            });
            giving.join().unwrap();
            turn.release_dead(dead);
            let knows = looking.join().unwrap();
            assert_settled(&turn, knows.then_some(to));
            assert_eq!(turn.holder(), Some(to));
        });
    }
}

#[test]
fn loom_the_third_gets_it_when_giver_and_peer_die() {
    for steps in 0..=4 {
        loom::model(move || {
            let (turn, [giver, peer, other]) = setup([Open; ROWS]);
            let (one, two) = (giver.me, peer.me);
            let giving = thread::spawn(move || hand_over_and_die(&giver, two, steps));
            turn.release_dead(two);
            giving.join().unwrap();
            turn.release_dead(one);
            assert_settled(&turn, None);
            assert_eq!(turn.holder(), Some(other.me));
        });
    }
}

#[test]
fn loom_a_turn_is_not_parked_beside_a_worker_that_gets_room() {
    loom::model(|| {
        let (turn, [mut filling, mut opening, _full]) = setup([Open, Full, Full]);
        let opener = opening.me;
        let filling = thread::spawn(move || filling.fill());
        let taken = opening.open();
        filling.join().unwrap();
        assert_settled(&turn, taken.then_some(opener));
        assert_eq!(turn.holder(), Some(opener));
    });
}

#[test]
fn loom_a_parker_that_dies_midway_leaves_it_to_the_master() {
    loom::model(|| {
        let (turn, [parker, mut opening, _full]) = setup([Open, Full, Full]);
        let (dead, opener) = (parker.me, opening.me);
        let parking = thread::spawn(move || {
            parker.turn.stand(parker.me, Full);
            swap(parker.turn.0.turn(), parker.me.word(), PARKED);
        });
        let opening = thread::spawn(move || opening.open());
        parking.join().unwrap();
        turn.release_dead(dead);
        let taken = opening.join().unwrap();
        assert_settled(&turn, taken.then_some(opener));
        assert_eq!(turn.holder(), Some(opener));
    });
}

#[test]
fn loom_the_watchdog_and_the_holder_it_suspects_agree() {
    loom::model(|| {
        let (turn, [mut suspect, peer, _other]) = setup([Open; ROWS]);
        let (me, to) = (suspect.me, peer.me);
        let suspected = thread::spawn(move || {
            let came_back = suspect.hand_over(to);
            // What its loop does next, and would do again when rung.
            came_back || suspect.check()
        });
        turn.take_from(me);
        let holds = suspected.join().unwrap();
        assert_settled(&turn, holds.then_some(me));
    });
}

/// What a worker does when its bell rang: it accepts if the turn is its own.
fn accept_if_it_is_mine(seat: &mut TestSeat, accepting: &AtomicUsize) {
    if seat.turn.0.bells[seat.me.row()].swap(0, Ordering::AcqRel) == 1 && seat.check() {
        let others = accepting.fetch_add(1, Ordering::AcqRel);
        assert_eq!(others, 0, "two accept at a time");
    }
}

#[test]
fn loom_two_never_have_the_listeners_at_a_time() {
    loom::model(|| {
        let (turn, [mut giver, mut peer, mut other]) = setup([Open; ROWS]);
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
            if peer.turn.0.bells[1].swap(0, Ordering::AcqRel) == 1 && peer.check() {
                assert_eq!(two.fetch_add(1, Ordering::AcqRel), 0);
                two.fetch_sub(1, Ordering::AcqRel);
                let _back = peer.hand_over(third);
            }
        });
        accept_if_it_is_mine(&mut other, &accepting);
        giving.join().unwrap();
        taking.join().unwrap();
        assert_settled(&turn, Some(third));
    });
}
