//! Handlers of one listener: those of its own, and those of all.

use std::fmt;
use std::ops::RangeInclusive;
use std::panic::Location;
use std::sync::Arc;

use super::{App, Group, Registered, erase, register};
use crate::body::{Error, FromBody, Id, IntoReply, Raw, Reply};
use crate::dispatch::service::WorkerContext;
use crate::dispatch::{Ctx, Handler, Handlers, Middleware, Next, Router, needs, wrapped};
use crate::web::Web;

/// Handlers of the listeners of one name: see [`App::listener`].
pub struct Listener<S> {
    name: String,
    routes: Vec<Registered<S>>,
    otherwise: Option<Handler<S>>,
    wraps: Vec<Middleware<S>>,
    pub(super) web: Web<S>,
}

impl<S> fmt::Debug for Listener<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({}, {} handlers)", self.name, self.routes.len())
    }
}

impl<S: Default + Send + 'static> Listener<S> {
    /// As [`App::on`], for what comes to these listeners alone. Where the program
    /// has a handler of this id for all listeners, these have this one instead.
    ///
    /// # Panics
    ///
    /// When `id` has a handler here already; both places are named.
    #[must_use]
    #[track_caller]
    pub fn on<T: FromBody, R: IntoReply>(
        self,
        id: Id,
        f: impl Fn(&mut Ctx<'_, S>, T) -> R + Send + Sync + 'static,
    ) -> Self {
        self.add(id, erase(f), false, Location::caller())
    }

    /// As [`Self::on`], on the event loop: see [`App::on_inline`].
    ///
    /// # Panics
    ///
    /// As [`Self::on`].
    #[must_use]
    #[track_caller]
    pub fn on_inline<T: FromBody, R: IntoReply>(
        self,
        id: Id,
        f: impl Fn(&mut Ctx<'_, S>, T) -> R + Send + Sync + 'static,
    ) -> Self {
        self.add(id, erase(f), true, Location::caller())
    }

    /// What it handles.
    pub(super) fn ids(&self) -> impl Iterator<Item = Id> {
        self.routes.iter().map(|route| route.id)
    }

    fn add(
        mut self,
        id: Id,
        handler: Handler<S>,
        inline: bool,
        place: &'static Location<'static>,
    ) -> Self {
        let new = Registered {
            id,
            handler,
            inline,
            place,
        };
        register(&mut self.routes, new);
        self
    }

    /// As [`App::otherwise`], for these listeners alone, instead of that of all.
    ///
    /// # Panics
    ///
    /// When it was registered here before.
    #[must_use]
    #[track_caller]
    pub fn otherwise<T: FromBody, R: IntoReply>(
        mut self,
        f: impl Fn(&mut Ctx<'_, S>, T) -> R + Send + Sync + 'static,
    ) -> Self {
        assert!(
            self.otherwise.is_none(),
            "`otherwise` was registered before"
        );
        self.otherwise = Some(erase(f));
        self
    }

    /// As [`App::group`], for these listeners alone.
    ///
    /// # Panics
    ///
    /// As there.
    #[must_use]
    #[track_caller]
    pub fn group(
        mut self,
        range: RangeInclusive<Id>,
        f: impl FnOnce(Group<S>) -> Group<S>,
    ) -> Self {
        let group = f(Group::new(range, Location::caller()));
        group.register_in(&mut self.routes);
        self
    }

    /// Middleware around the handlers that are registered here, inside that of the
    /// program.
    #[must_use]
    pub fn wrap(
        mut self,
        f: impl Fn(&mut Ctx<'_, S>, Raw<'_>, Next<'_, S>) -> Result<Reply, Error>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.wraps.push(Arc::new(f));
        self
    }

    /// As [`App::need`], for the handlers that are registered here.
    #[must_use]
    pub fn need(
        mut self,
        code: u16,
        text: &str,
        test: impl Fn(&Ctx<'_, S>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.wraps.push(needs(code, text, test));
        self
    }

    /// What is served over HTTP by these listeners alone. A route, a folder of files
    /// or an `otherwise` of all listeners is there as well, unless there is the same
    /// one here; the middleware of each [`Web`] is around what is its own.
    ///
    /// # Panics
    ///
    /// When a path of `web` is none or cannot be told from another one.
    #[must_use]
    pub fn web(mut self, web: Web<S>) -> Self {
        self.web = web;
        self
    }
}

impl<S: Default + Send + 'static> App<S> {
    /// Handlers of the listeners that are called `name` in the configuration
    /// (`[[listener]] name = "internal"`): an admin port, ids for machines of one's
    /// own. What is registered for the program itself is on all listeners, on these
    /// too. A start, a reload and `-t` refuse a configuration in which no listener
    /// has this name; several may. [`Ctx::listener`] tells which one a connection
    /// came to.
    ///
    /// In `app.test()` and [`Server::spawn`](crate::Server::spawn) a listener of this
    /// name is there by itself: see [`Test::connect_to`](crate::app::Test::connect_to).
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let app = App::<()>::new()
    ///     .on(1, |c, (): ()| c.listener().unwrap_or("public").to_owned())
    ///     .listener("internal", |l| {
    ///         l.on(100, |c, user: String| c.hub().user(&user).close("kicked").to_string())
    ///             .web(Web::new().get("/health", |_, (): ()| "fine"))
    ///     });
    /// let mut test = app.test();
    /// let (ann, admin) = (test.connect(), test.connect_to("internal"));
    /// assert_eq!(test.call(ann, 1, ()).unwrap(), "public");
    /// assert_eq!(test.call(ann, 100, "bob").unwrap_err().code, 404);
    /// assert_eq!(test.call(admin, 1, ()).unwrap(), "internal");
    /// assert_eq!(test.call(admin, 100, "bob").unwrap(), "0");
    /// ```
    ///
    /// # Panics
    ///
    /// When the name is empty or was given handlers before, or a path for HTTP cannot
    /// be told from one of all listeners.
    #[must_use]
    pub fn listener(mut self, name: &str, f: impl FnOnce(Listener<S>) -> Listener<S>) -> Self {
        assert!(!name.is_empty(), "a listener needs a name");
        let is_twice = self.listeners.iter().any(|old| old.name == name);
        assert!(!is_twice, "listener `{name}` was given handlers before");
        self.own.claims.listener(name);
        #[cfg(feature = "session")]
        let had_sessions = self.has_sessions();
        self.listeners.push(f(Listener {
            name: name.to_owned(),
            routes: Vec::new(),
            otherwise: None,
            wraps: Vec::new(),
            web: Web::new(),
        }));
        self.check_routes();
        #[cfg(feature = "session")]
        if !had_sessions && self.has_sessions() {
            return self.look_after_sessions();
        }
        self
    }

    /// Builds all routes once: a wrong program must not start.
    pub(super) fn check_routes(&self) {
        let _checked = self.web.routes();
        for listener in &self.listeners {
            let _checked = listener.web.routes_over(&self.web, 0);
        }
    }

    /// The handlers of each listener, in the order of the configuration.
    pub(super) fn handlers(&self, worker: &WorkerContext) -> Vec<Handlers<S>> {
        let common = Arc::new(self.router());
        let site: Arc<dyn crate::dispatch::Site<S>> = Arc::new(self.web.routes());
        let of = |name: &Option<Arc<str>>| {
            let mut own = self.listeners.iter().enumerate();
            let own = own.find(|(_, own)| Some(&*own.name) == name.as_deref());
            let (router, site) = match own {
                Some((n, own)) => {
                    let routes = own.web.routes_over(&self.web, self.first_number(n));
                    (Arc::new(self.router_with(own)), Arc::new(routes) as Arc<_>)
                }
                None => (Arc::clone(&common), Arc::clone(&site)),
            };
            Handlers {
                listener: name.clone(),
                router,
                site,
            }
        };
        worker.listeners.iter().map(of).collect()
    }

    /// The router of all listeners, with what is a listener's own over it.
    fn router_with(&self, own: &Listener<S>) -> Router<S> {
        let mut router = self.router();
        let wrapped =
            |handler: &Handler<S>| wrapped(wrapped(Arc::clone(handler), &own.wraps), &self.wraps);
        for route in &own.routes {
            router.insert(route.id, wrapped(&route.handler), route.inline);
        }
        if let Some(handler) = &own.otherwise {
            router.otherwise(wrapped(handler));
        }
        router
    }

    /// The number of the first route of listener `n` over HTTP.
    fn first_number(&self, n: usize) -> u32 {
        let before = self.listeners[..n].iter().map(|listener| &listener.web);
        let webs = std::iter::once(&self.web).chain(before);
        webs.map(Web::count).sum()
    }

    /// The paths of all routes, each once, and which of them each number has.
    pub(super) fn paths(&self) -> (Vec<String>, Vec<usize>) {
        let (mut paths, mut numbers) = (Vec::new(), Vec::new());
        let own = self.listeners.iter().map(|listener| &listener.web);
        for path in std::iter::once(&self.web).chain(own).flat_map(Web::paths) {
            let known = paths.iter().position(|known| *known == path);
            numbers.push(known.unwrap_or(paths.len()));
            if known.is_none() {
                paths.push(path);
            }
        }
        (paths, numbers)
    }

    /// Method and path of a route by its number.
    pub(super) fn route_name(&self, number: u32) -> Option<String> {
        let own = self.listeners.iter().enumerate();
        let own = own.map(|(n, listener)| (self.first_number(n), listener));
        let mut all: Vec<_> = own.collect();
        all.reverse();
        match all.into_iter().find(|(first, _)| number >= *first) {
            Some((first, own)) => {
                let route = own.web.route(number - first)?;
                Some(format!("{route} of listener {}", own.name))
            }
            None => self.web.route(number),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn app() -> App<()> {
        App::<()>::new()
            .on(1, |_, (): ()| "all")
            .on(2, |_, (): ()| "all")
            .on(5000, |_, (): ()| "all")
            .listener("internal", |l| {
                l.on(2, |_, (): ()| "internal")
                    .on_inline(5000, |_, (): ()| "internal")
                    .group(10..=19, |g| {
                        g.need(403, "no", |_| false).on(10, |_, (): ()| "never")
                    })
                    .otherwise(|c, (): ()| format!("{:?}", c.id()))
            })
            .listener("other", |l| {
                l.on(3, |c, (): ()| c.listener().unwrap_or_default().to_owned())
                    .wrap(|c, body, next| match next.run(c, body)? {
                        reply if c.id() == Some(4) => Ok(reply),
                        _ => Err(Error::new(418, "inside")),
                    })
                    .on(4, |_, (): ()| "through")
            })
    }

    #[test]
    fn a_listener_has_its_own_handlers_and_those_of_all() {
        let mut test = app().test();
        let conns = [
            test.connect(),
            test.connect_to("internal"),
            test.connect_to("other"),
        ];
        let mut said = |conn: usize, id| match test.call(conns[conn], id, ()) {
            Ok(body) => String::from_utf8(body.to_vec()).unwrap(),
            Err(error) => error.code.to_string(),
        };
        for (id, expected) in [
            (1, ["all", "all", "all"]),
            (2, ["all", "internal", "all"]),
            (5000, ["all", "internal", "all"]),
            (3, ["404", "Some(3)", "418"]),
            (4, ["404", "Some(4)", "through"]),
            (10, ["404", "403", "404"]),
        ] {
            let found = [0, 1, 2].map(|conn| said(conn, id));
            assert_eq!(found, expected, "message {id}");
        }
    }

    #[test]
    fn middleware_of_the_program_is_around_that_of_a_listener() {
        let noted = |what: &'static str| {
            move |c: &mut Ctx<'_, Vec<&'static str>>,
                  body: Raw<'_>,
                  next: Next<'_, Vec<&'static str>>| {
                c.push(what);
                next.run(c, body)
            }
        };
        let app = App::<Vec<&'static str>>::new()
            .listener("internal", |l| {
                l.wrap(noted("listener")).on(2, |c, (): ()| (**c).join(" "))
            })
            .on(1, |c, (): ()| (**c).join(" "))
            .wrap(noted("app"));
        let mut test = app.test();
        let (ann, bob) = (test.connect_to("internal"), test.connect_to("internal"));
        assert_eq!(test.call(ann, 2, ()).unwrap(), "app listener");
        assert_eq!(test.call(bob, 1, ()).unwrap(), "app");
    }

    #[test]
    fn routes_are_those_of_the_listener_and_those_of_all() {
        let says = |what: &'static str| move |_: &mut crate::web::Http<'_, ()>, (): ()| what;
        let app = App::<()>::new()
            .listener("internal", |l| {
                l.web(
                    Web::new()
                        .get("/both", says("internal"))
                        .get("/health", says("internal"))
                        .files("/files", "tests")
                        .need(403, "wrong door", |c| c.listener() == Some("internal")),
                )
            })
            .web(
                Web::new()
                    .get("/both", says("all"))
                    .post("/both", says("all"))
                    .get("/page", says("all"))
                    .files("/files", "src")
                    .otherwise(|c, (): ()| format!("nothing at {}", c.path())),
            );
        let health = app.route_name(app.web.count() + 1);
        assert_eq!(health.as_deref(), Some("GET /health of listener internal"));
        assert_eq!(app.route_name(2).as_deref(), Some("GET /page"));
        let mut test = app.test();
        for (request, all, internal) in [
            (("GET", "/both"), "all", "internal"),
            (("POST", "/both"), "all", "all"),
            (("GET", "/page"), "all", "all"),
            (("GET", "/health"), "nothing at /health", "internal"),
            (
                ("GET", "/files/app/x"),
                "nothing at /files/app/x",
                "nothing at /files/app/x",
            ),
        ] {
            let found = test.http(request.0, request.1, "").text();
            assert_eq!(found, all, "{request:?}");
            let found = test.http_to("internal", request, &[], "").text();
            assert_eq!(found, internal, "{request:?}");
        }
        let is_there = |answered: super::super::Answered| !answered.text().starts_with("nothing");
        assert!(is_there(test.http("GET", "/files/app/mod.rs", "")));
        let of_internal = |test: &mut super::super::Test<()>, path| {
            test.http_to("internal", ("GET", path), &[], "")
        };
        assert!(!is_there(of_internal(&mut test, "/files/app/mod.rs")));
        assert!(is_there(of_internal(&mut test, "/files/it/main.rs")));
    }

    #[test]
    fn what_cannot_be_right_is_a_fault_of_the_program() {
        let why = |build: fn() -> App<()>| {
            let built = std::panic::catch_unwind(build).expect_err("a panic");
            let text = built.downcast_ref::<String>().cloned();
            text.or_else(|| built.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .expect("a text")
        };
        let twice = why(|| app().listener("other", |l| l));
        assert!(twice.contains("listener `other` was given handlers before"));
        let twice = why(|| app().listener("x", |l| l.on(1, |_, (): ()| ()).on(1, |_, (): ()| ())));
        assert!(twice.contains("message id 1 has two handlers, at src/app/listener.rs"));
        assert!(why(|| app().listener("", |l| l)).contains("needs a name"));
        let paths = why(|| {
            let get = |path| Web::new().get(path, |_, (): ()| ());
            app().listener("x", |l| l.web(get("/:a"))).web(get("/:b"))
        });
        assert!(
            paths.contains("the path /:b at src/app/listener.rs"),
            "{paths}"
        );
    }
}
