//! What a handler of a request can see and do beside returning its reply.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use matchit::Params;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::channel::{StreamSender, Unsent, channel, hearing};
use super::events::{Event, EventSender};
use super::location::location;
use super::multipart::Multipart;
use crate::body::{Error, Id, Spooled, from_pairs};
use crate::dispatch::{Ctx, Heard, Hub, Later, Replier, Waker, name_request, request_id};
use crate::protocol::http::{Intake, Request, Response, Stream};
use crate::sys::socket::Peer;

/// One request, for the time of one handler. Derefs to its state `S`, which was
/// made for this request.
///
/// ```
/// use purlin::prelude::*;
///
/// #[derive(Deserialize)]
/// struct Page { from: u32, count: Option<u32> }
///
/// let web = Web::<()>::new().get("/users/:team", |c, (): ()| {
///     let page: Page = c.query()?;
///     c.set_header("cache-control", "no-store");
///     Ok::<_, Error>(format!("{} {} {:?}", c.param("team"), page.from, page.count))
/// });
/// let mut test = App::<()>::new().web(web).test();
/// assert_eq!(test.http("GET", "/users/a%20b?from=7", "").text(), "a b 7 None");
/// assert_eq!(test.http("GET", "/users/a?from=x", "").status, 400);
/// ```
pub struct Http<'a, S> {
    pub(super) ctx: Ctx<'a, S>,
    pub(super) request: &'a Request<'a>,
    pub(super) params: Params<'a, 'a>,
    pub(super) response: &'a mut Response,
    /// Who takes the body, once that was begun.
    pub(super) begun: Option<Box<dyn Intake>>,
    /// Whom the session is bound to that the connection becomes.
    pub(super) user: Option<String>,
    /// Who is logged in.
    #[cfg(feature = "session")]
    pub(super) session: super::session::Lookup,
}

/// Between two signs of life of a stream of events.
const BEAT: Duration = Duration::from_secs(15);

