//! Routes below a path with middleware of their own, middleware of one route, and
//! guards.

use std::panic::Location;
use std::sync::Arc;

use super::http::Http;
use super::{Middleware, Next, Web};
use crate::body::{Error, Raw, Reply};

impl<S: Default + Send + 'static> Web<S> {
    /// Routes and files whose paths begin with `path`, with middleware of their own:
    /// what `f` registers at `"/stats"` in the group `"/admin"` is at `/admin/stats`,
    /// and at `""` it is at `/admin`. Middleware and guards of the group are around
    /// it alone, inside of those around the group. Groups may lie in groups.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let web = Web::<()>::new()
    ///     .get("/", |_, (): ()| "welcome")
    ///     .group("/admin", |g| {
    ///         g.need(403, "admins only", |c| c.header("x-admin").is_some())
    ///             .get("/stats", |_, (): ()| "all is well")
    ///             .files("/logs", "src")
    ///     });
    /// let mut test = App::<()>::new().web(web).test();
    /// assert_eq!(test.http("GET", "/", "").status, 200);
    /// assert_eq!(test.http("GET", "/admin/stats", "").status, 403);
    /// assert_eq!(test.http("GET", "/admin/logs/lib.rs", "").status, 403);
    /// let admin = [("X-Admin", "yes")];
    /// assert_eq!(test.http_with("GET", "/admin/stats", &admin, "").status, 200);
    /// assert_eq!(test.http_with("GET", "/admin/logs/lib.rs", &admin, "").status, 200);
    /// ```
    ///
    /// # Panics
    ///
    /// When `path` does not begin with a slash or ends with one, a route of the group
    /// was registered before, or the group has an
    /// [`otherwise`](Self::otherwise), which is for the whole.
    #[must_use]
    #[track_caller]
    pub fn group(mut self, path: &str, f: impl FnOnce(Self) -> Self) -> Self {
        let place = Location::caller();
        let is_path = path.starts_with('/') && !path.ends_with('/') && !path.contains(['*', '?']);
        assert!(is_path, "a group cannot be at {path:?}: at {place}");
        let group = f(Self {
            prefix: format!("{}{path}", self.prefix),
            ..Self::default()
        });
        assert!(
            group.otherwise.is_none() && group.admits.is_none(),
            "the group {path} at {place} has an `otherwise`, which is for the whole: use \
             `.any(\"/*rest\", …)`"
        );
        for mut route in group.routes {
            route.wraps = [&group.wraps[..], &route.wraps].concat();
            self.push(route);
        }
        for mut mount in group.mounts {
            mount.wraps = [&group.wraps[..], &mount.wraps].concat();
            self.mount(mount);
        }
        self.messages.extend(group.messages);
        self.has_sockets |= group.has_sockets;
        #[cfg(feature = "session")]
        {
            self.has_sessions |= group.has_sessions;
        }
        self
    }

    /// Nothing of this `Web`, or of this group, is served unless `test` says yes: a
    /// client gets the error `code` with this text instead. As [`Self::wrap`]; the
    /// first one that is registered is asked first.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let web = Web::<()>::new()
    ///     .need(401, "who are you?", |c| c.cookie("user").is_some())
    ///     .get("/", |_, (): ()| "welcome");
    /// let mut test = App::<()>::new().web(web).test();
    /// let refused = test.http("GET", "/", "");
    /// assert_eq!((refused.status, &*refused.text()), (401, "who are you?\n"));
    /// assert_eq!(test.http_with("GET", "/", &[("Cookie", "user=ann")], "").status, 200);
    /// ```
    #[must_use]
    pub fn need(
        mut self,
        code: u16,
        text: &str,
        test: impl Fn(&Http<'_, S>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.wraps.push(needs(code, text, test));
        self
    }

    /// As [`Self::need`], for the route registered last alone, inside of what is
    /// around all of them.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let web = Web::<()>::new()
    ///     .get("/page", |_, (): ()| "anybody")
    ///     .post("/page", |_, text: String| text)
    ///     .need_last(403, "writers only", |c| c.cookie("writer").is_some());
    /// let mut test = App::<()>::new().web(web).test();
    /// assert_eq!(test.http("GET", "/page", "").status, 200);
    /// assert_eq!(test.http("POST", "/page", "new").status, 403);
    /// ```
    ///
    /// # Panics
    ///
    /// When no route was registered before.
    #[must_use]
    pub fn need_last(
        mut self,
        code: u16,
        text: &str,
        test: impl Fn(&Http<'_, S>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.last().wraps.push(needs(code, text, test));
        self
    }

    /// As [`Self::wrap`], around the route registered last alone, inside of what is
    /// around all of them.
    ///
    /// # Panics
    ///
    /// When no route was registered before.
    #[must_use]
    pub fn wrap_last(
        mut self,
        f: impl Fn(&mut Http<'_, S>, Raw<'_>, Next<'_, S>) -> Result<Reply, Error>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.last().wraps.push(Arc::new(f));
        self
    }
}

fn needs<S: 'static>(
    code: u16,
    text: &str,
    test: impl Fn(&Http<'_, S>) -> bool + Send + Sync + 'static,
) -> Middleware<S> {
    let text = text.to_owned();
    Arc::new(move |http, body, next| {
        if test(http) {
            next.run(http, body)
        } else {
            Err(Error::new(code, text.clone()))
        }
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::App;

    #[test]
    fn middleware_runs_from_the_outside_in_and_around_its_own_alone() {
        let noted = |what: &'static str| {
            move |c: &mut Http<'_, Vec<&'static str>>,
                  body: Raw<'_>,
                  next: Next<'_, Vec<&'static str>>| {
                c.ctx.push(what);
                next.run(c, body)
            }
        };
        let said = |c: &mut Http<'_, Vec<&'static str>>, (): ()| (*c.ctx).join(" ");
        let web = Web::<Vec<&'static str>>::new()
            .get("/", said)
            .group("/a", |g| {
                g.wrap(noted("a"))
                    .get("", said)
                    .group("/b/:name", |g| {
                        g.get("/c", said)
                            .wrap_last(noted("route"))
                            .wrap(noted("b"))
                            .get_inline("/d", |c, (): ()| c.param("name").into_owned())
                    })
                    .get("/e", said)
            })
            .wrap(noted("all"));
        let mut test = App::new().web(web).test();
        for (path, expected) in [
            ("/", "all"),
            ("/a", "all a"),
            ("/a/e", "all a"),
            ("/a/b/x/c", "all a b route"),
            ("/a/b/ann/d", "ann"),
        ] {
            assert_eq!(test.http("GET", path, "").text(), expected, "{path}");
        }
    }

    #[test]
    fn guards_are_asked_before_a_body_that_is_still_to_come() {
        let web = Web::<()>::new().group("/up", |g| {
            g.put_pieces(
                "/load",
                |_| Ok(0),
                |sum, piece| {
                    *sum += piece.len();
                    Ok(())
                },
                |_, sum: usize| sum.to_string(),
            )
            .need_last(403, "writers only", |c| c.header("x-writer").is_some())
        });
        let mut test = App::new().web(web).test();
        assert_eq!(test.http("PUT", "/up/load", "abc").status, 403);
        let fields = [("X-Writer", "yes")];
        assert_eq!(
            test.http_with("PUT", "/up/load", &fields, "abc").text(),
            "3"
        );
    }

    #[test]
    fn what_is_no_group_is_a_fault_of_the_program() {
        let why = |build: fn() -> Web<()>| {
            let built = std::panic::catch_unwind(build).expect_err("a panic");
            built.downcast_ref::<String>().cloned().expect("a text")
        };
        for build in [
            (|| Web::new().group("admin", |g| g)) as fn() -> Web<()>,
            || Web::new().group("/admin/", |g| g),
            || Web::new().group("/*all", |g| g),
        ] {
            assert!(why(build).contains("a group cannot be at"));
        }
        let twice = why(|| {
            Web::new()
                .get("/a/b", |_, (): ()| ())
                .group("/a", |g| g.get("/b", |_, (): ()| ()))
        });
        assert!(
            twice.contains("GET /a/b has two handlers, at src/web/group.rs"),
            "{twice}"
        );
        let otherwise = why(|| Web::new().group("/a", |g| g.otherwise(|_, (): ()| ())));
        assert!(otherwise.contains("has an `otherwise`"), "{otherwise}");
    }
}
