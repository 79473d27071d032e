//! The client library: blocking, for any number of threads, on the server's
//! own codec.
//!
//! ```text
//! call ---> socket ---> server          callers write, one at a time;
//!   ^                     |             one reader thread reads, and hands
//!   +---- reader <--------+             out replies and pushes
//! ```
//!
//! Invariants: every call ends, by its deadline at the latest; nothing is sent
//! twice. Replies find their calls by `sequence` where the format has one.
//! Elsewhere the oldest call with that id gets the reply, and a missed deadline
//! closes the connection: the late reply would be taken for the next.

mod backoff;
mod builder;
mod error;
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
    /// `call_timeout`. Any number of threads may call at once.
    ///
    /// # Errors
    ///
    /// Any [`ClientError`] but those of connecting; each says what was sent.
    pub fn call<Req: IntoReply, Rep: FromBody>(
        &self,
        id: Id,
        body: Req,
    ) -> Result<Rep, ClientError> {
        if self.shared.reader.get() == Some(&thread::current().id()) {
            return Err(ClientError::InPush);
        }
        let (id, body) = content(id, body)?;
        let timeout = self.shared.call_timeout;
        let deadline = Instant::now() + timeout;
        let (tell, told) = mpsc::sync_channel(1);
        let sequence = self.shared.write(id, &body, Some(tell), deadline)?;
        let reply = match told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(reply) => reply?,
            Err(_) => {
                self.shared.give_up(id, sequence);
                // It may have come in between.
                match told.try_recv() {
                    Ok(reply) => reply?,
                    Err(_) => return Err(ClientError::TimedOut(id, timeout)),
                }
            }
        };
        Rep::from_body(Raw::borrowed(&reply)).map_err(ClientError::BadReply)
    }

    /// Sends `body` and waits for nothing but room in the kernel's buffer.
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
