//! What purlin has set itself to reach. A goal that is missed is printed and
//! fails nothing, because machines differ.

use crate::figures::Figure::{self, Bytes, Calls, Cores, P99, PerCpu, Rate, Threads};
use crate::stats::Bound::{self, AtLeast, AtMost};

/// One goal; it holds in each of its cells by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    /// Names of cells.
    pub(crate) cells: &'static [&'static str],
    /// Which figure.
    pub(crate) figure: Figure,
    /// Whose.
    pub(crate) of: &'static str,
    /// Divided by whose, within a round; `None`: the figure itself.
    pub(crate) over: Option<&'static str>,
    /// What it has to be.
    pub(crate) bound: Bound,
}

/// Many connections, in both formats.
const MANY: &[&str] = &[
    "comm-c100-d1",
    "comm-c100-d16",
    "comm-c1000-d1",
    "comm-c1000-d16",
    "rpc-c100-d1",
    "rpc-c100-d16",
    "rpc-c1000-d1",
    "rpc-c1000-d16",
];
const BOTH_DEPTHS: &[&str] = &["comm-c100-d1", "comm-c100-d16"];
const HTTP: &[&str] = &["http-c100-d1", "http-c1000-d1"];
const FILES: &[&str] = &["http-file-64k", "http-file-1m", "http-range-16m"];
const SOCKETS: &[&str] = &[
    "ws-text-c100-d1",
    "ws-text-c100-d16",
    "ws-binary-c100-d1",
    "ws-binary-c100-d16",
];
const PIPELINED: &[&str] = &["http-c100-d16"];
const SHALLOW: &[&str] = &["comm-c100-d1"];
const DEEP: &[&str] = &["comm-c100-d16"];

/// The goals, one a row: cells, figure, of whom, divided by whom, bound.
#[rustfmt::skip]
pub(crate) const GOALS: &[Goal] = &[
    goal(MANY,        Rate,    "purlin pooled",       Some("limit loop"),          AtLeast(0.95)),
    goal(MANY,        Rate,    "purlin inline",       Some("limit loop"),          AtLeast(0.97)),
    goal(BOTH_DEPTHS, Rate,    "purlin pooled",       Some("tokio batched"),       AtLeast(1.05)),
    goal(DEEP,        Rate,    "purlin pooled",       Some("tokio flush each"),    AtLeast(10.0)),
    goal(SHALLOW,     Rate,    "purlin pooled",       Some("classic"),             AtLeast(1.5)),
    goal(DEEP,        Rate,    "purlin pooled",       Some("classic"),             AtLeast(14.0)),
    goal(&["mixed"],  Rate,    "purlin inline mixed", Some("purlin inline alone"), AtLeast(0.9)),
    goal(&["mixed"],  Rate,    "purlin pooled mixed", Some("purlin pooled alone"), AtLeast(0.75)),
    goal(&["mixed"],  P99,     "purlin inline mixed", None,                        AtMost(2_000.0)),
    goal(&["mixed"],  P99,     "purlin pooled mixed", None,                        AtMost(2_000.0)),
    goal(&["open"],   Cores,   "purlin inline",       Some("limit loop"),          AtMost(1.2)),
    goal(&["open"],   Cores,   "purlin pooled",       Some("limit loop"),          AtMost(1.55)),
    goal(&["open"],   P99,     "purlin inline",       Some("limit loop"),          AtMost(2.0)),
    goal(&["open"],   P99,     "purlin pooled",       Some("limit loop"),          AtMost(2.0)),
    goal(&["memory"], Bytes,   "purlin",              None,                        AtMost(400.0)),
    goal(&["memory"], Threads, "purlin",              None,                        AtMost(0.0)),
    goal(&["calls"],  Calls,   "purlin pooled",       None,                        AtMost(0.25)),
    goal(&["calls"],  Calls,   "purlin inline",       None,                        AtMost(0.25)),
    goal(HTTP,        Rate,    "purlin inline",       Some("nginx"),               AtLeast(1.0)),
    goal(HTTP,        PerCpu,  "purlin inline",       Some("nginx"),               AtLeast(1.0)),
    goal(HTTP,        Rate,    "purlin pooled",       Some("nginx"),               AtLeast(0.9)),
    goal(HTTP,        PerCpu,  "purlin pooled",       Some("nginx"),               AtLeast(0.9)),
    goal(PIPELINED,   Rate,    "purlin inline",       Some("nginx"),               AtLeast(7.0)),
    goal(PIPELINED,   Rate,    "purlin pooled",       Some("nginx"),               AtLeast(5.0)),
    goal(&["http-churn"], Rate, "purlin inline",      Some("nginx"),               AtLeast(1.0)),
    goal(&["http-file-1k"], Rate, "purlin",           Some("nginx"),               AtLeast(1.1)),
    goal(FILES,       Rate,    "purlin",              Some("nginx"),               AtLeast(1.0)),
    goal(&["http-log"], Rate,  "pooled, access log",  Some("pooled, no log"),      AtLeast(0.95)),
    goal(&["http-log"], Rate,  "inline, access log",  Some("inline, no log"),      AtLeast(0.95)),
    goal(SOCKETS,     PerCpu,  "purlin inline",       Some("uWebSockets.js"),      AtLeast(1.4)),
    goal(SOCKETS,     PerCpu,  "purlin inline",       Some("ws"),                  AtLeast(2.0)),
    goal(SOCKETS,     PerCpu,  "purlin pooled",       Some("ws"),                  AtLeast(2.0)),
    goal(&["ws-room"], PerCpu, "purlin",              Some("uWebSockets.js"),      AtLeast(1.2)),
    goal(&["http-memory"], Bytes, "purlin inline",    None,                        AtMost(600.0)),
];

const fn goal(
    cells: &'static [&'static str],
    figure: Figure,
    of: &'static str,
    over: Option<&'static str>,
    bound: Bound,
) -> Goal {
    Goal {
        cells,
        figure,
        of,
        over,
        bound,
    }
}
