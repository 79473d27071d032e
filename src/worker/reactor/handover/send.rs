//! The worker that leaves: offers the connections that rest, with what is unsent
//! to them, to those that stay.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::offer::Offer;
use super::pack::{self, Files, NotPacked, Origin, Packed};
use super::record::Record;
use crate::protocol::{CloseMode, Protocol};
use crate::scoreboard::Counter;
use crate::sys::channel::Channel;
use crate::sys::epoll::Interest;
use crate::sys::fault::{Spot, kill_point};
use crate::worker::connection::Connection;
use crate::worker::connection::mailbox::Resting;
use crate::worker::connection::outbound::Unsent;
use crate::worker::reactor::drain::Fate;
use crate::worker::reactor::{HANDOVER, Reactor};

/// What a worker knows of those that stay. Empty until it is told to leave.
#[derive(Default)]
pub(in crate::worker) struct Successors {
    pub(super) lines: Vec<Line>,
    /// What is spoken on each listener, and its address; the listeners are
    /// gone.
    origins: Vec<(Arc<dyn Protocol>, String)>,
    /// The slot that is looked at next.
    pub(super) next: usize,
    /// What is looked for: first who has nothing unsent. A worker of an older
    /// release ends the line when it is offered what it does not know.
    with_unsent: bool,
    /// The line that was used last.
    last: usize,
}

/// The way to one worker that stays.
pub(super) struct Line {
    pub(super) channel: Channel,
    pub(super) generation: u64,
    /// What waits for its verdicts.
    pub(super) offered: Vec<Offered>,
    /// It had no room when it was asked last.
    pub(super) full: bool,
}

/// A connection that another worker was asked to take.
pub(super) struct Offered {
    pub(super) conn: Arc<Connection>,
    /// How it goes on if it stays.
    pub(super) resting: Resting,
    /// What is unsent, likewise.
    pub(super) unsent: Option<Unsent>,
    /// Somebody wanted it closed meanwhile.
    pub(super) close: Option<(CloseMode, Option<Counter>)>,
}

impl Successors {
    /// A line to offer over: of the newest generation, with nothing offered.
    fn free(&mut self) -> Option<usize> {
        let newest = self.newest();
        let count = self.lines.len();
        let inquire = |at: &usize| {
            let line = &self.lines[*at];
            line.offered.is_empty() && line.generation == newest && !line.full
        };
        let found = (1..=count).map(|n| (self.last + n) % count).find(inquire)?;
        self.last = found;
        Some(found)
    }

    /// Whether another worker than the one at `line` may have room.
    pub(super) fn has_other(&self, line: usize) -> bool {
        let newest = self.newest();
        let mut others = self.lines.iter().enumerate();
        others.any(|(at, other)| at != line && other.generation == newest && !other.full)
    }

    pub(super) fn newest(&self) -> u64 {
        let generations = self.lines.iter().map(|line| line.generation);
        generations.max().unwrap_or(0)
    }
}

