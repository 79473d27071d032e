//! The worker that stays: takes connections of those that leave.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;

use super::limbo::{Limbo, Predecessor};
use super::message::{Message, Reason, Verdict, Wish};
use super::output::Output;
use super::pack::{own_parts, unpack};
use super::record::Record;
use crate::dispatch::CloseReason;
use crate::net::per_ip::Hash;
use crate::net::{ConnId, Vacancy};
use crate::protocol::{CloseMode, Event, Protocol};
use crate::scoreboard::Counter;
use crate::sys::channel::{Channel, Received};
use crate::sys::epoll::Interest;
use crate::sys::fault::{Spot, kill_point};
use crate::sys::socket;
use crate::sys::sync::{Ordering, lock};
use crate::worker::connection::items::Items;
use crate::worker::connection::mailbox::Wait;
use crate::worker::connection::{Connection, Item};
use crate::worker::reactor::accept::Listened;
use crate::worker::reactor::{HANDOVER, Reactor};
use crate::worker::turn::write;

/// A connection that has everything but its place: nobody finds it yet.
pub(super) struct Arrival {
    pub(super) vacancy: Vacancy<Connection>,
    pub(super) protocol: Arc<dyn Protocol>,
    pub(super) address: Option<Hash>,
    pub(super) record: Box<Record>,
    /// Bytes of memory that wait to be sent.
    pub(super) unsent: usize,
    /// What the loop is to be told of.
    pub(super) interest: Interest,
}

