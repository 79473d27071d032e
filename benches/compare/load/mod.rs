//! The load: one thread that keeps a server busy and checks every reply.
//!
//! ```text
//! closed  every connection has `depth` requests in flight: the highest rate
//! open    requests at times fixed in advance, whatever the server does
//! churn   connect, one request, close
//! room    each member says something, and hears what all of them said
//! ```
//!
//! A load is open for all the rounds of a cell; between its turns nothing is
//! in flight.

mod asks;
mod churn;
mod closed;
mod open;
mod reply;
pub(crate) mod ring;
mod room;
mod socket;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollTimeout};

pub(crate) use asks::{Asks, Get};
pub(crate) use closed::Closed;
pub(crate) use ring::{exchange, probe};
pub(crate) use socket::{Says, Socket};

use crate::Failure;

/// Bytes of a body.
pub(crate) const BODY: usize = 96;

/// Message id of a handler that blocks for a millisecond.
pub(crate) const SLOW: u32 = 3;

/// Bytes of one read: more than any depth of small messages has in flight.
const READ_SIZE: usize = 256 * 1024;

/// A server that says nothing for so long does not answer any more.
const SILENCE: Duration = Duration::from_secs(5);

/// How long a server is loaded before it is measured.
const WARM: Duration = Duration::from_millis(20);

/// How long a server that was just started may take to answer.
const PROBE: Duration = Duration::from_secs(1);

/// Who is asked, and what.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// What it is asked.
    pub(crate) asks: Asks,
}

/// What is asked how often.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// `depth` requests in flight on each of `connections`, and one on each of
    /// `slow` more, whose handler blocks and whose replies are not counted.
    Closed {
        connections: usize,
        depth: usize,
        slow: usize,
    },
    /// `rate` requests a second, spread evenly over `connections`.
    Open { connections: usize, rate: u32 },
    /// New connections for one request each, `at_once` of them at a time.
    Churn { at_once: usize },
    /// Each of `members` says something, which all of them hear.
    Room { members: usize },
}

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Replies.
    pub(crate) replies: u64,
    /// Nanoseconds from a request's time to its reply, where that is measured.
    pub(crate) latencies: Vec<u32>,
}

impl Tally {
    fn add(&mut self, latency: Duration) {
        let nanoseconds = u32::try_from(latency.as_nanos()).unwrap_or(u32::MAX);
        self.latencies.push(nanoseconds);
    }
}

/// A load of some shape.
pub(crate) enum Load {
    Closed(closed::Closed),
    Open(open::Open),
    Churn(churn::Churn),
    Room(room::Room),
}

impl Load {
    /// Connects; nothing is in flight yet.
    ///
    /// # Errors
    ///
    /// Any means that the server does not serve; nothing was measured.
    pub(crate) fn open(target: &Target, shape: Shape) -> Result<Self, Failure> {
        Ok(match shape {
            Shape::Closed {
                connections,
                depth,
                slow,
            } => Self::Closed(Closed::connect(target, connections, depth, slow)?),
            Shape::Open { connections, rate } => {
                Self::Open(open::Open::connect(target, connections, rate)?)
            }
            Shape::Churn { at_once } => Self::Churn(churn::Churn::new(target, at_once)?),
            Shape::Room { members } => Self::Room(room::Room::enter(target, members)?),
        })
    }

    /// Begins, and returns when both sides are warm.
    ///
    /// # Errors
    ///
    /// As [`Self::run_for`].
    pub(crate) fn resume(&mut self) -> Result<(), Failure> {
        match self {
            Self::Closed(load) => load.resume(),
            Self::Open(load) => load.run_for(WARM, &mut Tally::default()),
            Self::Churn(load) => load.run_for(WARM, &mut Tally::default()),
            Self::Room(load) => load.run_for(WARM, &mut Tally::default()),
        }
    }

    /// Keeps the server busy for `time` and adds what came to `tally`.
    ///
    /// # Errors
    ///
    /// A reply was wrong or did not come; what was measured is worth nothing.
    pub(crate) fn run_for(&mut self, time: Duration, tally: &mut Tally) -> Result<(), Failure> {
        match self {
            Self::Closed(load) => load.run_for(time, tally),
            Self::Open(load) => load.run_for(time, tally),
            Self::Churn(load) => load.run_for(time, tally),
            Self::Room(load) => load.run_for(time, tally),
        }
    }

    /// Waits for the replies that are owed; nothing is in flight then.
    ///
    /// # Errors
    ///
    /// As [`Self::run_for`].
    pub(crate) fn pause(&mut self) -> Result<(), Failure> {
        match self {
            Self::Closed(load) => load.pause(),
            // These end each run with nothing in flight.
            Self::Open(_) | Self::Churn(_) | Self::Room(_) => Ok(()),
        }
    }
}

/// Waits for events; returns how many there are, at least one.
///
/// # Errors
///
/// The server is silent.
fn wait(epoll: &Epoll, events: &mut [EpollEvent]) -> Result<usize, Failure> {
    let timeout = EpollTimeout::try_from(SILENCE).expect("some seconds fit");
    loop {
        match epoll.wait(events, timeout) {
            Ok(0) => return Err(format!("no reply for {SILENCE:?}").into()),
            Ok(ready) => return Ok(ready),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The index that an event was registered with.
fn index(event: &EpollEvent) -> usize {
    usize::try_from(event.data()).expect("tokens are indices")
}

/// Fails when `since` is too long ago for a server that still answers.
fn not_silent(since: Instant) -> Result<(), Failure> {
    if since.elapsed() > SILENCE {
        return Err(format!("no reply for {SILENCE:?}").into());
    }
    Ok(())
}
