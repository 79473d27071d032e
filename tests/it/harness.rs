//! What the integration tests share: a server, and a client of plain sockets.
//!
//! The client is written from the byte layouts in the design, not with the
//! crate's own codec: an error in that codec must not hide itself.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use purlin::Server;
use purlin::prelude::App;
use purlin::scoreboard::Counter;
use purlin::sys::socket::Address;

/// Whether `program` can be run. Without it a test says so and is over, except
/// where CI runs: there, nothing may be skipped.
pub(crate) fn has(program: &str, package: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    // Some are for root, and in no other path.
    let folders = std::env::split_paths(&folders).chain(["/usr/sbin".into()]);
    let found = folders
        .map(|folder| folder.join(program))
        .any(|path| path.exists());
    if !found {
        skip(&format!(
            "{program} is missing: apt-get install {package}, or make needs"
        ));
    }
    found
}

/// Says why a test is skipped, past the harness that hides what tests print.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "not in CI: {why}");
    let mut terminal = io::stderr();
    writeln!(terminal, "skipped: {why}").expect("standard error");
    // `make test` tells it again at its end.
    let list = concat!(env!("CARGO_TARGET_TMPDIR"), "/skipped");
    let list = std::fs::File::options()
        .append(true)
        .create(true)
        .open(list);
    let mut list = list.expect("a file of the target folder");
    list.write_all(format!("{why}\n").as_bytes())
        .expect("a file of the target folder");
}

/// A generous deadline: ten times and more what the slowest machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Serves `app` in this process, with workers that share listeners in the way
/// that this run of the tests is about.
pub(crate) fn serve<S: Default + Send + 'static>(app: App<S>) -> Server {
    serve_with(app, &[])
}

/// As [`serve`], with some keys of the configuration changed.
pub(crate) fn serve_with<S: Default + Send + 'static>(
    app: App<S>,
    keys: &[(&str, &str)],
) -> Server {
    let (mode, trigger) = (accept_mode(), trigger());
    let keys = [&[("accept", &*mode), ("worker.trigger", &*trigger)], keys].concat();
    Server::configured(app, &keys).expect("a server")
}

/// How listeners are shared in this run: `modes.rs` runs the tests of the wire
/// again in the other ways.
pub(crate) fn accept_mode() -> String {
    std::env::var("PURLIN_TEST_ACCEPT").unwrap_or_else(|_| "mutex".into())
}

/// How the kernel tells of arrivals in this run, likewise.
pub(crate) fn trigger() -> String {
    std::env::var("PURLIN_TEST_TRIGGER").unwrap_or_else(|_| "level".into())
}

/// The first for a run that has to be short.
pub(crate) fn either<T>(short: T, full: T) -> T {
    if std::env::var_os("PURLIN_TEST_FULL").is_some() {
        full
    } else {
        short
    }
}

/// Waits until `ready`, or fails naming `what`.
pub(crate) fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !ready() {
        assert!(
            Instant::now() < until,
            "waited {PATIENCE:?} in vain until {what}"
        );
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Waits until a counter of the server has this value.
pub(crate) fn wait_for(server: &Server, counter: Counter, value: u64) {
    wait_until(&format!("{} is {value}", counter.name()), || {
        server.read(counter) == value
    });
}

/// The TCP address of the server's first listener.
pub(crate) fn address(server: &Server) -> SocketAddr {
    match &server.addresses()[0] {
        Address::Tcp(at) => *at,
        Address::Unix(path) => panic!("expected TCP, found {}", path.display()),
    }
}

/// CRC-32 as in zlib, bit by bit.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
        }
    }
    if bytes.is_empty() { 0 } else { !crc }
}

/// One frame of the `comm` preset.
pub(crate) fn comm(id: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + body.len()).expect("a short body");
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend_from_slice(&id.to_be_bytes());
    frame.extend_from_slice(&crc32(body).to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

/// One frame of the `rpc` preset.
pub(crate) fn rpc(id: u32, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(body.len())
        .expect("a short body")
        .to_be_bytes()
        .to_vec();
    frame.extend_from_slice(&id.to_be_bytes());
    frame.extend_from_slice(&sequence.to_be_bytes());
    frame.extend_from_slice(&crc32(body).to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

/// A client of plain blocking sockets.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        Self::try_connect(to).expect("connect")
    }

    /// As [`Self::connect`]; `None` when the server resets the connection, which
    /// `connect` itself may report.
    pub(crate) fn try_connect(to: SocketAddr) -> Option<Self> {
        let stream = match TcpStream::connect(to) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
            result => result.expect("connect"),
        };
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("timeout");
        stream.set_nodelay(true).expect("nodelay");
        Some(Self(stream))
    }

    pub(crate) fn to(server: &Server) -> Self {
        Self::connect(address(server))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("send");
    }

    pub(crate) fn exactly(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes).expect("receive");
        bytes
    }

    /// As [`Self::exactly`]; `None` when the server closes instead.
    pub(crate) fn exactly_or_closed(&mut self, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        match self.0.read_exact(&mut bytes) {
            Ok(()) => Some(bytes),
            Err(error) => {
                assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "neither came");
                None
            }
        }
    }

    /// The next `comm` frame, its checksum verified.
    pub(crate) fn comm(&mut self) -> (u16, Vec<u8>) {
        let header = self.exactly(8);
        let length = usize::from(u16::from_be_bytes([header[0], header[1]]));
        let body = self.exactly(length - 8);
        assert_eq!(
            u32::from_be_bytes(header[4..].try_into().expect("four")),
            crc32(&body)
        );
        (u16::from_be_bytes([header[2], header[3]]), body)
    }

    /// The next `rpc` frame, its checksum verified.
    pub(crate) fn rpc(&mut self) -> (u32, u32, Vec<u8>) {
        let header = self.exactly(16);
        let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four"));
        let body = self.exactly(word(0) as usize);
        assert_eq!(word(12), crc32(&body));
        (word(4), word(8), body)
    }

    pub(crate) fn call(&mut self, id: u16, body: &[u8]) -> (u16, Vec<u8>) {
        self.send(&comm(id, body));
        self.comm()
    }

    pub(crate) fn finish(&self) {
        self.0.shutdown(Shutdown::Write).expect("half-close");
    }

    /// Everything up to the end-of-file.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("an orderly end");
        rest
    }

    /// Waits until the server has ended the connection, orderly or not; gives
    /// what came before.
    pub(crate) fn until_closed(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
        }
        rest
    }
}

/// Resident memory of a process in bytes.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("VmRSS");
    let kib = line.split_whitespace().nth(1).expect("a number");
    kib.parse::<u64>().expect("a number") * 1024
}

/// Threads of a process.
pub(crate) fn threads(pid: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    let name = |task: io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    tasks
        .filter_map(name)
        .map(|name| name.trim().to_owned())
        .collect()
}
