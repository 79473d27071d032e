//! Clients that never pause: each request has a body of its own, each reply is
//! compared with it, and each failure is kept with its reason. A thread a client.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two requests of a client: what is measured is loss, not speed.
const PAUSE: Duration = Duration::from_millis(1);

/// What a server of the run understands; both answer with what they were sent.
#[derive(Clone, Copy)]
pub(crate) enum Speech {
    /// The `comm` preset.
    Frames,
    /// HTTP, with the number in the path and in the body of the reply.
    Http,
}

/// A request that was not answered as it should be.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) from: Instant,
    /// When the request was with the kernel, if it ever was.
    pub(crate) sent: Option<Instant>,
    pub(crate) to: Instant,
    /// The client's, where it had a connection.
    pub(crate) port: Option<u16>,
    pub(crate) reason: String,
}

/// What became of all requests of a load.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) served: u64,
    pub(crate) slowest: Duration,
    pub(crate) failures: Vec<Failure>,
}

/// Clients that ask until they are told to stop.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// `kept` clients keep their connection, `short` ones make one for each request.
    pub(crate) fn start(address: SocketAddr, speech: Speech, kept: usize, short: usize) -> Self {
        let (over, tally) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Tally>>::default());
        let client = |at: usize| {
            let (over, tally) = (Arc::clone(&over), Arc::clone(&tally));
            thread::spawn(move || ask_on(address, speech, at < kept, &over, &tally))
        };
        let clients = (0..kept + short).map(client).collect();
        Self {
            over,
            tally,
            clients,
        }
    }

    /// Stops the clients after their last reply.
    pub(crate) fn stop(self) -> Tally {
        self.over.store(true, Ordering::Relaxed);
        for client in self.clients {
            let _it_cannot_panic = client.join();
        }
        std::mem::take(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn ask_on(
    address: SocketAddr,
    speech: Speech,
    keeps: bool,
    over: &AtomicBool,
    tally: &Mutex<Tally>,
) {
    let mut connection = None;
    while !over.load(Ordering::Relaxed) {
        let from = Instant::now();
        let (mut port, mut sent) = (None, None);
        let open = connection.take().map_or_else(|| connect(address), Ok);
        let result = open.and_then(|mut open| {
            port = Some(open.local_addr()?.port());
            let number = send(&mut open, speech)?;
            sent = Some(Instant::now());
            receive(&mut open, speech, number).map(|()| open)
        });
        let to = Instant::now();
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.slowest = tally.slowest.max(to - from);
        match result {
            Ok(open) => {
                tally.served += 1;
                connection = keeps.then_some(open);
            }
            Err(error) => {
                let reason = error.to_string();
                tally.failures.push(Failure {
                    from,
                    sent,
                    to,
                    port,
                    reason,
                });
            }
        }
        drop(tally);
        thread::sleep(PAUSE);
    }
}

/// A connection with deadlines.
pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let open = TcpStream::connect_timeout(&address, PATIENCE)?;
    open.set_nodelay(true)?;
    open.set_read_timeout(Some(PATIENCE))?;
    open.set_write_timeout(Some(PATIENCE))?;
    Ok(open)
}

/// One request, whose reply has to be exactly what was sent.
pub(crate) fn ask(open: &mut TcpStream, speech: Speech) -> io::Result<()> {
    let number = send(open, speech)?;
    receive(open, speech, number)
}

/// A request with a number of its own, which is returned.
pub(crate) fn send(open: &mut TcpStream, speech: Speech) -> io::Result<u64> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    match speech {
        Speech::Frames => open.write_all(&frame(number))?,
        Speech::Http => {
            let path = path(number);
            open.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())?;
        }
    }
    Ok(number)
}

/// The reply to the request with this number.
pub(crate) fn receive(open: &mut TcpStream, speech: Speech, number: u64) -> io::Result<()> {
    match speech {
        Speech::Frames => {
            let mut reply = [0; 16];
            open.read_exact(&mut reply)?;
            if reply == frame(number) {
                return Ok(());
            }
            Err(io::Error::other("another reply than its own"))
        }
        Speech::Http => receive_http(open, &path(number)),
    }
}

fn frame(number: u64) -> [u8; 16] {
    let body = number.to_be_bytes();
    let mut frame = [0, 16, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    frame[4..8].copy_from_slice(&crc32fast::hash(&body).to_be_bytes());
    frame[8..].copy_from_slice(&body);
    frame
}

fn path(number: u64) -> String {
    format!("/{number:020}")
}

fn receive_http(open: &mut TcpStream, path: &str) -> io::Result<()> {
    let mut reply = Vec::new();
    let mut piece = [0; 1024];
    // The body is the path, so the reply has ended when it ends so.
    while !reply.ends_with(path.as_bytes()) {
        let length = open.read(&mut piece)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        reply.extend_from_slice(&piece[..length]);
        if reply.len() > 4096 {
            return Err(io::Error::other("another reply than its own"));
        }
    }
    Ok(())
}
