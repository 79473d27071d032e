//! The cells over HTTP: purlin beside nginx as its users tune it, hyper, and a
//! loop that does not parse.

use super::{CHURNING, Cell, IDLE, Maker, Method, closed, contestants};
use crate::figures::Figure::{Bytes, Rate, Threads};
use crate::load::{Get, Shape};
use crate::specs::{greeting, nginx};

/// A file that is asked for.
struct Asked {
    /// Of the cell.
    cell: &'static str,
    name: &'static str,
    len: usize,
    /// Where the part that is asked for begins, and its length.
    part: Option<(usize, usize)>,
    connections: usize,
    title: &'static str,
}

const FILES: [Asked; 4] = [
    Asked {
        cell: "http-file-1k",
        name: "1k.bin",
        len: 1 << 10,
        part: None,
        connections: 100,
        title: "a file of 1 KiB",
    },
    Asked {
        cell: "http-file-64k",
        name: "64k.bin",
        len: 64 << 10,
        part: None,
        connections: 100,
        title: "a file of 64 KiB",
    },
    Asked {
        cell: "http-file-1m",
        name: "1m.bin",
        len: 1 << 20,
        part: None,
        connections: 20,
        title: "a file of 1 MiB",
    },
    Asked {
        cell: "http-range-16m",
        name: "16m.bin",
        len: 16 << 20,
        part: Some((5 << 20, 64 << 10)),
        connections: 100,
        title: "64 KiB within a file of 16 MiB",
    },
];

/// All of them.
pub(super) fn all(make: &Maker<'_>) -> Vec<Cell> {
    if nginx().is_none() {
        eprintln!("compare: NO NGINX, it is not installed (apt-get install nginx-light)");
    }
    let mut cells = Vec::new();
    for (connections, depth) in [(100, 1), (1_000, 1), (100, 16)] {
        cells.push(make.greetings(
            &format!("http-c{connections}-d{depth}"),
            format!("greeting over HTTP, {connections} connections, {depth} in flight on each"),
            closed(connections, depth, 0),
        ));
    }
    cells.push(make.greetings(
        "http-churn",
        format!("HTTP churn: connect, one request, close; {CHURNING} at a time"),
        Shape::Churn { at_once: CHURNING },
    ));
    cells.extend(FILES.iter().map(|file| make.file(file)));
    cells.push(make.access_log());
    cells.push(Cell {
        name: "http-memory".into(),
        title: format!("{IDLE} idle keep-alive connections, after one request each"),
        method: Method::Memory,
        figures: &[Bytes, Threads],
        contestants: make.greeters(closed(IDLE, 1, 0), &make.idle()),
    });
    cells
}

impl Maker<'_> {
    fn greetings(&self, name: &str, title: String, shape: Shape) -> Cell {
        Cell {
            name: name.into(),
            title,
            method: Method::Rounds,
            contestants: self.greeters(shape, &[]),
            figures: &[Rate],
        }
    }

    /// Everybody who greets. The first is nginx, if it is there.
    fn greeters(&self, shape: Shape, keys: &[&str]) -> Vec<super::Contestant> {
        let mut servers = Vec::new();
        if let Some(program) = nginx() {
            servers.push((
                "nginx",
                self.programs.nginx_with(program, greeting("/greeting")),
            ));
        }
        servers.extend([
            ("no-parse loop", self.programs.http_peer("http-loop")),
            ("hyper", self.programs.http_peer("hyper")),
            ("purlin pooled", self.programs.http("/pooled", keys)),
            ("purlin inline", self.programs.http("/inline", keys)),
        ]);
        contestants(servers, shape)
    }

    /// nginx and purlin with the same file.
    fn file(&self, file: &Asked) -> Cell {
        let Asked { name, len, .. } = *file;
        let bytes = self.programs.place_file(name, len);
        let asks = match file.part {
            None => Get::asks(&format!("/{name}"), "", 200, bytes),
            Some((from, len)) => {
                let range = format!("Range: bytes={from}-{}\r\n", from + len - 1);
                let body = bytes[from..from + len].to_vec();
                Get::asks(&format!("/{name}"), &range, 206, body)
            }
        };
        let mut servers = Vec::new();
        if let Some(program) = nginx() {
            servers.push(("nginx", self.programs.nginx_with(program, asks.clone())));
        }
        servers.push(("purlin", self.programs.purlin_files(asks)));
        Cell {
            name: file.cell.into(),
            title: format!("{} over HTTP, {} connections", file.title, file.connections),
            method: Method::Rounds,
            contestants: contestants(servers, closed(file.connections, 1, 0)),
            figures: &[Rate],
        }
    }

    /// What the access log costs.
    fn access_log(&self) -> Cell {
        let log = ["http.access_log={files}.access"];
        let logged = |path| {
            let mut spec = self.programs.http(path, &log);
            // Removed with the others.
            spec.files.push((".access", String::new()));
            spec
        };
        let mut servers = contestants(
            vec![
                ("pooled, no log", self.programs.http("/pooled", &[])),
                ("pooled, access log", logged("/pooled")),
                ("inline, no log", self.programs.http("/inline", &[])),
                ("inline, access log", logged("/inline")),
            ],
            closed(100, 1, 0),
        );
        servers[3].over = 2;
        Cell {
            name: "http-log".into(),
            title: "the access log, 100 connections, 1 in flight on each".into(),
            method: Method::Rounds,
            contestants: servers,
            figures: &[Rate],
        }
    }
}