impl<'a, S> Http<'a, S> {
    /// `GET`, `POST`, …, as sent.
    #[must_use]
    pub const fn method(&self) -> &'a str {
        self.request.head.method
    }

    /// The path, without the query, in its one spelling, in which routes and files
    /// are looked for: `.`, `..` and empty segments are gone, and escapes are
    /// undone (`/a b`), but for `%2F` and `%25`, control characters and what is no
    /// UTF-8. It never begins with two slashes.
    #[must_use]
    pub const fn path(&self) -> &'a str {
        self.request.head.path
    }

    /// What the request line names, as sent: path and query, a whole URI, or `*`.
    #[must_use]
    pub const fn target(&self) -> &'a str {
        self.request.head.target
    }

    /// The query, as sent, without its question mark.
    #[must_use]
    pub const fn query_text(&self) -> &'a str {
        self.request.head.query
    }

    /// The query as a struct.
    ///
    /// # Errors
    ///
    /// 400, with what is missing or wrong: pass it on by `?`.
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, Error> {
        from_pairs(self.query_text().as_bytes())
    }

    /// What stands for `:name` or `*name` in the path, decoded.
    ///
    /// # Panics
    ///
    /// When the route has none of this name: the program is wrong, and the
    /// request is answered with 500.
    #[must_use]
    pub fn param(&self, name: &str) -> Cow<'a, str> {
        let value = self.params.get(name);
        let value = value.unwrap_or_else(|| panic!("the route has no parameter `{name}`"));
        percent_decode_str(value).decode_utf8_lossy()
    }

    /// As [`Self::param`], as a number or whatever can be read from text.
    ///
    /// # Errors
    ///
    /// 404 when it cannot: there is nothing at such a path.
    ///
    /// # Panics
    ///
    /// As [`Self::param`].
    pub fn param_as<T: FromStr>(&self, name: &str) -> Result<T, Error> {
        let value = self.param(name);
        value
            .parse()
            .map_err(|_| Error::new(404, format!("no `{name}` can be `{value}`")))
    }

    /// The parts of the body, which is a form with files (`multipart/form-data`).
    /// Take the body as [`Spooled`]: it may be longer than memory.
    ///
    /// # Errors
    ///
    /// 415 when the request says that its body is something else, 400 when it
    /// does not say what is between the parts: pass it on by `?`.
    pub fn multipart(&self, body: Spooled) -> Result<Multipart, Error> {
        Multipart::new(self.header("content-type"), body)
    }

    /// A field of the request, whatever its case; `None` when it is missing or
    /// no UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.request.head.fields.find(name)?).ok()
    }

    /// All fields of the request, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a, S> {
        self.request.head.fields.iter()
    }

    /// A field behind a chunked body, whatever its case; `None` when it is
    /// missing or no UTF-8. What says how a message is framed, whom it is for or
    /// who asks is not looked for there.
    #[must_use]
    pub fn trailer(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.request.trailers.find(name)?).ok()
    }

    /// All fields behind a chunked body, in order.
    pub fn trailers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a, S> {
        self.request.trailers.iter()
    }

    /// A cookie of the request, as sent.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        let fields = self.request.head.fields.iter();
        let cookies = fields.filter(|(field, _)| field.eq_ignore_ascii_case("cookie"));
        let texts = cookies.filter_map(|(_, value)| std::str::from_utf8(value).ok());
        let mut pairs = texts.flat_map(|text| text.split(';'));
        pairs.find_map(|pair| {
            let (found, value) = pair.trim().split_once('=')?;
            (found == name).then(|| value.trim_matches('"'))
        })
    }

    /// The request's name, for logs and for those whom this request makes us
    /// ask: what the client sent as `X-Request-Id` if that is a word, or a new
    /// one. The response says it, too.
    pub fn request_id(&mut self) -> &str {
        if self.response.request_id().is_none() {
            let sent = self.request.head.fields.request_id();
            let id = sent.map_or_else(request_id, Into::into);
            name_request(&id);
            self.response.identify(id);
        }
        self.response.request_id().unwrap_or_default()
    }

    /// Sets the status of the response; 200, or 204 without content, unless it
    /// is set.
    ///
    /// # Panics
    ///
    /// When `status` is not from 200 to 599.
    pub fn status(&mut self, status: u16) {
        assert!(
            (200..600).contains(&status),
            "{status} is no status of a response"
        );
        self.response.status = Some(status);
    }

    /// Adds a field to the response. `Content-Type` replaces what the reply's
    /// type would say.
    ///
    /// # Panics
    ///
    /// When the name or the value cannot be sent, because of a line break in it
    /// for example: it would begin a response of its own. Nor can the fields be
    /// set that say how long the response is.
    pub fn set_header(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let ours = ["content-length", "transfer-encoding", "connection", "date"];
        assert!(
            !ours.iter().any(|one| one.eq_ignore_ascii_case(name)),
            "the field {name} is set by the server"
        );
        assert!(
            self.response.field(name, value.as_ref()),
            "the field {name} cannot be sent"
        );
    }

    /// Sets a cookie that scripts cannot read and other sites cannot send:
    /// `Path=/; HttpOnly; SameSite=Lax`. For others, [`Self::set_header`].
    ///
    /// # Panics
    ///
    /// When the name or the value has a character that none may have.
    pub fn set_cookie(&mut self, name: &str, value: &str) {
        let odd = |c: char| c.is_control() || matches!(c, ';' | ',' | ' ' | '"' | '\\');
        let is_odd = name.is_empty() || name.contains(odd) || name.contains('=');
        assert!(
            !is_odd && !value.contains(odd),
            "the cookie {name} cannot be sent"
        );
        let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax");
        self.set_header("Set-Cookie", cookie);
    }

    /// Sends the client to another place, with a `GET` (303). For another
    /// status, set it behind this. What no URI can have, such as a space or a
    /// letter beyond ASCII, is escaped.
    ///
    /// # Panics
    ///
    /// When `to` has a line break or another character that no field may have.
    pub fn redirect(&mut self, to: &str) {
        self.response.status = Some(303);
        self.set_header("Location", &*location(to));
    }

    /// Closes the connection behind this response.
    pub const fn close(&mut self) {
        self.response.close = true;
    }

    /// From its start the session that this request opens is reached as
    /// `hub.user(name)`. For the hook of [`Web::websocket`](super::Web::websocket).
    ///
    /// # Panics
    ///
    /// When the request asks for no WebSocket: its connection is no session.
    pub fn bind(&mut self, user: &str) {
        assert!(self.request.upgrades, "the request opens no WebSocket");
        self.user = Some(user.to_owned());
    }

    /// Puts the reply off, as [`Ctx::later`]: the connection waits, others are
    /// served.
    pub fn later(&mut self, f: impl FnOnce(Replier)) -> Later {
        let request = self.response.request_id().map(Into::into);
        self.ctx.later_of(request, f)
    }

    /// A stream as reply, and what other threads send into it. The connection
    /// serves nothing else until it ends.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let web = Web::<()>::new().get("/slow", |c, (): ()| {
    ///     let (sender, stream) = c.channel();
    ///     let _sent = sender.send("working...\n"); // or from another thread
    ///     stream
    /// });
    /// let mut test = App::<()>::new().web(web).test();
    /// assert_eq!(test.http("GET", "/slow", "").text(), "working...\n");
    /// ```
    #[must_use = "the stream is the reply"]
    pub fn channel(&self) -> (StreamSender, Stream) {
        channel(self.ctx.waker(), None)
    }

    /// A stream of server-sent events as reply, and what sends them: to be kept
    /// for as long as events may come, and dropped when one answers
    /// [`Unsent::Gone`](super::Unsent). After 15 seconds of silence a comment is
    /// sent, so that nobody on the way takes the connection for dead.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let web = Web::<()>::new().get("/events", |c, (): ()| {
    ///     let (sender, stream) = c.events();
    ///     let _sent = sender.send(Event::new("hello").id("1"));
    ///     stream
    /// });
    /// let mut test = App::<()>::new().web(web).test();
    /// let answered = test.http("GET", "/events", "");
    /// assert_eq!(answered.header("content-type"), Some("text/event-stream"));
    /// assert_eq!(answered.text(), "id: 1\ndata: hello\n\n");
    /// ```
    #[must_use = "the stream is the reply"]
    pub fn events(&mut self) -> (EventSender, Stream) {
        self.events_every(BEAT)
    }

    /// As [`Self::events`], with a comment after each `beat` of silence.
    #[must_use = "the stream is the reply"]
    pub fn events_every(&mut self, beat: Duration) -> (EventSender, Stream) {
        self.say_events();
        let (sender, stream) = channel(self.ctx.waker(), Some(beat));
        (EventSender(sender), stream)
    }

    fn say_events(&mut self) {
        self.set_header("Content-Type", "text/event-stream");
        self.set_header("Cache-Control", "no-cache");
        // nginx would collect them otherwise.
        self.set_header("X-Accel-Buffering", "no");
    }

    /// A stream of server-sent events as reply: everything that is sent to these
    /// rooms from now on, by whomever (`c.hub().room(name).send(id, body)`, in a
    /// handler of frames or of HTTP). `event` makes an event of a message, or
    /// leaves it out; it runs on the thread that sends, so it must not wait. Signs
    /// of life as in [`Self::events`].
    ///
    /// For a client that reads too slowly 64 KiB wait at most. Then its stream
    /// ends behind them, which is counted (`pushes_dropped`), and a browser comes
    /// back by itself.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let web = Web::<()>::new()
    ///     .get("/events", |c, (): ()| {
    ///         c.events_of(&["lobby"], |_, text| Some(String::from_utf8_lossy(text).into_owned()))
    ///     })
    ///     .post("/say", |c, text: String| c.hub().room("lobby").send(1, text).to_string());
    /// let app = App::<()>::new()
    ///     .on(1, |c, (): ()| c.join("lobby"))
    ///     .on(2, |c, text: String| c.hub().room("lobby").send(1, text).to_string())
    ///     .web(web);
    /// let mut test = app.test();
    /// assert_eq!(test.http("POST", "/say", "hello").text(), "0");
    /// ```
    #[must_use = "the stream is the reply"]
    pub fn events_of<E: Into<Event>>(
        &mut self,
        rooms: &[&str],
        event: impl Fn(Id, &Bytes) -> Option<E> + Send + Sync + 'static,
    ) -> Stream {
        self.say_events();
        let (hub, conn) = (self.ctx.hub(), self.ctx.conn());
        let fence = hub.clone();
        let write = move |id, body: &Bytes| {
            let event = fence.fenced(id, || event(id, body)).flatten()?;
            Some(event.into().to_string())
        };
        hearing(self.ctx.waker(), BEAT, Box::new(write), |sender| {
            let listen = |room: &&str| {
                let sender = sender.clone();
                hub.listen(conn, room, move |id, body| match sender.hear(id, body) {
                    Ok(()) => Heard::Taken,
                    Err(Unsent::Gone) => Heard::Gone,
                    Err(Unsent::Full) => {
                        sender.cut();
                        Heard::Slow
                    }
                })
            };
            rooms.iter().map(listen).collect()
        })
    }

    /// The id of the last event that a client had which comes back for more.
    #[must_use]
    pub fn last_event_id(&self) -> Option<&'a str> {
        self.header("last-event-id")
    }

    /// What wakes this connection while a [`Source`](super::Source) of one's own
    /// waits.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.ctx.waker()
    }

    /// Whether the listener has files of its own (`root`), which were asked
    /// before [`Web::otherwise`](super::Web::otherwise).
    #[must_use]
    pub const fn has_root(&self) -> bool {
        self.request.root.is_some()
    }

    /// Who asks: the other end of the connection, which may be a proxy, or whom it
    /// names where `http.client_from` says that it may; then the port is 0.
    #[must_use]
    pub const fn peer(&self) -> Peer {
        self.ctx.peer()
    }

    /// The way to connections.
    #[must_use]
    pub const fn hub(&self) -> &'a Hub {
        self.ctx.hub()
    }

    /// The name of the listener that the request came to: as
    /// [`Ctx::listener`](crate::dispatch::Ctx::listener).
    #[must_use]
    pub const fn listener(&self) -> Option<&'a str> {
        self.ctx.listener()
    }

    /// The program's settings of type `T`: as
    /// [`Hub::settings`](crate::dispatch::Hub::settings).
    ///
    /// # Panics
    ///
    /// When no table has this type: the program lacks a part, and the request is
    /// answered with 500.
    #[must_use]
    pub fn settings<T: Send + Sync + 'static>(&self) -> &'a T {
        self.ctx.settings()
    }

    /// The worker's data of type `T`.
    ///
    /// # Panics
    ///
    /// When no `.data(…)` gave one: the program lacks a part, and the request
    /// is answered with 500.
    #[must_use]
    pub fn data<T: Send + Sync + 'static>(&self) -> &'a T {
        self.ctx.data()
    }
}

impl<S> Deref for Http<'_, S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.ctx
    }
}

impl<S> DerefMut for Http<'_, S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.ctx
    }
}

impl<S> fmt::Debug for Http<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Http({} {})", self.method(), self.path())
    }
}
