//! A thread that wants to run every millisecond, as a measure of the machine:
//! where it was late itself, a long sample says nothing about the server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A tick that comes so late is the machine's fault.
const LATE: Duration = Duration::from_millis(5);

/// Begin and end of something.
pub(crate) type Span = (Instant, Instant);

/// The thread; ends with the value.
pub(crate) struct Ticker {
    over: Arc<AtomicBool>,
    late: Arc<Mutex<Vec<Span>>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(crate) fn start() -> Self {
        let (over, late) = (
            Arc::<AtomicBool>::default(),
            Arc::<Mutex<Vec<Span>>>::default(),
        );
        let (ends, noted) = (Arc::clone(&over), Arc::clone(&late));
        let thread = thread::spawn(move || {
            let mut before = Instant::now();
            while !ends.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(1));
                let now = Instant::now();
                if now - before > LATE {
                    let mut late = noted.lock().unwrap_or_else(PoisonError::into_inner);
                    late.push((before, now));
                }
                before = now;
            }
        });
        let thread = Some(thread);
        Self { over, late, thread }
    }

    /// How many of the samples lie where the ticker was late.
    pub(crate) fn marked(&self, samples: &[Span]) -> usize {
        let late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let overlaps = |sample: &&Span| {
            late.iter()
                .any(|tick| tick.0 < sample.1 && sample.0 < tick.1)
        };
        samples.iter().filter(overlaps).count()
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _it_cannot_panic = thread.join();
        }
    }
}
