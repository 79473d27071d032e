//! The master as a service: what a service manager hears of it, and the sockets
//! that it is given. The manager is a socket of the test's own.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Client, PATIENCE, wait_until};
use crate::instance::{lives, signal};

const BINARY: &str = env!("CARGO_BIN_EXE_purlin");

/// A directory with a configuration, and a manager that listens in it.
struct Service {
    folder: tempfile::TempDir,
    manager: UnixDatagram,
    master: Option<Child>,
    address: String,
}

impl Service {
    fn new(address: impl ToString) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let service = Self {
            folder,
            manager,
            master: None,
            address: address.to_string(),
        };
        service.configure("workers = 2");
        service
    }

    /// As [`Self::new`], and runs it on an address that nobody else uses.
    fn started(env: &[(&str, &str)]) -> Self {
        let mut service = Self::new("127.0.0.78:0");
        service.run(env);
        service
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, top: &str) {
        let text = format!("{top}\n[[listener]]\naddress = \"{}\"\n", self.address);
        fs::write(self.path("conf"), text).unwrap();
    }

    /// Through a shell, which knows the pid that the program will have.
    fn command(&self, script: &str, env: &[(&str, &str)]) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{script} exec \"$0\" \"$@\""), BINARY])
            .args(["run", "-c", "conf"])
            .current_dir(self.folder.path())
            .env("NOTIFY_SOCKET", self.path("notify"))
            .envs(env.iter().copied())
            .stderr(fs::File::create(self.path("log")).unwrap());
        command
    }

    fn run(&mut self, env: &[(&str, &str)]) {
        let master = self.command("WATCHDOG_PID=$$", env).spawn().unwrap();
        self.master = Some(master);
    }

    /// As systemd does it: descriptor 3 listens, and is meant for that pid.
    fn activated(&self, socket: impl Into<OwnedFd>, name: &str) -> Command {
        let script = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1;";
        let mut command = self.command(script, &[("LISTEN_FDNAMES", name)]);
        command.stdin(Stdio::from(socket.into()));
        command
    }

    /// The lines of the next datagram.
    fn heard(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let len = self.manager.recv(&mut bytes).unwrap_or_else(|error| {
            let log = fs::read_to_string(self.path("log")).unwrap();
            panic!("nothing was heard: {error}\n{log}");
        });
        let text = std::str::from_utf8(&bytes[..len]).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn ask(&self, command: &str) -> Output {
        Command::new(BINARY)
            .args(["-c", "conf"])
            .args(command.split(' '))
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    fn states(&self) -> Vec<String> {
        let status = self.ask("status --json").stdout;
        let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
        let workers = status["workers"].as_array().unwrap();
        let state = |worker: &serde_json::Value| worker["state"].as_str().unwrap().to_owned();
        workers.iter().map(state).collect()
    }

    fn pid(&self) -> u32 {
        self.master.as_ref().unwrap().id()
    }

    fn ends_well(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let status = self.master.take().unwrap().wait().unwrap();
        let log = fs::read_to_string(self.path("log")).unwrap();
        assert!(status.success(), "{log}");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(master) = &mut self.master {
            let _gone = master.kill();
            let _waited = master.wait();
        }
    }
}

fn usec_now() -> i128 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    i128::from(now.tv_sec()) * 1_000_000 + i128::from(now.tv_nsec()) / 1000
}

#[test]
fn ready_is_told_when_every_worker_serves_and_stopping_at_the_end() {
    let mut service = Service::started(&[]);
    let ready = service.heard();
    assert_eq!(service.states(), ["serving", "serving"]);
    assert_eq!(ready[0], "READY=1");
    assert_eq!(ready[1], format!("MAINPID={}", service.pid()));
    assert_eq!(ready[2], "STATUS=generation 1 serves: 2 workers");
    service.ends_well();
    assert_eq!(service.heard()[0], "STOPPING=1");
    service.manager.set_nonblocking(true).unwrap();
    assert!(
        service.manager.recv(&mut [0; 64]).is_err(),
        "once is enough"
    );
}

