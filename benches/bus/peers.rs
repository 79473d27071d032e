//! The servers of a room: purlin in this very program, and others.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use purlin::prelude::*;

use crate::Outcome;
use crate::wire::{JOIN, PUSH, SAY, Wire};

/// The environment in which this program is the server.
pub(crate) const ASKED: &str = "PURLIN_BENCH_ROOM";

/// The server.
pub(crate) fn serve() -> ExitCode {
    App::<()>::new()
        .on_inline(JOIN.into(), |c, (): ()| {
            c.join("room");
            ""
        })
        .on_inline(SAY.into(), |c, text: Bytes| {
            c.hub().room("room").send(PUSH.into(), text);
        })
        .main()
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Design {
    Purlin(Wire),
    Nchan,
    Uws,
}

/// A server, and how many workers it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) design: Design,
    pub(crate) workers: usize,
}

impl Peer {
    pub(crate) fn name(self) -> String {
        let design = match self.design {
            Design::Purlin(Wire::Comm) => "purlin, frames",
            Design::Purlin(Wire::SocketOfFrames | Wire::Socket) => "purlin, WebSocket",
            Design::Nchan => "Nchan, WebSocket",
            Design::Uws => "uWebSockets.js",
        };
        match self.workers {
            1 => format!("{design}, 1 worker"),
            workers => format!("{design}, {workers} workers"),
        }
    }

    pub(crate) const fn wire(self) -> Wire {
        match self.design {
            Design::Purlin(wire) => wire,
            Design::Nchan | Design::Uws => Wire::Socket,
        }
    }

    /// Whether what it needs is installed.
    pub(crate) fn is_there(self) -> bool {
        match self.design {
            Design::Purlin(_) => true,
            Design::Nchan => nchan().is_some(),
            Design::Uws => uws().exists(),
        }
    }
}

fn nchan() -> Option<&'static str> {
    const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";
    (Path::new(MODULE).exists() && Path::new("/usr/sbin/nginx").exists()).then_some(MODULE)
}

fn uws() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("target/tools/node/node_modules/@trufflesuite/uws-js-unofficial")
}

/// A server that runs.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Running {
    pub(crate) fn start(peer: Peer) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = match peer.design {
            Design::Purlin(_) => purlin(&folder, address, peer.workers)?,
            Design::Nchan => nginx(&folder, address, peer.workers)?,
            Design::Uws => node(&folder, address)?,
        };
        let log = fs::File::create(folder.path().join("log"))?;
        let child = command
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let running = Self {
            child,
            address,
            folder,
        };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            if Instant::now() > until {
                let log = fs::read_to_string(running.folder.path().join("log"))?;
                return Err(format!("{} does not listen: {log}", peer.name()).into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(running)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0));
        let _asked = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _reaped = self.child.wait();
    }
}

fn purlin(folder: &tempfile::TempDir, address: SocketAddr, workers: usize) -> Outcome<Command> {
    let conf = format!(
        "workers = {workers}\naccept = \"reuseport\"\nallow_root = true\nshutdown_timeout = \"1s\"\n\
         [limits]\nconnections_per_ip = 0\n[[listener]]\naddress = \"{address}\"\nprotocol = \"auto\"\n\
         frame = \"comm\"\nwebsocket = \"/ws\"\n"
    );
    fs::write(folder.path().join("conf"), conf)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["run", "-c", "conf"]).env(ASKED, "1");
    Ok(command)
}

fn nginx(folder: &tempfile::TempDir, address: SocketAddr, workers: usize) -> Outcome<Command> {
    let module = nchan().ok_or("Nchan is not installed")?;
    let conf = format!(
        "load_module {module};\nworker_processes {workers};\ndaemon off;\npid pid;\n\
         error_log stderr warn;\nevents {{ worker_connections 2048; }}\nhttp {{\naccess_log off;\n\
         nchan_shared_memory_size 256m;\nserver {{ listen {address} reuseport;\n\
         location /ws {{ nchan_pubsub websocket; nchan_channel_id room;\n\
         nchan_store_messages off; }} }} }}\n"
    );
    fs::write(folder.path().join("nginx.conf"), conf)?;
    let mut command = Command::new("/usr/sbin/nginx");
    let prefix = folder.path().as_os_str();
    command.arg("-p").arg(prefix).args(["-c", "nginx.conf"]);
    Ok(command)
}

/// As its own example of a broadcast does it.
fn node(folder: &tempfile::TempDir, address: SocketAddr) -> Outcome<Command> {
    let script = format!(
        "const uws = require({:?});\nconst app = uws.App();\napp.ws('/ws', {{\n\
         open: ws => ws.subscribe('room'),\n\
         message: (ws, message) => app.publish('room', message, true),\n\
         }}).listen('127.0.0.1', {}, () => {{}});\n",
        uws(),
        address.port()
    );
    fs::write(folder.path().join("room.js"), script)?;
    let mut command = Command::new("node");
    command.arg("room.js");
    Ok(command)
}
