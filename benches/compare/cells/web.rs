//! The cells over HTTP: purlin beside nginx as its users tune it, hyper, and a
//! loop that does not parse.

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
    }
}
";

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
            servers.push(("nginx", nginx_with(program, greeting("/greeting"))));
        }
        servers.extend([
            ("no-parse loop", self.http_peer("http-loop")),
            ("hyper", self.http_peer("hyper")),
            ("purlin pooled", self.http("/pooled", keys)),
            ("purlin inline", self.http("/inline", keys)),
        ]);
        contestants(servers, shape)
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
    Get::new(path, "", 200, GREETING.into())
}

fn nginx_with(program: PathBuf, asks: Asks) -> Spec {
    Spec {
        program,
        arguments: ["-c", "{files}.conf"].map(String::from).into(),
        asks,
        files: vec![(".conf", NGINX.into())],
        port: Port::Given,
        place: Place::OneCore,
    }
}
