//! From settings to a client that is connected.

use std::fmt;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use super::callbacks::{self, Callbacks};
use super::shared::{Shared, Timing};
use super::{Backoff, Change, Client, ClientError, reader};
use crate::body::{Error, FromBody, Id, Raw};
use crate::protocol::frame::{AnyFormat, Codec, Coded, Layout};
use crate::sys::eventfd::Bell;

/// How to connect, and what to do with what arrives. See [`Client::builder`].
///
/// Functions given to it run on the client's callback thread, one at a time, in
/// the order of what they are told; each gets the client, of which everything
/// works in them but that [`Client::send`] and [`Client::call`] do not wait for
/// room. Replies and heartbeats go on meanwhile. A panic costs that message and
/// nothing else.
pub struct Builder {
    address: String,
    format: Result<AnyFormat, String>,
    timing: Timing,
    callbacks: Callbacks,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Builder({})", self.address)
    }
}

/// To `127.0.0.1:7000` and in the format `comm`, where and how the shipped
/// configuration serves.
impl Default for Builder {
    fn default() -> Self {
        Self::new("127.0.0.1:7000".into())
    }
}

impl Builder {
    pub(super) fn new(address: String) -> Self {
        Self {
            address,
            format: Ok(AnyFormat::preset("comm").expect("a preset")),
            timing: Timing {
                connect_timeout: Duration::from_secs(10),
                call_timeout: Duration::from_secs(10),
                heartbeat: None,
                silence: None,
                reconnect: None,
            },
            callbacks: Callbacks::default(),
        }
    }

    /// The format, by its name; `comm` by default.
    #[must_use]
    pub fn preset(mut self, name: &str) -> Self {
        let unknown = || format!("there is no preset `{name}`");
        self.format = AnyFormat::preset(name).ok_or_else(unknown);
        self
    }

    /// A format of one's own, made of its fields; [`Self::layout_toml`] reads it
    /// from text.
    #[must_use]
    pub fn layout(mut self, layout: Layout) -> Self {
        let good = layout.check().map_err(|error| error.to_string());
        self.format = good.map(|()| layout.into());
        self
    }

    /// The format as the server's configuration says it behind `frame =`: a table
    /// of fields, or the name of a preset. Text that is neither, or a layout that
    /// cannot work, is told by [`Self::connect`] as [`ClientError::Settings`].
    #[must_use]
    pub fn layout_toml(mut self, text: &str) -> Self {
        let format = text.parse::<AnyFormat>();
        self.format = format.map_err(|error| format!("layout `{text}`: {error}"));
        self
    }

    /// A format in code, as its server has it.
    #[must_use]
    pub fn codec(mut self, codec: impl Codec) -> Self {
        self.format = Ok(Coded::new("of a client", codec).into());
        self
    }

