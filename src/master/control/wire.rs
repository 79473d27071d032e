//! One request and its response, as lines of JSON; pure over bytes.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use ::log::LevelFilter;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::net::{ConnId, UserName, Words};

/// Longer requests are refused.
pub const REQUEST_MAX: usize = 2048;

/// Exit code for a request that makes no sense (`EX_USAGE`).
const USAGE: u8 = 64;

/// What an operator can ask of the master. Over the wire, what needs a value is
/// an object, as in `{"command":{"workers":"+1"}}`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// Drain within the shutdown timeout, then exit.
    Stop,
    /// Drain without a deadline, then exit.
    Quit,
    /// Take the configuration file over.
    Reload,
    /// The same, and end older workers that leave no room for new ones.
    ReloadForced,
    /// Open the log files anew.
    Reopen,
    /// Give the place to the new binary.
    Upgrade,
    /// The same, and end older workers, and an older master, that leave no room.
    UpgradeForced,
    /// Tell what runs.
    Status,
    /// The same, with counters that are 0.
    StatusAll,
    /// Drain the workers and stay, without any.
    Drain,
    /// Have so many workers, until the next reload.
    #[serde(with = "text")]
    Workers(Wanted),
    /// Log at this level, until the next reload.
    #[serde(with = "text")]
    LogLevel(LevelFilter),
    /// List the connections of all workers.
    Connections,
    /// Close a connection.
    Kick {
        /// Which.
        #[serde(with = "text")]
        id: ConnId,
        /// What its peer is told.
        #[serde(default, with = "some_text", skip_serializing_if = "Option::is_none")]
        say: Option<Words>,
    },
    /// Close all connections of a user.
    KickUser {
        /// Whose.
        #[serde(with = "text")]
        user: UserName,
        /// What each of their peers is told.
        #[serde(default, with = "some_text", skip_serializing_if = "Option::is_none")]
        say: Option<Words>,
    },
}

/// How many workers an operator wants.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Wanted {
    /// So many.
    Exactly(NonZeroU16),
    /// So many more, or fewer when negative; not 0.
    By(i16),
}

/// `8`, `+1` or `-1`.
impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(count) => write!(f, "{count}"),
            Self::By(change) => write!(f, "{change:+}"),
        }
    }
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is none of N, +N and -N, with N from 1 up");
        if text.starts_with(['+', '-']) {
            let change: i16 = text.parse().map_err(|_| wrong())?;
            return (change != 0).then_some(Self::By(change)).ok_or_else(wrong);
        }
        text.parse().map(Self::Exactly).map_err(|_| wrong())
    }
}

/// A value as the text that people write.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(Error::custom)
    }
}

/// As [`text`], of a value that is there.
mod some_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserializer, Serializer};

    use super::text;

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => text::serialize(value, to),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        text::deserialize(from).map(Some)
    }
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Request {
    command: Command,
}

impl Command {
    /// The request, as it goes over the wire.
    #[must_use]
    pub fn line(self) -> Vec<u8> {
        line(&Request { command: self })
    }
}

/// The master's answer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Response {
    /// The exit code for the shell, after sysexits; 0 is success.
    pub code: u8,
    /// For people; may have several lines.
    pub text: String,
    /// The same for programs; null when there is nothing to tell.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub json: Value,
}

impl Response {
    /// An answer in words.
    #[must_use]
    pub fn new(code: u8, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            json: Value::Null,
        }
    }

    /// As it goes over the wire.
    pub(in crate::master) fn line(&self) -> Vec<u8> {
        line(self)
    }
}

fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("strings and numbers become JSON");
    line.push(b'\n');
    line
}

/// What the server side waits for next.
#[expect(
    clippy::large_enum_variant,
    reason = "operators are few, and wait for a moment"
)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// More of the request.
    Read,
    /// The master's answer to this. Stop watching the connection until then: a
    /// client that closed its sending half would be readable all the time.
    Asked(Command),
    /// Room to send the rest of the answer.
    Write,
    /// Nothing: drop the connection.
    Done,
}

/// The server side of one connection.
#[derive(Clone, Debug)]
pub enum Exchange {
    /// The request so far.
    Reading(Vec<u8>),
    /// The request is complete; the answer is not known yet.
    Deciding,
    /// The rest of the answer.
    Answering(Vec<u8>),
}

