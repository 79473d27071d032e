//! The files by which others find the master: the pid file and the control
//! socket. Somebody may remove them, as those do who clean up `/tmp` or `/run`.
//! On the master's thread.

use std::time::{Duration, Instant};

use super::{CONTROL, Master};
use crate::log;
use crate::sys::epoll::Interest;

/// How often the master looks whether its files are there.
const LOOK: Duration = Duration::from_secs(60);

impl Master<'_> {
    /// Looks after the files, once a minute.
    pub(super) fn keep_files(&mut self, now: Instant) {
        if now >= self.files_at {
            self.renew_files();
        }
    }

    /// Makes them anew where they are gone. What somebody else put there stays:
    /// it may be another master's.
    pub(super) fn renew_files(&mut self) {
        self.files_at = Instant::now() + LOOK;
        if !self.supervisor.is_ruling() || self.supervisor.is_stopping() {
            return;
        }
        if self.pid_file.is_gone() {
            match self.pid_file.renew() {
                Ok(()) => log::warn!("the pid file was gone: made anew"),
                Err(error) => log::error!("the pid file was gone: {error}"),
            }
        }
        if self
            .control
            .as_ref()
            .is_some_and(|control| control.is_gone())
        {
            match self.renew_control() {
                Ok(()) => log::warn!("the control socket was gone: made anew"),
                Err(error) => log::error!("the control socket was gone: {error}"),
            }
        }
    }

    fn renew_control(&mut self) -> std::io::Result<()> {
        let Some(control) = &mut self.control else {
            return Ok(());
        };
        let renewed = control.renewed()?;
        if self.is_listening {
            self.epoll.add(&renewed, Interest::Read, CONTROL)?;
            let _registered = self.epoll.delete(&*control);
        }
        *control = renewed;
        Ok(())
    }
}
