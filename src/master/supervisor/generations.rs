//! Generations: how a new one takes over, and how many workers one has.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::event::{Action, Failure, Refusal};
use super::slot::{Generation, Leave, Slot, SlotId, State};
use super::{Phase, Supervisor};

/// How long a reload or an upgrade waits for room: as idle clients need to be told
/// and to leave, the last ones behind a `linger`. Who is still there then makes
/// progress, and may do so for hours.
pub const ROOM_WITHIN: Duration = Duration::from_secs(10);

/// A generation that waits for older ones to go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Postponed {
    /// How many it is to have.
    workers: usize,
    /// When it is given up.
    pub(super) by: Instant,
}

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
        let is_first = self.current.is_none() && self.incoming.is_none() && self.is_new_master();
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
        self.postponed = Some(Postponed {
            workers,
            by: now + ROOM_WITHIN,
        });
    }

    /// Ends what leaves no room for another generation.
    pub(super) fn make_room(&mut self, now: Instant) {
        if self.may_change().is_err() || self.incoming.is_some() {
            return;
        }
        if self.has_no_room() {
            // It is the oldest.
            self.hurry_old_master(now);
        }
        self.cut_the_oldest_short(now);
    }

    /// Whether another generation would be one too many: what makes progress is
    /// never cut for it, and those of the masters before this one count.
    pub(super) fn has_no_room(&self) -> bool {
        self.drain_in_all() > self.draining_max()
    }

    /// Generations that drain, here and at the masters before this one.
    pub(super) fn drain_in_all(&self) -> usize {
        self.draining().len() + self.drain_elsewhere()
    }

    /// Starts the new generation once it is not one too many.
    pub(super) fn start_postponed(&mut self, now: Instant) {
        let (Some(generation), Some(Postponed { workers, by })) = (self.incoming, self.postponed)
        else {
            return;
        };
        if self.has_no_room() {
            if by <= now {
                self.give_up(Failure::NoGenerationLeft, now);
            }
        } else {
            self.postponed = None;
            for number in 0..workers {
                self.occupy(generation, number, now);
            }
        }
    }

    /// Generations that may drain while another one is started.
    fn draining_max(&self) -> usize {
        let serves = usize::from(self.current.is_some());
        self.policy.generations_max.saturating_sub(1 + serves)
    }

    /// The generations of which nobody is wanted any more.
    pub(super) fn draining(&self) -> BTreeSet<Generation> {
        self.occupied()
            .filter(|(_, slot)| !slot.is_wanted())
            .map(|(_, slot)| slot.generation)
            .filter(|&generation| {
                self.current != Some(generation) && self.incoming != Some(generation)
            })
            .collect()
    }

    /// The new generation ends, the one before it serves on.
    pub(super) fn give_up(&mut self, reason: Failure, now: Instant) {
        let Some(generation) = self.incoming.take() else {
            return;
        };
        self.postponed = None;
        self.actions
            .push(Action::ReloadFailed { generation, reason });
        for id in self.wanted_of(generation) {
            // Those that are ready may have clients already.
            let leave = match self.slots[id.0].as_ref().map(|slot| slot.state) {
                Some(State::Serving { .. }) => Leave::Replaced,
                _ => Leave::By(Some(now)),
            };
            self.dismiss(id, leave, now);
        }
    }

    pub(super) fn take_over_if_ready(&mut self, now: Instant) {
        let Some(generation) = self.incoming.filter(|_| self.postponed.is_none()) else {
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
        // First: what follows is done by a caller who knows who serves.
        self.actions.push(Action::TakeOver { generation });
        for id in before.map_or(Vec::new(), |before| self.wanted_of(before)) {
            self.dismiss(id, Leave::Replaced, now);
        }
        self.actions.push(Action::ReloadDone { generation });
        self.report_for_duty();
    }

    /// Has the oldest of those that drain end, as many as there are too many.
    fn cut_the_oldest_short(&mut self, now: Instant) {
        let draining = self.draining();
        let excess = draining.len().saturating_sub(self.draining_max());
        for generation in draining.into_iter().take(excess) {
            self.actions.push(Action::CutShort { generation });
            for index in 0..self.slots.len() {
                let is_of = |slot: &Slot| slot.generation == generation;
                if self.slots[index].as_ref().is_some_and(is_of) {
                    self.dismiss(SlotId(index), Leave::By(Some(now)), now);
                }
            }
        }
    }

    /// Adds workers to the generation that serves, or takes some away: the last
    /// ones, so that its workers are numbered without a gap.
    pub(super) fn become_so_many(&mut self, count: usize, now: Instant) {
        // While a reload or an upgrade goes on, its configuration says how
        // many.
        let (Some(current), None, Ok(())) = (self.current, self.incoming, self.may_change()) else {
            return;
        };
        let have = self.numbers(current).count();
        for number in have..count {
            if self.free_rows().next().is_none() {
                return;
            }
            self.occupy(current, number, now);
        }
        for id in self.wanted_of(current) {
            let is_surplus = |slot: &Slot| slot.number >= count.max(1);
            if self.slots[id.0].as_ref().is_some_and(is_surplus) {
                self.dismiss(id, Leave::Replaced, now);
            }
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
