//! Memory of idle connections: what the private memory of the server grows by.
//!
//! Kernel memory (socket buffers, epoll) is not in it; it is the same for all.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpStream;

use nix::unistd::Pid;

use crate::Failure;
use crate::cells::{Cell, Contestant, IDLE};
use crate::cores::Cores;
use crate::figures::{Figure, Sample};
use crate::load::exchange;
use crate::outcome::Outcome;
use crate::server::Server;

/// Measures each contestant `rounds` times, on a new process each time.
///
/// # Errors
///
/// A server failed; or the limit of descriptors is too low for so many.
pub(crate) fn run(cell: &Cell, rounds: usize, cores: Cores) -> Result<Outcome<'_>, Failure> {
    let mut outcome = Outcome::new(cell);
    for _ in 0..rounds {
        let samples = cell.contestants.iter().map(|contestant| {
            measure(contestant, cores)
                .map_err(|error| format!("{}: {error}", contestant.name).into())
        });
        outcome
            .rounds
            .push(samples.collect::<Result<Vec<_>, Failure>>()?);
    }
    Ok(outcome)
}

fn measure(contestant: &Contestant, cores: Cores) -> Result<Sample, Failure> {
    // The probe of the start has touched what the first connection needs.
    let server = Server::start(&contestant.spec, &[], cores)?;
    let before = Held::read(&server.processes)?;
    let mut open = Vec::with_capacity(IDLE);
    for name in 0..IDLE {
        let stream = exchange(&server.target, name)
            .map_err(|error| format!("connection {name} of {IDLE}: {error}"))?;
        open.push(stream);
    }
    let after = Held::read(&server.processes)?;
    for (name, stream) in open.iter().enumerate() {
        still_open(stream).map_err(|error| format!("idle connection {name}: {error}"))?;
    }
    let grown = after.bytes.saturating_sub(before.bytes);
    let threads = after.threads as f64 - before.threads as f64;
    Ok(Sample::default()
        .with(Figure::Bytes, grown as f64 / IDLE as f64)
        .with(Figure::Threads, threads))
}

/// Fails when the server has closed the connection, or said something.
fn still_open(stream: &TcpStream) -> Result<(), Failure> {
    stream.set_nonblocking(true)?;
    match stream.peek(&mut [0]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Err("closed by the server".into()),
    }
}

/// What the processes of a server hold.
struct Held {
    bytes: u64,
    threads: usize,
}

impl Held {
    fn read(processes: &[Pid]) -> Result<Self, Failure> {
        let mut held = Self {
            bytes: 0,
            threads: 0,
        };
        for process in processes {
            let path = format!("/proc/{process}/smaps_rollup");
            let rollup =
                fs::read_to_string(&path).map_err(|error| format!("read {path}: {error}"))?;
            held.bytes += private(&rollup);
            held.threads += fs::read_dir(format!("/proc/{process}/task"))?.count();
        }
        Ok(held)
    }
}

/// Bytes that no other process shares: lines such as `Private_Dirty: 12 kB`.
fn private(rollup: &str) -> u64 {
    let lines = rollup.lines().filter(|line| line.starts_with("Private_"));
    let kilobytes = lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.sum::<u64>() * 1024
}
