//! The routes of a program, as one worker serves them.

mod build;
mod incoming;

use std::fmt;
use std::sync::Arc;

use matchit::{Params, Router};

use crate::body::{Answer, Error};
use crate::dispatch::{Ctx, Site, Visit};
use crate::protocol::Message;
use crate::protocol::http::{Head, Incoming, Request, Response, Served, Wanted};
use crate::protocol::{Lane, Listening};
use crate::scoreboard::activity::{self, Work};
use crate::scoreboard::series::AnsweredBy;
use crate::web::files::Files;
use crate::web::http::Http;
use crate::web::method::Method;
use crate::web::socket::Messages;
use crate::web::{Handler, Route};

/// Where the client for browsers is, if there is anything for it to reach.
const SCRIPT: &str = "/purlin.js";

/// Routes by path, then by method.
pub struct Routes<S> {
    paths: Router<usize>,
    /// The handlers of each path, by method.
    methods: Vec<[Option<Found<S>>; Method::ALL.len()]>,
    /// Files, the longest path first.
    mounts: Vec<Mounted<S>>,
    /// Functions that get messages without ids, with their places among the routes.
    messages: Vec<(u32, Messages<S>)>,
    /// What makes a connection one whose messages have ids.
    socket: Found<S>,
    /// Whether a route does.
    has_sockets: bool,
    /// The client for browsers.
    script: Found<S>,
    otherwise: Option<Found<S>>,
}

/// Files below a path.
struct Mounted<S> {
    path: String,
    files: Arc<Files>,
    /// The files with middleware around them; `None`: there is none.
    wrapped: Option<Found<S>>,
}

struct Found<S> {
    handler: Handler<S>,
    /// Runs before a body that is yet to come.
    before: Option<Handler<S>>,
    /// That one takes the body.
    in_pieces: bool,
    body_max: Option<usize>,
    inline: bool,
    /// Its place among the routes of the program; behind them, `otherwise`.
    number: u32,
}

impl<S> fmt::Debug for Routes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Routes({} paths)", self.methods.len())
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The part of `path` behind the slash at `from`.
fn below(path: &str, from: usize) -> &str {
    path.get(from + 1..).unwrap_or_default()
}

fn nothing() -> Error {
    Error::new(404, "there is nothing here")
}

impl<S> Routes<S> {
    fn insert(&mut self, pattern: &str, route: &Route<S>) -> usize {
        let at = self.methods.len();
        if let Err(error) = self.paths.insert(pattern, at) {
            panic!("the path {} at {}: {error}", route.path, route.place);
        }
        self.methods.push(Default::default());
        at
    }
}

