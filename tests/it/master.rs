//! The master and its workers, as an operator meets them: the built daemon, in
//! the background, in a directory of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::daemon::children;
use crate::harness::{Client, comm, wait_until};

/// A directory with a configuration. Whatever runs there is ended when dropped.
struct Instance {
    folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Instance {
    fn new(top: &str) -> Self {
        // Not 127.0.0.1: the clients of other tests hold thousands of its ports,
        // and one of them could take this before the daemon does.
        let free = TcpListener::bind("127.0.0.77:0").unwrap();
        let address = free.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let instance = Self { folder, address };
        instance.configure(top);
        instance
    }

    /// As [`Self::new`], and starts it.
    fn started(top: &str) -> Self {
        let instance = Self::new(top);
        instance.must("start");
        instance
    }

    fn configure(&self, top: &str) {
        let address = self.address;
        let text = format!("{top}\n[[listener]]\naddress = \"{address}\"\n[log]\nfile = \"log\"\n");
        fs::write(self.path("conf"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_purlin"))
            .args(arguments)
            .args(["-c", "conf"])
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    /// Does what has to succeed.
    fn must(&self, command: &str) {
        let output = self.ask(&[command]);
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        assert!(output.status.success(), "{command}: {output:?}\n{log}");
    }

    /// Does what has to fail; gives the code and the text.
    fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.ask(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), text)
    }

    fn status(&self) -> Value {
        let output = self.ask(&["status", "--json"]);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The pid file, if it is there and whole.
    fn master(&self) -> Option<u32> {
        fs::read_to_string(self.path("purlin.pid"))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    fn workers(&self) -> Vec<u32> {
        children(self.master().unwrap())
    }

    /// Whether exactly so many workers serve.
    fn serves_with(&self, count: usize) -> bool {
        let status = self.status();
        let workers = status["workers"].as_array().unwrap();
        workers.len() == count && workers.iter().all(|one| one["state"] == "serving")
    }

    /// Waits until every worker has served so long that it is replaced at once.
    fn settle(&self) {
        wait_until("all workers have served a second", || {
            let status = self.status();
            let workers = status["workers"].as_array().unwrap();
            workers.iter().all(|one| one["for"].as_u64() >= Some(2))
        });
    }

    fn echo(&self) {
        let mut client = Client::connect(self.address);
        assert_eq!(client.call(1, b"hello"), (1, b"hello".to_vec()));
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let Some(master) = self.master() else { return };
        let mut all = children(master);
        all.push(master);
        all.iter().for_each(|&pid| signal(pid, Signal::SIGKILL));
        wait_until("nobody is left behind", || {
            !all.iter().any(|&pid| lives(pid))
        });
    }
}

/// Not for a pid that may be somebody else's by now: all are of our instance.
fn signal(pid: u32, signal: Signal) {
    let _gone_already = kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal);
}

fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    !state.is_empty() && !state.starts_with('Z')
}

#[test]
fn twenty_starts_return_with_everything_ready_and_stops_with_everything_gone() {
    let instance = Instance::new("workers = 3");
    for _ in 0..20 {
        instance.must("start");
        let workers = instance.workers();
        assert_eq!(workers.len(), 3);
        assert!(instance.serves_with(3), "{}", instance.status());
        instance.echo();
        let master = instance.master().unwrap();
        instance.must("stop");
        assert!(!workers.iter().any(|&pid| lives(pid)) && !lives(master));
        assert!(!instance.path("purlin.pid").exists());
        assert!(!instance.path("purlin.ctl").exists());
    }
}

#[test]
fn a_daemon_without_a_log_writes_one_beside_its_pid_file() {
    let instance = Instance::new("");
    let address = instance.address;
    let text = format!("workers = 1\n[[listener]]\naddress = \"{address}\"\n");
    fs::write(instance.path("conf"), text).unwrap();
    instance.must("start");
    let log = fs::read_to_string(instance.path("purlin.log")).unwrap();
    assert!(log.contains(&format!("listening on {address}")), "{log}");
}

#[test]
fn each_way_to_fail_has_its_code() {
    let instance = Instance::new("workers = 1");
    for command in ["stop", "quit", "reload", "reopen", "status"] {
        assert_eq!(instance.refused(&[command]).0, 69, "{command}");
    }
    instance.must("start");
    assert_eq!(instance.refused(&["start"]).0, 75);
    assert_eq!(instance.refused(&["run"]).0, 75);
    assert!(instance.ask(&["-t"]).status.success(), "its own port");
    let other = Instance::new("workers = 1");
    let foreign = format!("listener.0.address={}", instance.address);
    for command in [&["-t"][..], &["start"]] {
        let (code, text) = other.refused(&[command, &["--set", &foreign]].concat());
        assert_eq!(code, 69, "{text}");
        assert!(text.contains(&instance.address.to_string()), "{text}");
        assert!(other.master().is_none());
    }
    other.configure("workers = 0");
    let (code, text) = other.refused(&["start"]);
    assert!(
        code == 78 && text.contains("conf:1:11: workers is 0"),
        "{text}"
    );
}

#[test]
fn a_killed_worker_costs_its_own_connections_alone_and_is_replaced() {
    let instance = Instance::started("workers = 3");
    let mut clients: Vec<_> = (0..60).map(|_| Client::connect(instance.address)).collect();
    for client in &mut clients {
        assert_eq!(client.call(1, b"a"), (1, b"a".to_vec()));
    }
    instance.settle();
    let status = instance.status();
    let victim = &status["workers"][1];
    let lost = victim["live"].as_u64().unwrap();
    signal(
        u32::try_from(victim["pid"].as_u64().unwrap()).unwrap(),
        Signal::SIGKILL,
    );
    wait_until("it is replaced", || {
        let status = instance.status();
        status["workers"][1]["restarts"] == 1 && instance.serves_with(3)
    });
    let is_dead = |client: &Client| {
        let request = comm(1, b"b");
        let mut reply = vec![0; request.len()];
        let mut socket = &client.0;
        let sent = socket.write_all(&request);
        sent.and_then(|()| socket.read_exact(&mut reply)).is_err()
    };
    let dead = clients.iter().filter(|client| is_dead(client)).count();
    assert_eq!(dead as u64, lost);
    let status = instance.status();
    assert_eq!(status["workers"][1]["last_exit"], "killed by SIGKILL");
    assert_eq!(status["counters"]["connections_live"], 60 - lost);
    instance.echo();
}

#[test]
fn a_worker_that_dies_young_backs_off_while_others_serve_and_a_reload_heals() {
    let instance = Instance::started("workers = 2");
    wait_until("a slot backs off", || {
        let status = instance.status();
        let slot = &status["workers"][0];
        if let Some(pid) = slot["pid"].as_u64() {
            signal(u32::try_from(pid).unwrap(), Signal::SIGKILL);
        }
        slot["state"] == "backing off"
    });
    let status = instance.status();
    let restarts = status["workers"][0]["restarts"].as_u64().unwrap();
    assert!(restarts <= 10, "{restarts} forks are too many");
    assert_eq!(status["workers"][1]["state"], "serving");
    instance.echo();
    instance.must("reload");
    wait_until("both serve", || instance.serves_with(2));
}

#[test]
fn a_good_reload_changes_what_it_says_and_a_bad_one_nothing() {
    let instance = Instance::started("workers = 2");
    instance.configure("workers = 3");
    instance.must("reload");
    wait_until("three serve", || instance.serves_with(3));
    assert_eq!(instance.status()["generation"], 2);
    let before = instance.workers();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let foreign = format!("workers = 3\n[[listener]]\naddress = \"{taken}\"");
    for (top, code, expected) in [
        ("workers = 0", 78, "conf:1:11: workers is 0"),
        ("wrokers = 1", 78, "conf:1:1: unknown key"),
        ("workers = ", 78, "conf:1:"),
        (
            "accept = \"exclusive\"",
            78,
            "conf:1:10: accept is \"mutex\"",
        ),
        (
            "control_socket = \"other\"",
            69,
            "no master listens on other",
        ),
        (&foreign, 69, "in use"),
    ] {
        // Held until the reload has failed.
        let _holder = (code == 69).then(|| TcpListener::bind(taken));
        instance.configure(top);
        let (found, text) = instance.refused(&["reload"]);
        assert_eq!(found, code, "{top}: {text}");
        assert!(text.contains(expected), "{top}: {text}");
        assert!(code != 78 || text.contains('^'), "{text}");
        instance.configure("");
        assert_eq!(instance.workers(), before, "{top}");
        instance.echo();
    }
    assert_eq!(instance.status()["generation"], 2);
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Short connections while `meanwhile` runs; gives how many were served.
fn under_load(instance: &Instance, meanwhile: impl FnOnce()) -> u64 {
    let (over, served) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    instance.echo();
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _when_done_or_panicking = Over(&over);
        meanwhile();
    });
    served.into_inner()
}

#[test]
fn reloads_under_load_fail_no_new_connection_in_any_accept_mode() {
    for mode in ["mutex", "exclusive", "reuseport"] {
        let instance = Instance::started(&format!("workers = 2\naccept = \"{mode}\""));
        let served = under_load(&instance, || {
            for _ in 0..3 {
                instance.must("reload");
                wait_until("the old ones left", || instance.serves_with(2));
            }
        });
        assert!(served > 0);
        assert_eq!(instance.status()["generation"], 4);
    }
}

#[test]
fn a_request_that_was_received_is_answered_over_a_reload() {
    let instance = Instance::started("workers = 2");
    let request = comm(1, b"last").repeat(10);
    let mut clients: Vec<_> = (0..20).map(|_| Client::connect(instance.address)).collect();
    clients.iter_mut().for_each(|client| client.send(&request));
    instance.must("reload");
    for client in &mut clients {
        assert_eq!(client.rest(), request);
    }
}

#[test]
fn workers_that_die_during_failing_reloads_are_replaced() {
    let instance = Instance::started("workers = 2");
    instance.settle();
    let before = instance.workers();
    instance.configure("workers = 0");
    let reload = || instance.refused(&["reload"]).0;
    assert_eq!(reload(), 78);
    before.iter().for_each(|&pid| signal(pid, Signal::SIGKILL));
    assert_eq!(reload(), 78);
    wait_until("others serve", || {
        let is_new = |pid: &u32| !before.contains(pid);
        instance.workers().iter().all(is_new) && instance.serves_with(2)
    });
    instance.echo();
}

#[test]
fn without_a_master_workers_leave_and_a_start_succeeds() {
    let instance = Instance::started("workers = 2");
    let (master, workers) = (instance.master().unwrap(), instance.workers());
    let mut client = Client::connect(instance.address);
    client.send(&comm(1, b"last"));
    signal(master, Signal::SIGKILL);
    assert_eq!(client.rest(), comm(1, b"last"));
    instance.must("start");
    wait_until("the orphans left", || {
        !workers.iter().any(|&pid| lives(pid))
    });
    assert_ne!(instance.master(), Some(master));
    instance.echo();
}

#[test]
fn lines_of_eight_workers_stay_whole_over_a_reopen() {
    let instance = Instance::started("workers = 8\naccept = \"reuseport\"");
    let speak_http = || {
        for _ in 0..100 {
            let mut client = Client::connect(instance.address);
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            client.until_closed();
        }
    };
    speak_http();
    fs::rename(instance.path("log"), instance.path("log.1")).unwrap();
    signal(instance.master().unwrap(), Signal::SIGUSR1);
    wait_until("the log is there again", || instance.path("log").exists());
    instance.must("reopen");
    // The workers' limiters let a line through again after a while.
    wait_until("a worker logs to the new file", || {
        speak_http();
        let log = fs::read_to_string(instance.path("log")).unwrap();
        log.contains(" worker-")
    });
    for name in ["log", "log.1"] {
        for line in fs::read_to_string(instance.path(name)).unwrap().lines() {
            let (time, rest) = line.split_once(' ').unwrap();
            assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line}");
            assert!(rest.contains(": "), "{line}");
        }
    }
}

