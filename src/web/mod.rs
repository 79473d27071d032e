//! HTTP for handlers: routes, contexts, static files.
//!
//! ```text
//!   request --> Site: path -> method -> middleware -> handler(Http, body) -> reply
//! ```
//!
//! A handler is what it is everywhere, `(context, body) -> reply`; its context
//! is [`Http`]. The state `S` is made new for every request: behind a proxy, one
//! connection carries the requests of many users.
//!
//! # WebSockets
//!
//! A request may make a session of its connection ([`Web::websocket`],
//! [`Web::messages`]): then there is a state for as long as it lives, and the
//! context of its messages is a [`Ctx`].
//!
//! # Replies that are not in memory
//!
//! | reply | how it goes out |
//! |---|---|
//! | [`std::fs::File`] | `sendfile`, 256 KiB a round, whatever its length; parts of files are [`Content::Pieces`] |
//! | [`Stream::iter`], [`Stream::try_iter`], [`Stream::read`] | asked for more when the client has taken what was sent |
//! | [`Http::channel`] | what other threads send, as it comes |
//! | [`Http::events_of`] | what is sent to rooms, by handlers of frames and of HTTP, as server-sent events |
//! | [`Http::events`] | the same as server-sent events, with signs of life |
//! | [`Stream::new`] | whatever a [`Source`] of your own gives |
//!
//! None of them holds more than `limits.outbound_high` of a client's bytes in
//! memory, a channel 64 KiB more. What is asked behind one in the same connection
//! is read and answered when it is out. A client that takes nothing for
//! `limits.send_stall` is closed. The length of a stream is not known: it goes in
//! chunks over HTTP/1.1, and over 1.0 until the connection closes.
//!
//! A source is dropped as soon as its client is known to be gone. Who says that
//! he sends no more while a source waits for its next bytes is gone: there is no
//! other sign of a browser that was closed. A source that fails or panics resets
//! the connection, so that nobody takes a part for the whole; so does a file that
//! turns out to be shorter than its response said.
//!
//! Pages that are not in memory are read from the disk while they are sent, first
//! by the thread that ran the handler and then by the sender, which serves
//! everybody: for files on slow disks, put a cache or a proxy before them.
//!
//! ```
//! use purlin::prelude::*;
//!
//! let web = Web::<()>::new()
//!     .get("/clock", |c, (): ()| {
//!         let (sender, stream) = c.events();
//!         // Until the client is gone, or reads too slowly.
//!         std::thread::spawn(move || {
//!             while sender.send("tick").is_ok() {
//!                 std::thread::sleep(Duration::from_secs(1));
//!             }
//!         });
//!         stream
//!     })
//!     .get("/events", |c, (): ()| {
//!         c.events_of(&["lobby"], |_, text| Some(String::from_utf8_lossy(text).into_owned()))
//!     })
//!     .post("/say", |c, text: String| {
//!         c.hub().room("lobby").send(1, text);
//!     });
//! let app = App::<()>::new().web(web);
//! # let mut test = app.test();
//! # assert_eq!(test.http("POST", "/say", "hello").status, 204);
//! ```
//!
//! [`Content::Pieces`]: crate::protocol::http::Content::Pieces

mod channel;
mod events;
pub mod files;
mod group;
mod http;
mod location;
mod method;
mod multipart;
mod pieces;
#[cfg(feature = "session")]
pub(crate) mod session;
mod site;
mod socket;
mod stream;

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

pub use channel::{StreamSender, Unsent};
pub use events::{Event, EventSender};
pub use files::Files;
pub use http::Http;
pub use multipart::{Multipart, Part};
#[cfg(feature = "session")]
pub use session::Session;
pub use site::Routes;

#[doc(inline)]
pub use crate::protocol::Message;

#[doc(inline)]
pub use crate::protocol::http::{ChunkBuf, Content, Fill, Piece, Source, Stream};

use self::method::Method;
use self::socket::Messages;
use crate::body::{Answer, Error, FromBody, IntoReply, Raw, Reply, into_memory};
use crate::dispatch::Ctx;
use crate::protocol::http::spelled;

