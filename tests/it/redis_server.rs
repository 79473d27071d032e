//! A Redis server of a test's own: on a port of its own, in a folder of its own, ended
//! with the test.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use purlin::redis::{Options, Redis};

use crate::harness::{has, wait_until};
use crate::instance::signal;

pub(crate) struct RedisServer {
    folder: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl RedisServer {
    /// One that runs; `None`: there is none on this machine, which was said.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        if !has("redis-server", "redis-server") {
            return None;
        }
        // Where no client of another test has its ports.
        let free = TcpListener::bind("127.0.0.78:0").unwrap();
        let mut server = Self {
            folder: tempfile::tempdir().unwrap(),
            address: free.local_addr().unwrap(),
            arguments: arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .collect(),
            child: None,
        };
        drop(free);
        server.resume();
        Some(server)
    }

    /// Starts it anew, at the same address.
    pub(crate) fn resume(&mut self) {
        let (host, port) = (
            self.address.ip().to_string(),
            self.address.port().to_string(),
        );
        let mut command = Command::new("redis-server");
        command.args(["--bind", &host, "--port", &port, "--save", ""]);
        command
            .args(["--enable-debug-command", "yes"])
            .args(&self.arguments);
        command.current_dir(self.folder.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        wait_until("redis accepts", || TcpStream::connect(self.address).is_ok());
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops its process, or lets it go on.
    pub(crate) fn halt(&self, is_halted: bool) {
        let order = if is_halted {
            Signal::SIGSTOP
        } else {
            Signal::SIGCONT
        };
        signal(self.child.as_ref().unwrap().id(), order);
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub(crate) fn options(&self) -> Options {
        Options::new(&self.url())
    }

    /// A pool of one, for what the test asks beside.
    pub(crate) fn operator(&self) -> Redis {
        let mut options = self.options();
        options.pool = 1;
        Redis::new(&options).unwrap()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
