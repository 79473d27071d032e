//! The client library: blocking, for any number of threads, on the server's
//! own codec.
//!
//! ```text
//! call ---> socket ---> server       callers write, one at a time;
//!   ^                     |          one thread reads, and hands out replies;
//!   +---- reader <--------+          a second one runs the functions for what
//!            |                       nobody has asked for
//!            +--> queue --> pushes, errors, changes, greeting
//! ```
//!
//! | to | use |
//! |---|---|
//! | connect | [`Client::builder`], then [`Builder::connect`] |
//! | speak the server's own format | [`Builder::preset`], [`Builder::layout_toml`] |
//! | ask, and wait for the reply | [`Client::call`], from any thread |
//! | the same where the reply has another id | [`Client::call_for`] |
//! | tell, without a reply | [`Client::send`]; that it failed: [`Builder::on_error`] |
//! | hear what the server says by itself | [`Builder::on`] |
//! | stay connected | [`Builder::reconnect`], [`Builder::heartbeat`], [`Builder::on_change`] |
//! | log in, on each connection | [`Builder::greeting`] |
//! | use it in several places | [`Client::clone`] |
//!
//! Invariants: every call ends, by its deadline at the latest; nothing is sent
//! twice; the reader never waits for anything but the server.
//!
//! Which reply is whose: where the format has a `sequence` (`rpc`), that tells,
//! and a late reply is dropped. Elsewhere the oldest call that waits for the
//! reply's id gets it (in formats without ids, the oldest call), and a missed
//! deadline closes the connection, because the late reply would be taken for the
//! next. What answers no call is a push, or an error that answers a message.
//!
//! How a lost server is noticed:
//!
//! | what happens to it | is noticed by | |
//! |---|---|---|
//! | it ends, or is killed | the kernel, at once | [`Why::Ended`], [`Why::Broken`] |
//! | it hangs or is stopped | [`Builder::heartbeat`], [`Builder::silence`] | [`Why::Silent`] |
//! | its machine or the network is gone | the same, or unacknowledged bytes | [`Why::Silent`], [`Why::Broken`] |
//! | it does not read | bytes that wait for a call's time | [`Why::Stuck`] |
//! | it accepts, and turns us away | the kernel; the pauses grow, see [`Backoff`] | [`Why::Ended`], [`Why::Broken`] |
//!
//! A call costs one `send` by the caller, one `poll` and one `recv` by the
//! reader, and one wake-up of each; calls of several threads that meet share
//! them. A push costs a wake-up of the second thread.

mod address;
mod backoff;
mod builder;
mod callbacks;
mod connect;
mod error;
mod link;
mod reader;
mod shared;
mod upgrade;

use std::fmt;
use std::sync::{Arc, mpsc};
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
    /// It is there, and greeted.
    Connected,
    /// It ended. Without a `Connected` before it, its greeting did not succeed.
    Disconnected(Why),
    /// The next attempt comes after this time.
    Retrying(Duration),
}

/// A connection to a server, and its threads. Clones are the same client;
/// dropping the last one closes it, as does [`Self::close`] of any.
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
    /// Not the one that functions are given: that keeps nothing alive.
    counted: bool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.shared.server)
    }
}

impl Client {
    /// A client of the server at `address`: `localhost:7000`, `127.0.0.1:7000`,
    /// `[::1]:7000` or `unix:PATH`. A name is looked up for each attempt to
    /// connect, and all its addresses are tried, IPv6 and IPv4, in the order in
    /// which the system gives them.
    ///
    /// `ws://HOST:PORT/PATH` is a WebSocket, where nothing else gets through: each
    /// frame goes in a binary message, and frames are read from such. Everything
    /// else is the same. There is no TLS, and nothing is compressed.
    pub fn builder(address: impl Into<String>) -> Builder {
        Builder::new(address.into())
    }

    fn counted(shared: &Arc<Shared>) -> Self {
        shared.lock().clients += 1;
        let shared = Arc::clone(shared);
        Self {
            shared,
            counted: true,
        }
    }

    /// What functions are given.
    fn uncounted(shared: &Arc<Shared>) -> Self {
        let shared = Arc::clone(shared);
        Self {
            shared,
            counted: false,
        }
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
        let (own, body) = content(id, body)?;
        // A body that wants an id of its own is answered under that one.
        let reply = if reply == id { own } else { reply };
        let timeout = self.shared.timing.call_timeout;
        let deadline = Instant::now() + timeout;
        let (tell, told) = mpsc::sync_channel(1);
        let waits = Some((reply, tell));
        let sequence = self.shared.write(own, &body, waits, deadline)?;
        let _reads_on = ReadsOn::new(&self.shared);
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
    /// for a server that does not read; in the builder's functions not even for
    /// that. That the server answers with an error is heard by
    /// [`Builder::on_error`].
    ///
    /// # Errors
    ///
    /// As [`Self::call`], except what concerns a reply.
    pub fn send(&self, id: Id, body: impl IntoReply) -> Result<(), ClientError> {
        let (id, body) = content(id, body)?;
        let deadline = Instant::now() + self.shared.timing.call_timeout;
        self.shared.write(id, &body, None, deadline).map(|_| ())
    }

    /// Ends the connection, for all clones; calls that wait end with
    /// [`ClientError::Lost`], later ones with [`ClientError::Closed`]. Returns
    /// when the builder's functions have returned and will not run again; in one
    /// of them, at once.
    pub fn close(self) {
        self.shared.close();
    }
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Self::counted(&self.shared)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        let is_last = {
            let mut state = self.shared.lock();
            state.clients -= 1;
            state.clients == 0
        };
        if is_last {
            self.shared.close();
        }
    }
}

/// While a function of the builder's waits for a reply, the reader has to read
/// it, whatever waits for that function to return.
struct ReadsOn<'a>(Option<&'a Shared>);

impl<'a> ReadsOn<'a> {
    fn new(shared: &'a Shared) -> Self {
        let calls = shared.in_callback();
        if calls {
            shared.queue.calls(true);
            shared.bell.ring();
        }
        Self(calls.then_some(shared))
    }
}

impl Drop for ReadsOn<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.queue.calls(false);
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
