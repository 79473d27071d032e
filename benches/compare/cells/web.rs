//! The cells over HTTP: purlin beside nginx as its users tune it, hyper, and a
//! loop that does not parse.

use std::fs;
use std::path::PathBuf;

use super::{ANNOUNCED, CHURNING, Cell, IDLE, Maker, Method, closed, contestants};
use crate::cores::Place;
use crate::figures::Figure::{Bytes, Rate, Threads};
use crate::load::{Asks, Get, Shape};
use crate::server::{Port, Spec};

/// The body of every answer that is no file.
const GREETING: &str = "Hello, World!";

/// One worker, nothing logged, no end of keep-alive, files kept open.
const NGINX: &str = "\
daemon off;
worker_processes 1;
worker_rlimit_nofile 65536;
pid {files}.pid;
error_log stderr crit;
events { worker_connections 32768; }
http {
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    open_file_cache max=1000 inactive=1h;
    open_file_cache_valid 60s;
    default_type text/plain;
    server {
        listen 127.0.0.1:{port} backlog=4096;
        location = /greeting { return 200 \"Hello, World!\"; }
        location / { root {www}; }
    }
}
";

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

/// Where Debian puts it; `None`: it is not installed.
fn nginx() -> Option<PathBuf> {
    let path = PathBuf::from("/usr/sbin/nginx");
    path.exists().then_some(path)
}

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
            servers.push(("nginx", self.nginx_with(program, greeting("/greeting"))));
        }
        servers.extend([
            ("no-parse loop", self.http_peer("http-loop")),
            ("hyper", self.http_peer("hyper")),
            ("purlin pooled", self.http("/pooled", keys)),
            ("purlin inline", self.http("/inline", keys)),
        ]);
        contestants(servers, shape)
    }

    /// nginx and purlin with the same file.
    fn file(&self, file: &Asked) -> Cell {
        let Asked { name, len, .. } = *file;
        // A period that is no power of two: a part is told from any other.
        let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
        let www = &self.programs.www;
        let path = www.join(name);
        // A folder that cannot be written shows as a server that does not answer.
        let _shown_by_the_probe = fs::create_dir_all(www).and_then(|()| fs::write(&path, &bytes));
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
            servers.push(("nginx", self.nginx_with(program, asks.clone())));
        }
        let root = format!("listener.0.root={}", www.display());
        let purlin = self.purlin_with(&["listener.0.protocol=http", &root]);
        servers.push(("purlin", Spec { asks, ..purlin }));
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
            let mut spec = self.http(path, &log);
            // Removed with the others.
            spec.files.push((".access", String::new()));
            spec
        };
        let mut servers = contestants(
            vec![
                ("pooled, no log", self.http("/pooled", &[])),
                ("pooled, access log", logged("/pooled")),
                ("inline, no log", self.http("/inline", &[])),
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

    fn nginx_with(&self, program: PathBuf, asks: Asks) -> Spec {
        let www = self.programs.www.display().to_string();
        Spec {
            program,
            arguments: ["-c", "{files}.conf"].map(String::from).into(),
            asks,
            files: vec![(".conf", NGINX.replace("{www}", &www))],
            port: Port::Given,
            place: Place::OneCore,
        }
    }

    fn http_peer(&self, design: &str) -> Spec {
        Spec {
            program: self.programs.peers.clone(),
            arguments: [design, "http"].map(String::from).into(),
            asks: greeting("/"),
            files: Vec::new(),
            port: ANNOUNCED,
            place: Place::OneCore,
        }
    }

    /// purlin, asked for `path`.
    fn http(&self, path: &str, keys: &[&str]) -> Spec {
        let protocol = ["listener.0.protocol=http"];
        Spec {
            asks: greeting(path),
            ..self.purlin_with(&[&protocol, keys].concat())
        }
    }
}

fn greeting(path: &str) -> Asks {
    Get::asks(path, "", 200, GREETING.into())
}
