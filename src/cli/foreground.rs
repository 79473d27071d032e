//! `purlin run`: one worker in this process, ended by TERM or INT.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::sys::signal::{Signal, Signals};
use crate::worker::{Control, Order};

/// The signals that end a foreground worker.
pub(super) const ENDING: [Signal; 3] = [Signal::Terminate, Signal::Interrupt, Signal::Quit];

/// Orders that come as signals: the first drains, the second ends at once.
pub(super) struct BySignal {
    pub(super) signals: Signals,
    pub(super) patience: Duration,
    pub(super) draining: bool,
}

impl Control for BySignal {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    fn order(&mut self) -> Option<Order> {
        match self.signals.next().ok()?? {
            Signal::Terminate | Signal::Interrupt if self.draining => {
                ::log::warn!("stop: ordered a second time, ending at once");
                Some(Order::End)
            }
            Signal::Terminate | Signal::Interrupt => {
                self.draining = true;
                let patience = self.patience;
                ::log::info!("stop: draining for at most {patience:?}");
                Some(Order::Drain(Some(patience)))
            }
            Signal::Quit => {
                self.draining = true;
                ::log::info!("quit: draining for as long as it takes");
                Some(Order::Drain(None))
            }
            Signal::Child
            | Signal::Hangup
            | Signal::User1
            | Signal::User2
            | Signal::WindowChange
            | Signal::TtyIn
            | Signal::TtyOut => self.order(),
        }
    }
}
