//! The routes of a program, as one worker serves them.

use std::fmt;

use matchit::{Params, Router};

use super::http::Http;
use super::method::Method;
use super::{Handler, Route, Web, wrapped};
use crate::body::{Answer, Error};
use crate::dispatch::{Site, Visit};
use crate::protocol::http::{Head, Incoming, Request, Response, Served, Wanted};
use crate::protocol::{Lane, Units};

/// Routes by path, then by method.
pub struct Routes<S> {
    paths: Router<usize>,
    /// The handlers of each path, by method.
    methods: Vec<[Option<Found<S>>; Method::ALL.len()]>,
    otherwise: Option<Found<S>>,
}

struct Found<S> {
    handler: Handler<S>,
    before: Option<Handler<S>>,
    body_max: Option<usize>,
    inline: bool,
}

impl<S> fmt::Debug for Routes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Routes({} paths)", self.methods.len())
    }
}

/// `/a/:b/*c` as the router writes it.
fn pattern(path: &str) -> String {
    let segments = path.split('/').map(|segment| {
        let escaped = || segment.replace('{', "{{").replace('}', "}}");
        match (segment.strip_prefix(':'), segment.strip_prefix('*')) {
            (Some(name), _) => format!("{{{name}}}"),
            (None, Some(name)) => format!("{{*{name}}}"),
            (None, None) => escaped(),
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

impl<S: Default + Send + 'static> Web<S> {
    /// The routes, for one worker.
    ///
    /// # Panics
    ///
    /// When a path is none or cannot be told from another one; its place in the
    /// program is named.
    #[must_use]
    pub fn routes(&self) -> Routes<S> {
        let mut routes = Routes {
            paths: Router::new(),
            methods: Vec::new(),
            otherwise: self.otherwise.as_ref().map(|handler| Found {
                handler: wrapped(handler, &self.wraps),
                before: None,
                body_max: None,
                inline: false,
            }),
        };
        let mut known: Vec<(String, usize)> = Vec::new();
        for route in &self.routes {
            let pattern = pattern(&route.path);
            let at = known.iter().find(|(known, _)| *known == pattern);
            let at = at.map(|(_, at)| *at).unwrap_or_else(|| {
                let at = routes.insert(&pattern, route);
                known.push((pattern, at));
                at
            });
            routes.methods[at][route.method as usize] = Some(Found {
                handler: wrapped(&route.handler, &self.wraps),
                before: (route.before.as_ref()).map(|before| wrapped(before, &self.wraps)),
                body_max: route.body_max,
                inline: route.inline,
            });
        }
        routes
    }
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

/// The path of a target: `/a`, `http://host/a`, or `*`.
fn path_of(target: &str) -> (&str, &str) {
    let target = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find(['/', '?']).map_or("/", |at| &rest[at..])
        }
        _ => target,
    };
    target.split_once('?').unwrap_or((target, ""))
}

/// What a request is for.
enum Goal<'a, S> {
    Handler(&'a Found<S>, Params<'a, 'a>),
    /// The path has handlers, for other methods.
    Methods(&'a [Option<Found<S>>; Method::ALL.len()]),
    Nothing,
}

impl<S> Routes<S> {
    fn find<'a>(&'a self, method: Method, path: &'a str) -> Goal<'a, S> {
        let Ok(matched) = self.paths.at(path) else {
            return match &self.otherwise {
                Some(found) => Goal::Handler(found, Params::new()),
                None => Goal::Nothing,
            };
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

impl<S: Default + Send + 'static> Site<S> for Routes<S> {
    fn serve(
        &self,
        mut visit: Visit<'_, S>,
        lane: Lane,
        request: &Request<'_>,
        response: &mut Response,
    ) -> Served {
        let (path, query) = path_of(request.head.target);
        let method = Method::of(request.head.method);
        match self.find(method, path) {
            Goal::Handler(found, _) if lane == Lane::Inline && !found.inline => Served::NotInline,
            Goal::Handler(found, _)
                if (found.body_max).is_some_and(|max| request.body.bytes().len() > max) =>
            {
                response.error(&Error::new(413, "the body is too long"));
                Served::Done
            }
            Goal::Handler(found, params) => {
                let mut state = S::default();
                let mut answer = Answer::None;
                let mut http = Http {
                    ctx: visit.ctx(&mut state),
                    request,
                    path,
                    query,
                    params,
                    response,
                    begun: None,
                };
                (found.handler)(&mut http, request.body, &mut answer);
                response.take(answer)
            }
            goal @ (Goal::Methods(_) | Goal::Nothing) => {
                nobody(&goal, method, &request.head, response)
            }
        }
    }

    fn receive(
        &self,
        mut visit: Visit<'_, S>,
        incoming: &Incoming<'_>,
        response: &mut Response,
    ) -> Wanted {
        let head = incoming.head;
        let (path, query) = path_of(head.target);
        let method = Method::of(head.method);
        let (found, params) = match self.find(method, path) {
            Goal::Handler(found, params) => (found, params),
            goal @ (Goal::Methods(_) | Goal::Nothing) => {
                return match nobody(&goal, method, &head, response) {
                    Served::NoSuchMethod => Wanted::NoSuchMethod,
                    Served::Done | Served::Later(_) | Served::NotInline => Wanted::Refused,
                };
            }
        };
        let max = found.body_max.unwrap_or(incoming.max);
        let is_over = incoming.length.is_some_and(|length| length > max);
        let Some(before) = found.before.as_ref().filter(|_| !is_over) else {
            return Wanted::Whole { max };
        };
        let (mut state, mut answer) = (S::default(), Answer::None);
        let body = Units::borrowed(b"");
        let request = Request {
            head,
            body,
            taken: None,
        };
        let mut http = Http {
            ctx: visit.ctx(&mut state),
            request: &request,
            path,
            query,
            params,
            response,
            begun: None,
        };
        before(&mut http, body, &mut answer);
        match (http.begun.take(), answer) {
            (Some(intake), Answer::None) => Wanted::Pieces { max, intake },
            (_, answer) => {
                if let Served::Later(_) = response.take(answer) {
                    let why = "a reply that comes later cannot refuse a body";
                    response.error(&Error::new(500, why));
                }
                Wanted::Refused
            }
        }
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
        Goal::Methods(_) | Goal::Nothing if method == Method::Any => return Served::NoSuchMethod,
        Goal::Methods(methods) => {
            response.field("Allow", allow(methods).as_bytes());
            if method != Method::Options {
                let text = format!("{} is not allowed here", head.method);
                response.error(&Error::new(405, text));
            }
        }
        Goal::Nothing if method == Method::Options && head.target == "*" => {}
        Goal::Handler(..) | Goal::Nothing => {
            response.error(&Error::new(404, "there is nothing here"));
        }
    }
    Served::Done
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn targets_have_a_path_and_a_query() {
        for (target, path, query) in [
            ("/a?b=c?d", "/a", "b=c?d"),
            ("/", "/", ""),
            ("*", "*", ""),
            ("http://host/a?b", "/a", "b"),
            ("http://host?b", "", "b"),
            ("http://host", "/", ""),
            ("/a?u=http://x", "/a", "u=http://x"),
        ] {
            assert_eq!(path_of(target), (path, query), "{target}");
        }
    }
}
