//! What becomes of a connection that was offered: another worker has it, or it
//! goes on here as if it had never been asked about. On the reactor of the worker
//! that leaves.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::message::{Message, Reason, Verdict, Wish};
use super::record::{OFFER, RECORD};
use super::send::{Line, Offered};
use crate::net::ConnId;
use crate::protocol::CloseMode;
use crate::scoreboard::Counter;
use crate::sys::channel::{Channel, Received};
use crate::sys::epoll::Interest;
use crate::sys::fault::{Spot, kill_point};
use crate::sys::sync::{Ordering, lock};
use crate::worker::connection::items::Items;
use crate::worker::connection::mailbox::{Resting, Wait};
use crate::worker::connection::{Connection, Item};
use crate::worker::queues::letters::ToRecycler;
use crate::worker::reactor::Reactor;
use crate::worker::reactor::drain::Fate;
use crate::worker::turn::{self, write};

/// A connection that is another worker's.
struct Given {
    /// How that one finds it.
    there: ConnId,
    /// What came for it on the way, as it goes over the wire.
    held: Vec<Bytes>,
    /// Somebody wanted it closed on the way.
    close: Option<Wish>,
}

/// How long a worker that stays may not read before nothing is passed on to it.
const PATIENCE: Duration = Duration::from_secs(1);