impl Reactor<'_> {
    /// A worker that leaves can offer connections from now on.
    pub(in crate::worker) fn meet_predecessor(&mut self, channel: Channel) {
        // Whoever leaves as well takes nothing: the other end sees the line
        // end.
        if self.drain.is_some() {
            return;
        }
        match self.epoll.add(&channel, Interest::Read, HANDOVER) {
            Ok(()) => self.predecessors.push(Predecessor {
                channel,
                limbo: Vec::new(),
            }),
            Err(error) => ::log::error!("listen to an old worker: {error}; it keeps all it has"),
        }
    }

    /// A line has something to say.
    pub(in crate::worker) fn hear_lines(&mut self) {
        let mut line = 0;
        while line < self.predecessors.len() {
            if self.hear_predecessor(line) {
                line += 1;
            } else {
                self.part_from(line);
            }
        }
        self.hear_successors();
    }

    /// False: it is gone, or the line is of no use any more.
    fn hear_predecessor(&mut self, line: usize) -> bool {
        let mut gone = false;
        loop {
            match self.predecessors[line].channel.receive(&mut self.scratch) {
                Ok(Received::Datagram(len, came)) => match Message::parse(&self.scratch[..len]) {
                    Some(Message::Offer(records)) if needed(&records) == came.len() => {
                        if !self.consider(line, records, came) {
                            return false;
                        }
                    }
                    Some(Message::Rest {
                        conn,
                        pushes,
                        close,
                    }) => {
                        let mut limbo = self.predecessors[line].limbo.iter_mut();
                        let is_it = |one: &&mut Limbo| one.arrival.vacancy.id() == conn;
                        match limbo.find(is_it) {
                            Some(one) => one.rests.push((pushes, close)),
                            None => self.take_rest(conn, pushes, close),
                        }
                    }
                    Some(Message::Gone(marks)) => {
                        let limbo = std::mem::take(&mut self.predecessors[line].limbo);
                        // The one that leaves says its own last.
                        self.leave_limbo(limbo, &marks, marks.last().copied());
                        if self.drain.is_some() {
                            return false;
                        }
                    }
                    Some(Message::Offer(_) | Message::Verdicts(_)) | None => return false,
                },
                Ok(Received::Undelivered(len)) => {
                    self.predecessors[line].channel.skip();
                    if !self.refuse_offer(line, len) {
                        return false;
                    }
                }
                Ok(Received::Nothing) => return true,
                // As on the other side: what it sent before it died follows.
                Ok(Received::Closed) if !gone => gone = true,
                Ok(Received::Closed) | Err(_) => return false,
            }
        }
    }

    /// There are no descriptors for what is offered, in so many bytes of the
    /// scratch: the other worker keeps it. As [`Self::consider`].
    fn refuse_offer(&self, line: usize, len: usize) -> bool {
        let Some(Message::Offer(records)) = Message::parse(&self.scratch[..len]) else {
            return false;
        };
        let verdicts = vec![Verdict::Refused(Reason::Full); records.len()];
        let sent = self.predecessors[line]
            .channel
            .send(&Message::Verdicts(verdicts).datagram(), &[]);
        sent.is_ok()
    }

    /// Decides about an offer. False: the verdict could not be sent, so the
    /// other worker has to keep what it offered, and learns that by the line's
    /// end.
    fn consider(&mut self, line: usize, records: Vec<Record>, came: Vec<OwnedFd>) -> bool {
        let mut verdicts = Vec::with_capacity(records.len());
        let mut arrivals = Vec::with_capacity(records.len());
        let mut came = came.into_iter();
        for record in records {
            let own: Vec<OwnedFd> = came.by_ref().take(record.descriptors()).collect();
            verdicts.push(match self.prepare_arrival(Box::new(record), own) {
                Ok(arrival) => {
                    let name = arrival.vacancy.id();
                    arrivals.push(arrival);
                    Verdict::Taken(name)
                }
                Err(reason) => Verdict::Refused(reason),
            });
        }
        // Who looked for members of rooms before they were here looks again.
        self.shared.bus.iter().for_each(|bus| bus.moved());
        let datagram = Message::Verdicts(verdicts).datagram();
        kill_point(Spot::Deciding);
        match self.predecessors[line].channel.send(&datagram, &[]) {
            Ok(()) => kill_point(Spot::Verdicts),
            // It died: these connections are nobody else's.
            Err(error) if is_end(&error) => {}
            Err(_) => {
                arrivals.into_iter().for_each(|arrival| self.undo(arrival));
                return false;
            }
        }
        for arrival in arrivals {
            let rests = Vec::new();
            let one = Limbo { arrival, rests };
            if one.arrival.record.is_followed {
                self.predecessors[line].limbo.push(one);
            } else {
                self.leave_limbo(vec![one], &[], None);
            }
        }
        true
    }

    /// Everything that can fail. Nobody reads or finds the connection yet: the
    /// loop is not asked for events before its verdict was sent.
    fn prepare_arrival(
        &mut self,
        record: Box<Record>,
        mut descriptors: Vec<OwnedFd>,
    ) -> Result<Arrival, Reason> {
        let (index, protocol) = self.listener_of(&record).ok_or(Reason::Listener)?;
        let listening = &self.listeners[index];
        if !listening.entrance.admits(record.peer) {
            return Err(Reason::Denied);
        }
        let (admission, pool) = (&self.shared.admission, &self.shared.pool);
        let address = admission
            .adopt(&listening.entrance, record.peer)
            .map_err(|_| Reason::Full)?;
        let Some(mut vacancy) = pool.vacancy_for_mover() else {
            admission.leave(address);
            return Err(Reason::Full);
        };
        let listened = Listened::new(listening);
        // The files are behind it.
        let socket = descriptors.remove(0);
        let conn = listened.prepare(&mut vacancy, socket, record.peer, address);
        if !Arc::ptr_eq(&protocol, &listening.protocol) {
            conn.turn_into(&protocol, None);
        }
        conn.keep_name(record.name.unwrap_or(conn.id));
        record.clocks.restore(conn, record.partial.len());
        if protocol.is_session() {
            // Where it comes from, or there was none.
            conn.opened_it();
        }
        let unpacked = unpack(self.service, conn, &record);
        let (mut unsent, mut interest) = (0, self.shared.limits.interest());
        if let Some(output) = &record.output {
            unsent = self.unpack_output(conn, output, descriptors);
            if output.finished {
                interest = Interest::HangUp;
            }
        }
        let arrival = Arrival {
            protocol,
            address,
            record,
            unsent,
            vacancy,
            interest,
        };
        self.arrive(arrival, unpacked)
    }

    /// Gives a connection that nobody finds what is unsent to it, and lets it rest
    /// as it did. Tells how many bytes of memory that takes.
    fn unpack_output(&self, conn: &mut Connection, output: &Output, files: Vec<OwnedFd>) -> usize {
        let mut app = self.service.dispatcher();
        // For its name in the access log.
        app.take(conn.named(), conn.peer(), conn.origin, false);
        let unsent = output.unpack(conn, files, &mut *app);
        app.vacate();
        let (limits, begins) = (&self.shared.limits, conn.mailbox.begin_inline());
        debug_assert!(begins, "nobody finds it");
        let (high, nothing) = (limits.mailbox_high, Items::default());
        let _nothing_waits = if output.closes {
            conn.mailbox.close().1
        } else if conn.is_full(limits.outbound_high / 2) {
            (conn.mailbox).wait(Wait::Writable, 0, high, nothing, Item::urgency)
        } else {
            conn.mailbox.requeue(0, high, nothing)
        };
        unsent
    }

    /// Has the kernel tell of a connection that is whole, and has it reached beside
    /// the other worker; or gives it up.
    fn arrive(&mut self, mut arrival: Arrival, unpacked: bool) -> Result<Arrival, Reason> {
        if !unpacked {
            self.give_slot_back(arrival);
            return Err(Reason::State);
        }
        let (token, is_session) = (arrival.vacancy.id().word(), arrival.protocol.is_session());
        let conn = arrival.vacancy.tenant();
        // Whatever comes before it has its place is told again then.
        if self
            .epoll
            .add(conn.socket(), Interest::ReadOnce, token)
            .is_err()
        {
            self.give_slot_back(arrival);
            return Err(Reason::Full);
        }
        if is_session {
            self.service.arrives(conn.named());
            self.shared.session_came(conn);
            if let Some(parts) = own_parts(conn) {
                parts.app.enter(&arrival.record.luggage);
            }
        }
        Ok(arrival)
    }

    /// Where the connection would have come in here, and what it speaks.
    fn listener_of(&self, record: &Record) -> Option<(usize, Arc<dyn Protocol>)> {
        let is_it = |address: &String| *address == record.listener;
        let mut listeners = self.listeners.iter();
        let index = listeners.position(|one| is_it(&one.address.to_string()))?;
        let protocol = &self.listeners[index].protocol;
        if protocol.name().as_ref() == Some(&record.protocol) {
            return Some((index, Arc::clone(protocol)));
        }
        Some((index, protocol.named(&record.protocol)?))
    }

    /// The other worker keeps it.
    fn undo(&mut self, mut arrival: Arrival) {
        let _gone = self.epoll.delete(arrival.vacancy.tenant().socket());
        self.give_slot_back(arrival);
    }

    fn give_slot_back(&mut self, mut arrival: Arrival) {
        let conn = arrival.vacancy.tenant();
        self.shared.session_went(conn);
        if arrival.protocol.is_session() {
            self.service.departed(conn.named());
        }
        if let Some(mut parts) = own_parts(conn).take() {
            parts.app.vacate();
        }
        // Closes our copy of the socket, which does nothing to the other's.
        conn.clean();
        conn.count(None);
        self.shared.admission.leave(arrival.address);
        self.shared.pool.return_vacancy(arrival.vacancy);
    }

    /// The connection goes on here.
    pub(super) fn move_in(&mut self, arrival: Arrival) {
        let Arrival {
            vacancy,
            protocol,
            record,
            unsent,
            interest,
            ..
        } = arrival;
        let conn = self.place(vacancy, Counter::TakenOver);
        let (slot, begun) = (conn.id.slot(), record.clocks.has_begun());
        let armed = self.epoll.rearm(conn.socket(), interest, conn.id.word());
        if armed.is_err() {
            self.shared
                .ask_end(conn.id, CloseMode::Abort, Some(Counter::Broken));
        }
        let inbound = &mut self.inbound[slot];
        inbound.begun = begun;
        inbound.meter = record.clocks.meter;
        if !record.partial.is_empty() {
            self.shared.buffered(record.partial.len());
            let mut unfinished = self.cutters.acquire(&protocol, begun);
            unfinished.partial = record.partial;
            inbound.unfinished = Some(unfinished);
        }
        if let Some(parts) = &mut *lock(&conn.turn) {
            parts.app.rejoin(&record.luggage);
        }
        let closes = record.output.as_ref().is_some_and(|output| output.closes);
        if protocol.is_session() && !closes {
            self.greet_arrival(&conn);
        }
        // Its deadlines may be near: the heartbeat thread finds out.
        self.shared.heartbeat.watch(slot, self.now);
        self.shared.buffered(unsent);
        if record.output.as_ref().is_some_and(|output| output.finished) {
            let inbound = &mut self.inbound[slot];
            (inbound.reading, inbound.listening, inbound.over) = (false, true, true);
        }
        self.cut_again(&conn);
        if self.inbound[slot].find(conn.id).is_none() {
            return;
        }
        if let Some(output) = &record.output {
            self.send_on(&conn, output);
        }
    }

    /// Has `arrived` run, if there is one: before what was received and not served,
    /// which is cut behind this.
    fn greet_arrival(&mut self, conn: &Arc<Connection>) {
        if let Some(arrival) = self.service.arrival() {
            self.post_event(conn, Event::Run(arrival));
        }
    }

    /// What the other worker did not send is sent here.
    fn send_on(&mut self, conn: &Arc<Connection>, output: &Output) {
        let shared = self.shared;
        if output.finished {
            conn.ends_by(CloseReason::PeerClosed);
            conn.clocks.finished.store(self.now, Ordering::Relaxed);
            self.post_event(conn, Event::Eof);
        }
        let is_done = {
            let mut outbound = lock(&conn.outbound);
            write::flush(shared, conn, &mut outbound, usize::MAX);
            write::arm(shared, conn, &mut outbound);
            if outbound.armed && output.progress != 0 {
                let held = socket::unacknowledged(conn.socket());
                conn.clocks.progressed(output.progress.min(self.now), held);
            }
            outbound.is_empty()
        };
        if output.closes && is_done {
            return self.end_connection(conn.id, CloseMode::Flush, None);
        }
        if output.closes {
            shared.watch_flush(conn.id);
        }
        self.follow(conn, write::look_for_room(shared, conn));
    }

    /// What came for a connection while it moved.
    pub(super) fn take_rest(&mut self, id: ConnId, pushes: Vec<u8>, close: Option<Wish>) {
        let shared = self.shared;
        let Some(conn) = shared.pool.find(id) else {
            return shared.row.count(Counter::Stale);
        };
        if !pushes.is_empty() {
            // If it closes, that is counted.
            let _sent = shared.put_push(conn, Bytes::from(pushes), self.now);
            shared.to_sender.call();
        }
        match close {
            Some((CloseMode::Flush | CloseMode::Done, code)) => {
                let _closes_already = shared.post(id, Item::Close(CloseMode::Flush, code));
            }
            Some((CloseMode::Abort, _)) => self.end_connection(id, CloseMode::Abort, None),
            None => {}
        }
    }
}

/// How many descriptors come along with these.
fn needed(records: &[Record]) -> usize {
    records.iter().map(Record::descriptors).sum()
}

/// Whether the other end of a line is gone.
fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}
