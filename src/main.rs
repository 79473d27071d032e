//! The purlin daemon: the services that are built in, served by the library
//! like anybody's own.

use std::convert::Infallible;
use std::time::Instant;

use purlin::prelude::*;
use purlin::scoreboard::Counter;
use purlin::web::Http;

/// Answers with the same bytes.
const ECHO: Id = 1;
/// Answers with the time of day, as RFC 3339 text in UTC.
const TIME: Id = 2;

/// What is shown where the configuration names no site of one's own.
const PAGE: &str = include_str!("../conf/www/index.html");

/// When the worker began.
struct Began(Instant);

fn main() -> ExitCode {
    App::<()>::new()
        .data(|| Ok::<_, Infallible>(Began(Instant::now())))
        .on_inline(ECHO, |_, body: Bytes| body)
        .on_inline(TIME, |_, (): ()| jiff::Timestamp::now().to_string())
        .web(Web::new().otherwise(site).otherwise_if(is_of_site))
        .main()
}

/// The path of a request, if the site that is built in is there at all: where the
/// listener has a `root`, it is not.
fn place<'a>(c: &Http<'a, ()>) -> &'a str {
    if c.has_root() { "" } else { c.path() }
}

/// Whether the site that is built in has something at this path, for this method.
fn is_of_site(c: &mut Http<'_, ()>) -> Result<(), Error> {
    let allowed: &[&str] = match place(c) {
        "/" | "/status.json" => &["GET", "HEAD", "OPTIONS"],
        "/echo" => &["POST", "OPTIONS"],
        _ => return Err(Error::new(404, "there is nothing here")),
    };
    let method = c.method();
    if method == "OPTIONS" || !allowed.contains(&method) {
        c.set_header("Allow", allowed.join(", "));
    }
    if allowed.contains(&method) {
        Ok(())
    } else {
        Err(Error::new(405, format!("{method} is not allowed here")))
    }
}

/// The site that is built in.
fn site(c: &mut Http<'_, ()>, body: Bytes) -> Reply {
    let reply = match (place(c), c.method()) {
        // Health checks ask so.
        (_, "OPTIONS") => ().into_reply(),
        ("/status.json", _) => {
            c.set_header("Cache-Control", "no-store");
            Json(Status::now(c)).into_reply()
        }
        ("/echo", _) => body.into_reply(),
        _ => {
            let sources = "default-src 'none'; style-src 'unsafe-inline'; \
                           script-src 'self' 'unsafe-inline'; connect-src 'self'; img-src data:";
            c.set_header("Content-Security-Policy", sources);
            c.set_header("Cache-Control", "no-cache");
            Html(PAGE).into_reply()
        }
    };
    reply.into()
}

/// What the page shows, of all workers together.
#[derive(Serialize)]
struct Status {
    version: &'static str,
    pid: u32,
    uptime_s: u64,
    workers: usize,
    connections: u64,
    accepted: u64,
    messages: u64,
    bytes_received: u64,
    bytes_sent: u64,
}

impl Status {
    fn now(c: &Http<'_, ()>) -> Self {
        let row = c.hub().row();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime_s: c.data::<Began>().0.elapsed().as_secs(),
            workers: row.workers(),
            connections: row.total(Counter::Live),
            accepted: row.total(Counter::Accepted),
            messages: row.total(Counter::Handled),
            bytes_received: row.total(Counter::BytesIn),
            bytes_sent: row.total(Counter::BytesOut),
        }
    }
}
