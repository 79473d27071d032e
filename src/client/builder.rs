//! From settings to a client that is connected.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::link::Link;
use super::shared::{OnChange, OnPush, Shared, State};
use super::{Backoff, Change, Client, ClientError, reader};
use crate::body::{FromBody, Id, Raw};
use crate::protocol::frame::Layout;
use crate::sys::eventfd::Bell;

/// How to connect, and what to do with what arrives. See [`Client::builder`].
pub struct Builder {
    address: String,
    layout: Result<Layout, String>,
    connect_timeout: Duration,
    call_timeout: Duration,
    heartbeat: Option<Duration>,
    reconnect: Option<Backoff>,
    pushes: HashMap<Id, OnPush>,
    change: OnChange,
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
            layout: Ok(Layout::preset("comm").expect("a preset")),
            connect_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(10),
            heartbeat: None,
            reconnect: None,
            pushes: HashMap::new(),
            change: Box::new(|_| {}),
        }
    }

    /// The format, by its name; `comm` by default.
    #[must_use]
    pub fn preset(mut self, name: &str) -> Self {
        let unknown = || format!("there is no preset `{name}`");
        self.layout = Layout::preset(name).ok_or_else(unknown);
        self
    }

    /// A format of one's own, made of its fields; [`Self::layout_toml`] reads it
    /// from text.
    #[must_use]
    pub fn layout(mut self, layout: Layout) -> Self {
        let good = layout.check().map_err(|error| error.to_string());
        self.layout = good.map(|()| layout);
        self
    }

    /// The format as the server's configuration says it behind `frame =`: a table
    /// of fields, or the name of a preset. Text that is neither, or a layout that
    /// cannot work, is told by [`Self::connect`] as [`ClientError::Settings`].
    #[must_use]
    pub fn layout_toml(mut self, text: &str) -> Self {
        let layout = text.parse::<Layout>();
        self.layout = layout.map_err(|error| format!("layout `{text}`: {error}"));
        self
    }

    /// How long connecting may take; 10 s by default.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a call may take; 10 s by default.
    #[must_use]
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Sends an empty message under the preset's heartbeat id this often; never
    /// by default, nor with a preset that has no such id.
    #[must_use]
    pub fn heartbeat(mut self, period: Duration) -> Self {
        self.heartbeat = Some(period);
        self
    }

    /// Connects again whenever the connection ends; the first connection is
    /// then also tried for, until `connect_timeout` is over.
    #[must_use]
    pub fn reconnect(mut self, backoff: Backoff) -> Self {
        self.reconnect = Some(backoff);
        self
    }

    /// Runs `f` on the reader thread for every message under `id` that answers
    /// no call. A body that is not of its type is dropped.
    #[must_use]
    pub fn on<B: FromBody>(mut self, id: Id, f: impl Fn(B) + Send + Sync + 'static) -> Self {
        let on = move |bytes: bytes::Bytes| {
            if let Ok(body) = B::from_body(Raw::borrowed(&bytes)) {
                f(body);
            }
        };
        self.pushes.insert(id, Box::new(on));
        self
    }

    /// Runs `f` at every change of the connection, in their order, on the reader
    /// thread (until there is a client, on the one that connects): keep it short.
    #[must_use]
    pub fn on_change(mut self, f: impl Fn(&Change) + Send + Sync + 'static) -> Self {
        self.change = Box::new(f);
        self
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// [`ClientError::Settings`], [`ClientError::Refused`],
    /// [`ClientError::ConnectTimeout`] or [`ClientError::Connect`].
    pub fn connect(self) -> Result<Client, ClientError> {
        let address = self.address.parse().map_err(ClientError::Settings)?;
        let failed = |error| ClientError::Connect(Clone::clone(&address), error);
        let shared = Arc::new(Shared {
            layout: self.layout.map_err(ClientError::Settings)?,
            bell: Bell::new().map_err(failed)?,
            address: Clone::clone(&address),
            connect_timeout: self.connect_timeout,
            call_timeout: self.call_timeout,
            heartbeat: self.heartbeat,
            reconnect: self.reconnect,
            pushes: self.pushes,
            change: self.change,
            state: Mutex::new(State::default()),
            reader: OnceLock::new(),
        });
        let link = first(&shared)?;
        reader::adopt(&shared, &link);
        let inner = Arc::clone(&shared);
        let spawned = thread::Builder::new().name("client".into()).spawn(move || {
            inner.reader.get_or_init(|| thread::current().id());
            reader::run(&inner, link);
        });
        Ok(Client {
            shared,
            reader: Some(spawned.map_err(failed)?),
        })
    }
}

/// The first connection: one attempt, or as many as there is time for.
fn first(shared: &Shared) -> Result<Arc<Link>, ClientError> {
    let deadline = Instant::now() + shared.connect_timeout;
    for failures in 0.. {
        let left = deadline.saturating_duration_since(Instant::now());
        let error = match reader::connect(shared, left) {
            Ok(link) => return Ok(link),
            Err(error) => error,
        };
        let wait = shared.reconnect.map(|backoff| backoff.wait(failures));
        match wait {
            Some(wait) if Instant::now() + wait < deadline => {
                shared.tell(&Change::Retrying(wait));
                thread::sleep(wait);
            }
            Some(_) | None => return Err(error),
        }
    }
    Err(ClientError::Disconnected)
}