impl Reactor<'_> {
    /// A connection that was offered stays here, for now.
    pub(super) fn take_back(&mut self, offered: Offered) {
        let Offered {
            conn,
            resting,
            unsent,
            close,
        } = offered;
        let slot = conn.id.slot();
        self.set_fate(slot, Fate::Open);
        {
            let mut outbound = lock(&conn.outbound);
            outbound.held = false;
            if let Some(unsent) = unsent {
                outbound.put_back(unsent);
            }
            write::take_pushes(self.shared, &conn, &mut outbound);
            write::flush(self.shared, &conn, &mut outbound, usize::MAX);
            write::arm(self.shared, &conn, &mut outbound);
        }
        let inbound = &mut self.inbound[slot];
        let interest = if inbound.over {
            Interest::HangUp
        } else {
            self.shared.limits.interest()
        };
        inbound.paused = resting == Resting::Paused;
        let is_paused = inbound.paused && !inbound.over;
        let heard = if is_paused {
            Ok(())
        } else {
            (self.epoll).add(conn.socket(), interest, conn.id.word())
        };
        let close = match heard {
            Ok(()) if is_paused => close,
            Ok(()) => {
                (inbound.reading, inbound.listening) = (!inbound.over, inbound.over);
                close
            }
            Err(_) => Some((CloseMode::Abort, Some(Counter::Broken))),
        };
        self.rest_again(&conn, resting);
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
                    if !self.answer_offer(line, &verdicts) {
                        return false;
                    }
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

    /// False: the line is of no use any more.
    fn answer_offer(&mut self, line: usize, verdicts: &[Verdict]) -> bool {
        let offered = std::mem::take(&mut self.successors.lines[line].offered);
        let mut verdicts = verdicts.iter();
        let mut taken = Vec::new();
        for one in offered {
            match verdicts.next() {
                Some(&Verdict::Taken(name)) => taken.push((one, name)),
                Some(&Verdict::Refused(reason)) => self.refused(line, one, reason),
                None => self.take_back(one),
            }
        }
        taken.is_empty() || self.let_go(line, taken)
    }

    /// These connections are the other worker's. It has them since before its
    /// verdict: what was said to them until now, by whomever, is passed on, and it
    /// is told up to where that is.
    fn let_go(&mut self, line: usize, taken: Vec<(Offered, ConnId)>) -> bool {
        let taken = taken.into_iter();
        let mut marks = None;
        let given: Vec<Given> = match self.shared.bus.clone() {
            None => taken.map(|(one, there)| self.give(one, there)).collect(),
            Some(bus) => {
                let service = self.service;
                bus.letting_go(&mut |message| service.hear(message), |read| {
                    kill_point(Spot::LettingGo);
                    marks = Some(read.to_vec());
                    taken.map(|(one, there)| self.give(one, there)).collect()
                })
            }
        };
        // Nobody says anything to them here any more, and no lock is held: the other
        // worker may be slow to read.
        kill_point(Spot::PassingOn);
        given.iter().for_each(|one| self.pass_on(line, one));
        kill_point(Spot::PassedOn);
        // The end of the line says it as well, but for the marks.
        let channel = &self.successors.lines[line].channel;
        marks.is_none_or(|marks| tell(channel, &Message::Gone(marks).datagram()))
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
    fn give(&mut self, offered: Offered, there: ConnId) -> Given {
        let Offered {
            conn,
            unsent,
            close,
            ..
        } = offered;
        let shared = self.shared;
        // While it lives: to who is dead nothing is passed on.
        let held = {
            let mut outbound = lock(&conn.outbound);
            write::take_last_pushes(shared, &conn, &mut outbound);
            outbound.take()
        };
        drop(self.remove(conn.id));
        // Its socket lives on: nobody may shut it down here.
        conn.peer_done.store(true, Ordering::SeqCst);
        shared.admission.leave(conn.uncount());
        shared.row.count(Counter::HandedOver);
        let (waiting, _nothing_runs) = conn.mailbox.close();
        if let Some(mut parts) = lock(&conn.turn).take() {
            parts.app.vacate();
        }
        // What was not served goes along and is received there.
        shared.row.add(Counter::MessagesMoved, conn.owed().into());
        conn.served_all();
        let gone = unsent.map_or(0, |unsent| unsent.bytes());
        shared.unqueued(&conn, held.iter().map(Bytes::len).sum::<usize>() + gone);
        turn::write_off(shared, &conn);
        let close = close.map(|(mode, counter)| {
            counter
                .into_iter()
                .for_each(|counter| shared.row.count(counter));
            (mode, None)
        });
        shared.to_recycler.post(ToRecycler::Left(conn));
        Given {
            there,
            held,
            close: close.or(wish(waiting)),
        }
    }

    /// Sends what came for a connection while it changed its worker.
    fn pass_on(&self, line: usize, given: &Given) {
        let Given {
            there: conn,
            held,
            close,
        } = given;
        let (conn, close) = (*conn, *close);
        let channel = &self.successors.lines[line].channel;
        let send = |pushes: &[u8], close| {
            let pushes = pushes.to_vec();
            let rest = Message::Rest {
                conn,
                pushes,
                close,
            };
            tell(channel, &rest.datagram())
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
    pub(super) fn end_line(&mut self, line: usize) {
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

    /// Gives back the turn of a connection that rested.
    pub(super) fn rest_again(&mut self, conn: &Arc<Connection>, resting: Resting) {
        match resting {
            Resting::Idle => self.give_up_inline(conn),
            Resting::AwaitWritable | Resting::Paused => {
                let (shared, left) = (self.shared, Items::default());
                let high = shared.limits.mailbox_high;
                let waits = (conn.mailbox).wait(Wait::Writable, 0, high, left, Item::urgency);
                self.follow(conn, waits.and(write::look_for_room(shared, conn)));
            }
            Resting::Closing => {
                let (_nothing_runs, after) = conn.mailbox.close();
                self.follow(conn, after);
                let is_done = lock(&conn.outbound).is_empty();
                if is_done {
                    self.end_connection(conn.id, CloseMode::Flush, None);
                }
            }
        }
    }

    /// Lines to workers that are about to leave themselves are of no use.
    pub(super) fn leave_old_lines(&mut self) {
        let newest = self.successors.newest();
        let is_useless = |line: &Line| line.generation < newest && line.offered.is_empty();
        while let Some(line) = self.successors.lines.iter().position(is_useless) {
            self.end_line(line);
        }
    }
}

/// Tells the other worker, which reads what there is no room behind; `false`: it
/// does not, or is gone.
fn tell(channel: &Channel, datagram: &[u8]) -> bool {
    let until = Instant::now() + PATIENCE;
    loop {
        match channel.send(datagram, &[]) {
            Ok(()) => return true,
            Err(error) if is_full(&error) && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(_) => return false,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS))
}

/// Whether somebody wanted the connection closed.
fn wish(mut waiting: Items<Item>) -> Option<Wish> {
    std::iter::from_fn(|| waiting.pop_front()).find_map(|item| match item {
        Item::Close(mode, code) => Some((mode, code)),
        Item::Kicked(_) => Some((CloseMode::Flush, None)),
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
