//! `status -w`: the same report again and again, as `top` does. On a terminal it
//! has the whole screen; anywhere else it prints a block for each look.

use std::io::{self, IsTerminal, Read, Write};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::task;
use super::top::Span;
use super::{Arguments, Exit};
use crate::master::Ending;
use crate::master::control::Command;
use crate::sys::signal::{Signal, Signals};
use crate::sys::socket::{self, Wanted};
use crate::sys::terminal::{self, Keys};

/// Lines of a terminal that does not say how many it has.
const HEIGHT: usize = 24;

/// The other screen, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Keys that end it: q, Ctrl-C, Ctrl-D, Escape.
const ENDS: &[u8] = b"qQ\x03\x04\x1b";

/// Looks every so often until the operator has seen enough, or nobody reads.
///
/// # Errors
///
/// [`Ending`]: there is no master, or it is gone.
pub(super) fn watch(
    arguments: &Arguments,
    env: &[(String, String)],
    every: Duration,
) -> Result<(), Ending> {
    let mut looks = Looks::new(|| Ok(task::ask(arguments, env, Command::Status)?.json))?;
    if !io::stdout().is_terminal() {
        loop {
            std::thread::sleep(every);
            let lines = looks.next()?.lines(usize::MAX);
            if writeln!(io::stdout(), "{}\n", lines.join("\n")).is_err() {
                return Ok(());
            }
        }
    }
    let screen = Screen::enter()
        .map_err(|error| Ending::new(Exit::Internal, format!("use the terminal: {error}")))?;
    screen.draw(&looks.last());
    loop {
        match screen.wait(every) {
            Woken::Time => screen.draw(&looks.next()?),
            Woken::Size => screen.draw(&looks.last()),
            Woken::Enough => return Ok(()),
        }
    }
}

/// The reports so far: the last two.
struct Looks<F> {
    ask: F,
    before: Option<Value>,
    now: Value,
    seconds: f64,
    at: Instant,
}

impl<F: Fn() -> Result<Value, Ending>> Looks<F> {
    fn new(ask: F) -> Result<Self, Ending> {
        Ok(Self {
            now: ask()?,
            before: None,
            seconds: 0.0,
            at: Instant::now(),
            ask,
        })
    }

    fn next(&mut self) -> Result<Span<'_>, Ending> {
        let now = (self.ask)()?;
        self.before = Some(std::mem::replace(&mut self.now, now));
        self.seconds = self.at.elapsed().as_secs_f64();
        self.at = Instant::now();
        Ok(self.last())
    }

    fn last(&self) -> Span<'_> {
        Span {
            before: self.before.as_ref(),
            now: &self.now,
            seconds: self.seconds,
        }
    }
}

/// What ended a wait.
enum Woken {
    Time,
    Size,
    Enough,
}

/// The terminal while it is ours; dropping it gives it back as it was.
struct Screen {
    keys: Option<Keys>,
    signals: Signals,
}

impl Screen {
    fn enter() -> io::Result<Self> {
        // Death by a signal would leave the terminal without cursor and echo.
        let ends = [Signal::Interrupt, Signal::Terminate, Signal::Hangup];
        let signals = [&ends[..], &[Signal::Quit, Signal::WindowChange]].concat();
        let screen = Self {
            signals: Signals::block(&signals)?,
            keys: Keys::of(io::stdin()).ok(),
        };
        screen.write(ENTER);
        Ok(screen)
    }

    /// Shows it with one write, over what was there: nothing flickers.
    fn draw(&self, span: &Span<'_>) {
        let height = terminal::size(io::stdout()).map_or(HEIGHT, |(_, rows)| rows);
        let lines = span.lines(height);
        self.write(&format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n")));
    }

    fn write(&self, text: &str) {
        let mut out = io::stdout().lock();
        let _terminal_is_gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn wait(&self, time: Duration) -> Woken {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let woken = match &self.keys {
                Some(_) => socket::wait(io::stdin(), Wanted::Read, &self.signals, left),
                None => socket::wait(&self.signals, Wanted::Read, &self.signals, left),
            };
            match self.signals.next() {
                Ok(None) => {}
                Ok(Some(Signal::WindowChange)) => return Woken::Size,
                Ok(Some(_)) | Err(_) => return Woken::Enough,
            }
            match woken {
                Ok(ready) if ready.socket && self.keys.is_some() && enough_said() => {
                    return Woken::Enough;
                }
                Err(_) => return Woken::Enough,
                Ok(_) if Instant::now() >= until => return Woken::Time,
                Ok(_) => {}
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.write(LEAVE);
    }
}

/// Whether a key was pressed that ends it, or the terminal is gone.
fn enough_said() -> bool {
    let mut keys = [0; 64];
    match io::stdin().lock().read(&mut keys) {
        Ok(0) | Err(_) => true,
        Ok(count) => keys[..count].iter().any(|key| ENDS.contains(key)),
    }
}