/// A handler, its body and reply types erased.
type Handler<S> = Arc<dyn Fn(&mut Http<'_, S>, Raw<'_>, &mut Answer) + Send + Sync>;

type Middleware<S> =
    Arc<dyn Fn(&mut Http<'_, S>, Raw<'_>, Next<'_, S>) -> Result<Reply, Error> + Send + Sync>;

/// What a middleware runs around.
pub struct Next<'a, S>(&'a Handler<S>);

impl<S> Next<'_, S> {
    /// Runs the rest: further middleware, then the handler.
    ///
    /// # Errors
    ///
    /// What the handler answered as an error; pass it on, or answer something
    /// else.
    pub fn run(self, http: &mut Http<'_, S>, body: Raw<'_>) -> Result<Reply, Error> {
        let mut answer = Answer::None;
        (self.0)(http, body, &mut answer);
        match answer {
            Answer::Error(error) => Err(error),
            answer @ (Answer::None
            | Answer::Reply { .. }
            | Answer::Content(_)
            | Answer::Later(_)) => Ok(answer.into()),
        }
    }
}

impl<S> fmt::Debug for Next<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Next")
    }
}

/// Functions by method and path.
///
/// `:name` in a path stands for one segment, `*name` at its end for the rest.
/// `HEAD` and `OPTIONS` are answered by themselves; a path that is not there
/// answers 404, another method 405 with `Allow`, one that nobody knows 501, a
/// panic 500. Chunked bodies arrive put together; the fields behind them are
/// [`Http::trailers`].
///
/// ```
/// use purlin::prelude::*;
///
/// let web = Web::<()>::new()
///     .get("/hello/:name", |c, (): ()| format!("hello {}", c.param("name")))
///     .post("/sum", |_, Json(numbers): Json<Vec<i64>>| Json(numbers.iter().sum::<i64>()));
/// let mut test = App::<()>::new().web(web).test();
/// assert_eq!(test.http("GET", "/hello/ann", "").text(), "hello ann");
/// assert_eq!(test.http("POST", "/sum", "[1, 2]").text(), "3");
/// assert_eq!(test.http("GET", "/sum", "").status, 405);
/// ```
pub struct Web<S> {
    /// What the paths of a group begin with.
    prefix: String,
    routes: Vec<Route<S>>,
    mounts: Vec<Mount<S>>,
    wraps: Vec<Middleware<S>>,
    /// Functions that get messages without ids.
    messages: Vec<Messages<S>>,
    /// A route makes connections WebSockets whose messages have ids.
    has_sockets: bool,
    /// Somebody may be logged in.
    #[cfg(feature = "session")]
    pub(crate) has_sessions: bool,
    otherwise: Option<Handler<S>>,
    /// What `otherwise` is for, asked before a body comes.
    admits: Option<Handler<S>>,
}

/// Files, and below which path they are.
struct Mount<S> {
    /// Without a slash at its end; empty: everything.
    path: String,
    files: Arc<Files>,
    /// What is around it alone.
    wraps: Vec<Middleware<S>>,
    place: &'static Location<'static>,
}

/// A handler, and where in the program it was registered.
struct Route<S> {
    method: Method,
    path: String,
    handler: Handler<S>,
    /// Runs before a body that comes in pieces.
    before: Option<Handler<S>>,
    /// Bytes of its bodies; `None`: as configured.
    body_max: Option<usize>,
    inline: bool,
    /// What is around it alone.
    wraps: Vec<Middleware<S>>,
    place: &'static Location<'static>,
}

impl<S> Default for Web<S> {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            routes: Vec::new(),
            mounts: Vec::new(),
            wraps: Vec::new(),
            messages: Vec::new(),
            has_sockets: false,
            #[cfg(feature = "session")]
            has_sessions: false,
            otherwise: None,
            admits: None,
        }
    }
}

