//! From what a program registered to the routes of one worker, and their names.

use std::cmp::Reverse;
use std::sync::Arc;

use matchit::Router;

use super::{Found, Mounted, Routes, below, count, nothing};
use crate::body::Answer;
use crate::protocol::http::spelled;
use crate::protocol::{Lane, Units};
use crate::web::method::Method;
use crate::web::socket::{self, Messages};
use crate::web::{Handler, Mount, Route, Web, wrapped};

/// `/a/:b/*c` as the router writes it.
fn pattern(path: &str) -> String {
    let segments = path.split('/').map(|segment| {
        let escaped = || spelled(segment).replace('{', "{{").replace('}', "}}");
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
        Self::build(&[(self, 0)])
    }

    /// As [`Self::routes`], with those of `common` where there is none here. The
    /// numbers of the routes here begin with `first`.
    ///
    /// # Panics
    ///
    /// As [`Self::routes`].
    #[must_use]
    pub(crate) fn routes_over(&self, common: &Self, first: u32) -> Routes<S> {
        Self::build(&[(self, first), (common, 0)])
    }

    /// How many numbers its routes have, `otherwise` and the files included.
    pub(crate) fn count(&self) -> u32 {
        count(self.routes.len() + 1 + self.mounts.len())
    }

    /// All of `webs`, each with the number of its first route; what comes first
    /// wins.
    fn build(webs: &[(&Self, u32)]) -> Routes<S> {
        let all = || webs.iter().copied();
        let winner = all().find(|(web, _)| web.otherwise.is_some());
        let otherwise = || winner.and_then(|(web, first)| web.found_otherwise(first));
        let mut routes = Routes {
            paths: Router::new(),
            methods: Vec::new(),
            mounts: Vec::new(),
            messages: all()
                .flat_map(|(web, first)| web.found_messages(first))
                .collect(),
            socket: Found::inline(socket::opens_by_id(|_| ())),
            has_sockets: all().any(|(web, _)| web.has_sockets),
            script: Found::inline(socket::script()),
            otherwise: otherwise(),
        };
        let mut known: Vec<(String, usize)> = Vec::new();
        for (web, first) in all() {
            for (number, route) in (first..).zip(&web.routes) {
                let pattern = pattern(&route.path);
                let at = known.iter().find(|(known, _)| *known == pattern);
                let at = at.map(|(_, at)| *at).unwrap_or_else(|| {
                    let at = routes.insert(&pattern, route);
                    known.push((pattern, at));
                    at
                });
                let found = &mut routes.methods[at][route.method as usize];
                found.get_or_insert_with(|| web.found(route, number));
            }
            // Its own middleware is around its files already.
            let is_own = winner.is_some_and(|(winner, _)| std::ptr::eq(winner, web));
            let foreign = || otherwise().map(|found| found.handler);
            let otherwise = if is_own { web.admitted() } else { foreign() };
            for mounted in web.mounted(first, &otherwise) {
                if !routes.mounts.iter().any(|known| known.path == mounted.path) {
                    routes.mounts.push(mounted);
                }
            }
        }
        routes.mounts.sort_by_key(|mount| Reverse(mount.path.len()));
        routes
    }

    fn found(&self, route: &Route<S>, number: u32) -> Found<S> {
        let around = |handler| wrapped(&wrapped(handler, &route.wraps), &self.wraps);
        Found {
            handler: around(&route.handler),
            before: route.before.as_ref().map(around),
            in_pieces: route.before.is_some(),
            body_max: route.body_max,
            inline: route.inline,
            number,
        }
    }

    fn found_messages(&self, first: u32) -> Vec<(u32, Messages<S>)> {
        let number = |messages: &Messages<S>| {
            let is_it =
                |route: &Route<S>| route.method == Method::Get && route.path == messages.path;
            self.routes.iter().position(is_it).map_or(0, count)
        };
        let all = self.messages.iter();
        all.map(|messages| (first + number(messages), messages.clone()))
            .collect()
    }

    /// The files; where there is none, `otherwise` is asked.
    fn mounted(&self, first: u32, otherwise: &Option<Handler<S>>) -> Vec<Mounted<S>> {
        let mounted = |(index, mount): (usize, &Mount<S>)| {
            let number = first + count(self.routes.len() + 1 + index);
            let has_wraps = !self.wraps.is_empty() || !mount.wraps.is_empty();
            let around = || {
                let files = file_handler(mount, otherwise.clone());
                Found::pooled(wrapped(&wrapped(&files, &mount.wraps), &self.wraps), number)
            };
            mount.files.announce();
            Mounted {
                path: mount.path.clone(),
                files: Arc::clone(&mount.files),
                wrapped: has_wraps.then(around),
            }
        };
        self.mounts.iter().enumerate().map(mounted).collect()
    }

    /// `otherwise`, which is asked whether it is for the request first.
    fn admitted(&self) -> Option<Handler<S>> {
        let otherwise = Arc::clone(self.otherwise.as_ref()?);
        let Some(admits) = self.admits.clone() else {
            return Some(otherwise);
        };
        Some(Arc::new(move |http, body, answer| {
            admits(http, Units::borrowed(b""), answer);
            if matches!(answer, Answer::None) {
                otherwise(http, body, answer);
            }
        }))
    }

    fn found_otherwise(&self, first: u32) -> Option<Found<S>> {
        let handler = wrapped(&self.admitted()?, &self.wraps);
        let admits = self.admits.as_ref();
        Some(Found {
            before: admits.map(|admits| wrapped(admits, &self.wraps)),
            ..Found::pooled(handler, first + count(self.routes.len()))
        })
    }

    /// What is the same of all requests that a route is for, by the numbers of the
    /// routes: its path; for `otherwise` and files, one word each.
    pub(crate) fn paths(&self) -> impl Iterator<Item = String> {
        let routes = self.routes.iter().map(|route| route.path.clone());
        let files = self.mounts.iter().map(|mount| format!("{}/*", mount.path));
        routes.chain(["otherwise".to_owned()]).chain(files)
    }

    /// Method and path of a route, by its place in the order of registration;
    /// behind the last one `otherwise`, and behind that the files.
    pub(crate) fn route(&self, number: u32) -> Option<String> {
        let number = usize::try_from(number).ok()?;
        let files = number.checked_sub(self.routes.len() + 1);
        match (self.routes.get(number), files) {
            (Some(route), _) => Some(format!("{} {}", route.method.name(), route.path)),
            (None, None) => Some("`otherwise` of HTTP".to_owned()),
            (None, Some(index)) => Some(format!("the files of {}", self.mounts.get(index)?.path)),
        }
    }
}

impl<S> Found<S> {
    /// A handler on the business pool, with this number.
    const fn pooled(handler: Handler<S>, number: u32) -> Self {
        Self {
            handler,
            before: None,
            in_pieces: false,
            body_max: None,
            inline: false,
            number,
        }
    }

    /// A handler of ours, which never blocks and has no number.
    const fn inline(handler: Handler<S>) -> Self {
        let mut found = Self::pooled(handler, u32::MAX);
        found.inline = true;
        found
    }
}

/// The files as what middleware can be around.
fn file_handler<S: 'static>(mount: &Mount<S>, otherwise: Option<Handler<S>>) -> Handler<S> {
    let files = Arc::clone(&mount.files);
    let from = mount.path.len();
    Arc::new(move |http, body, answer| {
        let below = below(http.path(), from);
        let row = http.ctx.hub().row();
        let served = files.serve(Lane::Pool, http.request, below, row, http.response);
        match (served, &otherwise) {
            (Some(_), _) => {}
            (None, Some(otherwise)) => otherwise(http, body, answer),
            (None, None) => *answer = Answer::Error(nothing()),
        }
    })
}
