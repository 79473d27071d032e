//! The program whose workers turn on their master when a test tells them to: what
//! somebody can do who has found a hole in a handler. It has no rights but those
//! of a worker, and uses nothing but the descriptors and the memory of one.
//!
//! A command is the body of a message, one line of words; the answer says what
//! was done.

use std::fs::{self, File, OpenOptions};
use std::io::{IoSlice, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{ControlMessage, MsgFlags, SockType, sendmsg, setsockopt, sockopt};
use purlin::prelude::*;

/// Answers with the same bytes.
const ECHO: Id = 1;
/// Answers with the worker's pid and the name of the connection: two words.
const WHO: Id = 2;
/// Does something to the master.
const ATTACK: Id = 3;

/// The word of the accept mutex, in the memory of the scoreboard.
const MUTEX: u64 = 2 * 8;
/// What stands before the letters of an outbox, and of each of them.
const LETTER: u64 = 4096;

/// Reproducible numbers (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

/// Where something is mapped that others share: its first byte, and how many.
type Mapping = (u64, u64);

/// The shared mappings whose line in `/proc/self/maps` has these words.
fn mappings(rights: &str, name: &str) -> Vec<Mapping> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let is_it = |line: &&str| line.contains(rights) && line.contains(name);
    let bounds = maps.lines().filter(is_it).filter_map(|line| {
        let (start, rest) = line.split_once('-')?;
        let (end, _) = rest.split_once(' ')?;
        let [start, end] = [start, end].map(|at| u64::from_str_radix(at, 16).unwrap_or(0));
        Some((start, end - start))
    });
    bounds.collect()
}

/// The words of all workers.
fn board() -> Vec<Mapping> {
    mappings("rw-s", "purlin-scoreboard")
}

/// What this worker says to its master.
fn outbox() -> Vec<Mapping> {
    mappings("rw-s", "/dev/zero")
}

/// Nonsense all over the bus: in each word of its head and of its rows, and here and
/// there in its tables and rings.
fn scribble(random: &mut Random) -> bool {
    let bus = mappings("rw-s", "purlin-bus");
    let Some((_, len)) = bus.first().copied() else {
        return false;
    };
    // Behind what says where everything is.
    let head = (6..500).map(|word| 8 * word);
    let far: Vec<u64> = (0..2000).map(|_| random.below(len / 8) * 8).collect();
    head.chain(far.into_iter().filter(|at| *at >= 48))
        .all(|at| {
            let word = match random.below(4) {
                0 => u64::MAX,
                1 => random.below(3),
                _ => random.next(),
            };
            poke(&bus, at, &word.to_le_bytes())
        })
}

fn memory() -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/proc/self/mem")
}

/// Writes into the first of these; whether that could be done.
fn poke(mappings: &[Mapping], at: u64, bytes: &[u8]) -> bool {
    let written = mappings
        .first()
        .map(|(start, _)| memory().and_then(|memory| memory.write_all_at(bytes, start + at)));
    written.is_some_and(|written| written.is_ok())
}

/// Descriptors of this process whose link begins like this.
fn descriptors(kind: &str) -> Vec<RawFd> {
    let all = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten();
    let matching = all.filter(|entry| {
        let link = fs::read_link(entry.path()).unwrap_or_default();
        link.to_string_lossy().starts_with(kind)
    });
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    matching.filter_map(number).collect()
}

/// One that the process has open, whatever becomes of it.
#[allow(unsafe_code, reason = "the numbers come from /proc")]
fn borrowed(raw: RawFd) -> BorrowedFd<'static> {
    // SAFETY: a number of a descriptor that was open a moment ago; that it may
    // be another one's by now is as hostile as the rest of this program.
    unsafe { BorrowedFd::borrow_raw(raw) }
}

/// Rings every bell that there is, that of the master among them.
fn ring() {
    for bell in descriptors("anon_inode:[eventfd]") {
        let _may_be_full = nix::unistd::write(borrowed(bell), &1_u64.to_ne_bytes());
    }
}

/// Makes every bell a blocking one, for everybody, and full.
fn fill_bells() -> usize {
    let bells = descriptors("anon_inode:[eventfd]");
    for bell in &bells {
        let bell = borrowed(*bell);
        let _at_once = fcntl(bell, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
        let _emptied = nix::unistd::read(bell, &mut [0; 8]);
        let _filled = nix::unistd::write(bell, &(u64::MAX - 1).to_ne_bytes());
        let _blocks = fcntl(bell, FcntlArg::F_SETFL(OFlag::empty()));
    }
    bells.len()
}

/// A connection whose last close waits for a minute. Never closed here.
fn lingering() -> Option<RawFd> {
    static LINGERS: OnceLock<Option<RawFd>> = OnceLock::new();
    *LINGERS.get_or_init(|| make_lingering().map(IntoRawFd::into_raw_fd))
}

/// It lingers, has unsent bytes, and its peer does not read.
fn make_lingering() -> Option<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0").ok()?;
    let near = TcpStream::connect(listener.local_addr().ok()?).ok()?;
    std::mem::forget(listener);
    near.set_nonblocking(true).ok()?;
    while nix::unistd::write(&near, &[0; 65536]).is_ok() {}
    let lingers = nix::libc::linger {
        l_onoff: 1,
        l_linger: 60,
    };
    setsockopt(&near, sockopt::Linger, &lingers).ok()?;
    near.set_nonblocking(false).ok()?;
    Some(near)
}

