//! What a worker asks all others, and what they answer.
//!
//! A question goes over the bus to every worker; each `bus` thread answers at once,
//! from what its own directory knows. Who asks waits, on a thread that may: for each
//! that lived when the question was put, until it has answered, or has died, or a
//! second is over.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Sender;

use bytes::Bytes;

use crate::bus::{Message, Origin};

/// Questions that wait for answers.
#[derive(Debug, Default)]
pub(super) struct Questions {
    last: AtomicU32,
    waiting: Mutex<HashMap<u32, Sender<(Origin, Bytes)>>>,
}

impl Questions {
    pub(super) fn add(&self, sender: Sender<(Origin, Bytes)>) -> u32 {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let mut waiting = self.waiting.lock().expect("nothing under this lock panics");
        waiting.insert(number, sender);
        number
    }

    pub(super) fn remove(&self, number: u32) {
        let mut waiting = self.waiting.lock().expect("nothing under this lock panics");
        waiting.remove(&number);
    }

    /// An answer that nobody waits for any more is dropped.
    pub(super) fn answered(&self, message: &Message) {
        let waiting = self.waiting.lock().expect("nothing under this lock panics");
        let sender = waiting.get(&message.id).cloned();
        // To wake who waits is a system call.
        drop(waiting);
        if let Some(sender) = sender {
            let _gone = sender.send((message.origin, message.body.clone()));
        }
    }
}
