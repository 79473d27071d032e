//! What a worker writes to standard error past the log: the runtime's word on an
//! allocation that failed or a stack that is full, a library's, a program's own.
//!
//! ```text
//! worker: descriptor 2 --- pipe ---> master: a line of the log each
//! ```
//!
//! The worker's log has the descriptor that standard error was before. Without a
//! master there is no reader, and standard error leads nowhere: to write there must
//! be no error, on which `eprintln!` panics.
//!
//! Invariant: the master never waits for a worker here, and takes so many bytes in a
//! second; who writes more waits. What it reads is text of somebody who is not
//! trusted, as it came. On the master's thread.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::log;
use crate::sys::process::Pid;
use crate::sys::starter;

/// Bytes that are taken in a second, and at a time.
const BYTES_PER_SECOND: usize = 256 * 1024;
const BYTES_AT_ONCE: usize = 16 * 1024;

/// Bytes of a line, or of the part of it that is told as one.
const LINE_MAX: usize = 2048;

/// Milliseconds for which a line may be about the end of its worker, whose core file
/// may have to be written first.
const LAST_WORDS: u64 = 30_000;

/// The worker's side.
#[derive(Debug)]
pub(in crate::master) struct RawWriter(OwnedFd);

/// The master's side.
#[derive(Debug)]
pub(in crate::master) struct RawLines {
    reader: OwnedFd,
    pub(in crate::master) pid: Pid,
    pub(in crate::master) number: usize,
    /// The start of a line.
    rest: Vec<u8>,
    /// The second that this is about, and the bytes that came in it.
    window: (u64, usize),
    /// The last line that may be a reason, and when it came.
    last: Option<(u64, String)>,
    /// When the last backtrace began.
    traced: Option<u64>,
}

/// What is to be expected of a worker's standard error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::master) enum Next {
    /// More, whenever there is some.
    Lines,
    /// More, but too much for this second.
    TooMany,
    /// Nothing: nobody has it open.
    End,
}

/// Both sides, before the fork.
///
/// # Errors
///
/// `EMFILE` or `ENFILE`.
pub(in crate::master) fn pipe() -> io::Result<(OwnedFd, RawWriter)> {
    let (reader, writer) = io::pipe()?;
    // The worker drops its copy before any code of the program runs in it, so nobody
    // can make this one wait.
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((reader.into(), RawWriter(writer.into())))
}

/// The master is gone.
pub(super) fn forget_reader() {
    let null = File::options().write(true).open("/dev/null");
    let _or_writing_fails = null.and_then(starter::lead_standard_error);
}

impl RawWriter {
    /// From now on whatever this process writes to standard error goes to the master,
    /// but for its log.
    ///
    /// # Errors
    ///
    /// No descriptor is free.
    pub(super) fn begin(&self) -> io::Result<()> {
        log::keep_standard_error()?;
        starter::lead_standard_error(&self.0)
    }
}

impl RawLines {
    pub(in crate::master) fn new(reader: OwnedFd, pid: Pid, number: usize) -> Self {
        Self {
            reader,
            pid,
            number,
            rest: Vec::new(),
            window: (0, 0),
            last: None,
            traced: None,
        }
    }

    /// Reads once, at this millisecond, and gives `tell` each line.
    pub(in crate::master) fn read(&mut self, now: u64, tell: impl Fn(&str)) -> Next {
        if self.window.0 != now / 1000 {
            self.window = (now / 1000, 0);
        }
        if self.window.1 >= BYTES_PER_SECOND {
            return Next::TooMany;
        }
        let mut bytes = [0; BYTES_AT_ONCE];
        match nix::unistd::read(&self.reader, &mut bytes) {
            Ok(0) => {
                self.end(now, tell);
                Next::End
            }
            Ok(len) => {
                self.window.1 += len;
                self.came(&bytes[..len], now, tell);
                Next::Lines
            }
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => Next::Lines,
            Err(_) => Next::End,
        }
    }

    /// Takes what is left of one that has ended: at most as much as a pipe holds.
    pub(in crate::master) fn finish(&mut self, now: u64, tell: impl Fn(&str)) -> Next {
        self.window = (now / 1000, 0);
        loop {
            let before = self.window.1;
            let next = self.read(now, &tell);
            if next != Next::Lines || self.window.1 == before {
                self.end(now, tell);
                return next;
            }
        }
    }

