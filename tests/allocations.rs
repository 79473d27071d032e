//! Accepting allocates nothing once the pool is warm. A binary of its own: the
//! allocator counts for the whole process, and no other test may run beside.

#![allow(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use purlin::Server;
use purlin::prelude::*;
use purlin::scoreboard::Counter;
use purlin::sys::socket::Address;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The client's own allocations do not count.
    static CLIENT: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: everything is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !CLIENT.try_with(Cell::get).unwrap_or(true) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Connects and leaves, `rounds` times `together`; waits until the server has
/// forgotten.
fn connect(server: &Server, rounds: u64, together: u64) {
    let done = server.read(Counter::Recycled) + rounds * together;
    for _ in 0..rounds {
        let _held: Vec<TcpStream> = (0..together).map(|_| visit(server)).collect();
    }
    while server.read(Counter::Recycled) < done {
        thread::yield_now();
    }
}

fn visit(server: &Server) -> TcpStream {
    let Address::Tcp(at) = &server.addresses()[0] else {
        panic!("TCP")
    };
    let mut client = TcpStream::connect(at).expect("connect");
    // An echo on the event loop: its body is the handler's own affair.
    client.write_all(b"\0\x08\0\0\0\0\0\0").expect("send");
    client.read_exact(&mut [0; 8]).expect("receive");
    client
}

#[test]
fn accepting_allocates_nothing_once_the_pool_is_warm() {
    CLIENT.set(true);
    let app = App::<()>::new().on_inline(0, |_, (): ()| Bytes::new());
    // No trimming and no deadlines while this counts.
    let keys = [
        ("heartbeat.timeout", "1h"),
        ("heartbeat.first_message", "1h"),
        ("worker.connections_initial", "1024"),
        // Looking at who comes allocates nothing either.
        ("limits.connections_per_ip", "65535"),
        ("limits.accept_rate_per_ip", "1000"),
        ("limits.accept_burst_per_ip", "65535"),
        ("listener.0.allow", "10.0.0.0/8,127.0.0.0/8"),
    ];
    let server = Server::configured(app, &keys).expect("a server");
    // Every slot of the pool is used, and every queue has seen its longest.
    connect(&server, 10, 200);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    connect(&server, 2000, 1);
    let made = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!(made, 0, "allocations for 2000 connections");
    server
        .stop(Duration::from_secs(10))
        .expect("an orderly end");
}