#[test]
fn a_reload_is_told_from_beginning_to_end_and_so_is_a_refused_one() {
    let service = Service::started(&[]);
    service.heard();
    for (top, is_good, status) in [
        ("workers = 3", true, "STATUS=generation 2 serves: 3 workers"),
        ("workers = none", false, "STATUS=reload refused: "),
        ("accept = \"exclusive\"", false, "STATUS=reload refused: "),
    ] {
        service.configure(top);
        let before = usec_now();
        let output = service.ask("reload");
        assert_eq!(output.status.success(), is_good, "{output:?}");
        let reloading = service.heard();
        assert_eq!(reloading[0], "RELOADING=1");
        let usec = reloading[1].strip_prefix("MONOTONIC_USEC=").unwrap();
        let usec: i128 = usec.parse().unwrap();
        assert!((before..=usec_now()).contains(&usec), "{usec}");
        let ready = service.heard();
        assert_eq!(ready[0], "READY=1");
        assert!(ready[2].starts_with(status), "{ready:?}");
    }
}

#[test]
fn a_start_that_fails_is_never_ready() {
    let mut service = Service::new("127.0.0.78:0");
    service.configure("workers = 0");
    service.run(&[]);
    let status = service.master.take().unwrap().wait().unwrap();
    assert_eq!(status.code(), Some(78));
    service.manager.set_nonblocking(true).unwrap();
    assert!(service.manager.recv(&mut [0; 64]).is_err());
}

#[test]
fn the_watchdog_hears_the_master_at_half_its_interval() {
    const HALF: Duration = Duration::from_millis(250);
    let service = Service::started(&[("WATCHDOG_USEC", "500000")]);
    let heard = || std::iter::repeat_with(|| service.heard());
    let ping = || heard().find(|lines| lines[0] == "WATCHDOG=1").unwrap();
    ping();
    let start = Instant::now();
    (0..8).for_each(|_| assert_eq!(ping().len(), 1));
    // Any of them may have waited here for a while.
    let took = start.elapsed();
    assert!(took > HALF * 5, "too often: {took:?}");
    assert!(took < HALF * 14, "too late for the interval: {took:?}");
}

#[test]
fn a_watchdog_for_somebody_else_hears_nothing() {
    let mut service = Service::new("127.0.0.78:0");
    let env = [("WATCHDOG_USEC", "2000"), ("WATCHDOG_PID", "1")];
    service.master = Some(service.command("", &env).spawn().unwrap());
    assert_eq!(service.heard()[0], "READY=1");
    service.ends_well();
    assert_eq!(service.heard()[0], "STOPPING=1");
}

#[test]
fn a_manager_that_never_reads_or_is_gone_does_not_hold_the_master_up() {
    let mut service = Service::started(&[("WATCHDOG_USEC", "2000")]);
    let serves = || {
        let status = service.ask("status --json").stdout;
        let status = serde_json::from_slice::<serde_json::Value>(&status);
        status.is_ok_and(|status| status["starting"].is_null())
    };
    // While a generation starts, a reload is refused.
    wait_until("every worker serves", serves);
    let reload = || {
        let output = service.ask("reload");
        assert!(output.status.success(), "{output:?}");
    };
    // Some ten datagrams fit, and they come every millisecond.
    reload();
    fs::remove_file(service.path("notify")).unwrap();
    reload();
    service.ends_well();
}

#[test]
fn in_the_background_the_shell_is_told_and_no_manager() {
    let service = Service::new("127.0.0.78:0");
    let start = Command::new(BINARY)
        .args(["start", "-c", "conf"])
        .current_dir(service.folder.path())
        .env("NOTIFY_SOCKET", service.path("notify"))
        .status();
    assert!(start.unwrap().success());
    assert!(service.ask("stop").status.success());
    service.manager.set_nonblocking(true).unwrap();
    assert!(service.manager.recv(&mut [0; 64]).is_err());
}

fn call(address: SocketAddr) {
    let mut client = Client::connect(address);
    assert_eq!(client.call(1, b"hi"), (1, b"hi".to_vec()));
}