impl<S> fmt::Debug for Web<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Web({} routes)", self.routes.len())
    }
}

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident $inline:ident $method:ident)*) => { $(
        $(#[$doc])*
        ///
        /// # Panics
        ///
        /// When the route was registered before, or its path cannot be told
        /// from another one; the places are named.
        #[must_use]
        #[track_caller]
        pub fn $name<T: FromBody, R: IntoReply>(
            self,
            path: &str,
            f: impl Fn(&mut Http<'_, S>, T) -> R + Send + Sync + 'static,
        ) -> Self {
            self.add(Method::$method, path, erase(f), false, Location::caller())
        }

        /// As the method without `_inline`, but on the event loop when nothing
        /// of the connection waits or runs: for an `f` that never blocks.
        ///
        /// # Panics
        ///
        /// As there.
        #[must_use]
        #[track_caller]
        pub fn $inline<T: FromBody, R: IntoReply>(
            self,
            path: &str,
            f: impl Fn(&mut Http<'_, S>, T) -> R + Send + Sync + 'static,
        ) -> Self {
            self.add(Method::$method, path, erase(f), true, Location::caller())
        }
    )* };
}

impl<S: Default + Send + 'static> Web<S> {
    /// No routes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    methods! {
        /// Handles `GET`, and `HEAD` unless that has a handler of its own.
        get get_inline Get
        /// Handles `POST`.
        post post_inline Post
        /// Handles `PUT`.
        put put_inline Put
        /// Handles `DELETE`.
        delete delete_inline Delete
        /// Handles `PATCH`.
        patch patch_inline Patch
        /// Handles `HEAD` otherwise than as a `GET` without content.
        head head_inline Head
        /// Handles `OPTIONS` otherwise than with the list of methods.
        options options_inline Options
        /// Handles every method that has no handler of its own.
        any any_inline Any
    }

    /// Handles `POST`, taking the body piece by piece: for an upload that is
    /// written elsewhere, hashed or passed on while it comes.
    ///
    /// `begin` runs before the body, and before a client is told to send it; its
    /// error refuses the request. `piece` gets the bytes in order, `f` answers
    /// when they were all. If the body does not come to its end, or `piece` says
    /// no, the `T` is dropped. All on the business pool, in turns: no thread
    /// waits for the client, and a client that is faster than `piece` is slowed
    /// down. Middleware runs around `begin` too, with an empty body; what it
    /// answers there instead refuses the request. The state is new in `begin`
    /// and in `f`.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let web = Web::<()>::new()
    ///     .post_pieces(
    ///         "/count",
    ///         |c| match c.header("x-unit") {
    ///             Some("bytes") => Ok(0_u64),
    ///             _ => Err(Error::new(400, "count what?")),
    ///         },
    ///         |sum, piece| {
    ///             *sum += piece.len() as u64;
    ///             Ok(())
    ///         },
    ///         |_, sum| sum.to_string(),
    ///     )
    ///     .body_max(10 << 30);
    /// let mut test = App::<()>::new().web(web).test();
    /// let fields = [("X-Unit", "bytes")];
    /// assert_eq!(test.http_with("POST", "/count", &fields, "hello").text(), "5");
    /// assert_eq!(test.http("POST", "/count", "hello").status, 400);
    /// ```
    ///
    /// # Panics
    ///
    /// As [`Self::post`].
    #[must_use]
    #[track_caller]
    pub fn post_pieces<T: Send + 'static, R: IntoReply>(
        self,
        path: &str,
        begin: impl Fn(&Http<'_, S>) -> Result<T, Error> + Send + Sync + 'static,
        piece: impl Fn(&mut T, &[u8]) -> Result<(), Error> + Send + Sync + 'static,
        f: impl Fn(&mut Http<'_, S>, T) -> R + Send + Sync + 'static,
    ) -> Self {
        let handlers = pieces::erase(begin, piece, f);
        self.in_pieces(Method::Post, path, handlers, Location::caller())
    }

    /// As [`Self::post_pieces`], for `PUT`.
    ///
    /// # Panics
    ///
    /// As [`Self::post`].
    #[must_use]
    #[track_caller]
    pub fn put_pieces<T: Send + 'static, R: IntoReply>(
        self,
        path: &str,
        begin: impl Fn(&Http<'_, S>) -> Result<T, Error> + Send + Sync + 'static,
        piece: impl Fn(&mut T, &[u8]) -> Result<(), Error> + Send + Sync + 'static,
        f: impl Fn(&mut Http<'_, S>, T) -> R + Send + Sync + 'static,
    ) -> Self {
        let handlers = pieces::erase(begin, piece, f);
        self.in_pieces(Method::Put, path, handlers, Location::caller())
    }

    fn in_pieces(
        self,
        method: Method,
        path: &str,
        (before, behind): (Handler<S>, Handler<S>),
        place: &'static Location<'static>,
    ) -> Self {
        let mut web = self.add(method, path, behind, false, place);
        web.last().before = Some(before);
        web
    }

    /// Makes a WebSocket of each connection that asks for one at `path`, whose
    /// messages have ids: binary ones carry frames of the listener's format, text
    /// ones are objects in JSON, and both reach the functions that
    /// [`App::on`](crate::App::on) registers, with a session's state. `hook` sees the
    /// request first: its cookies, fields and query. It may fill the state,
    /// [`bind`](Http::bind) the user, or refuse, by an error or any other answer.
    /// Middleware is around it.
    ///
    /// In JSON a request is `{"id": 1, "seq": 7, "body": …}` and its reply repeats
    /// `id` and `seq`; an error has `"error": {"code": 404, "text": "…"}` instead of
    /// a body, a push has no `seq`. The body is the value for a handler of `Json<T>`,
    /// a text for `String`, absent for `()`, and for bytes `"bytes"` in base64. A
    /// request is answered in its own kind. Pushes come in JSON to who offers the
    /// subprotocol `purlin.json`, as frames to others, who may offer
    /// `purlin.frame.NAME` of the listener's format. Browsers find a client for all
    /// of this at `/purlin.js`, which is served where no route is; how it is used
    /// stands at its beginning.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let web = Web::<()>::new().websocket("/ws", |c| match c.cookie("user") {
    ///     Some(user) => Ok(c.bind(user)),
    ///     None => Err(Error::new(401, "log in first")),
    /// });
    /// let app = App::<()>::new().on(1, |_, text: String| text).web(web);
    /// # let _app = app;
    /// ```
    ///
    /// # Panics
    ///
    /// As [`Self::get`].
    #[must_use]
    #[track_caller]
    pub fn websocket<R: IntoReply>(
        self,
        path: &str,
        hook: impl Fn(&mut Http<'_, S>) -> R + Send + Sync + 'static,
    ) -> Self {
        let opens = socket::opens_by_id(hook);
        let mut web = self.add(Method::Get, path, opens, false, Location::caller());
        web.has_sockets = true;
        web
    }

    /// Makes a WebSocket of each connection that asks for one at `path`, and gives
    /// `f` its messages, which have no ids: for peers with a protocol of their own.
    /// What `f` returns is sent back, text as a text message and bytes as a binary
    /// one; an error closes the connection with 1011. The connection is a session:
    /// it has a state, `opened` and `closed` run, and the hub reaches it, whose
    /// pushes it gets without their ids. A page of another origin may not connect
    /// unless `websocket_origins` of the listener names it; middleware is around the
    /// request.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let web = Web::<()>::new().messages("/echo", |_, message: Message| message);
    /// let app = App::<()>::new().web(web);
    /// # let mut test = app.test();
    /// # assert_eq!(test.http("GET", "/echo", "").status, 426);
    /// ```
    ///
    /// # Panics
    ///
    /// As [`Self::get`].
    #[must_use]
    #[track_caller]
    pub fn messages<R: IntoReply>(
        self,
        path: &str,
        f: impl Fn(&mut Ctx<'_, S>, Message) -> R + Send + Sync + 'static,
    ) -> Self {
        self.add_messages(path, socket::erase(f), false, Location::caller())
    }

    /// As [`Self::messages`], on the event loop when nothing of the connection waits
    /// or runs: for an `f` that never blocks.
    ///
    /// # Panics
    ///
    /// As there.
    #[must_use]
    #[track_caller]
    pub fn messages_inline<R: IntoReply>(
        self,
        path: &str,
        f: impl Fn(&mut Ctx<'_, S>, Message) -> R + Send + Sync + 'static,
    ) -> Self {
        self.add_messages(path, socket::erase(f), true, Location::caller())
    }

    fn add_messages(
        self,
        path: &str,
        f: socket::OnMessage<S>,
        inline: bool,
        place: &'static Location<'static>,
    ) -> Self {
        let path = format!("{}{path}", self.prefix);
        let opens = socket::opens_messages(&path);
        // On the business pool: middleware may block.
        let mut web = self;
        web.push(Route::new(Method::Get, path.clone(), opens, false, place));
        web.messages.push(Messages { path, f, inline });
        web
    }

    /// Bytes that a body of the route registered last may have, instead of
    /// `http.body_max`: more for uploads, less where no more is sensible. Above,
    /// the answer is 413, before the body is read if its length is said
    /// beforehand.
    ///
    /// # Panics
    ///
    /// When no route was registered before.
    #[must_use]
    pub fn body_max(mut self, bytes: usize) -> Self {
        self.last().body_max = Some(bytes);
        self
    }

    /// Serves the files of a folder below `path`, where no route is: a folder's
    /// name, or [`Files`] that say how. Where folders lie in each other, the
    /// longest path is looked at alone. Middleware is around files as well, and
    /// takes them to the business pool; without any, files that were asked for
    /// lately are served on the event loop, which waits for the disk where their
    /// pages are not in memory. [`Self::otherwise`] gets what is not there.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let web = Web::<()>::new().files("/source", "src");
    /// let mut test = App::<()>::new().web(web).test();
    /// assert_eq!(test.http("GET", "/source/lib.rs", "").status, 200);
    /// assert_eq!(test.http("GET", "/source/../Cargo.toml", "").status, 404);
    /// let part = test.http_with("GET", "/source/lib.rs", &[("Range", "bytes=0-2")], "");
    /// assert_eq!((part.status, &*part.text()), (206, "//!"));
    /// ```
    ///
    /// # Panics
    ///
    /// When `path` does not begin with a slash, has parameters, or has files
    /// already; the places are named.
    #[must_use]
    #[track_caller]
    pub fn files(mut self, path: &str, files: impl Into<Files>) -> Self {
        let place = Location::caller();
        let is_path = path.starts_with('/') && !path.contains([':', '*', '?']);
        assert!(is_path, "files cannot be at {path:?}: at {place}");
        let path = format!("{}{}", self.prefix, path.trim_end_matches('/'));
        assert!(
            !path.contains(':'),
            "files cannot be at {path:?}: at {place}"
        );
        self.mount(Mount {
            path: spelled(&path),
            files: Arc::new(files.into()),
            wraps: Vec::new(),
            place,
        });
        self
    }

    fn mount(&mut self, mount: Mount<S>) {
        let Mount { path, place, .. } = &mount;
        if let Some(old) = self.mounts.iter().find(|old| old.path == *path) {
            let old = old.place;
            panic!("{path}/ has two folders of files, at {old} and at {place}");
        }
        self.mounts.push(mount);
    }

    /// Handles every path that has no route, after files: those of
    /// [`Self::files`], and those of the listener's `root`.
    ///
    /// # Panics
    ///
    /// When it was registered before: the program has two minds.
    #[must_use]
    #[track_caller]
    pub fn otherwise<T: FromBody, R: IntoReply>(
        mut self,
        f: impl Fn(&mut Http<'_, S>, T) -> R + Send + Sync + 'static,
    ) -> Self {
        assert!(
            self.otherwise.is_none(),
            "`otherwise` was registered before"
        );
        self.otherwise = Some(erase(f));
        self
    }

    /// Says beforehand which requests [`Self::otherwise`] is for: `f` sees the head
    /// alone, and its error is the answer. So a client learns at once that nobody
    /// wants its body, and is never told to send it. Middleware is around `f` too,
    /// with an empty body.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let web = Web::<()>::new()
    ///     .otherwise(|_, body: Bytes| body)
    ///     .otherwise_if(|c| match (c.path(), c.method()) {
    ///         ("/echo", "POST") => Ok(()),
    ///         _ => Err(Error::new(404, "there is nothing here")),
    ///     });
    /// let mut test = App::<()>::new().web(web).test();
    /// assert_eq!(test.http("POST", "/echo", "hello").text(), "hello");
    /// assert_eq!(test.http("POST", "/", "hello").status, 404);
    /// ```
    ///
    /// # Panics
    ///
    /// When it was registered before: the program has two minds.
    #[must_use]
    pub fn otherwise_if(
        mut self,
        f: impl Fn(&mut Http<'_, S>) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Self {
        assert!(
            self.admits.is_none(),
            "`otherwise_if` was registered before"
        );
        self.admits = Some(Arc::new(move |http, _, answer| {
            if let Err(error) = f(http) {
                *answer = Answer::Error(error);
            }
        }));
        self
    }

    /// Middleware around every handler, [`Self::otherwise`] and [`Self::files`]
    /// included, wherever in the chain it is registered; the first one is
    /// outermost. Not around the listener's `root`, which is the operator's.
    #[must_use]
    pub fn wrap(
        mut self,
        f: impl Fn(&mut Http<'_, S>, Raw<'_>, Next<'_, S>) -> Result<Reply, Error>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.wraps.push(Arc::new(f));
        self
    }

    fn add(
        mut self,
        method: Method,
        path: &str,
        handler: Handler<S>,
        inline: bool,
        place: &'static Location<'static>,
    ) -> Self {
        let path = format!("{}{path}", self.prefix);
        self.push(Route::new(method, path, handler, inline, place));
        self
    }

    fn push(&mut self, route: Route<S>) {
        let Route {
            method,
            path,
            place,
            ..
        } = &route;
        let twin = |old: &&Route<S>| old.method == *method && old.path == *path;
        if let Some(old) = self.routes.iter().find(twin) {
            panic!(
                "{} {path} has two handlers, at {} and at {place}",
                method.name(),
                old.place
            );
        }
        self.routes.push(route);
    }

    fn last(&mut self) -> &mut Route<S> {
        let last = self.routes.last_mut();
        last.expect("a route was registered before its properties are set")
    }
}

impl<S> Route<S> {
    const fn new(
        method: Method,
        path: String,
        handler: Handler<S>,
        inline: bool,
        place: &'static Location<'static>,
    ) -> Self {
        Self {
            method,
            path,
            handler,
            before: None,
            body_max: None,
            inline,
            wraps: Vec::new(),
            place,
        }
    }
}

fn erase<S, T: FromBody, R: IntoReply>(
    f: impl Fn(&mut Http<'_, S>, T) -> R + Send + Sync + 'static,
) -> Handler<S> {
    Arc::new(move |http, body, answer| {
        let body = match body.file() {
            Some(file) if !T::TAKES_FILES => {
                into_memory(file).and_then(|bytes| T::from_body(Raw::shared(&bytes)))
            }
            Some(_) | None => T::from_body(body),
        };
        match body {
            Ok(body) => *answer = f(http, body).into_reply(),
            Err(error) => *answer = Answer::Error(error),
        }
    })
}

/// `handler` with `middleware` around it, the first one outermost.
fn wrapped<S: 'static>(handler: &Handler<S>, middleware: &[Middleware<S>]) -> Handler<S> {
    middleware
        .iter()
        .rev()
        .fold(Arc::clone(handler), |inner, outer| {
            let outer = Arc::clone(outer);
            Arc::new(move |http, body, answer| {
                *answer = outer(http, body, Next(&inner)).into_reply();
            })
        })
}