impl Reactor<'_> {
    pub(in crate::worker) fn has_successor(&self) -> bool {
        !self.successors.lines.is_empty()
    }

    /// A worker that stays can be asked from now on.
    pub(in crate::worker) fn meet_successor(&mut self, channel: Channel, generation: u64) {
        if let Err(error) = self.epoll.add(&channel, Interest::Read, HANDOVER) {
            ::log::error!("listen to a new worker: {error}; connections are not handed to it");
            return;
        }
        self.successors.lines.push(Line {
            channel,
            generation,
            offered: Vec::new(),
            full: false,
        });
        self.leave_old_lines();
        if let Some(drain) = &mut self.drain {
            drain.hurry();
        }
    }

    /// Remembers the listeners, which are about to go.
    pub(in crate::worker) fn remember_origins(&mut self) {
        let origins = self.listeners.iter();
        let origins = origins.map(|one| (Arc::clone(&one.protocol), one.address.to_string()));
        self.successors.origins = origins.collect();
    }

    /// Begins to look for idle connections from the first slot.
    pub(in crate::worker) fn look_for_idle(&mut self) {
        self.successors.next = 0;
        self.successors.with_unsent = false;
        // Somebody may have left there.
        (self.successors.lines.iter_mut()).for_each(|line| line.full = false);
        self.hand_over_idle();
    }

    /// Goes on to offer what is idle, as far as there are lines.
    pub(in crate::worker) fn hand_over_idle(&mut self) {
        loop {
            while self.successors.next < self.inbound.len() {
                let Some(line) = self.successors.free() else {
                    return;
                };
                self.offer(line);
            }
            if std::mem::replace(&mut self.successors.with_unsent, true) {
                return;
            }
            self.successors.next = 0;
        }
    }

    /// Offers as many connections over one line as fit into a datagram.
    fn offer(&mut self, line: usize) {
        let mut offer = Offer::default();
        let (mut offered, mut files) = (Vec::new(), Vec::new());
        while !offer.is_full() && self.successors.next < self.inbound.len() {
            let slot = self.successors.next;
            self.successors.next += 1;
            if !matches!(self.fate(slot), Some(Fate::Open | Fate::Warned)) {
                continue;
            }
            match self.pack(slot) {
                Err(NotPacked::Busy) => {}
                Err(NotPacked::Never(reason)) => self.keep_here(slot, reason),
                Ok((one, record, of_it)) => {
                    self.set_fate(slot, Fate::Offered);
                    if offer.push(&record) {
                        offered.push(one);
                        files.push(of_it);
                    } else {
                        self.take_back(one);
                        self.keep_here(slot, Counter::NotHandedSize);
                    }
                }
            }
        }
        if offered.is_empty() {
            return;
        }
        let descriptors: Vec<BorrowedFd<'_>> = (offered.iter().zip(&files))
            .flat_map(|(one, files)| {
                let files = files.iter().map(|file| file.as_fd());
                std::iter::once(one.conn.socket()).chain(files)
            })
            .collect();
        let channel = &self.successors.lines[line].channel;
        kill_point(Spot::Offering);
        match channel.send(&offer.datagram(), &descriptors) {
            Ok(()) => {
                kill_point(Spot::Offered);
                self.successors.lines[line].offered = offered;
            }
            Err(error) => self.could_not_offer(line, offered, &error),
        }
    }

    fn could_not_offer(&mut self, line: usize, offered: Vec<Offered>, error: &io::Error) {
        let is_too_large = error.raw_os_error() == Some(libc::EMSGSIZE);
        for one in offered {
            let slot = one.conn.id.slot();
            self.take_back(one);
            if is_too_large {
                self.keep_here(slot, Counter::NotHandedSize);
            }
        }
        match error.raw_os_error() {
            // Too much is on its way: tried again when all are looked at again.
            Some(libc::EMSGSIZE) => {}
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ETOOMANYREFS) => {
                self.successors.next = self.inbound.len();
            }
            _ => self.end_line(line),
        }
    }

    /// Takes the turn of a connection that rests and everything that goes along.
    /// From then on nobody here reads it or writes to it.
    fn pack(&mut self, slot: usize) -> Result<(Offered, Box<Record>, Files), NotPacked> {
        let inbound = &self.inbound[slot];
        let conn = inbound.conn().cloned().ok_or(NotPacked::Busy)?;
        if !pack::is_between_messages(inbound, &conn) {
            return Err(NotPacked::Busy);
        }
        let origin = self.origin(&conn);
        let origin = origin.ok_or(NotPacked::Never(Counter::NotHandedListener))?;
        let resting = conn.mailbox.begin_move(pack::goes_along);
        let resting = resting.ok_or(NotPacked::Busy)?;
        // Otherwise a letter is on its way that has it read again.
        if inbound.paused != (resting == Resting::Paused) {
            self.rest_again(&conn, resting);
            return Err(NotPacked::Busy);
        }
        let has_unsent = conn.unsent() > 0 || conn.is_in_file() || resting != Resting::Idle;
        let packed = if has_unsent && !self.successors.with_unsent {
            Err(NotPacked::Busy)
        } else {
            pack::pack(self.shared, &self.inbound[slot], &conn, origin, resting)
        };
        match packed {
            Ok(Packed {
                record,
                files,
                unsent,
            }) => {
                let inbound = &mut self.inbound[slot];
                (inbound.reading, inbound.listening) = (false, false);
                inbound.paused = false;
                // Explicitly: the descriptor lives on elsewhere, and so would
                // the registration.
                let _gone = self.epoll.delete(conn.socket());
                let one = Offered {
                    conn,
                    resting,
                    unsent,
                    close: None,
                };
                Ok((one, record, files))
            }
            Err(why) => {
                self.rest_again(&conn, resting);
                Err(why)
            }
        }
    }

    /// Where `conn` came in, and what it speaks, for the other worker.
    fn origin(&self, conn: &Connection) -> Option<Origin> {
        let own = conn.protocol.as_ref()?;
        let mut origins = self.successors.origins.iter();
        let (_, address) = origins.find(|(protocol, _)| Arc::ptr_eq(protocol, own))?;
        Some(Origin {
            listener: address.clone(),
            protocol: conn.protocol().name()?,
        })
    }

    /// Says in the log who was to go and did not.
    pub(in crate::worker) fn tell_left_behind(&self) {
        let reasons: Vec<String> = [
            Counter::NotHandedFull,
            Counter::NotHandedBusy,
            Counter::NotHandedTimer,
            Counter::NotHandedState,
            Counter::NotHandedSize,
            Counter::NotHandedListener,
            Counter::NotHandedDenied,
        ]
        .into_iter()
        .map(|counter| (self.shared.row.read(counter), counter.name()))
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} ({name})"))
        .collect();
        if !reasons.is_empty() {
            ::log::warn!(
                "hand connections over: some stayed behind and ended with this worker: {}",
                reasons.join(", ")
            );
        }
    }
}
