//! A small server with faults, for the tests of the tool: it echoes whole
//! frames on one thread, and does to the chosen one what a test asks for.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::protocol::frame::AnyFormat;

/// What happens to a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Act {
    Echo,
    /// One bit of this byte is turned.
    Flip(usize),
    /// No reply.
    Swallow,
    /// Its reply comes behind that to the next frame.
    Swap,
    /// Its reply comes twice.
    Twice,
    /// Its reply is the frame that came before it, from whomever.
    Elses,
    /// The connection is closed instead.
    Close,
    /// All connections wait this long, then it is echoed.
    Stall(Duration),
}

/// Ended when dropped.
pub(super) struct Faulty {
    pub(super) address: String,
    pub(super) accepted: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Peer {
    stream: TcpStream,
    bytes: Vec<u8>,
    /// The frame that the next one overtakes.
    held: Vec<u8>,
}

impl Faulty {
    /// Serves frames of `preset`; `act` is asked about each, by its number.
    pub(super) fn start(preset: &str, act: impl FnMut(u64) -> Act + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.78:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (over, accepted) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let format = AnyFormat::preset(preset).unwrap();
        let (ends, counts) = (Arc::clone(&over), Arc::clone(&accepted));
        let thread = thread::spawn(move || serve(&listener, &format, act, &ends, &counts));
        Self {
            address,
            accepted,
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _told_by_the_test = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(
    listener: &TcpListener,
    format: &AnyFormat,
    mut act: impl FnMut(u64) -> Act,
    over: &AtomicBool,
    accepted: &AtomicU64,
) {
    let mut peers: Vec<Peer> = Vec::new();
    let mut number = 0;
    let mut before_it = Vec::new();
    while !over.load(Ordering::Relaxed) {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true).unwrap();
            stream.set_nodelay(true).unwrap();
            accepted.fetch_add(1, Ordering::Relaxed);
            let (bytes, held) = (Vec::new(), Vec::new());
            peers.push(Peer {
                stream,
                bytes,
                held,
            });
        }
        let before = number;
        peers.retain_mut(|peer| {
            let mut next = || {
                number += 1;
                act(number - 1)
            };
            peer.turn(format, &mut before_it, &mut next)
        });
        if number == before {
            thread::park_timeout(Duration::from_micros(100));
        }
    }
}

impl Peer {
    /// Whether the connection goes on.
    fn turn(
        &mut self,
        format: &AnyFormat,
        before_it: &mut Vec<u8>,
        next: &mut dyn FnMut() -> Act,
    ) -> bool {
        let mut scratch = [0; 65_536];
        match self.stream.read(&mut scratch) {
            Ok(0) => return false,
            Ok(count) => self.bytes.extend(&scratch[..count]),
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
        let mut out = Vec::new();
        while let Some(total) = format.read(&self.bytes).unwrap().map(|(total, _)| total) {
            let mut frame: Vec<u8> = self.bytes.drain(..total).collect();
            let earlier = std::mem::replace(before_it, frame.clone());
            match next() {
                Act::Echo => {}
                Act::Flip(at) => frame[at] ^= 1,
                Act::Swallow => continue,
                Act::Swap => {
                    self.held = frame;
                    continue;
                }
                Act::Twice => frame = frame.repeat(2),
                Act::Elses => frame = earlier,
                Act::Close => return false,
                // Here time itself is what is tested.
                Act::Stall(time) => thread::sleep(time),
            }
            out.append(&mut frame);
            out.append(&mut self.held);
        }
        self.stream.write_all(&out).is_ok()
    }
}
