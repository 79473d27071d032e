//! The client library: blocking, for any number of threads, on the server's
//! own codec.
//!
//! ```text
//! call ---> socket ---> server          callers write, one at a time;
//!   ^                     |             one reader thread reads, and hands
//!   +---- reader <--------+             out replies and pushes
//! ```
//!
//! | to | use |
//! |---|---|
//! | connect | [`Client::builder`], then [`Builder::connect`] |
//! | ask, and wait for the reply | [`Client::call`], from any thread |
//! | the same where the reply has another id | [`Client::call_for`] |
//! | tell, without a reply | [`Client::send`] |
//! | hear what the server says by itself | [`Builder::on`] |
//! | stay connected | [`Builder::reconnect`], [`Builder::heartbeat`], [`Builder::on_change`] |
//!
//! Invariants: every call ends, by its deadline at the latest; nothing is sent
//! twice; the reader never waits for anything but its socket.
//!
//! Which reply is whose: where the format has a `sequence` (`rpc`), that tells,
//! and a late reply is dropped. Elsewhere the oldest call that waits for the
//! reply's id gets it (in formats without ids, the oldest call), and a missed
//! deadline closes the connection, because the late reply would be taken for the
//! next. What answers no call is a push.
//!
//! A call costs one `send` by the caller, one `poll` and one `recv` by the
//! reader, and one wake-up of each; calls of several threads that meet share
//! them.
//!
//! Functions given to [`Builder::on`] and [`Builder::on_change`] run on the
//! reader thread, which reads nothing meanwhile: keep them short (what happens
//! before there is a client is told on the thread that connects). In them,
//! [`Client::call`] is refused, [`Client::send`] does not wait, closing the
//! client is allowed, and a panic costs that message and nothing else.

mod backoff;
mod builder;
mod error;
mod link;
mod reader;
mod shared;

use std::fmt;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use self::backoff::Backoff;
pub use self::builder::Builder;
pub use self::error::{ClientError, Why};
use self::shared::Shared;
use crate::body::{Answer, FromBody, Id, IntoReply, Raw};
#[doc(inline)]
pub use crate::protocol::frame::{Counts, Endian, Field, Layout, LayoutError, Length};

/// What happened to the connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// It is there.
    Connected,
    /// It ended.
    Disconnected(Why),
    /// The next attempt comes after this time.
    Retrying(Duration),
}

/// A connection to a server, and its thread. Dropping it closes it.
///
/// ```
/// use purlin::client::Client;
/// use purlin::{Server, prelude::*};
///
/// let app = App::<()>::new().on(1, |_, name: String| format!("hello, {name}"));
/// let server = Server::spawn(app)?;
/// let client = Client::builder(server.addresses()[0].to_string()).connect()?;
/// assert_eq!(client.call::<_, String>(1, "Ann")?, "hello, Ann");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Client {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.shared.address)
    }
}

impl Client {
    /// A client of the server at `address`: `127.0.0.1:7000`, `[::1]:7000` or
    /// `unix:PATH`.
    pub fn builder(address: impl Into<String>) -> Builder {
        Builder::new(address.into())
    }

    /// Sends `body` and waits for its reply, at most the builder's
    /// `call_timeout`, everything included. Any number of threads may call at
    /// once.
    ///
    /// # Errors
    ///
    /// Any [`ClientError`] but those of connecting; each says what was sent.
    pub fn call<Req: IntoReply, Rep: FromBody>(
        &self,
        id: Id,
        body: Req,
    ) -> Result<Rep, ClientError> {
        self.call_for(id, id, body)
    }

    /// As [`Self::call`], where the reply comes under the id `reply`. With a
    /// sequence in the format that id does not matter: the sequence tells.
    ///
    /// # Errors
    ///
    /// As [`Self::call`].
    pub fn call_for<Req: IntoReply, Rep: FromBody>(
        &self,
        id: Id,
        reply: Id,
        body: Req,
    ) -> Result<Rep, ClientError> {
        if self.shared.is_reader() {
            return Err(ClientError::InPush);
        }
        let (own, body) = content(id, body)?;
        // A body that wants an id of its own is answered under that one.
        let reply = if reply == id { own } else { reply };
        let timeout = self.shared.call_timeout;
        let deadline = Instant::now() + timeout;
        let (tell, told) = mpsc::sync_channel(1);
        let waits = Some((reply, tell));
        let sequence = self.shared.write(own, &body, waits, deadline)?;
        let reply = match told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(reply) => reply?,
            Err(_) => {
                self.shared.give_up(own, sequence);
                // It may have come in between.
                match told.try_recv() {
                    Ok(reply) => reply?,
                    Err(_) => return Err(ClientError::TimedOut(own, timeout)),
                }
            }
        };
        Rep::from_body(Raw::borrowed(&reply)).map_err(ClientError::BadReply)
    }

    /// Sends `body` and waits for nothing but room, where 256 KiB wait already
    /// for a server that does not read; within a push not even for that.
    ///
    /// # Errors
    ///
    /// As [`Self::call`], except what concerns a reply.
    pub fn send(&self, id: Id, body: impl IntoReply) -> Result<(), ClientError> {
        let (id, body) = content(id, body)?;
        let deadline = Instant::now() + self.shared.call_timeout;
        self.shared.write(id, &body, None, deadline).map(|_| ())
    }

    /// Ends the connection; calls that wait end with [`ClientError::Lost`],
    /// later ones with [`ClientError::Closed`]. From within a push it returns
    /// at once, otherwise when the reader thread has ended.
    pub fn close(self) {
        drop(self);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.bell.ring();
        if let Some(reader) = self.reader.take()
            && reader.thread().id() != thread::current().id()
        {
            let _panicked_in_a_push = reader.join();
        }
    }
}

/// The bytes of a body, and the id that it wants.
fn content(id: Id, body: impl IntoReply) -> Result<(Id, Bytes), ClientError> {
    match body.into_reply() {
        Answer::Reply { id: own, body, .. } => Ok((own.unwrap_or(id), body)),
        Answer::None => Ok((id, Bytes::new())),
        Answer::Error(error) => Err(ClientError::Body(error)),
        Answer::Content(_) => Err(unsendable("a body that goes over HTTP alone")),
        Answer::Later(_) => Err(unsendable("a body that comes later")),
    }
}

fn unsendable(what: &str) -> ClientError {
    let text = format!("{what} cannot be sent");
    ClientError::Body(crate::body::Error::new(500, text))
}