    /// How long connecting may take, to all addresses of a name together; 10 s by
    /// default. The greeting is not part of it: its calls have their own limit.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.timing.connect_timeout = timeout;
        self
    }

    /// How long a call may take; 10 s by default. What was sent and not even
    /// acknowledged by the server's machine for so long, and at least for 5 s,
    /// ends the connection (`TCP_USER_TIMEOUT`).
    #[must_use]
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.timing.call_timeout = timeout;
        self
    }

    /// Sends an empty message under the format's heartbeat id this often; never
    /// by default, nor in a format that has no such id. When nothing at all
    /// arrives for the `call_timeout` after one, the server is taken for dead and
    /// the connection ends with [`Why::Silent`]: it hangs, or it or the network
    /// is gone. Without heartbeats that is noticed when the next call fails, or
    /// never.
    ///
    /// For servers that answer heartbeats, as by default (`heartbeat.ping =
    /// "client"` or `"both"`). One with `"server"` sends its own, and answers
    /// none: use [`Self::silence`] there. Heartbeats of the server are answered
    /// in any case.
    ///
    /// [`Why::Silent`]: super::Why::Silent
    #[must_use]
    pub fn heartbeat(mut self, period: Duration) -> Self {
        self.timing.heartbeat = Some(period);
        self
    }

    /// Takes the server for dead when nothing at all has arrived for so long;
    /// never by default. For connections over which something always comes, such
    /// as heartbeats of the server's: then a little more than twice its
    /// `heartbeat.ping_interval`. (It sends none to a client that itself sends
    /// something more often than that.)
    #[must_use]
    pub fn silence(mut self, limit: Duration) -> Self {
        self.timing.silence = Some(limit);
        self
    }

    /// Connects again whenever the connection ends; the first connection is
    /// then also tried for, until `connect_timeout` is over.
    #[must_use]
    pub fn reconnect(mut self, backoff: Backoff) -> Self {
        self.timing.reconnect = Some(backoff);
        self
    }

    /// Runs `f` on each new connection, before [`Change::Connected`] and before
    /// anybody else can use it: to log in, subscribe, or ask for a version. Calls
    /// and messages of the client that it is given go over the new connection;
    /// those of all others fail with [`ClientError::Disconnected`] until it has
    /// returned `Ok`.
    ///
    /// With an error the connection ends, and is tried for again after a pause
    /// that grows, as if it had not come about: [`Change::Disconnected`] says
    /// [`Why::Greeting`] with the error's text. The first connection is not tried
    /// for again where the server has answered: [`Self::connect`] returns
    /// [`ClientError::Remote`], say for a wrong password.
    ///
    /// ```
    /// use purlin::client::{Backoff, Client};
    /// use purlin::{Server, prelude::*};
    ///
    /// let app = App::<String>::new()
    ///     .on(1, |c, name: String| **c = name)
    ///     .on(2, |c, (): ()| format!("you are {}", **c));
    /// let server = Server::spawn(app)?;
    /// let client = Client::builder(server.addresses()[0].to_string())
    ///     .reconnect(Backoff::default())
    ///     .greeting(|client| client.send(1, "ann"))
    ///     .connect()?;
    /// assert_eq!(client.call::<_, String>(2, ())?, "you are ann");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// [`Why::Greeting`]: super::Why::Greeting
    #[must_use]
    pub fn greeting(
        mut self,
        f: impl Fn(&Client) -> Result<(), ClientError> + Send + Sync + 'static,
    ) -> Self {
        self.callbacks.greeting = Some(Box::new(f));
        self
    }

    /// Runs `f` for every message under `id` that answers no call; in a format
    /// without ids, under 0. A body that is not of its type is logged and
    /// dropped. Under the format's heartbeat id it is `f` that has to answer the
    /// server.
    #[must_use]
    pub fn on<B: FromBody>(
        mut self,
        id: Id,
        f: impl Fn(&Client, B) + Send + Sync + 'static,
    ) -> Self {
        let on =
            move |client: &Client, bytes: bytes::Bytes| match B::from_body(Raw::borrowed(&bytes)) {
                Ok(body) => f(client, body),
                Err(error) => ::log::warn!(
                    "a push under id {id} is not of its type: {} {}",
                    error.code,
                    error.text
                ),
            };
        self.callbacks.pushes.insert(id, Box::new(on));
        self
    }

    /// Runs `f` for every error with which the server answers a
    /// [`Client::send`]: the id that was sent, the code and the text. Those of
    /// calls are returned by the call. In a format without a `sequence`, while a
    /// call of the same id waits, it is taken for that call's.
    #[must_use]
    pub fn on_error(mut self, f: impl Fn(&Client, Id, &Error) + Send + Sync + 'static) -> Self {
        self.callbacks.error = Some(Box::new(f));
        self
    }

    /// Runs `f` at every change of the connection, in their order. A call in it
    /// goes over the connection that there is then, which may be a later one.
    #[must_use]
    pub fn on_change(mut self, f: impl Fn(&Client, &Change) + Send + Sync + 'static) -> Self {
        self.callbacks.change = Some(Box::new(f));
        self
    }

    /// Connects, and greets. Starts the client's threads: one that reads, and one
    /// for functions where there are any.
    ///
    /// # Errors
    ///
    /// [`ClientError::Settings`], [`ClientError::Unresolved`],
    /// [`ClientError::Refused`], [`ClientError::ConnectTimeout`] or
    /// [`ClientError::Connect`]; and what the greeting returned.
    pub fn connect(self) -> Result<Client, ClientError> {
        let server = self.address.parse().map_err(ClientError::Settings)?;
        let format = self.format.map_err(ClientError::Settings)?;
        let failed = |error| ClientError::Connect(self.address.clone(), error);
        let bell = Bell::new().map_err(failed)?;
        let calls_back = !self.callbacks.is_empty();
        let shared = Shared::new(format, server, self.timing, self.callbacks, bell);
        let shared = Arc::new(shared);
        let client = Client::counted(&shared);
        let (tell, told) = mpsc::sync_channel(1);
        shared.lock().first = Some(tell);
        // Should the second thread not start, dropping the client ends the first.
        start(&shared, "client", |shared| reader::run(shared)).map_err(failed)?;
        if calls_back {
            start(&shared, "client-functions", callbacks::run).map_err(failed)?;
        }
        let connected = told.recv().unwrap_or(Err(ClientError::Closed));
        connected.map(|()| client)
    }
}

fn start(shared: &Arc<Shared>, name: &str, run: fn(&Arc<Shared>)) -> std::io::Result<()> {
    let inner = Arc::clone(shared);
    let thread = thread::Builder::new().name(name.into());
    let thread = thread.spawn(move || run(&inner))?;
    let mut threads = shared.threads.lock();
    let threads = threads.as_mut().expect("nothing under this lock panics");
    threads.push(thread);
    Ok(())
}
