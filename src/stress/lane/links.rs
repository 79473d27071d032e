//! Connecting, losing a connection, connecting again.

use std::cmp::Reverse;
use std::io;
use std::time::{Duration, Instant};

use super::{Lane, Link};
use crate::stress::StressError;
use crate::stress::connection::Connection;
use crate::stress::fault::{Fault, Kind};
use crate::sys::epoll::Interest;
use crate::sys::socket;

/// Connects that a lane has under way at once: fewer than a server's backlog.
const OPENING_MAX: usize = 128;

/// How soon to look again for room among them.
const SOON: Duration = Duration::from_millis(1);

/// How soon to look again for room in a full backlog.
const FULL: Duration = Duration::from_millis(5);

/// Pause before the second attempt; it doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

impl Lane<'_> {
    /// Begins the connections whose time has come.
    pub(super) fn open_due(&mut self, now: Instant) -> Result<(), StressError> {
        while let Some(&Reverse((due, at))) = self.wakeups.peek() {
            if due > now {
                break;
            }
            self.wakeups.pop();
            if self.opening >= OPENING_MAX {
                self.wakeups.push(Reverse((now + SOON, at)));
                break;
            }
            self.open(at, now)?;
        }
        Ok(())
    }

    fn open(&mut self, at: usize, now: Instant) -> Result<(), StressError> {
        let source = self
            .load
            .source(u64::from(self.first) + self.stats.connections);
        let begun = socket::connect_from(&self.load.address, source).and_then(|socket| {
            self.epoll.add(&socket, Interest::WriteOnce, at as u64)?;
            Ok(socket)
        });
        match begun {
            Ok(socket) => {
                self.opening += 1;
                self.slots[at].link = Link::Opening(socket, now);
                Ok(())
            }
            // The backlog of a Unix socket is full: no fault, unless it stays so.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.failures += 1;
                self.wakeups.push(Reverse((now + FULL, at)));
                Ok(())
            }
            Err(error) => self.not_opened(at, error, now),
        }
    }

    /// The kernel has an answer about the connection that slot `at` began.
    pub(super) fn opened(&mut self, at: usize, now: Instant) -> Result<(), StressError> {
        let Link::Opening(socket, since) = std::mem::replace(&mut self.slots[at].link, Link::Shut)
        else {
            return Ok(());
        };
        self.opening -= 1;
        let connected = socket::connected(&socket)
            .and_then(|()| self.epoll.rearm(&socket, Interest::Read, at as u64));
        if let Err(error) = connected {
            return self.not_opened(at, error, now);
        }
        socket::no_delay(&socket);
        self.shared.reach();
        self.stats.connections += 1;
        let client = self.client(at);
        self.slots[at].link = Link::Open(Connection::new(socket, client, since, &self.load.asks));
        self.pump(at, now);
        Ok(())
    }

    fn not_opened(&mut self, at: usize, error: io::Error, now: Instant) -> Result<(), StressError> {
        if !self.shared.is_reached() {
            self.shared.end();
            return Err(StressError::Connect(self.load.address.clone(), error));
        }
        let hint = if error.kind() == io::ErrorKind::AddrNotAvailable {
            "; the ports are used up, see net.ipv4.ip_local_port_range"
        } else {
            ""
        };
        let fault = Fault {
            kind: Kind::Connect,
            detail: format!("connect to {}: {error}{hint}", self.load.address),
        };
        self.lose(at, Some(&fault), now);
        Ok(())
    }

    /// The connection of slot `at` is of no use any more, and what it owes is
    /// lost; `fault` says why, if it is one.
    pub(super) fn lose(&mut self, at: usize, fault: Option<&Fault>, now: Instant) {
        let lost = self.shut(at);
        let client = self.client(at);
        if let Some(fault) = fault {
            self.stats.faults.add(client, fault);
        }
        self.stats.faults.add_untold(Kind::Lost, lost as u64);
        self.failures += 1;
        self.slots[at].failures += 1;
        self.reopen(at, now);
    }

    /// Connects again if slot `at` has more to send.
    pub(super) fn reopen(&mut self, at: usize, now: Instant) {
        let slot = &self.slots[at];
        if slot.issued >= slot.quota || self.closing {
            return;
        }
        let pause = match slot.failures {
            0 => Duration::ZERO,
            failures => PAUSE
                .saturating_mul(1 << (failures - 1).min(10))
                .min(PAUSE_MAX),
        };
        self.wakeups.push(Reverse((now + pause, at)));
    }

    /// Closes the connection of slot `at`; returns how many replies it owed.
    pub(super) fn shut(&mut self, at: usize) -> usize {
        let owed = match std::mem::replace(&mut self.slots[at].link, Link::Shut) {
            Link::Shut => return 0,
            Link::Opening(socket, _) => {
                self.opening -= 1;
                let _closed_in_a_moment = self.epoll.delete(&socket);
                0
            }
            Link::Open(connection) => {
                let _closed_in_a_moment = self.epoll.delete(&connection);
                connection.owed()
            }
        };
        self.owed -= owed;
        owed
    }

    /// Gives up what has taken too long.
    pub(super) fn sweep(&mut self, now: Instant) -> Result<(), StressError> {
        let timeout = self.load.timeout;
        for at in 0..self.slots.len() {
            match &mut self.slots[at].link {
                Link::Shut => {}
                Link::Opening(_, since) => {
                    if now.saturating_duration_since(*since) > timeout {
                        self.shut(at);
                        self.not_opened(at, io::ErrorKind::TimedOut.into(), now)?;
                    }
                }
                Link::Open(connection) => {
                    if let Some(what) = connection.overdue(now, timeout) {
                        let fault = Fault {
                            kind: Kind::Connect,
                            detail: format!("no {what} in {timeout:?}"),
                        };
                        self.lose(at, Some(&fault), now);
                    } else if let Some(request) = connection.take_overdue(now, timeout) {
                        self.owed -= 1;
                        let fault = Fault {
                            kind: Kind::Timeout,
                            detail: format!("request {}: no reply in {timeout:?}", request.turn),
                        };
                        self.lose(at, Some(&fault), now);
                    }
                }
            }
        }
        Ok(())
    }
}