/// What a request is for.
enum Goal<'a, S> {
    Handler(&'a Found<S>, Params<'a, 'a>),
    /// The path has handlers, for other methods.
    Methods(&'a [Option<Found<S>>; Method::ALL.len()]),
    /// The path has none.
    Elsewhere,
}

impl<S> Routes<S> {
    fn find<'a>(&'a self, method: Method, path: &'a str) -> Goal<'a, S> {
        let Ok(matched) = self.paths.at(path) else {
            return Goal::Elsewhere;
        };
        let methods = &self.methods[*matched.value];
        let of = |method: Method| methods[method as usize].as_ref();
        let head = || (method == Method::Head).then(|| of(Method::Get)).flatten();
        let found = of(method).or_else(head);
        // `any` leaves `OPTIONS` to us: who asks wants to know, not to act.
        let any = || {
            (method != Method::Options)
                .then(|| of(Method::Any))
                .flatten()
        };
        match found.or_else(any) {
            Some(found) => Goal::Handler(found, matched.params),
            None => Goal::Methods(methods),
        }
    }

    /// The files that `path` lies in.
    fn mount(&self, path: &str) -> Option<&Mounted<S>> {
        let is_below = |mount: &&Mounted<S>| {
            let rest = path.strip_prefix(&*mount.path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.mounts.iter().find(is_below)
    }
}

/// The value of `Allow`.
fn allow<S>(methods: &[Option<Found<S>>; Method::ALL.len()]) -> String {
    let has = |method: Method| methods[method as usize].is_some();
    let allowed = |method: &Method| {
        has(*method)
            || has(Method::Any)
            || *method == Method::Options
            || (*method == Method::Head && has(Method::Get))
    };
    let named = Method::ALL.iter().filter(|method| **method != Method::Any);
    let names: Vec<_> = named
        .filter(|method| allowed(method))
        .map(|m| m.name())
        .collect();
    names.join(", ")
}

/// A request, and where it is served.
#[derive(Clone, Copy)]
struct Call<'a> {
    lane: Lane,
    request: &'a Request<'a>,
}

impl<S: Default + Send + 'static> Found<S> {
    fn run(
        &self,
        mut visit: Visit<'_, S>,
        call: Call<'_>,
        params: Params<'_, '_>,
        response: &mut Response,
    ) -> Served {
        let request = call.request;
        response.answered_by = AnsweredBy::Route(self.number);
        if call.lane == Lane::Inline && !self.inline {
            return Served::NotInline;
        }
        if (self.body_max).is_some_and(|max| request.body.bytes().len() > max) {
            response.error(&Error::new(413, "the body is too long"));
            return Served::Done;
        }
        let mut state = S::default();
        let mut answer = Answer::None;
        let mut http = Http {
            ctx: visit.ctx(&mut state),
            request,
            params,
            response,
            begun: None,
            user: None,
            #[cfg(feature = "session")]
            session: crate::web::session::Lookup::default(),
        };
        activity::begin(Work::Route(self.number));
        (self.handler)(&mut http, request.body, &mut answer);
        let (user, room) = becomes(&mut http);
        let served = response.take(answer);
        if response.is_upgrade() {
            visit.leave(state, user, room);
        }
        served
    }
}

/// Whose the connection is that the request opens, and the room that it is in from its
/// start.
#[cfg(feature = "session")]
fn becomes<S>(http: &mut Http<'_, S>) -> (Option<String>, Option<String>) {
    let user = http.user.take();
    match http.session_room() {
        Some((own, room)) => (user.or(Some(own)), Some(room)),
        None => (user, None),
    }
}

#[cfg(not(feature = "session"))]
fn becomes<S>(http: &mut Http<'_, S>) -> (Option<String>, Option<String>) {
    (http.user.take(), None)
}

impl<S: Default + Send + 'static> Routes<S> {
    /// What is there for WebSockets without a route: the listener's own path, and
    /// the script for browsers. Nothing of the program's is around them.
    fn own(&self, request: &Request<'_>) -> Option<&Found<S>> {
        let at = request.successors?.path();
        let (path, method) = (request.head.path, request.head.method);
        if at == Some(path) {
            return Some(&self.socket);
        }
        let is_script = path == SCRIPT && matches!(method, "GET" | "HEAD");
        (is_script && (at.is_some() || self.has_sockets)).then_some(&self.script)
    }

    /// Where no route is: the program's files, the listener's, then `otherwise`.
    fn elsewhere(
        &self,
        visit: Visit<'_, S>,
        call: Call<'_>,
        response: &mut Response,
    ) -> Option<Served> {
        let Call { lane, request, .. } = call;
        if let Some(mount) = self.mount(request.head.path) {
            if let Some(found) = &mount.wrapped {
                return Some(found.run(visit, call, Params::new(), response));
            }
            let below = below(request.head.path, mount.path.len());
            let served = mount
                .files
                .serve(lane, request, below, visit.row(), response);
            if served.is_some() {
                response.answered_by = AnsweredBy::Files;
                return served;
            }
        } else if let Some(root) = request.root
            && let Some(served) = root.serve(lane, request, visit.row(), response)
        {
            response.answered_by = AnsweredBy::Files;
            return Some(served);
        }
        let found = self.otherwise.as_ref()?;
        Some(found.run(visit, call, Params::new(), response))
    }
}

impl<S: Default + Send + 'static> Site<S> for Routes<S> {
    fn serve(
        &self,
        visit: Visit<'_, S>,
        lane: Lane,
        request: &Request<'_>,
        response: &mut Response,
    ) -> Served {
        let path = request.head.path;
        let method = Method::of(request.head.method);
        let call = Call { lane, request };
        let goal = self.find(method, path);
        let own = matches!(goal, Goal::Elsewhere).then(|| self.own(request));
        match goal {
            Goal::Elsewhere if let Some(Some(own)) = own => {
                return own.run(visit, call, Params::new(), response);
            }
            Goal::Handler(found, params) => return found.run(visit, call, params, response),
            Goal::Elsewhere => {
                if let Some(served) = self.elsewhere(visit, call, response) {
                    return served;
                }
            }
            Goal::Methods(_) => {}
        }
        nobody(&goal, method, &request.head, response)
    }

    fn messages_at(&self, path: &str) -> Option<Listening> {
        let mut all = self.messages.iter();
        let (number, found) = all.find(|(_, messages)| messages.path == path)?;
        Some(Listening {
            number: *number,
            inline: found.inline,
        })
    }

    fn message(&self, number: u32, ctx: &mut Ctx<'_, S>, message: Message, answer: &mut Answer) {
        let mut all = self.messages.iter();
        if let Some((_, found)) = all.find(|(known, _)| *known == number) {
            (found.f)(ctx, message, answer);
        }
    }

    fn receive(
        &self,
        visit: Visit<'_, S>,
        incoming: &Incoming<'_>,
        response: &mut Response,
    ) -> Wanted {
        self.wants(visit, incoming, response)
    }
}

/// Answers a request that no handler is for.
fn nobody<S>(
    goal: &Goal<'_, S>,
    method: Method,
    head: &Head<'_>,
    response: &mut Response,
) -> Served {
    match goal {
        Goal::Methods(_) | Goal::Elsewhere if method == Method::Any => return Served::NoSuchMethod,
        Goal::Methods(methods) => {
            response.field("Allow", allow(methods).as_bytes());
            if method != Method::Options {
                let text = format!("{} is not allowed here", head.method);
                response.error(&Error::new(405, text));
            }
        }
        // Who asks for the health of a server by OPTIONS asks for no resource.
        Goal::Elsewhere if method == Method::Options => {
            response.field("Allow", b"OPTIONS");
        }
        Goal::Handler(..) | Goal::Elsewhere => response.error(&nothing()),
    }
    Served::Done
}
