//! The closed loop: a reply is answered by the next request.
//!
//! At depth 1 the time from each request to its reply is measured too. It is
//! the time under full load, as one client in `connections` sees it.

use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::ring::Connection;
use super::{READ_SIZE, Tally, Target, WARM, index, wait};
use crate::Failure;

/// Open connections, with requests in flight between [`Closed::resume`] and
/// [`Closed::pause`].
pub(crate) struct Closed {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    clients: Vec<Client>,
    scratch: Box<[u8]>,
}

struct Client {
    connection: Connection,
    depth: usize,
    /// Whether its replies are counted.
    counted: bool,
    /// When its last request was sent.
    asked: Instant,
}

impl Closed {
    /// Connects; nothing is in flight yet.
    ///
    /// # Errors
    ///
    /// Any means that the server does not serve; nothing was measured.
    pub(crate) fn connect(
        target: &Target,
        connections: usize,
        depth: usize,
        slow: usize,
    ) -> Result<Self, Failure> {
        let mut load = Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            events: vec![EpollEvent::empty(); connections + slow],
            clients: Vec::with_capacity(connections + slow),
            scratch: vec![0; READ_SIZE].into_boxed_slice(),
        };
        for _ in 0..connections {
            load.add(target, depth, true)?;
        }
        for _ in 0..slow {
            let slow = Target {
                asks: target.asks.slow(),
                ..target.clone()
            };
            load.add(&slow, 1, false)?;
        }
        Ok(load)
    }

    fn add(&mut self, target: &Target, depth: usize, counted: bool) -> Result<(), Failure> {
        let index = self.clients.len();
        let connection = Connection::open(target, index, depth)?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
        self.epoll.add(connection.stream(), event)?;
        self.clients.push(Client {
            connection,
            depth,
            counted,
            asked: Instant::now(),
        });
        Ok(())
    }

    /// Sends the first requests and returns when both sides are warm.
    ///
    /// # Errors
    ///
    /// As [`Self::run_for`].
    pub(crate) fn resume(&mut self) -> Result<(), Failure> {
        for client in &mut self.clients {
            client.connection.send(client.depth)?;
            client.asked = Instant::now();
        }
        self.run_for(WARM, &mut Tally::default())
    }

    /// Keeps the connections busy for `time`.
    ///
    /// # Errors
    ///
    /// A reply was wrong or did not come; what was measured is worth nothing.
    pub(crate) fn run_for(&mut self, time: Duration, tally: &mut Tally) -> Result<(), Failure> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn(true, tally)?;
        }
        Ok(())
    }

    /// As [`Self::run_for`], until at least `count` replies came.
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) fn run_count(&mut self, count: u64) -> Result<u64, Failure> {
        let mut tally = Tally::default();
        while tally.replies < count {
            self.turn(true, &mut tally)?;
        }
        Ok(tally.replies)
    }

    /// Waits for the replies that are owed; nothing is in flight then.
    ///
    /// # Errors
    ///
    /// As [`Self::run_for`].
    pub(crate) fn pause(&mut self) -> Result<(), Failure> {
        while self.clients.iter().any(|c| c.connection.in_flight() > 0) {
            self.turn(false, &mut Tally::default())?;
        }
        Ok(())
    }

    /// Reads what arrived; with `refill`, asks as often as it was answered.
    fn turn(&mut self, refill: bool, tally: &mut Tally) -> Result<(), Failure> {
        let ready = wait(&self.epoll, &mut self.events)?;
        for event in &self.events[..ready] {
            let index = index(event);
            let client = &mut self.clients[index];
            let came = client
                .connection
                .receive(&mut self.scratch)
                .map_err(|error| format!("connection {index}: {error}"))?;
            if came == 0 {
                continue;
            }
            if client.counted {
                tally.replies += came as u64;
            }
            if client.depth == 1 {
                let now = Instant::now();
                if client.counted {
                    tally.add(now - client.asked);
                }
                client.asked = now;
            }
            if refill {
                client.connection.send(came)?;
            }
        }
        Ok(())
    }
}
