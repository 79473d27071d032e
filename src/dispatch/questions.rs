//! What a worker asks all others, and what they answer.
//!
//! A question goes over the bus to every worker; each `bus` thread answers at once,
//! from what its own directory knows. Who asks waits, on a thread that may: for each
//! that lived when the question was put, until it has answered, or has died, or a
//! second is over.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::hub::Hub;
use crate::bus::{Interest, Kind, Member, Message, Origin, Outgoing, Worker};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long until somebody looks whether who is to answer still lives.
const LOOK: Duration = Duration::from_millis(10);

/// Questions that wait for answers.
#[derive(Debug, Default)]
pub(super) struct Questions {
    last: AtomicU32,
    waiting: Mutex<HashMap<u32, Sender<(Origin, Bytes)>>>,
}

impl Questions {
    fn add(&self, sender: Sender<(Origin, Bytes)>) -> u32 {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let mut waiting = self.waiting.lock().expect("nothing under this lock panics");
        waiting.insert(number, sender);
        number
    }

    fn remove(&self, number: u32) {
        let mut waiting = self.waiting.lock().expect("nothing under this lock panics");
        waiting.remove(&number);
    }

    /// An answer that nobody waits for any more is dropped.
    pub(super) fn answered(&self, message: &Message) {
        let waiting = self.waiting.lock().expect("nothing under this lock panics");
        if let Some(sender) = waiting.get(&message.id) {
            let _gone = sender.send((message.origin, message.body.clone()));
        }
    }
}

/// What the others say.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) bodies: Vec<Bytes>,
    /// Whether everybody has answered who lives.
    pub(super) is_complete: bool,
}

impl Hub {
    /// Puts a question to all other workers. No lock may be held.
    pub(super) fn ask_others(&self, question: &[u8]) -> Answers {
        let Some(bus) = self.bus() else {
            return Answers {
                bodies: Vec::new(),
                is_complete: true,
            };
        };
        let others = bus.others_now();
        if others.is_empty() || !self.worker().may_wait() {
            return Answers {
                bodies: Vec::new(),
                is_complete: others.is_empty(),
            };
        }
        let until = Instant::now() + PATIENCE;
        loop {
            let moves = bus.moves();
            let answers = self.ask_once(bus, question, until);
            // Who moved meanwhile may have been seen in neither worker.
            if moves == bus.moves() {
                return answers;
            }
            if Instant::now() >= until {
                return Answers {
                    is_complete: false,
                    ..answers
                };
            }
        }
    }

    fn ask_once(&self, bus: &Member, question: &[u8], until: Instant) -> Answers {
        let mut missing = bus.others_now();
        let (sender, receiver) = channel();
        let number = self.questions().add(sender);
        let put = || put(bus, (Kind::Ask, Interest::Workers), number, question);
        bus.saying(put);
        let mut answers = Answers::default();
        while !missing.is_empty() && Instant::now() < until {
            self.worker().help();
            let left = until.saturating_duration_since(Instant::now());
            match receiver.recv_timeout(LOOK.min(left)) {
                Ok((of, body)) => {
                    let worker = Worker {
                        row: of.row,
                        epoch: of.epoch,
                    };
                    missing.retain(|one| *one != worker);
                    answers.bodies.push(body);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    missing.retain(|one| bus.is_alive(*one));
                }
            }
        }
        self.questions().remove(number);
        answers.is_complete = missing.is_empty();
        answers
    }

    /// Says what this worker knows. On the `bus` thread.
    pub(super) fn answer(&self, question: &Message, answer: &[u8]) {
        if let Some(bus) = self.bus() {
            // Outside of `saying`: it is about no connection, and who holds the gate
            // may wait for this thread.
            let to = (Kind::Answer, Interest::Row(question.origin.row));
            put(bus, to, question.id, answer);
        }
    }
}

fn put(bus: &Member, (kind, to): (Kind, Interest<'_>), id: u32, body: &[u8]) {
    let _lost_if_slow = bus.publish(&Outgoing {
        kind,
        to,
        topic: "",
        except: None,
        id,
        form: 0,
        body,
    });
}
