//! The admin listener of a server that runs: who answers there, what to, and what
//! it can be done to without anybody noticing.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::daemon::{Daemon, is_admin};
use crate::harness::{Client, PATIENCE, has, wait_until};
use crate::instance::{Instance, lives, signal};

/// An instance with an admin listener on a free port, started.
pub(crate) fn shown(top: &str) -> Instance {
    let instance = Instance::with_admin(top);
    instance.must("start");
    instance
}

/// Where its figures are.
pub(crate) fn address(instance: &Instance) -> SocketAddr {
    let status = instance.status();
    status["admin"]
        .as_str()
        .expect("it listens")
        .parse()
        .unwrap()
}

/// The process that shows them, if there is one.
fn process(instance: &Instance) -> Option<u32> {
    let master = instance.master()?;
    let path = format!("/proc/{master}/task/{master}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    let mut pids = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    pids.find(|pid| is_admin(*pid))
}

/// One request; the status and what follows. `None`: nobody answered.
fn try_ask(address: SocketAddr, head: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("{head}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    try_ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}"))
}

/// The samples of `/metrics`, by name and labels.
pub(crate) fn metrics(address: SocketAddr) -> Option<BTreeMap<String, f64>> {
    let (status, text) = get(address, "/metrics")?;
    assert_eq!(status, 200, "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect(line);
        (name.to_owned(), value.parse().expect(line))
    };
    Some(samples.map(sample).collect())
}

#[test]
fn figures_health_and_the_page_are_shown() {
    let instance = shown("workers = 2");
    let address = address(&instance);
    wait_until("it is ready", || {
        get(address, "/readyz").is_some_and(|(status, _)| status == 200)
    });
    instance.echo();
    wait_until("the echo is counted", || {
        metrics(address).unwrap()["purlin_messages_handled_total"] >= 1.0
    });
    for (path, part) in [
        ("/livez", "ok"),
        ("/healthz", "ok"),
        ("/readyz?verbose", "\"ok\":true"),
        ("/", "<!doctype html>"),
        ("/status.json", "\"state\":\"serving\""),
    ] {
        let (status, body) = get(address, path).unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        assert!(body.to_lowercase().contains(part), "{path}: {body}");
    }
    let seen: Value = serde_json::from_str(&get(address, "/status.json").unwrap().1).unwrap();
    let told = instance.status();
    assert_eq!(seen["pid"], told["pid"]);
    // What the page calls a metric is one.
    let (_, text) = get(address, "/metrics").unwrap();
    for counter in seen["counters"].as_array().unwrap() {
        let line = format!("# TYPE {} ", counter["name"].as_str().unwrap());
        assert!(text.contains(&line), "{line}");
    }
    assert_eq!(seen["workers"].as_array().unwrap().len(), 2);
    assert_eq!(seen["workers"][0]["pid"], told["workers"][0]["pid"]);
    assert_eq!(seen["listeners"][0]["address"], told["listeners"][0]);
    for (head, expected) in [
        (
            "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0",
            405,
        ),
        ("DELETE / HTTP/1.1\r\nHost: localhost", 405),
        ("GET /nowhere HTTP/1.1\r\nHost: localhost", 404),
        ("GET /livez HTTP/1.1\r\nHost: evil.example", 403),
        (
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example",
            403,
        ),
    ] {
        assert_eq!(try_ask(address, head).unwrap().0, expected, "{head}");
    }
}

#[test]
fn clients_that_say_nothing_keep_nobody_out() {
    let instance = shown("workers = 1");
    let address = address(&instance);
    let silent: Vec<TcpStream> = (0..200)
        .filter_map(|_| TcpStream::connect(address).ok())
        .collect();
    assert!(silent.len() > 100);
    wait_until("others are answered", || get(address, "/livez").is_some());
    let pid = process(&instance).unwrap();
    assert!(fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() < 100);
}

#[test]
fn the_end_of_the_log_is_shown_where_nobody_from_elsewhere_reads_it() {
    let instance = shown("workers = 1");
    let address = address(&instance);
    let lines = || {
        let text = get(address, "/status.json").unwrap().1;
        let seen: Value = serde_json::from_str(&text).unwrap();
        seen["log"]["lines"].to_string()
    };
    wait_until("the start is shown", || lines().contains("1 workers"));
    fs::rename(instance.path("log"), instance.path("before")).unwrap();
    instance.must("reopen");
    wait_until("the new file is", || {
        lines().contains("the logs were reopened") && !lines().contains("1 workers")
    });
    let elsewhere = Daemon::start(&[("admin.address", "0.0.0.0:0"), ("log.file", "log")]);
    let status = String::from_utf8(elsewhere.ask("status").stdout).unwrap();
    let port = status
        .lines()
        .find_map(|line| line.strip_prefix("figures on 0.0.0.0:"));
    let address: SocketAddr = format!("127.0.0.1:{}", port.expect(&status))
        .parse()
        .unwrap();
    assert!(!get(address, "/status.json").unwrap().1.contains("\"log\""));
}