impl Default for Exchange {
    fn default() -> Self {
        Self::Reading(Vec::new())
    }
}

impl Exchange {
    /// Takes bytes in; none means that the client will send no more.
    pub fn receive(&mut self, bytes: &[u8]) -> Progress {
        let Self::Reading(request) = self else {
            return self.waits_for();
        };
        request.extend_from_slice(bytes);
        // How the request was cut must not decide how long it may be.
        let line = request.iter().take(REQUEST_MAX + 1);
        let Some(end) = line.copied().position(|byte| byte == b'\n') else {
            if request.len() > REQUEST_MAX {
                let text = format!("a request is at most {REQUEST_MAX} bytes long");
                return self.answer(&Response::new(USAGE, text));
            }
            return if bytes.is_empty() {
                Progress::Done
            } else {
                Progress::Read
            };
        };
        match serde_json::from_slice(&request[..end]) {
            Ok(Request { command }) => {
                *self = Self::Deciding;
                Progress::Asked(command)
            }
            Err(error) => self.answer(&Response::new(USAGE, format!("bad request: {error}"))),
        }
    }

    /// Decides the answer.
    pub fn answer(&mut self, response: &Response) -> Progress {
        *self = Self::Answering(response.line());
        Progress::Write
    }

    /// What is to be sent.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        match self {
            Self::Answering(rest) => rest,
            Self::Reading(_) | Self::Deciding => &[],
        }
    }

    /// Takes note that `count` bytes of [`unsent`](Self::unsent) were sent.
    pub fn sent(&mut self, count: usize) -> Progress {
        if let Self::Answering(rest) = self {
            rest.drain(..count);
        }
        self.waits_for()
    }

    fn waits_for(&self) -> Progress {
        match self {
            // Deciding needs nothing from the client; what it sends is ignored.
            Self::Reading(_) | Self::Deciding => Progress::Read,
            Self::Answering(rest) if rest.is_empty() => Progress::Done,
            Self::Answering(_) => Progress::Write,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ConnId {
        ConnId::first(1, 2, 3).next()
    }

    fn all() -> [(Command, &'static str); 18] {
        [
            (Command::Stop, "{\"command\":\"stop\"}\n"),
            (Command::Quit, "{\"command\":\"quit\"}\n"),
            (Command::Reload, "{\"command\":\"reload\"}\n"),
            (Command::Reopen, "{\"command\":\"reopen\"}\n"),
            (Command::Upgrade, "{\"command\":\"upgrade\"}\n"),
            (Command::ReloadForced, "{\"command\":\"reload-forced\"}\n"),
            (Command::UpgradeForced, "{\"command\":\"upgrade-forced\"}\n"),
            (Command::Status, "{\"command\":\"status\"}\n"),
            (Command::StatusAll, "{\"command\":\"status-all\"}\n"),
            (Command::Drain, "{\"command\":\"drain\"}\n"),
            (
                Command::Workers(Wanted::By(1)),
                "{\"command\":{\"workers\":\"+1\"}}\n",
            ),
            (
                Command::Workers(Wanted::By(-2)),
                "{\"command\":{\"workers\":\"-2\"}}\n",
            ),
            (
                Command::Workers(Wanted::Exactly(NonZeroU16::MIN)),
                "{\"command\":{\"workers\":\"1\"}}\n",
            ),
            (
                Command::LogLevel(LevelFilter::Debug),
                "{\"command\":{\"log-level\":\"DEBUG\"}}\n",
            ),
            (Command::Connections, "{\"command\":\"connections\"}\n"),
            (
                Command::Kick {
                    id: id(),
                    say: None,
                },
                "{\"command\":{\"kick\":{\"id\":\"1.2.3.1\"}}}\n",
            ),
            (
                Command::Kick {
                    id: id(),
                    say: "bye".parse().ok(),
                },
                "{\"command\":{\"kick\":{\"id\":\"1.2.3.1\",\"say\":\"bye\"}}}\n",
            ),
            (
                Command::KickUser {
                    user: "ann b".parse().unwrap(),
                    say: "go \"home\"".parse().ok(),
                },
                "{\"command\":{\"kick-user\":{\"user\":\"ann b\",\"say\":\"go \\\"home\\\"\"}}}\n",
            ),
        ]
    }

    fn answered(exchange: &Exchange) -> Response {
        serde_json::from_slice(exchange.unsent()).unwrap()
    }

    #[test]
    fn every_command_survives_every_cut() {
        for (command, text) in all() {
            assert_eq!(command.line(), text.as_bytes());
            for cut in 1..text.len() {
                let (head, tail) = text.as_bytes().split_at(cut);
                let mut exchange = Exchange::default();
                assert_eq!(exchange.receive(head), Progress::Read, "cut at {cut}");
                assert_eq!(exchange.receive(tail), Progress::Asked(command));
            }
        }
    }

    #[test]
    fn nonsense_is_answered_as_wrong_usage() {
        let long = [b'x'; REQUEST_MAX + 1];
        for request in [
            &b"\n"[..],
            b"stop\n",
            b"{\"command\":\"dance\"}\n",
            b"{\"command\":\"stop\",\"now\":true}\n",
            b"{\"command\":\"stop\"} {}\n",
            b"{\"command\":\"kick\"}\n",
            b"{\"command\":{\"kick\":{\"id\":\"1.2.3\"}}}\n",
            b"{\"command\":{\"kick\":{\"id\":\"1.2.3.4\",\"say\":\"a\\n\"}}}\n",
            b"{\"command\":{\"kick\":{\"id\":\"1.2.3.4\",\"sya\":\"a\"}}}\n",
            b"{\"command\":{\"kick-user\":{\"user\":\"\"}}}\n",
            b"{\"command\":{\"kick\":{\"id\":\"1.2.3.4\"},\"stop\":null}}\n",
            b"{\"command\":{\"workers\":\"0\"}}\n",
            b"{\"command\":{\"workers\":\"-0\"}}\n",
            b"{\"command\":{\"workers\":\"some\"}}\n",
            b"{\"command\":{\"log-level\":\"loud\"}}\n",
            &long,
        ] {
            let mut exchange = Exchange::default();
            assert_eq!(exchange.receive(request), Progress::Write);
            assert_eq!(answered(&exchange).code, USAGE);
        }
    }

    /// In one piece the end of the line used to be found first.
    #[test]
    fn a_long_request_is_refused_however_it_is_cut() {
        let stop = Command::Stop.line();
        for (spaces, expected) in [
            (REQUEST_MAX + 1 - stop.len(), Progress::Asked(Command::Stop)),
            (REQUEST_MAX + 2 - stop.len(), Progress::Write),
        ] {
            let request = [vec![b' '; spaces], stop.clone()].concat();
            for size in [1, 64, request.len()] {
                let mut exchange = Exchange::default();
                let mut pieces = request.chunks(size).map(|piece| exchange.receive(piece));
                let progress = pieces.find(|progress| *progress != Progress::Read);
                assert_eq!(progress, Some(expected), "pieces of {size}");
            }
        }
    }

    #[test]
    fn an_answer_goes_out_in_any_pieces() {
        let response = Response {
            code: 78,
            text: "line one\nline two".into(),
            json: serde_json::json!({"workers": [1, 2]}),
        };
        let mut exchange = Exchange::Deciding;
        assert_eq!(exchange.answer(&response), Progress::Write);
        assert_eq!(answered(&exchange), response);
        let mut wire = Vec::new();
        while !exchange.unsent().is_empty() {
            wire.push(exchange.unsent()[0]);
            let progress = exchange.sent(1);
            let is_last = exchange.unsent().is_empty();
            assert_eq!(progress == Progress::Done, is_last);
        }
        assert_eq!(wire, line(&response));
        assert_eq!(wire.iter().filter(|&&byte| byte == b'\n').count(), 1);
    }

    #[test]
    fn a_client_that_leaves_early_is_done_and_one_that_waits_is_not() {
        assert_eq!(Exchange::default().receive(b""), Progress::Done);
        let mut exchange = Exchange::default();
        exchange.receive(&Command::Reload.line());
        assert_eq!(exchange.receive(b""), Progress::Read);
        assert_eq!(exchange.receive(b"more"), Progress::Read);
    }
}
