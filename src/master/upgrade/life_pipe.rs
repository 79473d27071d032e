//! A master and its workers, as seen by those who are not their parent: a pipe
//! whose writing end they all hold, and nobody else does. Its end-of-file says
//! that the last of them is gone, however that came about; until then their
//! rows of the shared memory may be written.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Both ends, as the master holds them.
#[derive(Debug)]
pub(in crate::master) struct LifePipe {
    pub(in crate::master) reader: OwnedFd,
    pub(in crate::master) writer: OwnedFd,
}

impl LifePipe {
    /// Held by one: whoever has this.
    ///
    /// # Errors
    ///
    /// `EMFILE` or `ENFILE`.
    pub(in crate::master) fn new() -> io::Result<Self> {
        let (reader, writer): (PipeReader, PipeWriter) = io::pipe()?;
        Ok(Self {
            reader: reader.into(),
            writer: writer.into(),
        })
    }

    /// Makes whoever holds it until its end a member.
    ///
    /// # Errors
    ///
    /// `EMFILE` or `ENFILE`.
    pub(in crate::master) fn hold(&self) -> io::Result<OwnedFd> {
        self.writer.try_clone()
    }

    /// For those outside: ready when the last member is gone.
    pub(in crate::master) fn end(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::epoll::{Epoll, Events, Interest};
    use std::time::Duration;

    #[test]
    fn it_ends_with_the_last_member() {
        let life_pipe = LifePipe::new().unwrap();
        let epoll = Epoll::new().unwrap();
        epoll.add(&life_pipe.reader, Interest::Read, 1).unwrap();
        let mut events = Events::with_capacity(4);
        let mut is_over = || {
            let found = epoll.wait(&mut events, Some(Duration::ZERO)).unwrap();
            found.count() == 1
        };
        let member = life_pipe.hold().unwrap();
        let LifePipe { reader, writer } = life_pipe;
        drop(writer);
        assert!(!is_over());
        drop(member);
        assert!(is_over());
        drop(reader);
    }
}
