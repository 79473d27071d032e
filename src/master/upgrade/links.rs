//! What a master knows of the other one of an upgrade, and its way to it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use crate::master::cycle::socket_file::SocketFile;
use crate::master::daemon::service_manager::Notifier;
use crate::master::supervisor::Rows;
use crate::sys::channel::Channel;
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::process::Pid;

/// The master before this one, until it is gone.
pub(in crate::master) struct OldMaster {
    pub(in crate::master) pid: i32,
    pub(in crate::master) line: Rc<Channel>,
    /// The ends of its life pipe and of those of the masters before it, until each
    /// has ended.
    pub(in crate::master) lives: Vec<Option<OwnedFd>>,
    /// How many workers it has, with those before it that count where its own do.
    pub(in crate::master) workers: usize,
    /// Rows of these workers, if they count where ours do.
    pub(in crate::master) taken: Rows,
    /// Unix sockets that it made.
    pub(in crate::master) files: Vec<SocketFile>,
    /// Whether its workers count where ours do.
    pub(in crate::master) is_shared: bool,
    /// What it had counted when we took over.
    pub(in crate::master) counted: Vec<(String, u64)>,
    /// What it has said of what it counted by name.
    pub(in crate::master) sums: Vec<(String, u64)>,
    /// Ours to the service manager, for as long as that listens to the old
    /// master.
    pub(in crate::master) notifier: Option<Notifier>,
    /// Whether its line is closed.
    pub(in crate::master) is_silent: bool,
    /// Which of its workers have lines to which of ours.
    pub(in crate::master) introduced: Vec<(usize, Pid)>,
}

impl OldMaster {
    /// Has `epoll` tell of it.
    pub(in crate::master) fn listen(
        &self,
        epoll: &Epoll,
        (line, end): (u64, u64),
    ) -> std::io::Result<()> {
        epoll.add(&*self.line, Interest::Read, line)?;
        for (life, token) in self.lives.iter().flatten().zip(end..) {
            epoll.add(life, Interest::Read, token)?;
        }
        Ok(())
    }

    /// Those that have not ended.
    pub(in crate::master) fn lives(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.lives.iter().flatten().map(AsFd::as_fd)
    }

    /// This one has ended. True: it was the last one.
    pub(in crate::master) fn life_ended(&mut self, number: u64, epoll: &Epoll) -> bool {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        if let Some(life) = self.lives.get_mut(number).and_then(Option::take) {
            let _registered = epoll.delete(&life);
        }
        self.lives().next().is_none()
    }

    /// The Unix sockets that it made.
    pub(in crate::master) fn files(&self) -> &[SocketFile] {
        &self.files
    }
}

/// A new program that was started.
pub(in crate::master) struct NewMaster {
    pub(in crate::master) line: Channel,
    /// The end of its life pipe.
    pub(in crate::master) life: OwnedFd,
    /// The workers of each row when it was started.
    pub(in crate::master) epochs: Vec<u16>,
    /// Rows in which workers were.
    pub(in crate::master) taken: Rows,
    /// Rows that its workers may live in, since it is gone.
    pub(in crate::master) used: Rows,
    /// Why it ended, as far as it said so.
    pub(in crate::master) last_words: Option<String>,
    /// Whether it was told to take over.
    pub(in crate::master) was_promoted: bool,
    /// Whether yet another one was, by it.
    pub(in crate::master) is_replaced: bool,
}
