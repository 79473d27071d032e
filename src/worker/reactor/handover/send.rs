//! The worker that leaves: offers its idle connections to those that stay.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use bytes::Bytes;

use super::pack::{self, NotPacked, Origin};
use super::record::{Message, OFFER, Offer, RECORD, Reason, Record, Verdict};
use crate::net::ConnId;
use crate::protocol::{CloseMode, Protocol};
use crate::scoreboard::Counter;
use crate::sys::channel::{Channel, Received};
use crate::sys::epoll::Interest;
use crate::sys::sync::{Ordering, lock};
use crate::worker::connection::items::Items;
use crate::worker::connection::{Connection, Item};
use crate::worker::queues::letters::ToRecycler;
use crate::worker::reactor::drain::Fate;
use crate::worker::reactor::{HANDOVER, Reactor};
use crate::worker::turn::write;

/// What a worker knows of those that stay. Empty until it is told to leave.
#[derive(Default)]
pub(in crate::worker) struct Successors {
    lines: Vec<Line>,
    /// What is spoken on each listener, and its address; the listeners are
    /// gone.
    origins: Vec<(Arc<dyn Protocol>, String)>,
    /// The slot that is looked at next.
    next: usize,
    /// The line that was used last.
    last: usize,
}

/// The way to one worker that stays.
struct Line {
    channel: Channel,
    generation: u64,
    /// What waits for its verdicts.
    offered: Vec<Offered>,
    /// It had no room when it was asked last.
    full: bool,
}

/// A connection that another worker was asked to take.
struct Offered {
    conn: Arc<Connection>,
    /// Somebody wanted it closed meanwhile.
    close: Option<(CloseMode, Option<Counter>)>,
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
    fn has_other(&self, line: usize) -> bool {
        let newest = self.newest();
        let mut others = self.lines.iter().enumerate();
        others.any(|(at, other)| at != line && other.generation == newest && !other.full)
    }

    fn newest(&self) -> u64 {
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
        // Somebody may have left there.
        (self.successors.lines.iter_mut()).for_each(|line| line.full = false);
        self.hand_over_idle();
    }

    /// Goes on to offer what is idle, as far as there are lines.
    pub(in crate::worker) fn hand_over_idle(&mut self) {
        while self.successors.next < self.inbound.len() {
            let Some(line) = self.successors.free() else {
                return;
            };
            self.offer(line);
        }
    }

