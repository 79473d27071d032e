//! What a worker is given to start with.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::limits::Limits;
use super::limits::admission::Entrance;
use super::report::Listed;
use crate::bus::{Bus, Shape};
use crate::config::Config;
use crate::dispatch::Settings;
use crate::dispatch::service::Origin;
use crate::net::{ConnId, UserName, Words};
use crate::protocol::Protocol;
use crate::scoreboard::{Row, Scoreboard};
use crate::sys::channel::Channel;
use crate::sys::socket::Address;

/// A bound socket, and what is spoken on it.
pub struct Listening {
    /// Listening, non-blocking.
    pub socket: OwnedFd,
    /// Where it is really bound.
    pub address: Address,
    /// What is spoken.
    pub protocol: Arc<dyn Protocol>,
    /// What its connections have of it.
    pub origin: Origin,
    /// What it is called.
    pub name: Option<Arc<str>>,
    /// Whom it lets in.
    pub entrance: Arc<Entrance>,
    /// Whether somebody else listens on when this server has stopped: a service
    /// manager that starts it again for the next client.
    pub is_lent: bool,
}

/// The address.
impl std::fmt::Display for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}

/// Everything that makes one worker differ from another.
pub struct Setup {
    /// Where to accept; may be none.
    pub listeners: Vec<Listening>,
    /// With whom the listeners are shared.
    pub accept: Accept,
    /// What to obey.
    pub limits: Limits,
    /// The program's settings.
    pub settings: Settings,
    /// Where to count.
    pub row: Row,
    /// The way to other workers, on which its row is free; `None`: there are none.
    pub bus: Option<Bus>,
    /// Which row that is, 0 to 254.
    pub number: u8,
    /// Which worker of that row: another number than those before had. With
    /// [`Accept::Mutex`], the one that the turn admitted.
    pub epoch: u16,
}

/// The bus that `config` asks for, of so many rows.
#[must_use]
pub fn shape(config: &Config, rows: usize) -> Shape {
    Shape {
        rows,
        ring: config.bus.ring.next_power_of_two() / size_of::<u64>(),
        names: (config.bus.names as usize).next_power_of_two(),
    }
}

/// Which of the workers accepts a connection.
#[derive(Clone, Debug)]
pub enum Accept {
    /// The one that holds the turn of this scoreboard; the least loaded has it
    /// next. The worker must have been admitted under its number and epoch.
    Mutex(Scoreboard),
    /// One of those whom the kernel wakes.
    Exclusive,
    /// The one whom the kernel chose by the addresses: each worker has sockets
    /// of its own, bound to the same port.
    ReusePort,
}

/// Where a worker's orders come from.
pub trait Control: Send {
    /// Readable while an order may wait.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// The next order. Must come back empty before the worker sleeps again.
    fn order(&mut self) -> Option<Order>;

    /// The answer to [`Order::List`].
    fn listed(&mut self, _: &Listed) {}

    /// The answer to [`Order::Kick`]: whether there was such a connection.
    fn kicked(&mut self, _: ConnId, _: bool) {}

    /// The answer to [`Order::KickUser`]: how many connections the user had.
    fn kicked_user(&mut self, _: UserName, _: usize) {}
}

/// What a worker can be told.
#[derive(Debug)]
pub enum Order {
    /// Stop accepting, answer what was received, close, return; cut what is
    /// left after this time. A second one replaces the time.
    Drain(Option<Duration>),
    /// Others serve: as [`Drain`](Self::Drain) without a time. Who goes on talking
    /// is told to go after this one, between two messages.
    Retire(Duration),
    /// The whole server stops: serve who waits to be accepted, and have the
    /// kernel refuse everybody else.
    Refuse,
    /// Accept as well from this socket, as from the listener of this index.
    Adopt(usize, OwnedFd),
    /// Say which connections there are.
    List,
    /// Close this connection, whose peer is told something.
    Kick(ConnId, Option<Words>),
    /// Close all connections of this user, whose peers are told something.
    KickUser(UserName, Option<Words>),
    /// Look whether the accept mutex has come.
    CheckAcceptMutex,
    /// When it drains, hand connections over this line to a worker that stays,
    /// of this generation; those of older ones are not used any more.
    Successor(Channel, u64),
    /// Take the connections of a worker that drains, over this line.
    Predecessor(Channel),
}