#[test]
fn clients_in_time_wait_do_not_delay_the_next_start() {
    let instance = Instance::started("workers = 2\nshutdown_timeout = \"1s\"");
    let clients: Vec<_> = (0..1000)
        .map(|_| Client::connect(instance.address))
        .collect();
    wait_until("all are accepted", || {
        instance.status()["counters"]["connections_live"] == 1000
    });
    instance.must("stop");
    drop(clients);
    instance.must("start");
    instance.echo();
}

#[test]
fn signals_are_aliases_of_the_commands() {
    let instance = Instance::started("workers = 1");
    let master = instance.master().unwrap();
    signal(master, Signal::SIGHUP);
    wait_until("generation 2 serves", || {
        instance.status()["generation"] == 2
    });
    signal(master, Signal::SIGTTIN);
    wait_until("one more serves", || instance.serves_with(2));
    signal(master, Signal::SIGTTOU);
    wait_until("one fewer serves", || instance.serves_with(1));
    signal(master, Signal::SIGWINCH);
    wait_until("nobody serves", || instance.serves_with(0));
    signal(master, Signal::SIGHUP);
    wait_until("generation 3 serves", || instance.serves_with(1));
    instance.echo();
    signal(master, Signal::SIGQUIT);
    wait_until("the master is gone", || !lives(master));
    assert!(!instance.path("purlin.pid").exists());
}
