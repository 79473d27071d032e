//! Asking the other workers, and answering them.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::hub::Hub;
use crate::bus::{Interest, Kind, Member, Message, Outgoing, Worker};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long until somebody looks whether who is to answer still lives.
const LOOK: Duration = Duration::from_millis(10);

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