#[test]
fn metrics_are_as_promtool_wants_them() {
    if !has("promtool", "prometheus") {
        return;
    }
    let instance = shown("workers = 2");
    instance.echo();
    let (_, text) = get(address(&instance), "/metrics").unwrap();
    let mut promtool = std::process::Command::new("promtool");
    promtool.args(["check", "metrics", "--extended"]);
    promtool.stdin(std::process::Stdio::piped());
    promtool
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = promtool.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// The process has no copy of the master's memory: it was exec'ed. Of what it has,
/// nothing can be written that anybody else reads, and no line leads elsewhere.
#[test]
fn the_process_holds_nothing_but_what_it_shows() {
    let instance = shown("workers = 2");
    let address = address(&instance);
    assert!(get(address, "/livez").is_some());
    let pid = process(&instance).expect("it answers");
    let master = instance.master().unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let shared = |line: &&str| line.split(' ').nth(1).is_some_and(|how| how.ends_with('s'));
    let inode = |line: &str| line.split_whitespace().nth(4).unwrap().to_owned();
    let of_master = fs::read_to_string(format!("/proc/{master}/maps")).unwrap();
    let of_master: Vec<String> = of_master.lines().filter(shared).map(inode).collect();
    let mapped: Vec<&str> = maps.lines().filter(shared).collect();
    let both = mapped
        .iter()
        .filter(|line| of_master.contains(&inode(line)));
    let both: Vec<&&str> = both.collect();
    assert_eq!(both.len(), 3, "counters, ledger and facts: {maps}");
    assert!(both.iter().all(|line| line.contains(" r--s ")), "{both:?}");
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let open = open.map(|one| fs::read_link(one.unwrap().path()).unwrap());
    let open: Vec<String> = open.map(|to| to.display().to_string()).collect();
    let sockets = open.iter().filter(|to| to.starts_with("socket:")).count();
    // Its listener and its line; a client that is about to go may be a third.
    assert!((2..=3).contains(&sockets), "{open:?}");
    assert!(!open.iter().any(|to| to.starts_with("pipe:")), "{open:?}");
    let shared = open.iter().filter(|to| to.contains("memfd:")).count();
    assert!(shared <= 1, "its own row alone: {open:?}");
    let variables = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let text = String::from_utf8_lossy(&variables);
    assert!(!text.contains("PATH="), "{text}");
    if nix::unistd::geteuid().is_root() {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace()
                .skip(1)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert!(!line("Uid:").split(' ').any(|uid| uid == "0"), "{status}");
        assert_eq!(line("CapEff:"), "0000000000000000");
        assert_eq!(line("NoNewPrivs:"), "1");
    }
}

#[test]
fn a_process_that_is_killed_is_back_and_nobody_else_notices() {
    let instance = shown("workers = 2");
    let address = address(&instance);
    let workers = instance.workers();
    let mut client = Client::connect(instance.address);
    for _ in 0..20 {
        wait_until("it answers", || get(address, "/livez").is_some());
        let pid = process(&instance).expect("it answers");
        signal(pid, Signal::SIGKILL);
        let killed = Instant::now();
        // Who connects meanwhile waits in the queue, and is answered.
        wait_until("it is back", || get(address, "/livez").is_some());
        let late = Duration::from_secs(10);
        assert!(killed.elapsed() < late, "{:?}", killed.elapsed());
        assert_eq!(client.call(1, b"hello").1, b"hello");
    }
    assert_eq!(instance.workers(), workers);
    let metrics = metrics(address).unwrap();
    assert_eq!(
        metrics["purlin_worker_restarts_total{reason=\"signal\"}"],
        0.0
    );
}

#[test]
fn it_answers_while_every_worker_is_stopped_and_is_ready_for_nobody() {
    let instance = shown("workers = 2\nwatchdog_abort = \"0s\"");
    let address = address(&instance);
    wait_until("it is ready", || {
        get(address, "/readyz").is_some_and(|(status, _)| status == 200)
    });
    let workers = instance.workers();
    workers.iter().for_each(|&pid| signal(pid, Signal::SIGSTOP));
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let asked = Instant::now();
        assert_eq!(get(address, "/livez").unwrap().0, 200);
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    wait_until("it is not ready", || {
        let (status, why) = get(address, "/readyz").unwrap();
        status == 503 && why.contains("no worker goes on")
    });
    workers.iter().for_each(|&pid| signal(pid, Signal::SIGCONT));
    wait_until("it is ready again", || {
        get(address, "/readyz").unwrap().0 == 200
    });
}

#[test]
fn workers_notice_the_death_of_the_master_although_the_process_lives() {
    let instance = shown("workers = 2");
    assert!(get(address(&instance), "/livez").is_some());
    let (workers, master) = (instance.workers(), instance.master().unwrap());
    let admin = process(&instance).unwrap();
    // It cannot let go of anything while it is stopped.
    signal(admin, Signal::SIGSTOP);
    signal(master, Signal::SIGKILL);
    wait_until("the workers are gone", || {
        !workers.iter().any(|&pid| lives(pid))
    });
    assert!(lives(admin));
    signal(admin, Signal::SIGCONT);
    wait_until("and so is the process", || !lives(admin));
}

#[test]
fn a_taken_default_is_a_warning_and_a_taken_address_that_was_configured_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let instance = Instance::with_admin("workers = 1");
    let key = format!("admin.address={address}");
    let (code, text) = instance.refused(&["start", "--set", &key]);
    assert_eq!(code, 69, "{text}");
    assert!(
        text.contains(&format!("admin listener {address}")),
        "{text}"
    );
    // The default, if nobody else on this machine has it.
    let _taken = TcpListener::bind("127.0.0.1:7090");
    instance.write(&format!(
        "workers = 1\n[[listener]]\naddress = \"{}\"\n[log]\nfile = \"log\"\n",
        instance.address
    ));
    instance.must("start");
    instance.echo();
    let status = instance.ask(&["status"]).stdout;
    let status = String::from_utf8(status).unwrap();
    assert!(
        status.contains("no admin listener: 127.0.0.1:7090"),
        "{status}"
    );
    assert!(
        instance.log().contains("no admin listener"),
        "{}",
        instance.log()
    );
}

