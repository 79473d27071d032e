//! The process itself: from what it was started with to a worker that serves its
//! own site. On its first thread.

pub(super) mod figures;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::facts::Reader;
use super::offer::{self, Taken, Terms};
use super::site::Admin;
use super::view::Source;
use crate::config::Config;
use crate::dispatch::Settings;
use crate::listener;
use crate::log::{self, Format};
use crate::protocol::frame::Codecs;
use crate::scoreboard::series::Shape;
use crate::scoreboard::{Row, Scoreboard};
use crate::sys::channel::{Channel, Received};
use crate::sys::privileges::{self, Identity};
use crate::sys::process::name_thread;
use crate::sys::{signal, starter, title};
use crate::worker::{self, Accept, Control, Limits, Listening, Order, Setup};

/// What it obeys, as the server does: few connections, none for long, no bodies.
const KEYS: [(&str, &str); 11] = [
    ("listener.0.protocol", "http"),
    ("worker.connections_max", "64"),
    ("worker.connections_initial", "8"),
    ("worker.business_threads", "1"),
    ("http.body_max", "0B"),
    ("http.keep_alive", "75s"),
    ("heartbeat.first_message", "5s"),
    ("heartbeat.timeout", "0s"),
    ("limits.send_stall", "10s"),
    ("limits.linger", "1s"),
    ("limits.idle", "120s"),
];

/// Serves until the master is gone. Where [`is_offered`](super::is_offered), nothing
/// else is to be done in this process.
///
/// # Errors
///
/// Why it cannot: for standard error.
pub fn run(figures: impl FnOnce(usize) -> Arc<Shape>) -> Result<(), String> {
    signal::start_afresh(&[]).map_err(|error| format!("reset signals: {error}"))?;
    let taken = offer::take().map_err(|error| format!("what the master hands over: {error}"))?;
    let _cosmetic = title::init();
    title::set(&format!("{}: admin", taken.terms.program));
    name_thread(&taken.terms.program);
    let shape = figures(taken.terms.ids_max.into());
    serve(taken, shape).map_err(|error| {
        let text = format!("serve the admin listener: {error}");
        log::error!("{text}");
        text
    })
}

fn serve(taken: Taken, shape: Arc<Shape>) -> io::Result<()> {
    let Taken {
        terms,
        listener,
        counted,
        facts,
        line,
        log,
        tail,
    } = taken;
    starter::close_inherited()?;
    begin_log(&terms)?;
    log.into_iter().for_each(log::adopt);
    starter::leave_session()?;
    starter::detach_terminal()?;
    // Both are open files, not names: nothing of them is asked for again.
    let board = Scoreboard::watch(counted, shape)?;
    let facts = Reader::new(facts)?;
    give_up_rights(&terms)?;
    let config = config();
    let protocols = listener::protocols(&config, Codecs::NONE).map_err(io::Error::other)?;
    let spoken = protocols.into_iter().next();
    let spoken = spoken.expect("a configuration has a listener");
    let listening = Listening::new(&config, 0, spoken, listener).map_err(io::Error::other)?;
    let source = Arc::new(Source::new(board, facts, tail.map(File::from)));
    let admin = Admin::new(Arc::clone(&source), terms.hosts);
    let setup = Setup {
        listeners: vec![listening],
        accept: Accept::Exclusive,
        limits: Limits::from(&config),
        settings: Settings::default(),
        row: Row::alone()?,
        bus: None,
        number: 0,
        epoch: 0,
    };
    let mut orders = Orders { line, source };
    let served = worker::run(setup, &admin, &mut orders, || ());
    served.map(drop).map_err(io::Error::other)
}

fn config() -> Config {
    let keys = KEYS.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Config::parse(None, [], &keys).expect("a test reads these keys")
}

fn begin_log(terms: &Terms) -> io::Result<()> {
    log::init(&log::Settings {
        level: terms.log_level.parse().unwrap_or(::log::LevelFilter::Info),
        format: if terms.is_json {
            Format::Json
        } else {
            Format::Human
        },
        stderr: terms.is_heard,
        ..log::Settings::default()
    })?;
    log::forked("admin");
    Ok(())
}

/// As a worker does.
fn give_up_rights(terms: &Terms) -> io::Result<()> {
    if let Some(numbers) = terms.user {
        privileges::drop_privileges(&Identity::of_numbers(numbers))?;
    }
    privileges::drop_capabilities()?;
    privileges::forbid_new_privileges()
}

/// The line to the master, whose end is the end of this process as well.
struct Orders {
    line: Channel,
    source: Arc<Source>,
}

impl Control for Orders {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }

    fn order(&mut self) -> Option<Order> {
        loop {
            let mut datagram = [0; 16];
            match self.line.receive(&mut datagram) {
                Ok(Received::Datagram(_, files)) => {
                    // The log, and behind it the same for reading.
                    let mut files = files.into_iter();
                    files.next().into_iter().for_each(log::adopt);
                    self.source.follow(files.next().map(File::from));
                }
                Ok(Received::Undelivered(_)) => self.line.skip(),
                Ok(Received::Nothing) => return None,
                // There is nothing to wind up, and an ended line would be readable for
                // ever.
                Ok(Received::Closed) | Err(_) => std::process::exit(0),
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_keys_it_obeys_are_good_ones() {
        let config = config();
        assert_eq!(config.worker.business_threads, 1);
        assert_eq!(config.http.body_max, 0);
        assert!(listener::protocols(&config, Codecs::NONE).is_ok());
    }
}
