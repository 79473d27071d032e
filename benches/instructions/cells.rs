//! The table of cells: which server is counted under which load, and by how much
//! its figure may grow.

use crate::frame::Layout;
use crate::load::{Asks, BODY, Get};
use crate::markdown::number;
use crate::options::Mode;
use crate::programs::Programs;
use crate::server::Spec;
use crate::specs::{INLINE, POOLED, greeting, nginx};
use crate::work::Work;

/// Connections of the closed loop.
const CONNECTIONS: usize = 100;

/// Connections that come and go at the same time.
const CHURNING: usize = 64;

/// Members of the room.
const MEMBERS: usize = 100;

/// Bytes of the file.
const FILE: usize = 1 << 10;

/// Who runs the handlers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Handlers {
    /// The event loop: what is read together depends on the load alone.
    Inline,
    /// Business threads: how much they find together depends on the scheduler.
    Pooled,
}

/// Somebody who is counted beside purlin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Peer {
    LimitLoop,
    Nginx,
}

/// One figure.
pub(crate) struct Cell {
    /// For `--cells`, and its name in the file.
    pub(crate) name: &'static str,
    /// What the figure is for.
    what: &'static str,
    handlers: Handlers,
    pub(crate) work: Work,
    /// Requests of the two runs.
    pub(crate) counts: [u64; 2],
    pub(crate) purlin: Spec,
    /// Whether purlin opens files, which not every valgrind lets it do.
    pub(crate) opens_files: bool,
    pub(crate) peer: Option<(Peer, Spec)>,
}

impl Cell {
    /// Percent by which the figure may grow.
    pub(crate) const fn may_grow(&self) -> u32 {
        match self.handlers {
            Handlers::Inline => 3,
            Handlers::Pooled => 10,
        }
    }

    /// Rounds, of which the median is the figure.
    pub(crate) fn rounds(&self, mode: Mode) -> usize {
        match (self.handlers, mode) {
            (Handlers::Pooled, _) => 5,
            (Handlers::Inline, Mode::Check) => 1,
            // Enough to show in the file that one is enough.
            (Handlers::Inline, _) => 3,
        }
    }

    /// For people.
    pub(crate) fn title(&self) -> String {
        let [few, many] = self.counts.map(|count| number(count as f64, 0));
        format!("{}, {}; runs of {few} and {many}", self.what, self.work)
    }
}

/// All cells; `peers`: with who is counted beside purlin.
pub(crate) fn all(programs: &Programs, peers: bool) -> Vec<Cell> {
    let make = Maker { programs };
    let mut cells = make.echoes();
    cells.extend(make.http());
    cells.push(make.file());
    cells.push(Cell {
        name: "accept",
        what: "a connection: accept, one inline echo over `comm`, end",
        handlers: Handlers::Inline,
        work: Work::Churn(CHURNING),
        counts: [1_000, 5_000],
        purlin: programs.purlin(Layout::Comm, INLINE, &[]),
        opens_files: false,
        peer: Some((Peer::LimitLoop, programs.peer("loop", Layout::Comm))),
    });
    cells.push(Cell {
        name: "push-100",
        what: "a push to a room of 100: an inline message, and all its pushes",
        handlers: Handlers::Inline,
        work: Work::Room(MEMBERS),
        counts: [50, 350],
        purlin: programs.purlin(Layout::Comm, INLINE, &[]),
        opens_files: false,
        peer: None,
    });
    if !peers {
        cells.iter_mut().for_each(|cell| cell.peer = None);
    }
    cells
}

struct Maker<'a> {
    programs: &'a Programs,
}

impl Maker<'_> {
    fn echoes(&self) -> Vec<Cell> {
        use Handlers::{Inline, Pooled};
        use Layout::{Comm, Rpc};
        let rows = [
            ("comm-d1-inline", Comm, 1, Inline),
            ("comm-d1-pooled", Comm, 1, Pooled),
            ("comm-d16-inline", Comm, 16, Inline),
            ("comm-d16-pooled", Comm, 16, Pooled),
            ("rpc-d1-inline", Rpc, 1, Inline),
            ("rpc-d1-pooled", Rpc, 1, Pooled),
            ("rpc-d16-inline", Rpc, 16, Inline),
            ("rpc-d16-pooled", Rpc, 16, Pooled),
        ];
        const { assert!(BODY == 96, "the titles say so") };
        let cell = |(name, layout, depth, handlers)| Cell {
            name,
            what: match layout {
                Comm => "an echo of 96 bytes over `comm`",
                Rpc => "an echo of 96 bytes over `rpc`",
            },
            handlers,
            work: Work::closed(CONNECTIONS, depth),
            counts: if depth == 1 {
                [2_000, 12_000]
            } else {
                [3_200, 35_200]
            },
            purlin: self.programs.purlin(
                layout,
                if handlers == Inline { INLINE } else { POOLED },
                &[],
            ),
            opens_files: false,
            peer: Some((Peer::LimitLoop, self.programs.peer("loop", layout))),
        };
        rows.map(cell).into()
    }

    fn http(&self) -> Vec<Cell> {
        use Handlers::{Inline, Pooled};
        let rows = [
            ("http-inline", "/inline", 1, Inline),
            ("http-pooled", "/pooled", 1, Pooled),
            ("http-d16-inline", "/inline", 16, Inline),
        ];
        let cell = |(name, path, depth, handlers)| Cell {
            name,
            what: "a greeting over HTTP; nginx: `return 200`",
            handlers,
            work: Work::closed(CONNECTIONS, depth),
            counts: if depth == 1 {
                [2_000, 12_000]
            } else {
                [1_600, 17_600]
            },
            purlin: self.programs.http(path, &[]),
            opens_files: false,
            peer: self.nginx(greeting("/greeting")),
        };
        rows.map(cell).into()
    }

    fn file(&self) -> Cell {
        let bytes = self.programs.place_file("1k.bin", FILE);
        let asks = Get::asks("/1k.bin", "", 200, bytes);
        Cell {
            name: "http-file-1k",
            what: "a file of 1 KiB over HTTP",
            handlers: Handlers::Inline,
            work: Work::closed(CONNECTIONS, 1),
            counts: [2_000, 12_000],
            purlin: self.programs.purlin_files(asks.clone()),
            opens_files: true,
            peer: self.nginx(asks),
        }
    }

    /// nginx, where it is installed.
    fn nginx(&self, asks: Asks) -> Option<(Peer, Spec)> {
        let program = nginx()?;
        Some((Peer::Nginx, self.programs.nginx_with(program, asks)))
    }
}
