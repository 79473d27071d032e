//! The functions of the user's, and the thread that runs them.
//!
//! ```text
//! reader --> queue --> callback thread --> greeting, pushes, errors, changes
//! ```
//!
//! They run one at a time, in the order in which the reader saw what they are
//! told. The reader never waits for them: a function may call the server, or
//! take its time, while replies and heartbeats go on. Only when [`QUEUED_MAX`]
//! bytes wait does the reader stop reading, so that a server that says more than
//! is heard is held up and not held in memory.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use bytes::Bytes;

use super::link::Link;
use super::shared::Shared;
use super::{Change, Client, ClientError, Why};
use crate::body::{Error, Id};

/// Bytes of pushes that may wait before the reader stops reading.
const QUEUED_MAX: usize = 1 << 20;
/// What an event costs besides its body.
const EVENT: usize = 64;

pub(super) type OnPush = Box<dyn Fn(&Client, Bytes) + Send + Sync>;
pub(super) type OnError = Box<dyn Fn(&Client, Id, &Error) + Send + Sync>;
pub(super) type OnChange = Box<dyn Fn(&Client, &Change) + Send + Sync>;
pub(super) type Greeting = Box<dyn Fn(&Client) -> Result<(), ClientError> + Send + Sync>;

/// What the user wants to hear.
#[derive(Default)]
pub(super) struct Callbacks {
    pub(super) pushes: HashMap<Id, OnPush>,
    pub(super) error: Option<OnError>,
    pub(super) change: Option<OnChange>,
    pub(super) greeting: Option<Greeting>,
}

impl Callbacks {
    /// Whether no thread is needed for them.
    pub(super) fn is_empty(&self) -> bool {
        let none = self.error.is_none() && self.change.is_none() && self.greeting.is_none();
        none && self.pushes.is_empty()
    }
}

/// What a function is to be told.
pub(super) enum Event {
    /// A new connection is there, which nobody has used yet.
    Greet(Arc<Link>),
    Push(Id, Bytes),
    /// The server answered with an error to what was sent under this id.
    Error(Id, Error),
    Change(Change),
}

impl Event {
    fn len(&self) -> usize {
        EVENT
            + match self {
                Self::Push(_, body) => body.len(),
                Self::Error(_, error) => error.text.len(),
                Self::Greet(_) | Self::Change(_) => 0,
            }
    }
}

/// What waits for the callback thread.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    came: Condvar,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Event>,
    bytes: usize,
    /// Nothing comes any more.
    over: bool,
    /// A function waits for a reply, which the reader has to read.
    calls: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nothing under this lock panics")
    }

    pub(super) fn push(&self, event: Event) {
        let mut waiting = self.lock();
        waiting.bytes += event.len();
        waiting.events.push_back(event);
        drop(waiting);
        self.came.notify_one();
    }

    /// The next event, and whether there is room again; `None` when no more come.
    fn pop(&self) -> Option<(Event, bool)> {
        let mut waiting = self.lock();
        loop {
            if let Some(event) = waiting.events.pop_front() {
                let full = waiting.bytes >= QUEUED_MAX;
                waiting.bytes -= event.len();
                return Some((event, full && waiting.bytes < QUEUED_MAX));
            }
            if waiting.over {
                return None;
            }
            let came = self.came.wait(waiting);
            waiting = came.expect("nothing under this lock panics");
        }
    }

    /// Whether the reader has to hold on.
    pub(super) fn is_full(&self) -> bool {
        let waiting = self.lock();
        waiting.bytes >= QUEUED_MAX && !waiting.calls
    }

    /// A function begins or ends to wait for a reply.
    pub(super) fn calls(&self, calls: bool) {
        self.lock().calls = calls;
    }

    /// Nothing comes any more.
    pub(super) fn end(&self) {
        self.lock().over = true;
        self.came.notify_one();
    }
}

/// The callback thread's whole life.
pub(super) fn run(shared: &Arc<Shared>) {
    shared
        .callback_thread
        .get_or_init(|| std::thread::current().id());
    let client = Client::uncounted(shared);
    while let Some((event, has_room)) = shared.queue.pop() {
        if has_room {
            shared.bell.ring();
        }
        match event {
            Event::Change(change) => tell(&client, &change),
            // Who closed the client hears how it ended, and no more.
            _ if shared.lock().closed => {}
            Event::Greet(link) => greet(shared, &client, &link),
            Event::Push(id, body) => {
                if let Some(on) = shared.callbacks.pushes.get(&id) {
                    fence("a function for pushes", || on(&client, body));
                }
            }
            Event::Error(id, error) => {
                if let Some(on) = &shared.callbacks.error {
                    fence("a function for errors", || on(&client, id, &error));
                }
            }
        }
    }
}

fn tell(client: &Client, change: &Change) {
    if let Some(on) = &client.shared.callbacks.change {
        fence("a function for changes", || on(client, change));
    }
}

/// Lets the user greet the server over a connection that nobody else may use
/// yet, and opens it to everybody.
fn greet(shared: &Shared, client: &Client, link: &Arc<Link>) {
    let Some(greeting) = &shared.callbacks.greeting else {
        return;
    };
    if !shared.begin_greeting(link) {
        return;
    }
    let greeted = fence("the greeting", || greeting(client));
    let greeted = greeted.unwrap_or_else(|| {
        let why = Why::Greeting("it panicked".into());
        Err(ClientError::Lost(why))
    });
    if shared.end_greeting(link, greeted) {
        tell(client, &Change::Connected);
        shared.report(Ok(()));
    }
}

/// Runs a function of the user's. Its panic has been printed; it costs that
/// message and not the connection.
fn fence<T>(what: &str, function: impl FnOnce() -> T) -> Option<T> {
    let ran = catch_unwind(AssertUnwindSafe(function));
    if ran.is_err() {
        ::log::error!("run {what}: it panicked; the client goes on");
    }
    ran.ok()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn push(len: usize) -> Event {
        Event::Push(1, vec![0; len].into())
    }

    #[test]
    fn what_waits_is_bounded_unless_a_function_waits_for_a_reply() {
        let queue = Queue::default();
        queue.push(push(QUEUED_MAX - 2 * EVENT));
        assert!(!queue.is_full());
        queue.push(push(1));
        assert!(queue.is_full());
        queue.calls(true);
        assert!(!queue.is_full());
        queue.calls(false);
        let (_, has_room) = queue.pop().unwrap();
        assert!(has_room && !queue.is_full());
        let (_, has_room) = queue.pop().unwrap();
        assert!(!has_room, "it had room before");
        queue.end();
        assert!(queue.pop().is_none());
    }
}
