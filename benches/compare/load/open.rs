//! The open loop: requests at times that were fixed in advance.
//!
//! The time of a reply counts from when its request was *due*, also when this
//! client or the server was late, so nothing that a stall costs is left out
//! (no coordinated omission). The client never sleeps: a wake would add more
//! than is measured.

use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::ring::Connection;
use super::{READ_SIZE, Tally, Target, index, not_silent};
use crate::Failure;

/// Requests in flight on one connection, at most; who has so many unanswered
/// gets the next one late, counted from its time all the same.
const IN_FLIGHT: usize = 64;

/// Connections that take turns.
pub(crate) struct Open {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    clients: Vec<Client>,
    scratch: Box<[u8]>,
    /// Between two requests.
    interval: Duration,
}

struct Client {
    connection: Connection,
    /// When each request in flight was due.
    due: VecDeque<Instant>,
}

impl Open {
    /// Connects; nothing is in flight yet.
    ///
    /// # Errors
    ///
    /// Any means that the server does not serve; nothing was measured.
    pub(super) fn connect(target: &Target, connections: usize, rate: u32) -> Result<Self, Failure> {
        let mut load = Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            events: vec![EpollEvent::empty(); connections],
            clients: Vec::with_capacity(connections),
            scratch: vec![0; READ_SIZE].into_boxed_slice(),
            interval: Duration::from_secs(1) / rate,
        };
        for index in 0..connections {
            let connection = Connection::open(target, index, IN_FLIGHT)?;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
            load.epoll.add(connection.stream(), event)?;
            load.clients.push(Client {
                connection,
                due: VecDeque::with_capacity(IN_FLIGHT),
            });
        }
        Ok(load)
    }

    /// Asks for `time`, then waits for the replies that are owed.
    ///
    /// # Errors
    ///
    /// A reply was wrong or did not come; what was measured is worth nothing.
    pub(super) fn run_for(&mut self, time: Duration, tally: &mut Tally) -> Result<(), Failure> {
        let start = Instant::now();
        let (mut due, end) = (start, start + time);
        let (mut turn, mut owed, mut heard) = (0, 0_usize, start);
        while due < end || owed > 0 {
            let now = Instant::now();
            while due <= now && due < end && self.ask(turn, due)? {
                due += self.interval;
                turn = (turn + 1) % self.clients.len();
                owed += 1;
            }
            let came = self.listen(tally)?;
            owed -= came;
            if came > 0 || owed == 0 {
                heard = now;
                continue;
            }
            not_silent(heard)?;
            // Where client and server share one core, the server gets it.
            thread::yield_now();
        }
        Ok(())
    }

    /// Sends the request of `due`, unless that client has too many in flight.
    fn ask(&mut self, turn: usize, due: Instant) -> Result<bool, Failure> {
        let client = &mut self.clients[turn];
        let room = client.due.len() < IN_FLIGHT;
        if room {
            client.connection.send(1)?;
            client.due.push_back(due);
        }
        Ok(room)
    }

    /// Reads what has arrived.
    fn listen(&mut self, tally: &mut Tally) -> Result<usize, Failure> {
        let ready = match self.epoll.wait(&mut self.events, EpollTimeout::ZERO) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut replies = 0;
        for event in &self.events[..ready] {
            let index = index(event);
            let client = &mut self.clients[index];
            let came = client
                .connection
                .receive(&mut self.scratch)
                .map_err(|error| format!("connection {index}: {error}"))?;
            let now = Instant::now();
            for due in client.due.drain(..came) {
                tally.add(now - due);
            }
            replies += came;
        }
        tally.replies += replies as u64;
        Ok(replies)
    }
}