#[test]
fn a_socket_of_the_manager_is_served_and_outlives_the_service() {
    let listener = TcpListener::bind("127.0.0.78:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut early = Client::connect(address);
    for accept in ["mutex", "exclusive", "reuseport"] {
        let mut service = Service::new(address);
        let top = format!("workers = 2\naccept = \"{accept}\"");
        service.configure(&top);
        let socket = listener.try_clone().unwrap();
        service.master = Some(service.activated(socket, "web").spawn().unwrap());
        assert_eq!(service.heard()[0], "READY=1");
        if accept == "mutex" {
            assert_eq!(early.call(1, b"early"), (1, b"early".to_vec()));
        }
        call(address);
        let output = service.ask("reload");
        assert!(output.status.success(), "{output:?}");
        call(address);
        service.ends_well();
    }
}

/// The master that an upgrade left; ended with the test.
struct Successor(u32);

impl Drop for Successor {
    fn drop(&mut self) {
        signal(self.0, Signal::SIGTERM);
        wait_until("the new master ended", || !lives(self.0));
    }
}

/// Upgrades; gives what was heard up to the new master's first word.
fn upgraded(service: &mut Service) -> (Vec<Vec<String>>, Successor) {
    let output = service.ask("upgrade");
    assert!(output.status.success(), "{output:?}");
    let text = fs::read_to_string(service.path("purlin.pid")).unwrap();
    let successor = Successor(text.trim().parse().unwrap());
    let mut heard = Vec::new();
    while heard
        .iter()
        .all(|lines: &Vec<String>| lines[0] != "READY=1")
    {
        let lines = service.heard();
        if lines[0] != "WATCHDOG=1" {
            heard.push(lines);
        }
    }
    let mut old = service.master.take().unwrap();
    assert!(old.wait().unwrap().success());
    (heard, successor)
}

#[test]
fn an_upgrade_is_told_by_the_old_master_before_the_new_one_speaks() {
    let mut service = Service::started(&[("WATCHDOG_USEC", "2000000")]);
    while service.heard()[0] != "READY=1" {}
    let old = service.pid();
    let (heard, successor) = upgraded(&mut service);
    assert_ne!(successor.0, old);
    let main = format!("MAINPID={}", successor.0);
    assert_eq!(heard[0], std::slice::from_ref(&main));
    assert_eq!(heard[1][..2], ["READY=1".to_owned(), main]);
    assert_eq!(heard.len(), 2, "{heard:?}");
    // The old one is gone: these are the new one's.
    (0..2).for_each(|_| assert_eq!(service.heard(), ["WATCHDOG=1"]));
    assert_eq!(service.states(), ["serving", "serving"]);
    // Read meanwhile: only some ten datagrams fit.
    signal(successor.0, Signal::SIGTERM);
    while service.heard()[0] != "STOPPING=1" {}
}

#[test]
fn a_socket_of_the_manager_goes_along_over_upgrades() {
    let listener = TcpListener::bind("127.0.0.78:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut service = Service::new(address);
    service.master = Some(service.activated(listener, "web").spawn().unwrap());
    assert_eq!(service.heard()[0], "READY=1");
    let (_, first) = upgraded(&mut service);
    call(address);
    wait_until("the old one is forgotten", || {
        let output = service.ask("upgrade");
        output.status.success()
    });
    let text = fs::read_to_string(service.path("purlin.pid")).unwrap();
    let second = Successor(text.trim().parse().unwrap());
    assert_ne!(first.0, second.0);
    wait_until("the first one left", || !lives(first.0));
    // The configuration must go on naming it.
    service.address = "127.0.0.78:0".into();
    service.configure("");
    let output = service.ask("upgrade");
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("`web`"));
    call(address);
}

#[test]
fn a_unix_socket_of_the_manager_keeps_its_path() {
    let mut service = Service::new("unix:front.sock");
    let path = service.path("front.sock");
    let listener = UnixListener::bind(&path).unwrap();
    service.master = Some(service.activated(listener, "front").spawn().unwrap());
    assert_eq!(service.heard()[0], "READY=1");
    std::os::unix::net::UnixStream::connect(&path).unwrap();
    service.ends_well();
    assert!(path.exists());
}

#[test]
fn a_socket_without_a_listener_is_a_clear_error_at_start_and_reload() {
    let listener = TcpListener::bind("127.0.0.78:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut service = Service::new("127.0.0.78:0");
    let refused = |text: &str| {
        for part in ["`web`", &address.to_string(), "127.0.0.78:0"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    };
    let socket = listener.try_clone().unwrap();
    let status = service.activated(socket, "web").status().unwrap();
    assert_eq!(status.code(), Some(78));
    refused(&fs::read_to_string(service.path("log")).unwrap());

    service.address = address.to_string();
    service.configure("");
    service.master = Some(service.activated(listener, "web").spawn().unwrap());
    assert_eq!(service.heard()[0], "READY=1");
    service.address = "127.0.0.78:0".into();
    service.configure("");
    let output = service.ask("reload");
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    refused(std::str::from_utf8(&output.stderr).unwrap());
    call(address);
}
