//! The command line of the load tool, and what it means. Pure, but for names that
//! are looked up and the file of a body.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::PossibleValuesParser;

use super::StressError;
use super::asks::{Asks, Frames, Socket};
use super::exchange::ExchangeOptions;
use super::load::{End, Load, Pace};
use super::request::RequestOptions;
use super::url::{Place, Url, found};
use crate::protocol::frame::{AnyFormat, PRESETS};
use crate::sys::cores::available_cores;
use crate::sys::socket::Address;

/// Who is asked when nobody is named.
const ADDRESS: &str = "127.0.0.1:7000";

/// An open loop does not wait for replies; this bounds its memory. Requests
/// that must wait for a place are timed from when they were due all the same.
const OPEN_DEPTH: u32 = 1024;

const CONNECTIONS: u32 = 100;

/// Bytes of each body.
const SIZE: usize = 128;

const SECONDS: Duration = Duration::from_secs(10);

/// A cell of the table is shorter: there are twenty.
const CELL_SECONDS: Duration = Duration::from_secs(2);

/// What `--help` ends with.
pub(crate) const EXAMPLES: &str = "\
Examples:
  purlin stress                                  100 clients, one request each at a time
  purlin stress --connections 1000 --depth 16    sixteen in flight on each of a thousand
  purlin stress --rate 60000/s --plot load.html  open loop, with curves to look at
  purlin stress --churn 1 --count 60000          sixty thousand short connections
  purlin stress --first 1:@login.json --id 7 --body move --expect ok
                                                 a handler that wants a login
  purlin stress http://127.0.0.1:7000/           a page over HTTP, on kept connections
  purlin stress unix:/run/app.sock --http /      the same over a Unix socket
  purlin stress ws://127.0.0.1:7000/ws           frames in the messages of a WebSocket

In an open loop a latency counts from when its request was due, not from when it
could be sent: a server that stalls cannot hide it.

Exit codes: 0 every reply was right, 1 not so, 64 usage, 69 nobody listens,
77 too few open files, or the page cannot be written.";

/// The load that is asked for; its comments are the text of `--help`.
#[derive(Clone, Debug, Eq, PartialEq, clap::Args)]
pub struct Options {
    /// Where the server listens: IP:PORT, unix:PATH, http://HOST:PORT/PATH, or
    /// ws://HOST:PORT/PATH for frames over a WebSocket [default: 127.0.0.1:7000]
    #[arg(value_name = "ADDRESS")]
    pub(super) address: Option<Place>,

    #[command(flatten)]
    pub(super) request: RequestOptions,

    #[command(flatten)]
    exchange: ExchangeOptions,

    /// Format of the frames, by its name as in `frame` of the configuration
    /// [default: comm]
    #[arg(long, hide_possible_values = true)]
    #[arg(value_parser = PossibleValuesParser::new(PRESETS))]
    pub(super) preset: Option<String>,

    /// A format of one's own: a file with what stands behind `frame =` in the
    /// configuration of the server
    #[arg(long, value_name = "FILE.toml", conflicts_with = "preset")]
    pub(super) layout: Option<PathBuf>,

    /// Message id of a handler, which answers with the same bytes unless --expect says
    /// what else [default: 1]
    #[arg(long)]
    pub(super) id: Option<u32>,

    /// Bytes of each frame's body [default: 128]
    #[arg(long, value_name = "BYTES")]
    pub(super) size: Option<usize>,

    /// Connections, each a client of its own [default: 100]; most of --table
    #[arg(short = 'c', long, value_name = "N", value_parser = at_least_one)]
    pub(super) connections: Option<u32>,

    /// Requests in flight on a connection [default: 1; with --rate 1024]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(super) depth: Option<u32>,

    /// Open loop: requests a second in all, on time whatever the server does
    #[arg(long, value_name = "N/s", value_parser = rate)]
    pub(super) rate: Option<u64>,

    /// How long to send [default: 10; with --table 2 for each cell]
    #[arg(short = 'd', long, value_name = "SECONDS", value_parser = seconds)]
    #[arg(conflicts_with = "count")]
    pub(super) seconds: Option<Duration>,

    /// Requests to send in all, instead of a time
    #[arg(short = 'n', long, value_name = "N")]
    pub(super) count: Option<u64>,

    /// Threads that send [default: half of the cores]
    #[arg(short = 't', long, value_name = "N", value_parser = at_least_one)]
    pub(super) threads: Option<u32>,