    /// Offers as many connections over one line as fit into a datagram.
    fn offer(&mut self, line: usize) {
        let mut offer = Offer::default();
        let mut offered = Vec::new();
        while !offer.is_full() && self.successors.next < self.inbound.len() {
            let slot = self.successors.next;
            self.successors.next += 1;
            if !matches!(self.fate(slot), Some(Fate::Open | Fate::Warned)) {
                continue;
            }
            match self.pack(slot) {
                Err(NotPacked::Busy) => {}
                Err(NotPacked::Never(reason)) => self.keep_here(slot, reason),
                Ok((conn, record)) => {
                    self.set_fate(slot, Fate::Offered);
                    let one = Offered { conn, close: None };
                    if offer.push(&record) {
                        offered.push(one);
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
        let sockets: Vec<BorrowedFd<'_>> = offered.iter().map(|one| one.conn.socket()).collect();
        match self.successors.lines[line]
            .channel
            .send(&offer.datagram(), &sockets)
        {
            Ok(()) => self.successors.lines[line].offered = offered,
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

    /// Takes the turn of an idle connection and everything that goes along.
    /// From then on nobody here reads it or writes to it.
    fn pack(&mut self, slot: usize) -> Result<(Arc<Connection>, Box<Record>), NotPacked> {
        let inbound = &self.inbound[slot];
        let conn = inbound.conn().cloned().ok_or(NotPacked::Busy)?;
        if !pack::is_between_messages(inbound, &conn) {
            return Err(NotPacked::Busy);
        }
        let origin = self.origin(&conn);
        let origin = origin.ok_or(NotPacked::Never(Counter::NotHandedListener))?;
        if !conn.mailbox.begin_inline() {
            return Err(NotPacked::Busy);
        }
        match pack::pack(inbound, &conn, origin) {
            Ok(record) => {
                self.inbound[slot].reading = false;
                // Explicitly: the descriptor lives on elsewhere, and so would
                // the registration.
                let _gone = self.epoll.delete(conn.socket());
                Ok((conn, record))
            }
            Err(why) => {
                self.give_up_inline(&conn);
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

    /// A connection that was offered stays here, for now.
    fn take_back(&mut self, offered: Offered) {
        let Offered { conn, close } = offered;
        let slot = conn.id.slot();
        self.set_fate(slot, Fate::Open);
        {
            let mut outbound = lock(&conn.outbound);
            outbound.held = false;
            write::take_pushes(self.shared, &conn, &mut outbound);
            write::flush(self.shared, &conn, &mut outbound, usize::MAX);
            write::arm(self.shared, &conn, &mut outbound);
        }
        self.inbound[slot].reading = true;
        let (interest, token) = (self.shared.limits.interest(), conn.id.word());
        let close = match self.epoll.add(conn.socket(), interest, token) {
            Ok(()) => close,
            Err(_) => {
                self.inbound[slot].reading = false;
                Some((CloseMode::Abort, Some(Counter::Broken)))
            }
        };
        self.give_up_inline(&conn);
        if let Some((mode, counter)) = close {
            self.end_connection(conn.id, mode, counter);
        }
    }

    /// Somebody wants `id` closed, which was offered: whoever has it then does.
    pub(in crate::worker) fn close_when_known(
        &mut self,
        id: ConnId,
        mode: CloseMode,
        counter: Option<Counter>,
    ) {
        let mut offered = self
            .successors
            .lines
            .iter_mut()
            .flat_map(|line| &mut line.offered);
        if let Some(one) = offered.find(|one| one.conn.id == id)
            && !matches!(one.close, Some((CloseMode::Abort, _)))
        {
            one.close = Some((mode, counter));
        }
    }

    /// What the workers that stay have said.
    pub(super) fn hear_successors(&mut self) {
        let mut line = 0;
        while line < self.successors.lines.len() {
            if self.hear_successor(line) {
                line += 1;
            } else {
                self.end_line(line);
            }
        }
        self.leave_old_lines();
    }

    /// False: it is gone, or says what no worker says.
    fn hear_successor(&mut self, line: usize) -> bool {
        let mut gone = false;
        loop {
            let received = self.successors.lines[line]
                .channel
                .receive(&mut self.scratch);
            match received {
                Ok(Received::Datagram(len, _)) => {
                    let message = Message::parse(&self.scratch[..len]);
                    let Some(Message::Verdicts(verdicts)) = message else {
                        return false;
                    };
                    self.answer_offer(line, &verdicts);
                }
                Ok(Received::Nothing) => return true,
                // Verdicts carry none.
                Ok(Received::Undelivered(_)) => return false,
                // That it left something unread is said once, before what it
                // said last.
                Ok(Received::Closed) if !gone => gone = true,
                Ok(Received::Closed) | Err(_) => return false,
            }
        }
    }

    fn answer_offer(&mut self, line: usize, verdicts: &[Verdict]) {
        let offered = std::mem::take(&mut self.successors.lines[line].offered);
        let mut verdicts = verdicts.iter();
        for one in offered {
            match verdicts.next() {
                Some(&Verdict::Taken(name)) => self.give(line, one, name),
                Some(&Verdict::Refused(reason)) => self.refused(line, one, reason),
                None => self.take_back(one),
            }
        }
    }

    /// The worker at `line` does not take a connection: another one is asked
    /// where it is for want of room.
    fn refused(&mut self, line: usize, offered: Offered, reason: Reason) {
        let slot = offered.conn.id.slot();
        self.take_back(offered);
        let successors = &mut self.successors;
        successors.lines[line].full |= reason == Reason::Full;
        if reason == Reason::Full && successors.has_other(line) {
            successors.next = successors.next.min(slot);
        } else {
            self.keep_here(slot, reason.counter());
        }
    }

    /// The connection is the other worker's, under the name `there`.
    fn give(&mut self, line: usize, offered: Offered, there: ConnId) {
        let Offered { conn, close } = offered;
        let shared = self.shared;
        drop(self.remove(conn.id));
        // Its socket lives on: nobody may shut it down here.
        conn.peer_done.store(true, Ordering::SeqCst);
        shared.admission.leave(conn.uncount());
        shared.row.count(Counter::HandedOver);
        let (waiting, _nothing_runs) = conn.mailbox.close();
        if let Some(mut parts) = lock(&conn.turn).take() {
            parts.app.vacate();
        }
        let held = {
            let mut outbound = lock(&conn.outbound);
            write::take_last_pushes(shared, &conn, &mut outbound);
            outbound.take()
        };
        shared.unqueued(&conn, held.iter().map(Bytes::len).sum());
        let close = close.map(|(mode, counter)| {
            counter
                .into_iter()
                .for_each(|counter| shared.row.count(counter));
            mode
        });
        self.pass_on(line, there, &held, close.or(wish(waiting)));
        shared.to_recycler.post(ToRecycler::Left(conn));
    }

    /// Sends what came for a connection while it changed its worker.
    fn pass_on(&self, line: usize, conn: ConnId, held: &[Bytes], close: Option<CloseMode>) {
        let channel = &self.successors.lines[line].channel;
        let send = |pushes: &[u8], close| {
            let pushes = pushes.to_vec();
            let rest = Message::Rest {
                conn,
                pushes,
                close,
            };
            channel.send(&rest.datagram(), &[]).is_ok()
        };
        let mut lost = 0;
        let mut pushes = Vec::new();
        for piece in held {
            if pushes.len() + piece.len() > OFFER && !pushes.is_empty() {
                lost += u64::from(!send(&std::mem::take(&mut pushes), None));
            }
            if piece.len() > RECORD {
                lost += 1;
            } else {
                pushes.extend_from_slice(piece);
            }
        }
        if !pushes.is_empty() || close.is_some() {
            lost += u64::from(!send(&pushes, close));
        }
        self.shared.row.add(Counter::PushesDropped, lost);
    }

    /// The worker at the other end is gone: what waited for its verdicts stays.
    fn end_line(&mut self, line: usize) {
        let Line {
            channel, offered, ..
        } = self.successors.lines.remove(line);
        let _gone = self.epoll.delete(&channel);
        for one in offered {
            self.shared.row.count(Counter::HandoverUndone);
            self.take_back(one);
        }
        if !self.has_successor() {
            self.warn_the_open();
        }
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

    /// Lines to workers that are about to leave themselves are of no use.
    fn leave_old_lines(&mut self) {
        let newest = self.successors.newest();
        let is_useless = |line: &Line| line.generation < newest && line.offered.is_empty();
        while let Some(line) = self.successors.lines.iter().position(is_useless) {
            self.end_line(line);
        }
    }
}

/// Whether somebody wanted the connection closed.
fn wish(mut waiting: Items<Item>) -> Option<CloseMode> {
    std::iter::from_fn(|| waiting.pop_front()).find_map(|item| match item {
        Item::Close(mode) => Some(mode),
        // Of this worker's end, or of a time that the other one notes itself.
        Item::Units(_)
        | Item::Opened
        | Item::Eof
        | Item::Draining
        | Item::GoAway
        | Item::Ping
        | Item::Timer(_)
        | Item::Writable
        | Item::Wake
        | Item::Large(_)
        | Item::Ended => None,
    })
}