/// Sends `datagram` with descriptors over every line that this process has.
fn send_all(datagram: &[u8], carried: &[RawFd]) -> usize {
    let lines = descriptors("socket:").into_iter().filter(|line| {
        let kind = nix::sys::socket::getsockopt(&borrowed(*line), sockopt::SockType);
        kind == Ok(SockType::SeqPacket)
    });
    let rights = [ControlMessage::ScmRights(carried)];
    let rights = if carried.is_empty() { &[][..] } else { &rights };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let sent = lines.filter(|line| {
        sendmsg::<()>(*line, &[IoSlice::new(datagram)], rights, flags, None).is_ok()
    });
    sent.count()
}

/// Puts a letter into the outbox, with this number, and rings.
fn say(number: u64, letter: &[u8]) -> bool {
    let outbox = outbox();
    let place = LETTER * (1 + number.wrapping_sub(1) % 8);
    let len = (letter.len() as u64).to_le_bytes();
    let put = poke(&outbox, place, &len)
        && poke(&outbox, place + 8, letter)
        && poke(&outbox, 0, &number.to_le_bytes());
    ring();
    put
}

/// One of the things that can be done, at random.
fn do_anything(random: &mut Random) {
    let word = match random.below(4) {
        0 => random.below(10),
        1 => u64::MAX,
        2 => 1 << 32 | random.below(1 << 24),
        _ => random.next(),
    };
    let board = board();
    let size = board.first().map_or(0, |(_, size)| size / 8);
    match random.below(100) {
        0..60 => {
            // The header, the rows, or anywhere.
            let end = [8, 4096, size][usize::try_from(random.below(3)).unwrap_or(0)];
            let at = MUTEX + random.below(end.min(size).saturating_sub(3)) * 8;
            poke(&board, at, &word.to_le_bytes());
        }
        60..80 => {
            poke(&board, MUTEX, &word.to_le_bytes());
        }
        80..85 => {
            fill_bells();
        }
        85..90 => {
            let file = File::open("/dev/zero").ok();
            let pipe = std::io::pipe().ok();
            let numbers = [
                lingering(),
                file.as_ref().map(AsRawFd::as_raw_fd),
                pipe.as_ref().map(|(reader, _)| reader.as_raw_fd()),
            ];
            let carried: Vec<RawFd> = numbers.into_iter().flatten().collect();
            send_all(b"ready", &carried);
        }
        90..98 => ring(),
        _ => {
            let letter: Vec<u8> = (0..random.below(64))
                .map(|_| random.next().to_le_bytes()[0])
                .collect();
            say(random.below(12), &letter);
        }
    }
}

fn attack(command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    let number = |n: usize| -> u64 { words.get(n).map_or(0, |word| word.parse().unwrap_or(0)) };
    match words[..] {
        ["mutex", ..] => poke(&board(), MUTEX, &number(1).to_le_bytes()).to_string(),
        ["bells"] => fill_bells().to_string(),
        ["scribble", _] => scribble(&mut Random(number(1).max(1))).to_string(),
        ["ledger"] => {
            let ledgers = mappings("r--s", "purlin-scoreboard");
            let writable = mappings("rw-s", "purlin-scoreboard").len();
            let poked = poke(&ledgers, 0, &1_u64.to_le_bytes());
            format!("{} {writable} {poked}", ledgers.len())
        }
        ["linger"] => {
            let socket = lingering().expect("a socket");
            send_all(b"ready", &[socket]).to_string()
        }
        ["say", _, ref letter @ ..] => say(number(1), letter.join(" ").as_bytes()).to_string(),
        ["ring", ..] => {
            let times = number(1);
            std::thread::spawn(move || (0..times).for_each(|_| ring()));
            times.to_string()
        }
        ["stops", times] => {
            let own = std::process::id();
            let script =
                format!("for n in $(seq {times}); do kill -STOP {own}; kill -CONT {own}; done");
            let shell = std::process::Command::new("sh")
                .args(["-c", &script])
                .status();
            shell.is_ok_and(|status| status.success()).to_string()
        }
        ["write", ..] => {
            let line = [&[b'x'; 100][..], b"\n"].concat();
            let mut error = std::io::stderr().lock();
            let written = (0..number(1)).filter(|_| error.write_all(&line).is_ok());
            written.count().to_string()
        }
        ["anything", ..] => {
            let mut random = Random(number(1) | 1);
            std::thread::spawn(move || {
                loop {
                    do_anything(&mut random);
                    std::thread::sleep(Duration::from_micros(300));
                }
            });
            command.to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

fn main() -> ExitCode {
    App::<()>::new()
        .on_inline(ECHO, |_, body: Bytes| body)
        .on_inline(WHO, |c, (): ()| {
            let conn = c.conn().word().to_be_bytes();
            let pid = u64::from(std::process::id()).to_be_bytes();
            Bytes::from([pid, conn].concat())
        })
        .on(ATTACK, |_, command: String| attack(&command))
        .main()
}
