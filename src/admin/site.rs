//! The paths, and who may read them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::exposition::{Format, write};
use super::families::families;
use super::guard::Asked;
use super::health::Health;
use super::report::report;
use super::view::Source;
use crate::body::{Answer, Error, Html, IntoReply, Json};
use crate::dispatch::service::{Application, Service, WorkerContext};
use crate::dispatch::{Core, Data, Handlers, Hooks, Hub, Periodic, Router};
use crate::web::{Http, Web};

/// How often the event loops are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The status page: one file without anything from elsewhere.
const PAGE: &str = include_str!("page.html");

/// What it may load: what is in it, and the figures.
const SOURCES: &str = "default-src 'none'; style-src 'unsafe-inline'; \
                       script-src 'unsafe-inline'; connect-src 'self'; img-src data:; \
                       base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the admin process serves.
pub(super) struct Admin {
    source: Arc<Source>,
    hosts: Arc<[String]>,
}

impl Admin {
    pub(super) fn new(source: Arc<Source>, hosts: Vec<String>) -> Self {
        let hosts = hosts.into();
        Self { source, hosts }
    }

    fn web(&self) -> Web<()> {
        let source = || Arc::clone(&self.source);
        let (metrics, status) = (source(), source());
        let (ready, health) = (source(), source());
        let hosts = Arc::clone(&self.hosts);
        Web::<()>::new()
            .get("/", |c, (): ()| {
                c.set_header("Content-Security-Policy", SOURCES);
                Html(PAGE)
            })
            // No dependency: it answers, so the process lives.
            .get("/livez", |_, (): ()| "ok\n")
            .get("/readyz", move |c, (): ()| readiness(c, &ready))
            .get("/healthz", move |c, (): ()| readiness(c, &health))
            .get("/metrics", move |c, (): ()| {
                let format = Format::accepted(c.header("accept").unwrap_or_default());
                c.set_header("Content-Type", format.content_type());
                let families = families(&metrics.look(), Instant::now());
                write(&families, format, metrics.created())
            })
            .get("/status.json", move |_, (): ()| {
                Json(report(&status.look(), Instant::now()))
            })
            .wrap(move |c, body, next| {
                c.set_header("Cache-Control", "no-store");
                c.set_header("X-Content-Type-Options", "nosniff");
                let asked = Asked {
                    host: c.header("host"),
                    origin: c.header("origin"),
                    site: c.header("sec-fetch-site"),
                    mode: c.header("sec-fetch-mode"),
                };
                match asked.refusal(&hosts) {
                    Some(why) => Err(Error::new(403, why)),
                    None => next.run(c, body),
                }
            })
    }
}

#[derive(Deserialize)]
struct Wish {
    /// `?verbose`, with or without a value.
    verbose: Option<String>,
}

fn readiness(c: &mut Http<'_, ()>, source: &Source) -> Result<Answer, Error> {
    let health = Health::of(&source.look(), Instant::now());
    if !health.ok {
        c.status(503);
    }
    let wish: Wish = c.query()?;
    Ok(match wish.verbose {
        Some(_) => Json(health.object()).into_reply(),
        None => health.text().into_reply(),
    })
}

impl Application for Admin {
    fn start(&self, worker: WorkerContext) -> Result<Box<dyn Service>, String> {
        let handlers = Handlers {
            listener: None,
            router: Arc::new(Router::default()),
            site: Arc::new(self.web().routes()),
        };
        let source = Arc::clone(&self.source);
        let look = Periodic {
            period: LOOK,
            name: None,
            run: Arc::new(move |_, _| source.note(Instant::now())),
        };
        let hooks = Hooks::<()> {
            every: vec![look],
            ..Hooks::default()
        };
        let hub = Hub::new::<()>(worker, Data::default(), Vec::new());
        let core = Core::new(vec![handlers], hooks, hub)?;
        Ok(Box::new(Arc::new(core)))
    }
}
