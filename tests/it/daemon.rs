//! The built daemon as its users run it: the harness and its tests.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Client, accept_mode, comm, rpc, trigger, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_purlin");

/// A daemon in the foreground, in a directory and on a port of its own. Ended
/// when dropped.
pub(crate) struct Daemon {
    child: Child,
    stderr: BufReader<ChildStderr>,
    addresses: Vec<SocketAddr>,
    folder: tempfile::TempDir,
}

impl Daemon {
    pub(crate) fn start(keys: &[(&str, &str)]) -> Self {
        Self::launch(Command::new(BINARY), keys)
    }

    /// As [`Self::start`], with a configuration that can be changed.
    pub(crate) fn configured(file: &std::path::Path) -> Self {
        let mut command = Command::new(BINARY);
        command.env("PURLIN_CONF", file);
        Self::launch(command, &[])
    }

    /// As [`Self::start`], with another program built on the library.
    pub(crate) fn program(binary: &std::path::Path, keys: &[(&str, &str)]) -> Self {
        Self::launch(Command::new(binary), keys)
    }

    /// As [`Self::start`], with a limit of descriptors.
    pub(crate) fn limited(descriptors: u32, keys: &[(&str, &str)]) -> Self {
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\""),
            BINARY,
        ]);
        Self::launch(shell, keys)
    }

    /// As [`Self::start`], by a program that is given its name and becomes it.
    pub(crate) fn by(mut command: Command, keys: &[(&str, &str)]) -> Self {
        command.arg(BINARY);
        Self::launch(command, keys)
    }

    fn launch(mut command: Command, keys: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        command
            .arg("run")
            .args(["--set", "listener.0.address=127.0.0.1:0"])
            .args(["--set", "workers=1"])
            .args(["--set", &format!("accept={}", accept_mode())])
            .args(["--set", &format!("worker.trigger={}", trigger())]);
        for (key, value) in keys {
            command.args(["--set", &format!("{key}={value}")]);
        }
        let mut child = command
            .current_dir(folder.path())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the built daemon");
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let addresses = listening(&mut stderr);
        Self {
            child,
            stderr,
            addresses,
            folder,
        }
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// The workers that there are now.
    pub(crate) fn workers(&self) -> Vec<u32> {
        children(self.child.id())
    }

    /// Has its master do something, as `reload`.
    pub(crate) fn ask(&self, command: &str) -> Output {
        Command::new(BINARY)
            .arg(command)
            .current_dir(self.folder.path())
            .output()
            .expect("the built daemon")
    }

    /// The worker, where there is one.
    pub(crate) fn worker(&self) -> u32 {
        let workers = children(self.child.id());
        assert_eq!(workers.len(), 1, "{workers:?}");
        workers[0]
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("our own child");
    }

    /// One echo over the `rpc` preset.
    pub(crate) fn echo_rpc(&self) -> Vec<u8> {
        let mut client = Client::connect(self.address());
        client.send(&rpc(1, 1, b"ping"));
        client.rpc().2
    }

    /// Ends it gracefully; gives the counters that it logged.
    pub(crate) fn stop(mut self) -> HashMap<String, u64> {
        self.signal(Signal::SIGTERM);
        let mut log = String::new();
        self.stderr
            .read_to_string(&mut log)
            .expect("a log in UTF-8");
        let status = self.child.wait().expect("our own child");
        assert!(status.success(), "{status}\n{log}");
        log.split_whitespace()
            .filter_map(|word| word.split_once('='))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Harmless when it is gone already: the child is ours until waited for.
        let _gone = self.child.kill();
        let _waited = self.child.wait();
        if std::thread::panicking() {
            // What the daemon said of it, for whoever reads the failure.
            let mut log = String::new();
            let _cut = self.stderr.read_to_string(&mut log);
            eprintln!("{log}");
        }
        assert!(self.folder.path().exists());
    }
}

/// The living children of a process, but for the one that shows the figures.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let pids = text
        .split_whitespace()
        .map(|pid| pid.parse().expect("a pid"));
    let pids = pids.filter(|pid| !is_admin(*pid));
    pids.collect()
}

/// Whether it is the process that shows the figures, by its title.
pub(crate) fn is_admin(pid: u32) -> bool {
    let title = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    title.trim_end_matches(['\0', ' ']).ends_with(": admin")
}

