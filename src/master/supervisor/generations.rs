//! Generations: how a new one takes over, and how many workers one has.

use std::collections::BTreeSet;
use std::time::Instant;

use super::event::{Action, Failure, Refusal};
use super::slot::{Generation, Leave, Slot, SlotId, State};
use super::{Phase, Supervisor};

impl Supervisor {
    /// Ends every generation, the one being started included.
    pub(super) fn leave_all(&mut self, leave: Leave, now: Instant) {
        if self.incoming.is_some() {
            self.give_up(Failure::Overruled, now);
        }
        self.current = None;
        for index in 0..self.slots.len() {
            self.dismiss(SlotId(index), leave, now);
        }
    }

    pub(super) fn begin(&mut self, workers: usize, now: Instant) {
        let free = self.free_rows().count();
        let is_first = self.current.is_none() && self.incoming.is_none() && self.is_heir();
        let refusal = if self.phase != Phase::Running {
            Some(Refusal::Stopping)
        } else if let (false, Err(refusal)) = (is_first, self.may_change()) {
            Some(refusal)
        } else if self.incoming.is_some() {
            Some(Refusal::Busy)
        } else if workers == 0 || workers > free {
            let wanted = workers;
            Some(Refusal::NoRoom { wanted, free })
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.actions.push(Action::ReloadRefused(refusal));
            return;
        }
        self.newest = Generation(self.newest.0 + 1);
        self.incoming = Some(self.newest);
        for number in 0..workers {
            self.occupy(self.newest, number, now);
        }
    }

    /// The new generation ends, the one before it serves on.
    pub(super) fn give_up(&mut self, reason: Failure, now: Instant) {
        let Some(generation) = self.incoming.take() else {
            return;
        };
        self.actions
            .push(Action::ReloadFailed { generation, reason });
        for id in self.wanted_of(generation) {
            // Those that are ready may have clients already.
            let leave = match self.slots[id.0].as_ref().map(|slot| slot.state) {
                Some(State::Serving { .. }) => self.drained_by(now),
                _ => Leave::By(Some(now)),
            };
            self.dismiss(id, leave, now);
        }
    }

    pub(super) fn take_over_if_ready(&mut self, now: Instant) {
        let Some(generation) = self.incoming else {
            return;
        };
        let is_missing = |slot: &Slot| !matches!(slot.state, State::Serving { .. });
        let mut new = self.occupied().map(|(_, slot)| slot);
        if new.any(|slot| slot.generation == generation && is_missing(slot)) {
            return;
        }
        drop(new);
        self.incoming = None;
        let before = self.current.replace(generation);
        for id in before.map_or(Vec::new(), |before| self.wanted_of(before)) {
            self.dismiss(id, self.drained_by(now), now);
        }
        self.actions.push(Action::ReloadDone { generation });
        self.report_for_duty();
        self.cut_the_oldest_short(now);
    }

    /// Frequent reloads under long-lived connections would pile up processes.
    fn cut_the_oldest_short(&mut self, now: Instant) {
        let draining: BTreeSet<Generation> = self
            .occupied()
            .filter(|(_, slot)| !slot.is_wanted() && Some(slot.generation) != self.current)
            .map(|(_, slot)| slot.generation)
            .collect();
        let spared = draining.iter().rev().nth(self.policy.draining_max);
        let Some(&newest_cut) = spared else { return };
        for index in 0..self.slots.len() {
            let cut = |slot: &Slot| !slot.is_wanted() && slot.generation <= newest_cut;
            if self.slots[index].as_ref().is_some_and(cut) {
                self.dismiss(SlotId(index), Leave::By(Some(now)), now);
            }
        }
    }

    pub(super) fn one_more(&mut self, now: Instant) {
        // While a reload or an upgrade goes on, its configuration says how many.
        let (Some(current), None, Ok(())) = (self.current, self.incoming, self.may_change()) else {
            return;
        };
        let taken: BTreeSet<usize> = self.numbers(current).collect();
        let number = (0..).find(|number| !taken.contains(number));
        if self.free_rows().next().is_some() {
            self.occupy(current, number.expect("numbers do not end"), now);
        }
    }

    pub(super) fn one_fewer(&mut self, now: Instant) {
        let (Some(current), None, Ok(())) = (self.current, self.incoming, self.may_change()) else {
            return;
        };
        if self.numbers(current).count() < 2 {
            return;
        }
        let number = |id: &SlotId| self.slots[id.0].as_ref().map(|slot| slot.number);
        if let Some(last) = self.wanted_of(current).into_iter().max_by_key(number) {
            self.dismiss(last, self.drained_by(now), now);
        }
    }

    fn wanted_of(&self, generation: Generation) -> Vec<SlotId> {
        self.occupied()
            .filter(|(_, slot)| slot.generation == generation && slot.is_wanted())
            .map(|(id, _)| id)
            .collect()
    }

    fn numbers(&self, generation: Generation) -> impl Iterator<Item = usize> {
        self.occupied()
            .filter(move |(_, slot)| slot.generation == generation && slot.is_wanted())
            .map(|(_, slot)| slot.number)
    }
}