#[test]
fn a_unix_socket_shows_them_as_well_and_goes_with_the_server() {
    let daemon = Daemon::start(&[("admin.address", "unix:figures.sock")]);
    let path = daemon.folder().join("figures.sock");
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    daemon.signal(Signal::SIGTERM);
    wait_until("the file is gone", || !path.exists());
}

/// Counters that fell, or are gone, between two looks.
fn fallen(before: &BTreeMap<String, f64>, now: &BTreeMap<String, f64>) -> Vec<String> {
    let is_counter = |name: &str| {
        let (name, _) = name.split_once('{').unwrap_or((name, ""));
        ["_total", "_bucket", "_count", "_sum"]
            .iter()
            .any(|end| name.ends_with(end))
    };
    let counters = before.iter().filter(|(name, _)| is_counter(name));
    let fallen = counters.filter(|(name, was)| now.get(*name).is_none_or(|now| now < was));
    fallen
        .map(|(name, was)| format!("{name}: {was}, then {:?}", now.get(name)))
        .collect()
}

#[test]
fn no_counter_falls_over_deaths_reloads_and_an_upgrade() {
    let instance = shown("workers = 2");
    let address = address(&instance);
    let over = std::sync::atomic::AtomicBool::new(false);
    let (looks, served) = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut before = BTreeMap::new();
            let mut looks = 0;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                // At most a moment without: a process was replaced under this request.
                if let Some(now) = metrics(address) {
                    let fallen = fallen(&before, &now);
                    assert_eq!(fallen, Vec::<String>::new(), "look {looks}");
                    before = now;
                    looks += 1;
                }
                std::thread::park_timeout(Duration::from_millis(100));
            }
            (looks, before["purlin_messages_handled_total"])
        });
        let _when_done_or_panicking = crate::instance::Over(&over);
        for _ in 0..3 {
            instance.settle();
            (0..50).for_each(|_| instance.echo());
            signal(instance.workers()[0], Signal::SIGKILL);
            wait_until("it is replaced", || instance.serves_with(2));
            instance.must("reload");
            (0..50).for_each(|_| instance.echo());
        }
        wait_until("the old ones left", || instance.serves_with(2));
        let old = instance.master().unwrap();
        instance.must("upgrade");
        wait_until("the old master is gone", || !lives(old));
        (0..50).for_each(|_| instance.echo());
        wait_until("the last ones are counted", || {
            metrics(address).is_some_and(|now| now["purlin_messages_handled_total"] >= 350.0)
        });
        std::thread::park_timeout(Duration::from_millis(300));
        drop(_when_done_or_panicking);
        looking.join().unwrap()
    });
    assert!(
        looks > 10 && served >= 350.0,
        "{looks} looks, {served} served"
    );
    let metrics = metrics(address).unwrap();
    assert_eq!(
        metrics["purlin_worker_restarts_total{reason=\"signal\"}"],
        3.0
    );
    assert_eq!(metrics["purlin_reloads_total{result=\"success\"}"], 3.0);
}
