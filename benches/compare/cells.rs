//! The table of cells: which servers meet under which load.
//!
//! The first contestant of a cell is the one that others are divided by,
//! unless a row says otherwise.

use std::path::PathBuf;

use crate::cores::Place;
use crate::figures::Figure::{self, Bytes, Calls, Cores, P99, Rate, Threads};
use crate::frame::Layout;
use crate::goals::GOALS;
use crate::load::Shape;
use crate::options::Options;
use crate::programs::Programs;
use crate::server::{Port, Spec};
use crate::specs::{ANNOUNCED, INLINE, POOLED, frames};

mod sockets;
mod web;

/// Connections of the mixed load whose handler blocks.
const BLOCKING: usize = 8;

/// Requests a second of the open loop.
const OPEN_RATE: u32 = 60_000;

/// Connections that come and go at the same time.
const CHURNING: usize = 64;

/// Idle connections whose memory is measured.
pub(crate) const IDLE: usize = 10_000;

/// How a cell is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Method {
    /// Rounds of load in which the contestants take turns.
    Rounds,
    /// Growth of private memory by idle connections.
    Memory,
    /// System calls, counted by strace.
    Calls,
}

/// One comparison.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    /// For `--cells`, and what goals are set for.
    pub(crate) name: String,
    /// For people.
    pub(crate) title: String,
    pub(crate) method: Method,
    pub(crate) contestants: Vec<Contestant>,
    /// What its tables show.
    pub(crate) figures: &'static [Figure],
}

/// A server under a load.
#[derive(Clone, Debug)]
pub(crate) struct Contestant {
    pub(crate) name: String,
    pub(crate) spec: Spec,
    pub(crate) shape: Shape,
    /// The contestant that it is divided by.
    pub(crate) over: usize,
}

impl Cell {
    /// Whether a goal is set for it.
    pub(crate) fn has_goals(&self) -> bool {
        GOALS
            .iter()
            .any(|goal| goal.cells.contains(&self.name.as_str()))
    }

    /// Where the contestant of this name stands.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.contestants.iter().position(|one| one.name == name)
    }
}

/// All cells, in the order in which they are measured.
pub(crate) fn all(programs: &Programs, options: &Options) -> Vec<Cell> {
    let make = Maker { programs, options };
    let mut cells = Vec::new();
    for layout in [Layout::Comm, Layout::Rpc] {
        for connections in [1, 100, 1_000] {
            for depth in [1, 16] {
                cells.push(make.closed(layout, connections, depth));
            }
        }
    }
    cells.push(make.mixed());
    cells.push(make.open());
    cells.push(make.churn());
    cells.extend([1, 16].map(|depth| make.workers(depth)));
    cells.extend([1, 16].map(|depth| make.settings(depth)));
    cells.push(make.memory());
    cells.push(make.calls());
    cells.extend(web::all(&make));
    cells.extend(sockets::all(&make));
    cells
}

struct Maker<'a> {
    programs: &'a Programs,
    options: &'a Options,
}

