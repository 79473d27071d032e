//! Those who talk to the master over the control socket, each at its own pace.
//! The master's thread alone uses it.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{Client, Command, ControlSocket, Progress, Response};
use crate::log;
use crate::sys::epoll::{Epoll, Interest};

/// Tokens from here on are clients.
pub(in crate::master) const FIRST_TOKEN: u64 = 1 << 32;

/// What a client waits for.
#[expect(
    clippy::large_enum_variant,
    reason = "operators are few, and wait for a moment"
)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// The rest of its request is awaited.
    Asking,
    /// The master decides; the client is in no epoll.
    Waiting(Command),
    /// It takes its answer.
    Answered,
}

/// All clients, by token.
#[derive(Default)]
pub(in crate::master) struct Clients {
    open: BTreeMap<u64, (Client, Phase)>,
    /// How many there were.
    count: u64,
}

impl Clients {
    /// Takes in whoever waits at the door.
    ///
    /// # Errors
    ///
    /// `EMFILE` and the like: they wait on; try again later.
    pub(in crate::master) fn accept(
        &mut self,
        control: &ControlSocket,
        epoll: &Epoll,
        now: Instant,
    ) -> std::io::Result<()> {
        while let Some(client) = control.accept(now)? {
            let token = FIRST_TOKEN + self.count;
            self.count += 1;
            epoll.add(&client, Interest::Read, token)?;
            self.open.insert(token, (client, Phase::Asking));
        }
        Ok(())
    }

    /// Goes on with a client; gives what it asks once that is known.
    pub(in crate::master) fn serve(&mut self, token: u64, epoll: &Epoll) -> Option<Command> {
        let (client, phase) = self.open.get_mut(&token)?;
        let progress = match phase {
            Phase::Asking => client.read(),
            Phase::Answered => client.write(),
            Phase::Waiting(_) => return None,
        };
        match progress {
            Progress::Read => None,
            Progress::Asked(command) => {
                *phase = Phase::Waiting(command);
                let _registered = epoll.delete(&*client);
                Some(command)
            }
            Progress::Write | Progress::Done => {
                self.send_on(token, progress, epoll);
                None
            }
        }
    }

    /// Answers a client that asked.
    pub(in crate::master) fn answer(&mut self, token: u64, response: &Response, epoll: &Epoll) {
        if let Some((client, _)) = self.open.get_mut(&token) {
            let progress = client.answer(response, Instant::now());
            self.send_on(token, progress, epoll);
        }
    }

    /// Answers all who asked for one of these.
    pub(in crate::master) fn answer_all(
        &mut self,
        asked: &[Command],
        response: &Response,
        epoll: &Epoll,
    ) {
        let waits = |phase: &Phase| matches!(phase, Phase::Waiting(one) if asked.contains(one));
        let waiting = self.open.iter().filter(|(_, (_, phase))| waits(phase));
        let tokens: Vec<u64> = waiting.map(|(&token, _)| token).collect();
        for token in tokens {
            self.answer(token, response, epoll);
        }
    }

    fn send_on(&mut self, token: u64, progress: Progress, epoll: &Epoll) {
        let Some((client, phase)) = self.open.get_mut(&token) else {
            return;
        };
        let registered = match (progress, *phase) {
            (Progress::Write, Phase::Answered) => epoll.rearm(&*client, Interest::WriteOnce, token),
            (Progress::Write, _) => {
                let _only_if_asking = epoll.delete(&*client);
                epoll.add(&*client, Interest::WriteOnce, token)
            }
            _ => Err(std::io::ErrorKind::NotConnected.into()),
        };
        *phase = Phase::Answered;
        if registered.is_err() {
            self.drop_client(token, epoll);
        }
    }

    /// Drops those that took too long.
    pub(in crate::master) fn expire(&mut self, now: Instant, epoll: &Epoll) {
        let late = |client: &Client| client.deadline().is_some_and(|deadline| deadline <= now);
        let late = self.open.iter().filter(|(_, (client, _))| late(client));
        let tokens: Vec<u64> = late.map(|(&token, _)| token).collect();
        for token in tokens {
            log::warn!("control socket: a client took too long and was dropped");
            self.drop_client(token, epoll);
        }
    }

    pub(in crate::master) fn next_deadline(&self) -> Option<Instant> {
        let clients = self.open.values();
        clients.filter_map(|(client, _)| client.deadline()).min()
    }

    fn drop_client(&mut self, token: u64, epoll: &Epoll) {
        if let Some((client, _)) = self.open.remove(&token) {
            let _only_if_registered = epoll.delete(&client);
        }
    }
}