/// Reads the log until the daemon serves; gives where it listens.
fn listening(stderr: &mut BufReader<ChildStderr>) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    let mut log = String::new();
    loop {
        let mut line = String::new();
        assert_ne!(
            stderr.read_line(&mut line).expect("a log"),
            0,
            "it ended:\n{log}"
        );
        log.push_str(&line);
        if let Some((_, address)) = line.split_once("listening on ") {
            addresses.push(address.trim().parse().expect("an address"));
        }
        if line.contains("ready") {
            return addresses;
        }
    }
}

fn purlin(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a directory");
    Command::new(BINARY)
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .expect("the daemon")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn the_daemon_answers_heartbeat_echo_and_time() {
    let daemon = Daemon::start(&[]);
    let mut client = Client::connect(daemon.address());
    assert_eq!(client.call(0, b""), (0, Vec::new()));
    assert_eq!(client.call(1, b"echo"), (1, b"echo".to_vec()));
    let (id, time) = client.call(2, b"");
    assert_eq!(id, 2);
    let time = text(&time).parse::<jiff::Timestamp>().unwrap();
    let age = jiff::Timestamp::now().duration_since(time);
    assert!(age.abs() < jiff::SignedDuration::from_mins(1), "{age}");
    drop(client);
    let counters = daemon.stop();
    assert_eq!(counters["messages_handled"], 3);
    assert_eq!(counters["connections_accepted"], 1);
}

#[test]
fn both_term_and_int_drain() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut daemon = Daemon::start(&[]);
        let mut client = Client::connect(daemon.address());
        client.send(&comm(1, b"last").repeat(10));
        daemon.signal(signal);
        assert_eq!(client.rest(), comm(1, b"last").repeat(10));
        assert!(daemon.child.wait().unwrap().success());
    }
}

#[test]
fn a_foreground_run_leaves_nothing_behind() {
    let mut daemon = Daemon::start(&[]);
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.child.wait().unwrap().success());
    let left = std::fs::read_dir(daemon.folder.path()).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn threads_have_the_names_of_their_jobs() {
    let daemon = Daemon::start(&[("worker.business_threads", "2")]);
    let expected = [
        "bus",
        "business-1",
        "business-2",
        "heartbeat",
        "purlin",
        "recycler",
        "sender",
    ];
    // A thread takes its name soon after it began.
    wait_until("every thread has its name", || {
        let mut names = crate::harness::threads(daemon.worker());
        names.sort();
        names == expected
    });
}

#[test]
fn versions_and_usage_have_their_exit_codes() {
    let version = format!("purlin {}\n", env!("CARGO_PKG_VERSION"));
    let short = purlin(&["-v"]);
    assert_eq!(
        (short.status.code(), text(&short.stdout)),
        (Some(0), &*version)
    );
    let long = purlin(&["-V"]);
    assert!(
        text(&long.stdout).contains("features"),
        "{}",
        text(&long.stdout)
    );
    assert!(
        text(&long.stdout).contains("rustc"),
        "{}",
        text(&long.stdout)
    );
    let wrong = purlin(&["--nonsense"]);
    assert_eq!(wrong.status.code(), Some(64));
    assert!(text(&wrong.stderr).contains("--nonsense"));
}

#[test]
fn a_wrong_configuration_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("my.toml");
    std::fs::write(&file, "[worker]\nconnections_maxx = 5\n").unwrap();
    for flag in ["-t", "run"] {
        let arguments = ["-c", file.to_str().unwrap(), flag];
        let output = purlin(&arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{stderr}");
        for part in [
            "my.toml:2:1",
            "connections_maxx",
            "`worker.connections_max`",
            "^",
        ] {
            assert!(stderr.contains(part), "{part} is missing in:\n{stderr}");
        }
    }
    assert_eq!(
        purlin(&["-c", "/nowhere/purlin.toml", "-t"]).status.code(),
        Some(78)
    );
}

#[test]
fn the_effective_configuration_is_a_good_configuration() {
    let printed = purlin(&["-T", "--set", "worker.connections_max=77"]);
    let printed = text(&printed.stdout);
    assert!(printed.contains("connections_max = 77"), "{printed}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("effective.toml");
    std::fs::write(&file, printed).unwrap();
    let tested = purlin(&["-c", file.to_str().unwrap(), "-t"]);
    assert_eq!(tested.status.code(), Some(0), "{}", text(&tested.stderr));
}

#[test]
fn a_port_in_use_is_named() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let output = purlin(&["run", "--set", &format!("listener.0.address={taken}")]);
    assert_eq!(output.status.code(), Some(69));
    let stderr = text(&output.stderr);
    assert!(stderr.contains(&taken.to_string()), "{stderr}");
}