    /// Open the connections over this time, not all at once
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) ramp: Option<Duration>,

    /// A new connection for each N requests of a client
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(super) churn: Option<u32>,

    /// How long a connect or a reply may take
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "5")]
    pub(super) timeout: Duration,

    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,

    /// Write a page with the curves over time and by percentile
    #[arg(long, value_name = "FILE.html", conflicts_with = "table")]
    pub(super) plot: Option<PathBuf>,

    /// Connections 1 to 10,000 by sizes 1 to 10,240, a row each; over HTTP by
    /// requests in flight, 1 to 16
    #[arg(long, conflicts_with_all = ["size", "count", "rate", "ramp", "churn"])]
    pub(super) table: bool,

    /// 200 clients send 200 messages of 256 bytes each
    #[arg(
        long,
        conflicts_with_all = ["table", "connections", "size", "count", "seconds", "rate", "depth"]
    )]
    pub(super) classic: bool,

    /// No progress; tell only what went wrong
    #[arg(short, long)]
    pub(super) quiet: bool,
}

/// The format that `file` describes.
fn layout(file: &Path) -> Result<AnyFormat, String> {
    let shown = file.display();
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| format!("--layout {shown}: {error}"))?;
    // Comments and empty lines around it are those of any TOML file.
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with('#') && !line.is_empty());
    let text: String = lines.collect::<Vec<_>>().join("\n");
    let read = text.parse();
    read.map_err(|error| format!("--layout {shown}: {error}"))
}

impl Options {
    /// The load of a single run.
    ///
    /// # Errors
    ///
    /// [`StressError::Usage`] when no such load can be.
    pub(super) fn load(&self) -> Result<Load, StressError> {
        if self.classic {
            return self.of(200, 256, self.depth, End::Count(200 * 200));
        }
        let end = match self.count {
            Some(count) => End::Count(count),
            None => End::After(self.seconds.unwrap_or(SECONDS)),
        };
        let connections = self.connections.unwrap_or(CONNECTIONS);
        self.of(connections, self.size.unwrap_or(SIZE), self.depth, end)
    }

    /// The load of one cell of the table: frames of `size` bytes, or requests of
    /// which so many are in flight on a connection.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub(super) fn cell(&self, connections: u32, size: usize) -> Result<Load, StressError> {
        let end = End::After(self.seconds.unwrap_or(CELL_SECONDS));
        match (self.url(), self.depth) {
            (None, depth) => self.of(connections, size, depth, end),
            (Some(_), None) => self.of(connections, SIZE, u32::try_from(size).ok(), end),
            (Some(_), Some(_)) => Err(StressError::Usage(
                "--depth has no meaning here: over HTTP the table is by depth".into(),
            )),
        }
    }

    fn of(
        &self,
        connections: u32,
        size: usize,
        depth: Option<u32>,
        end: End,
    ) -> Result<Load, StressError> {
        let (address, asks) = self.asks(size).map_err(StressError::Usage)?;
        let pace = self.rate.map_or(Pace::Closed, Pace::Open);
        let depth = depth.unwrap_or(match (pace, &asks) {
            (Pace::Closed, _) => 1,
            (Pace::Open(_), asks) => {
                let most = asks.frames().map_or(u32::MAX, Frames::in_flight);
                OPEN_DEPTH.min(most)
            }
        });
        let half = u32::try_from(available_cores() / 2).unwrap_or(u32::MAX);
        let closes = self.request.closes().then_some(1);
        let load = Load {
            address,
            asks,
            connections,
            depth,
            pace,
            end,
            threads: self.threads.unwrap_or(half).clamp(1, connections),
            ramp: self.ramp.unwrap_or_default(),
            churn: self.churn.or(closes).map(u64::from),
            timeout: self.timeout,
        };
        load.check().map(|()| load).map_err(StressError::Usage)
    }

    /// What is asked for over HTTP, if that is what is spoken.
    pub(super) fn url(&self) -> Option<&Url> {
        match (&self.request.http, &self.address) {
            (None, Some(Place::Url(url))) => Some(url),
            (url, _) => url.as_ref(),
        }
    }

    /// Who is asked, and what.
    fn asks(&self, size: usize) -> Result<(Address, Asks), String> {
        let named = match &self.address {
            Some(Place::Address(address)) => Some(address.clone()),
            Some(Place::Url(_)) if self.request.http.is_some() => {
                return Err("two URLs: name one".into());
            }
            Some(Place::Socket(_)) if self.request.http.is_some() => {
                return Err("two URLs: name one".into());
            }
            Some(Place::Url(_) | Place::Socket(_)) | None => None,
        };
        let usual = || ADDRESS.parse().expect("an address");
        let Some(url) = self.url() else {
            if let Some(option) = self.request.given() {
                return Err(format!("{option} has no meaning without --http"));
            }
            let frames = self.frames(size)?;
            if let Some(Place::Socket(url)) = &self.address {
                let address = found(&url.address())?;
                return Ok((address, Asks::Socket(Socket::new(url, frames))));
            }
            return Ok((named.unwrap_or_else(usual), Asks::Frames(frames)));
        };
        if let Some(option) = self.of_frames() {
            return Err(format!("{option} has no meaning over HTTP"));
        }
        let address = match named {
            Some(address) => address,
            None => url.address()?.unwrap_or_else(usual),
        };
        let http = self.request.asks(url, &address)?;
        Ok((address, Asks::Http(http)))
    }

    /// The frames that are sent, with bodies of `size` bytes unless one is given.
    fn frames(&self, size: usize) -> Result<Frames, String> {
        let body = self.request.body()?;
        if body.is_some() && (self.size.is_some() || self.table || self.classic) {
            return Err("--body is of one size: leave out --size, --table, --classic".into());
        }
        let size = body.as_ref().map_or(size, Vec::len);
        let frames = match &self.layout {
            Some(file) => {
                let name = file.display().to_string();
                Frames::with_format(name, layout(file)?, self.id, size)?
            }
            None => {
                let preset = self.preset.as_deref().unwrap_or(PRESETS[0]);
                Frames::new(preset, self.id, size)?
            }
        };
        let exchange = self.exchange.exchange(body, frames.id.is_some())?;
        frames.saying(exchange)
    }

    /// The first option that is there, and has a meaning for frames alone.
    fn of_frames(&self) -> Option<&'static str> {
        [
            (self.preset.is_some(), "--preset"),
            (self.layout.is_some(), "--layout"),
            (self.id.is_some(), "--id"),
            (self.size.is_some(), "--size"),
            (self.classic, "--classic"),
        ]
        .into_iter()
        .find_map(|(given, name)| given.then_some(name))
        .or_else(|| self.exchange.given())
    }
}

