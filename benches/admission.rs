//! What it costs to look at who comes: nanoseconds for each accepted connection.
//!
//! `cargo bench --bench admission`. The shared words are those of a server with
//! 8 workers; addresses come in turn, so that with many of them the words are in
//! no cache. For comparison: an accept costs the kernel several microseconds.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use purlin::net::Access;
use purlin::net::accept_rate::AcceptRate;
use purlin::net::per_ip::{Key, PerIp};
use purlin::scoreboard::{Addresses, Scoreboard};
use purlin::sys::network::Network;

/// Connections of one measurement; the best of several counts.
const ROUND: u32 = 200_000;
const ROUNDS: u32 = 7;

/// Connections that a worker may have, as configured by default.
const CONNECTIONS: usize = 4096;

fn main() {
    println!("ns a connection, by the number of different addresses");
    println!("{:<44}{:>8}{:>8}", "", "1", "4000");
    let lists = Access::new(networks(10), networks(50));
    row("10 allowed and 50 denied networks", |address| {
        black_box(lists.admits(address));
    });
    for workers in [1, 8, 48] {
        let board = Scoreboard::for_connections(48, CONNECTIONS).expect("memory");
        let counting: Vec<PerIp<Addresses>> = (0..workers)
            .map(|n| PerIp::new(board.addresses(n), 60_000))
            .collect();
        let (mine, key) = (&counting[0], Key(board.addresses(0).key()));
        let name = format!("connections_per_ip, {workers} workers count: come and go");
        row(&name, |address| {
            let hash = key.hash(address);
            if black_box(mine.admit(hash)).is_ok() {
                mine.leave(hash);
            }
        });
    }
    let board = Scoreboard::for_connections(48, CONNECTIONS).expect("memory");
    let words = board.addresses(0);
    let (rate, key) = (AcceptRate::new(1000, 60_000), Key(words.key()));
    let mut now = 1;
    row("accept_rate_per_ip", |address| {
        now += 1;
        let hash = key.hash(address);
        black_box(rate.admit(words.paces(hash), hash, now));
    });
}

fn networks(count: u8) -> Vec<Network> {
    let network = |n| format!("10.{n}.0.0/16").parse().expect("a network");
    (0..count).map(network).collect()
}

fn row(name: &str, mut one: impl FnMut(IpAddr)) {
    let [alone, many] = [1, 4000].map(|addresses| best(addresses, &mut one));
    println!("{name:<44}{alone:>8.0}{many:>8.0}");
}

/// Nanoseconds of one call, in the best round.
fn best(addresses: u32, one: &mut impl FnMut(IpAddr)) -> f64 {
    let first = u32::from(Ipv4Addr::new(10, 0, 0, 1));
    let rounds = (0..ROUNDS).map(|_| {
        let since = Instant::now();
        for n in 0..ROUND {
            one(Ipv4Addr::from(first + n % addresses).into());
        }
        since.elapsed().as_secs_f64() * 1e9 / f64::from(ROUND)
    });
    rounds.fold(f64::INFINITY, f64::min)
}
