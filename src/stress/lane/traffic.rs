//! Sending what may be sent, reading what has come.

use std::io;
use std::time::Instant;

use super::{Lane, Link};
use crate::stress::connection::{Read, Request};
use crate::stress::fault::{Fault, Kind};
use crate::stress::stats::Ledger;
use crate::sys::epoll::Interest;

impl Lane<'_> {
    /// Requests that the client of slot `at` may have sent by `now`.
    fn allowed(&self, at: usize, now: Instant, start: Instant) -> u64 {
        if self.closing {
            return 0;
        }
        match self.schedule {
            None => self.slots[at].quota,
            Some(schedule) => {
                schedule.due_by(self.client(at), now.saturating_duration_since(start))
            }
        }
    }

    /// Sends what slot `at` may send now, all of it with one call.
    pub(super) fn pump(&mut self, at: usize, now: Instant) {
        // Before the start there may be greetings to send.
        let start = self.start.unwrap_or(now);
        let allowed = match self.start {
            Some(start) => self.allowed(at, now, start),
            None => 0,
        };
        let client = self.client(at);
        let churn = self.load.churn;
        let depth = self.load.depth as usize;
        let slot = &mut self.slots[at];
        let Link::Open(connection) = &mut slot.link else {
            return;
        };
        connection.lend(&mut self.out);
        while slot.issued < allowed
            && connection.is_greeted()
            && connection.owed() < depth
            && churn.is_none_or(|requests| connection.issued() < requests)
        {
            // Who connects for each request waits for the connection as well.
            let opened = connection.take_opened();
            let opened = opened.filter(|opened| churn.is_some() && *opened > start);
            let since = match self.schedule {
                Some(schedule) => start + schedule.due(client, slot.issued),
                None => opened.unwrap_or(now),
            };
            let request = Request {
                turn: slot.issued,
                since,
                sent: now,
            };
            connection.issue(request, self.load, &mut self.body);
            slot.issued += 1;
            self.stats.requests += 1;
            self.owed += 1;
        }
        let sent = connection.send(&mut self.out);
        let sent = sent.and_then(|bytes| {
            let waits = connection.waits_for_room();
            if waits != connection.watches_room {
                let interest = if waits {
                    Interest::ReadWrite
                } else {
                    Interest::Read
                };
                self.epoll.rearm(&*connection, interest, at as u64)?;
                connection.watches_room = waits;
            }
            Ok(bytes)
        });
        match sent {
            Ok(bytes) => self.stats.sent_bytes += bytes as u64,
            Err(error) => self.broken(at, &error, now),
        }
    }

    /// Reads from slot `at` once, and sends what that allows.
    pub(super) fn receive(&mut self, at: usize, now: Instant) {
        let slot = &mut self.slots[at];
        let Link::Open(connection) = &mut slot.link else {
            return;
        };
        let before = connection.owed();
        let mut ledger = Ledger {
            stats: &mut self.stats,
            start: self.start.unwrap_or(now),
            now,
        };
        let read = connection.receive(&mut self.scratch, self.load, &mut ledger);
        self.owed -= before - connection.owed();
        match read {
            Ok(read) => self.took(at, read, now),
            Err(error) => self.broken(at, &error, now),
        }
    }

    fn took(&mut self, at: usize, read: Read, now: Instant) {
        self.stats.received_bytes += read.bytes as u64;
        if read.answered > 0 {
            self.slots[at].failures = 0;
            self.failures = 0;
            self.last_good = now;
        }
        if let Some(why) = read.refused {
            self.refused = Some(why);
            return self.shared.end();
        }
        let client = self.client(at);
        for fault in &read.errors {
            self.stats.faults.add(client, fault);
            self.failures += 1;
        }
        if let Some(fault) = read.fatal {
            return self.lose(at, Some(&fault), now);
        }
        if read.closes {
            return self.retire(at, now);
        }
        let Link::Open(connection) = &self.slots[at].link else {
            return;
        };
        let spent = self
            .load
            .churn
            .is_some_and(|requests| connection.issued() >= requests);
        if spent && connection.owed() == 0 {
            self.shut(at);
            self.reopen(at, now);
        } else {
            self.pump(at, now);
        }
    }

    /// The server said that it answers nothing more on the connection of slot
    /// `at`: what was sent behind its last reply is asked again, over another.
    fn retire(&mut self, at: usize, now: Instant) {
        let unanswered = self.shut(at) as u64;
        self.slots[at].issued -= unanswered;
        self.stats.requests -= unanswered;
        self.reopen(at, now);
    }

    /// The connection of slot `at` ended; that is a fault if it owed a reply.
    fn broken(&mut self, at: usize, error: &io::Error, now: Instant) {
        let Link::Open(connection) = &mut self.slots[at].link else {
            return;
        };
        let awaits = connection.awaits();
        let oldest = connection.take_oldest();
        let fault = oldest.map(|request| {
            self.owed -= 1;
            let what = if error.kind() == io::ErrorKind::UnexpectedEof {
                error.to_string()
            } else {
                format!("the connection broke before its reply: {error}")
            };
            Fault {
                kind: Kind::Lost,
                detail: format!("request {}: {what}", request.turn),
            }
        });
        let fault = fault.or_else(|| {
            awaits.map(|what| Fault {
                kind: Kind::Connect,
                detail: format!("the connection ended before the {what}: {error}"),
            })
        });
        self.lose(at, fault.as_ref(), now);
    }
}
