//! What one run is to do. Pure.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use super::asks::Asks;
use super::schedule::{Schedule, share};
use crate::sys::socket::Address;

/// Descriptors beside those of the connections: epolls, logs, the page.
const DESCRIPTORS: u64 = 64;

/// Source addresses that short connections rotate over. One has 28,000 ports,
/// each of which rests for a minute after its connection.
const SOURCES: u64 = 100;

/// When the next request is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Pace {
    /// When a reply has come.
    Closed,
    /// When its time has come: so many a second, over all connections.
    Open(u64),
}

/// When the run is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// After this time.
    After(Duration),
    /// After so many requests.
    Count(u64),
}

/// A run.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) address: Address,
    pub(super) asks: Asks,
    pub(super) connections: u32,
    /// Requests in flight on a connection, at most.
    pub(super) depth: u32,
    pub(super) pace: Pace,
    pub(super) end: End,
    /// At most as many as connections.
    pub(super) threads: u32,
    pub(super) ramp: Duration,
    pub(super) churn: Option<u64>,
    pub(super) timeout: Duration,
}

impl Load {
    /// Checks that such a run can be good.
    ///
    /// # Errors
    ///
    /// The words for the operator.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(frames) = self.asks.frames()
            && self.depth > frames.in_flight()
        {
            return Err(format!(
                "--depth {} is over the {} numbers that this format has for requests",
                self.depth,
                frames.in_flight()
            ));
        }
        match self.requests() {
            Some(requests) if requests < u64::from(self.connections) => Err(format!(
                "{requests} requests are fewer than the {} connections: some would send nothing",
                self.connections
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Requests of the whole run, where that is known before.
    pub(super) fn requests(&self) -> Option<u64> {
        match (self.end, self.schedule()) {
            (End::Count(count), _) => Some(count),
            (End::After(_), Some(schedule)) => Some(schedule.total),
            (End::After(_), None) => None,
        }
    }

    /// Requests of one client, where that is known before.
    pub(super) fn requests_of(&self, client: u32) -> Option<u64> {
        let all = self.requests()?;
        Some(share(all, u64::from(self.connections), u64::from(client)))
    }

    /// The times of an open loop.
    pub(super) fn schedule(&self) -> Option<Schedule> {
        let Pace::Open(rate) = self.pace else {
            return None;
        };
        let total = match self.end {
            End::Count(count) => count,
            End::After(time) => Schedule::within(rate, time),
        };
        Some(Schedule {
            rate,
            clients: u64::from(self.connections),
            total,
        })
    }

    /// The clients of one of the threads.
    pub(super) fn clients(&self, thread: u32) -> Range<u32> {
        let bound = |thread: u32| {
            let before = u64::from(self.connections) * u64::from(thread) / u64::from(self.threads);
            u32::try_from(before).unwrap_or(self.connections)
        };
        bound(thread)..bound(thread + 1)
    }

    /// Open files that the run needs.
    pub(super) fn descriptors(&self) -> u64 {
        u64::from(self.connections) + DESCRIPTORS
    }

    /// From where connection number `opened` of a lane comes; `None`: as the
    /// kernel likes. Only this machine has many addresses of its own.
    pub(super) fn source(&self, opened: u64) -> Option<IpAddr> {
        let Address::Tcp(SocketAddr::V4(to)) = self.address else {
            return None;
        };
        let rotates = self.churn.is_some() || u64::from(self.connections) > 20_000;
        let last = u8::try_from(2 + opened % SOURCES).unwrap_or(2);
        (rotates && to.ip().is_loopback()).then_some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::tests::load;
    use std::collections::HashSet;

    #[test]
    fn every_client_belongs_to_one_thread() {
        for (connections, threads) in [(1, 1), (7, 3), (100, 7), (5, 5)] {
            let args = format!("--connections {connections} --threads {threads}");
            let load = load(&args).unwrap();
            let clients: Vec<u32> = (0..threads).flat_map(|at| load.clients(at)).collect();
            assert_eq!(clients, (0..connections).collect::<Vec<u32>>());
            assert!((0..threads).all(|at| !load.clients(at).is_empty()));
        }
    }

    #[test]
    fn only_short_connections_to_this_machine_rotate_their_source() {
        let sources = |args: &str| {
            let load = load(args).unwrap();
            (0..1000).map(|n| load.source(n)).collect::<HashSet<_>>()
        };
        assert_eq!(sources("127.0.0.1:1 --churn 1").len(), 100);
        assert_eq!(sources("127.0.0.1:1").len(), 1);
        assert_eq!(sources("192.0.2.1:1 --churn 1").len(), 1);
        assert_eq!(sources("[::1]:1 --churn 1").len(), 1);
        let last = load("127.0.0.1:1 --churn 1").unwrap().source(99).unwrap();
        assert_eq!(last.to_string(), "127.0.0.101");
    }
}