    /// What may be the reason of its end.
    pub(in crate::master) fn last_words(&self, now: u64) -> Option<&str> {
        let (at, line) = self.last.as_ref()?;
        (now.saturating_sub(*at) < LAST_WORDS).then_some(line)
    }

    fn came(&mut self, bytes: &[u8], now: u64, tell: impl Fn(&str)) {
        for byte in bytes {
            if *byte != b'\n' {
                self.rest.push(*byte);
            }
            if *byte == b'\n' || self.rest.len() >= LINE_MAX {
                self.end(now, &tell);
            }
        }
    }

    fn end(&mut self, now: u64, tell: impl Fn(&str)) {
        let line = std::mem::take(&mut self.rest);
        if line.is_empty() {
            return;
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        tell(&text);
        self.note(now, text);
    }

    /// What a backtrace, or the runtime's advice to have one, stands behind is the
    /// reason, not they.
    fn note(&mut self, now: u64, line: String) {
        let is_recent = |at: u64| now.saturating_sub(at) < LAST_WORDS;
        if line == "stack backtrace:" {
            self.traced = Some(now);
        } else if !self.traced.is_some_and(is_recent) && !line.starts_with("note: ") {
            self.last = Some((now, line));
        }
    }
}

impl AsFd for RawLines {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn lines() -> (RawLines, RawWriter, RefCell<Vec<String>>) {
        let (reader, writer) = pipe().unwrap();
        let lines = RawLines::new(reader, Pid::new(7).unwrap(), 2);
        (lines, writer, RefCell::default())
    }

    fn write(to: &RawWriter, bytes: &[u8]) {
        nix::unistd::write(&to.0, bytes).unwrap();
    }

    #[test]
    fn each_line_is_told_once_it_is_whole_or_its_writer_is_gone() {
        let (mut lines, writer, told) = lines();
        let tell = |line: &str| told.borrow_mut().push(line.to_owned());
        assert_eq!(lines.read(1000, tell), Next::Lines, "it does not wait");
        write(&writer, b"one\n\ntw");
        assert_eq!(lines.read(1000, tell), Next::Lines);
        assert_eq!(told.take(), ["one"]);
        assert_eq!(lines.last_words(30_999), Some("one"));
        assert_eq!(lines.last_words(31_000), None, "it is about something else");
        write(&writer, b"o\xff\nthree");
        drop(writer);
        assert_eq!(lines.finish(40_000, tell), Next::End);
        assert_eq!(told.take(), ["two\u{fffd}", "three"]);
        assert_eq!(lines.read(40_000, tell), Next::End);
        assert_eq!(lines.last_words(40_000), Some("three"));
    }

    #[test]
    fn the_reason_stands_before_the_backtrace() {
        let (mut lines, ..) = lines();
        lines.came(b"memory failed\nnote: run it\n", 1000, |_| ());
        assert_eq!(lines.last_words(1000), Some("memory failed"));
        lines.came(b"stack backtrace:\n  0: main\n", 1000, |_| ());
        assert_eq!(lines.last_words(1000), Some("memory failed"));
        lines.came(b"another\n", 1000 + LAST_WORDS, |_| ());
        assert_eq!(lines.last_words(1000 + LAST_WORDS), Some("another"));
    }

    #[test]
    fn who_writes_without_end_is_read_for_so_much_in_a_second() {
        let (mut lines, writer, told) = lines();
        let tell = |line: &str| told.borrow_mut().push(line.to_owned());
        let much = vec![b'x'; BYTES_AT_ONCE];
        for _ in 0..BYTES_PER_SECOND / BYTES_AT_ONCE {
            write(&writer, &much);
            assert_eq!(lines.read(1999, tell), Next::Lines);
        }
        write(&writer, &much);
        assert_eq!(lines.read(1999, tell), Next::TooMany);
        assert_eq!(told.take().len(), BYTES_PER_SECOND / LINE_MAX);
        assert_eq!(lines.read(2000, tell), Next::Lines);
    }
}
