//! Signals: what each of them orders. On the master's thread.

use super::{Master, Step};
use crate::master::supervisor::Command;
use crate::sys::signal::Signal;

/// All that the master listens to; workers inherit them blocked.
pub(in crate::master) const SIGNALS: [Signal; 10] = [
    Signal::Child,
    Signal::Hangup,
    Signal::Interrupt,
    Signal::Quit,
    Signal::Terminate,
    Signal::User1,
    Signal::User2,
    Signal::WindowChange,
    Signal::TtyIn,
    Signal::TtyOut,
];

impl Master<'_> {
    /// Carries out what has come.
    pub(super) fn take_signals(&mut self) -> Step {
        while let Ok(Some(signal)) = self.signals.next() {
            // Who sends one may have found no other way to reach the master.
            if !matches!(signal, Signal::Child) {
                self.renew_files();
            }
            match signal {
                Signal::Child => self.reap()?,
                Signal::Terminate | Signal::Interrupt => self.order(Command::Stop)?,
                Signal::Quit => self.order(Command::Quit)?,
                Signal::Hangup => self.reload(None, false)?,
                Signal::User1 => self.reopen(None)?,
                Signal::User2 => self.upgrade(None, false)?,
                // A terminal sends it at every change of its size.
                Signal::WindowChange if !self.plan.is_daemon => {}
                Signal::WindowChange => self.order(Command::Winch)?,
                Signal::TtyIn => self.workers_by(1)?,
                Signal::TtyOut => self.workers_by(-1)?,
            }
        }
        Step::Continue(())
    }
}