impl Maker<'_> {
    fn closed(&self, layout: Layout, connections: usize, depth: usize) -> Cell {
        let shape = closed(connections, depth, 0);
        let mut servers = self.servers(layout);
        if layout == Layout::Comm {
            servers.push(("raw echo", self.programs.peer("raw", layout)));
        }
        let mut contestants = contestants(servers, shape);
        if layout == Layout::Comm {
            contestants.extend(self.options.peers.iter().map(|(name, command)| Contestant {
                name: name.clone(),
                spec: foreign(command),
                shape,
                over: 0,
            }));
        }
        let plural = if connections == 1 { "" } else { "s" };
        Cell {
            name: format!("{}-c{connections}-d{depth}", layout.name()),
            title: format!(
                "echo, `{}`, {connections} connection{plural}, {depth} in flight on each",
                layout.name()
            ),
            method: Method::Rounds,
            contestants,
            figures: &[Rate],
        }
    }

    /// The limit, purlin, and everybody else.
    fn servers(&self, layout: Layout) -> Vec<(&'static str, Spec)> {
        vec![
            ("limit loop", self.programs.peer("loop", layout)),
            ("purlin pooled", self.programs.purlin(layout, POOLED, &[])),
            ("purlin inline", self.programs.purlin(layout, INLINE, &[])),
            ("tokio batched", self.programs.peer("tokio-batched", layout)),
            (
                "tokio flush each",
                self.programs.peer("tokio-flush", layout),
            ),
            ("classic", self.programs.peer("classic", layout)),
        ]
    }

    fn mixed(&self) -> Cell {
        let pool = &["worker.business_threads=16"];
        let one = |name: &str, id, slow, over| Contestant {
            name: name.into(),
            spec: self.programs.purlin(Layout::Comm, id, pool),
            shape: closed(100, 1, slow),
            over,
        };
        Cell {
            name: "mixed".into(),
            title: format!(
                "100 echo connections alone, and beside {BLOCKING} whose handler sleeps 1 ms; \
                 a pool of 16"
            ),
            method: Method::Rounds,
            contestants: vec![
                one("purlin pooled alone", POOLED, 0, 0),
                one("purlin pooled mixed", POOLED, BLOCKING, 0),
                one("purlin inline alone", INLINE, 0, 2),
                one("purlin inline mixed", INLINE, BLOCKING, 2),
            ],
            figures: &[Rate, P99],
        }
    }

    fn open(&self) -> Cell {
        let shape = Shape::Open {
            connections: 100,
            rate: OPEN_RATE,
        };
        Cell {
            name: "open".into(),
            title: format!("open loop, {OPEN_RATE} requests/s over 100 connections, `comm`"),
            method: Method::Rounds,
            contestants: contestants(self.servers(Layout::Comm), shape),
            figures: &[Cores, P99, Rate],
        }
    }

    fn churn(&self) -> Cell {
        let shape = Shape::Churn { at_once: CHURNING };
        Cell {
            name: "churn".into(),
            title: format!("churn: connect, one request, close; {CHURNING} at a time"),
            method: Method::Rounds,
            contestants: contestants(self.servers(Layout::Comm), shape),
            figures: &[Rate],
        }
    }

    fn workers(&self, depth: usize) -> Cell {
        let one = |name: &str, workers: &str, place, over| Contestant {
            name: name.into(),
            spec: Spec {
                place,
                ..self.programs.purlin(Layout::Comm, POOLED, &[workers])
            },
            shape: closed(100, depth, 0),
            over,
        };
        Cell {
            name: format!("workers-d{depth}"),
            title: format!(
                "one worker beside two, pooled, 100 connections, {depth} in flight; \
                 \"both cores\" are shared with the load"
            ),
            method: Method::Rounds,
            contestants: vec![
                one("one, its core", "workers=1", Place::OneCore, 0),
                one("two, one core", "workers=2", Place::OneCore, 0),
                one("one, both cores", "workers=1", Place::BothCores, 2),
                one("two, both cores", "workers=2", Place::BothCores, 2),
            ],
            figures: &[Rate],
        }
    }

    /// What the worker's settings cost: edges instead of levels, and a flood
    /// guard that nobody asks.
    fn settings(&self, depth: usize) -> Cell {
        let one = |name: &str, id, keys: &[&str], over| Contestant {
            name: name.into(),
            spec: self.programs.purlin(Layout::Comm, id, keys),
            shape: closed(100, depth, 0),
            over,
        };
        let edge = &["worker.trigger=edge"];
        let unguarded = &["limits.flood=off"];
        Cell {
            name: format!("settings-d{depth}"),
            title: format!("settings, `comm`, 100 connections, {depth} in flight on each"),
            method: Method::Rounds,
            contestants: vec![
                one("pooled, as shipped", POOLED, &[], 0),
                one("pooled, edges", POOLED, edge, 0),
                one("pooled, no flood guard", POOLED, unguarded, 0),
                one("inline, as shipped", INLINE, &[], 3),
                one("inline, edges", INLINE, edge, 3),
                one("inline, no flood guard", INLINE, unguarded, 3),
            ],
            figures: &[Rate],
        }
    }

    fn memory(&self) -> Cell {
        let keys = &self.idle();
        let comm = Layout::Comm;
        let servers = vec![
            ("limit loop", self.programs.peer("loop", comm)),
            ("purlin", self.programs.purlin(comm, POOLED, keys)),
            ("tokio batched", self.programs.peer("tokio-batched", comm)),
            ("classic", self.programs.peer("classic", comm)),
        ];
        Cell {
            name: "memory".into(),
            title: format!("{IDLE} idle connections, after one request each"),
            method: Method::Memory,
            contestants: contestants(servers, closed(IDLE, 1, 0)),
            figures: &[Bytes, Threads],
        }
    }

    fn calls(&self) -> Cell {
        let mut servers = self.servers(Layout::Comm);
        // Each reply of theirs is a call by design.
        servers.retain(|(name, _)| !matches!(*name, "tokio flush each" | "classic"));
        Cell {
            name: "calls".into(),
            title: "system calls, 100 connections, 16 in flight".into(),
            method: Method::Calls,
            contestants: contestants(servers, closed(100, 16, 0)),
            figures: &[Calls],
        }
    }

    /// No pool made in advance, so that the growth is all that connections
    /// cost; and nobody is closed for being idle.
    fn idle(&self) -> [&'static str; 4] {
        [
            "worker.connections_initial=0",
            "worker.connections_max=16384",
            "heartbeat.timeout=0s",
            "heartbeat.first_message=0s",
        ]
    }
}

const fn closed(connections: usize, depth: usize, slow: usize) -> Shape {
    Shape::Closed {
        connections,
        depth,
        slow,
    }
}

fn contestants(servers: Vec<(&str, Spec)>, shape: Shape) -> Vec<Contestant> {
    servers
        .into_iter()
        .map(|(name, spec)| Contestant {
            name: name.into(),
            spec,
            shape,
            over: 0,
        })
        .collect()
}

/// A server of the command line.
fn foreign(command: &[String]) -> Spec {
    let given = command.iter().any(|word| word.contains("{port}"));
    Spec {
        program: PathBuf::from(&command[0]),
        arguments: command[1..].to_vec(),
        asks: frames(Layout::Comm, POOLED),
        files: Vec::new(),
        port: if given { Port::Given } else { ANNOUNCED },
        place: Place::OneCore,
    }
}