fn at_least_one(text: &str) -> Result<u32, String> {
    let number = text.replace(['_', ','], "").parse();
    number
        .ok()
        .filter(|&number| number > 0)
        .ok_or_else(|| "expected a whole number from 1 up".to_owned())
}

fn rate(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    at_least_one(number)
        .map(u64::from)
        .map_err(|_| "expected requests a second, such as 60000/s".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    let seconds = number.parse::<f64>().ok();
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|time| !time.is_zero() && *time <= Duration::from_secs(7 * 86_400))
        .ok_or_else(|| "expected seconds, such as 10 or 0.5, up to a week".to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    /// The load of a command line; for the tests of the whole tool.
    pub(in super::super) fn load(args: &str) -> Result<Load, String> {
        let args = std::iter::once("stress").chain(args.split_whitespace());
        let line = Line::try_parse_from(args).map_err(|error| error.to_string())?;
        line.options.load().map_err(|error| error.to_string())
    }

    #[test]
    fn every_preset_exists() {
        for name in PRESETS {
            load(&format!("--preset {name}")).unwrap();
        }
    }

    #[test]
    fn what_is_not_said_is_the_built_in_echo_in_a_closed_loop() {
        let load = load("").unwrap();
        assert_eq!(load.address.to_string(), "127.0.0.1:7000");
        let Asks::Frames(frames) = &load.asks else {
            panic!("{load:?}");
        };
        assert_eq!((frames.id, frames.size, load.depth), (Some(1), 128, 1));
        assert_eq!((load.connections, load.pace), (100, Pace::Closed));
        assert_eq!(load.end, End::After(Duration::from_secs(10)));
        assert!(load.threads >= 1);
    }

    #[test]
    fn loads_are_read() {
        let open = load("[::1]:9 --rate 60_000/s --seconds 0.5s --connections 10").unwrap();
        assert_eq!((open.pace, open.depth), (Pace::Open(60_000), 1024));
        assert_eq!(open.end, End::After(Duration::from_millis(500)));
        let classic = load("--classic --threads 2").unwrap();
        assert_eq!((classic.connections, classic.asks.size()), (200, 256));
        assert_eq!(classic.end, End::Count(40_000));
        let summary = load("--preset frame32").unwrap().asks.summary();
        assert_eq!(summary, "frame32, 128 bytes");
        let few = load("--connections 2 --threads 9").unwrap();
        assert_eq!(few.threads, 2, "no thread without a connection");
    }

    #[test]
    fn a_url_is_named_in_every_way_that_people_try() {
        let url = "http://127.0.0.1:8/a?b=c";
        for args in [
            url.to_owned(),
            format!("--http {url}"),
            "127.0.0.1:8 --http /a?b=c".to_owned(),
            format!("{url} -c 9 -t 2 -d 30s"),
        ] {
            let load = load(&args).unwrap();
            assert_eq!(load.asks.summary(), format!("GET {url}"), "{args}");
            assert_eq!(load.address.to_string(), "127.0.0.1:8", "{args}");
        }
        let elsewhere = load("127.0.0.2:9 --http http://nowhere.invalid/x").unwrap();
        assert_eq!(elsewhere.address.to_string(), "127.0.0.2:9");
        assert_eq!(elsewhere.asks.summary(), "GET http://nowhere.invalid/x");
        let socket = load("ws://127.0.0.1:8/ws --preset rpc --depth 9").unwrap();
        let summary = "rpc, id 1, 128 bytes over ws://127.0.0.1:8/ws";
        assert_eq!(socket.asks.summary(), summary);
        assert_eq!(socket.address.to_string(), "127.0.0.1:8");
        let post = load(&format!("{url} --body hello -X PUT -H Connection:close")).unwrap();
        assert_eq!(post.asks.summary(), format!("PUT {url}, 5 bytes"));
        assert_eq!(post.churn, Some(1));
    }

    #[test]
    fn loads_that_cannot_be_are_refused_with_the_reason() {
        for (args, expected) in [
            ("--preset komm", "possible values"),
            ("--preset len32 --id 1", "`len32` has no message ids"),
            ("--id 65536", "message id 65536 is over the 65535"),
            ("--size 29000", "body of 29000 bytes is over the 28992"),
            ("--connections 0", "from 1 up"),
            ("--rate 0", "such as 60000/s"),
            ("--seconds 0", "such as 10 or 0.5"),
            ("--seconds -1", "unexpected argument"),
            ("--seconds 1 --count 5", "cannot be used with"),
            ("--classic --size 3", "cannot be used with"),
            ("--table --count 3", "cannot be used with"),
            ("--count 9 --connections 10", "9 requests are fewer"),
            ("--rate 1/s --seconds 5", "5 requests are fewer"),
            ("--id 65535", "is that of errors"),
            ("localhost", "is no address"),
            ("https://127.0.0.1/", "speaks no TLS"),
            ("wss://127.0.0.1/", "no TLS is spoken here"),
            ("ws://127.0.0.1:x/", "is no HOST or HOST:PORT"),
            ("ws://127.0.0.1/ --http /", "two URLs"),
            ("ws://127.0.0.1/ -H A:b", "--header has no meaning"),
            (
                "ws://127.0.0.1/ --preset len32 --id 1",
                "has no message ids",
            ),
            ("http://127.0.0.1/ --http /", "two URLs"),
            (
                "http://127.0.0.1/ --size 3",
                "--size has no meaning over HTTP",
            ),
            ("http://127.0.0.1/ --classic", "--classic has no meaning"),
            ("--http / --id 3", "cannot be used with"),
            ("-H A:b", "--header has no meaning without --http"),
            ("--http / --expect a", "--expect has no meaning over HTTP"),
            ("--http / --first 1:a", "--first has no meaning over HTTP"),
            ("--first a", "--first a: expected ID:TEXT"),
            ("--first 65535:a", "message id 65535 is that of errors"),
            ("--first 65536:a", "--first: message id 65536 is over"),
            ("--first 1:@/nowhere/x", "--first @/nowhere/x: No such file"),
            ("--expect @/nowhere/x", "--expect @/nowhere/x: No such file"),
            ("--body a --size 1", "--body is of one size"),
            ("--http / -H A", "a field of one line"),
            ("--http / -H Content-Length:5", "follows from --body"),
            ("--http / -m CONNECT", "expected a method"),
            ("--http / --status 99", "99 is not in 200..1000"),
            (
                "--http / --body-file /nowhere/x",
                "read /nowhere/x: No such file",
            ),
        ] {
            let error = load(args).unwrap_err();
            assert!(error.contains(expected), "{args}: {error}");
        }
    }
}
