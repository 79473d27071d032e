//! How each server is started, and what it is asked. The programs are those of
//! [`Programs`]; `benches/instructions` starts the same servers.

use std::fs;
use std::path::PathBuf;

use crate::cores::Place;
use crate::frame::Layout;
use crate::load::{Asks, Get, Socket};
use crate::programs::Programs;
use crate::server::{Port, Spec};

/// What stands behind these words on stderr is the address.
pub(crate) const ANNOUNCED: Port = Port::Announced("listening on ");

/// Message ids of `bench-purlin`; peers echo every id.
pub(crate) const POOLED: u32 = 1;
pub(crate) const INLINE: u32 = 2;

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

impl Programs {
    /// A peer that echoes frames.
    pub(crate) fn peer(&self, design: &str, layout: Layout) -> Spec {
        Spec {
            program: self.peers.clone(),
            arguments: [design, layout.name()].map(String::from).into(),
            asks: frames(layout, POOLED),
            files: Vec::new(),
            port: ANNOUNCED,
            place: Place::OneCore,
        }
    }

    /// A peer that greets over HTTP.
    pub(crate) fn http_peer(&self, design: &str) -> Spec {
        Spec {
            program: self.peers.clone(),
            arguments: [design, "http"].map(String::from).into(),
            asks: greeting("/"),
            files: Vec::new(),
            port: ANNOUNCED,
            place: Place::OneCore,
        }
    }

    /// One worker that speaks frames, and otherwise as shipped.
    pub(crate) fn purlin(&self, layout: Layout, id: u32, keys: &[&str]) -> Spec {
        let frame = format!("listener.0.frame={}", layout.name());
        self.purlin_with(frames(layout, id), &[&[frame.as_str()], keys].concat())
    }

    /// purlin, asked for `path`.
    pub(crate) fn http(&self, path: &str, keys: &[&str]) -> Spec {
        let protocol = ["listener.0.protocol=http"];
        self.purlin_with(greeting(path), &[&protocol, keys].concat())
    }

    /// purlin, asked for a file of [`Self::place_file`].
    pub(crate) fn purlin_files(&self, asks: Asks) -> Spec {
        let root = format!("listener.0.root={}", self.www.display());
        self.purlin_with(asks, &["listener.0.protocol=http", &root])
    }

    /// One worker.
    fn purlin_with(&self, asks: Asks, keys: &[&str]) -> Spec {
        let always = [
            "listener.0.address=127.0.0.1:0",
            "workers=1",
            "pid_file={files}.pid",
            "control_socket={files}.ctl",
        ];
        Spec {
            program: self.purlin.clone(),
            arguments: always
                .iter()
                .chain(keys)
                .flat_map(|key| ["--set".to_owned(), (*key).to_owned()])
                .collect(),
            asks,
            files: Vec::new(),
            port: ANNOUNCED,
            place: Place::OneCore,
        }
    }

    /// nginx with one worker, which is `program`.
    pub(crate) fn nginx_with(&self, program: PathBuf, asks: Asks) -> Spec {
        let www = self.www.display().to_string();
        Spec {
            program,
            arguments: ["-c", "{files}.conf"].map(String::from).into(),
            asks,
            files: vec![(".conf", NGINX.replace("{www}", &www))],
            port: Port::Given,
            place: Place::OneCore,
        }
    }

    /// purlin, asked over a WebSocket. Its frames are those of `comm`.
    pub(crate) fn socket(&self, socket: Socket, keys: &[&str]) -> Spec {
        let always = ["listener.0.protocol=auto", "listener.0.websocket=/ws"];
        self.purlin_with(Asks::Socket(socket), &[&always, keys].concat())
    }

    /// A server in JavaScript, asked the same; `None`: npm has not installed `package`.
    pub(crate) fn node(&self, design: &str, package: &str, socket: Socket) -> Option<Spec> {
        if !self.modules.join(package).exists() {
            return None;
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/sockets.js");
        let modules = self.modules.display().to_string();
        Some(Spec {
            program: "node".into(),
            arguments: [script, design, &modules, "{port}"]
                .map(String::from)
                .into(),
            asks: Asks::Socket(socket),
            files: Vec::new(),
            port: Port::Given,
            place: Place::OneCore,
        })
    }

    /// Puts a file of `len` bytes where servers over HTTP find it; returns them.
    pub(crate) fn place_file(&self, name: &str, len: usize) -> Vec<u8> {
        // A period that is no power of two: a part is told from any other.
        let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
        let www = &self.www;
        let path = www.join(name);
        // A folder that cannot be written shows as a server that does not answer.
        let _shown_by_the_probe = fs::create_dir_all(www).and_then(|()| fs::write(path, &bytes));
        bytes
    }
}

/// Where Debian puts it; `None`: it is not installed.
pub(crate) fn nginx() -> Option<PathBuf> {
    let path = PathBuf::from("/usr/sbin/nginx");
    path.exists().then_some(path)
}

/// An echo.
pub(crate) const fn frames(layout: Layout, id: u32) -> Asks {
    Asks::Frames { layout, id }
}

/// A greeting over HTTP.
pub(crate) fn greeting(path: &str) -> Asks {
    Get::asks(path, "", 200, GREETING.into())
}
