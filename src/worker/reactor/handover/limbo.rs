//! Connections between the verdict that they are ours and the word of the other
//! worker that it has let go of them.

use std::sync::Arc;

use super::message::Wish;
use super::receive::Arrival;
use crate::bus::Read;
use crate::net::ConnId;
use crate::protocol::CloseMode;
use crate::scoreboard::Counter;
use crate::sys::channel::Channel;
use crate::worker::reactor::Reactor;
use crate::worker::reactor::drain::Fate;

/// A worker that leaves.
pub(in crate::worker) struct Predecessor {
    pub(super) channel: Channel,
    /// What it was told that it is ours, and has not let go of yet.
    pub(super) limbo: Vec<Limbo>,
}

/// A connection that is ours when the other worker says so, or is gone. Until then
/// nobody serves it: what its handlers said, the other one would hear as well.
pub(super) struct Limbo {
    pub(super) arrival: Arrival,
    /// What came for it meanwhile, in its order.
    pub(super) rests: Vec<(Vec<u8>, Option<Wish>)>,
}

impl Reactor<'_> {
    /// An operator closes a connection that the other worker may be passing on still;
    /// false: there is none of that name.
    pub(in crate::worker) fn kick_from_limbo(&mut self, name: ConnId) -> bool {
        let mut limbo = self.predecessors.iter_mut().flat_map(|one| &mut one.limbo);
        let is_it = |one: &&mut Limbo| one.arrival.record.name == Some(name);
        let Some(one) = limbo.find(is_it) else {
            return false;
        };
        one.rests.push((Vec::new(), Some((CloseMode::Flush, None))));
        self.shared.row.count(Counter::Kicked);
        true
    }

    /// This worker leaves: what was offered and not answered stays where it is.
    pub(in crate::worker) fn take_no_more(&mut self) {
        let waits = |one: &Predecessor| !one.limbo.is_empty();
        while let Some(line) = self.predecessors.iter().position(|one| !waits(one)) {
            self.part_from(line);
        }
    }

    /// Whether something is ours that another worker has not let go of yet.
    pub(in crate::worker) fn has_limbo(&self) -> bool {
        self.predecessors.iter().any(|one| !one.limbo.is_empty())
    }

    /// Nothing more is heard over this line: what was taken over it is ours.
    pub(super) fn part_from(&mut self, line: usize) {
        let Predecessor { channel, limbo } = self.predecessors.remove(line);
        let _gone = self.epoll.delete(&channel);
        if !limbo.is_empty() {
            self.leave_limbo(limbo, &[], None);
        }
    }

    /// The other worker has let go of these, and passed on what it heard up to the
    /// marks.
    pub(super) fn leave_limbo(&mut self, limbo: Vec<Limbo>, marks: &[Read], own: Option<Read>) {
        let Some(bus) = self.shared.bus.clone() else {
            return self.come_in(limbo, marks);
        };
        let service = self.service;
        let deliver = &mut |message| service.hear(message);
        bus.taking_over(own, deliver, || self.come_in(limbo, marks));
    }

    fn come_in(&mut self, limbo: Vec<Limbo>, marks: &[Read]) {
        let marks: Arc<[Read]> = marks.into();
        for Limbo { mut arrival, rests } in limbo {
            let named = arrival.vacancy.tenant().named();
            let is_session = arrival.protocol.is_session();
            self.move_in(arrival);
            if self.has_successor() {
                self.set_fate(named.conn.slot(), Fate::Open);
            }
            for (pushes, close) in rests {
                self.take_rest(named.conn, pushes, close);
            }
            if is_session {
                self.service.arrived(named, &marks);
            }
        }
    }
}
