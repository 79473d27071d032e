//! The daemon while the kernel fails: one system call in a hundred, chosen by
//! chance, returns an error that its manual page names as passing.
//!
//! A binary of its own, because the daemon must be built with `failpoints`:
//! `cargo test --features failpoints --test faults`. `FAULT_SECONDS` sets how
//! long the faults last (default 10).

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use purlin::sys::fault::{LEN, Point};
use serde_json::Value;

/// A generous deadline.
const PATIENCE: Duration = Duration::from_secs(60);

/// One call in a hundred, in parts per million.
const ONE_PER_CENT: u64 = 10_000;

/// Messages of one connection.
const MESSAGES: usize = 20;

/// Clients at a time.
const CLIENTS: usize = 4;

/// Everything that workers and master call while they serve.
const SERVING: [Point; 5] = [
    Point::Accept,
    Point::Wait,
    Point::Register,
    Point::Receive,
    Point::Send,
];

/// The daemon in the foreground, and the file that makes its calls fail.
struct Daemon {
    folder: tempfile::TempDir,
    faults: File,
    master: Child,
    address: String,
}

impl Daemon {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("faults"), [0; LEN * 8]).unwrap();
        let faults = File::options().write(true).open(path("faults")).unwrap();
        let text = "workers = 2\nallow_root = true\n[[listener]]\naddress = \"127.0.0.1:0\"\n";
        fs::write(path("conf"), text).unwrap();
        let master = Command::new(env!("CARGO_BIN_EXE_purlin"))
            .args(["run", "-c", "conf"])
            .current_dir(folder.path())
            .env("PURLIN_FAILPOINTS", path("faults"))
            .stderr(File::create(path("log")).unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut daemon = Self {
            folder,
            faults,
            master,
            address: String::new(),
        };
        wait_until("the daemon serves", || {
            let status = daemon.status()?;
            let address = status["listeners"][0].as_str()?.to_owned();
            (daemon.workers(&status).len() == 2).then(|| daemon.address = address)
        });
        daemon
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// From now on so many of a million calls at each point fail.
    fn fail(&self, points: &[Point], chance: u64) {
        for &point in points {
            let at = 8 * point as u64;
            self.faults.write_all_at(&chance.to_le_bytes(), at).unwrap();
        }
    }

    /// What the daemon says of itself; the question may meet a fault.
    fn status(&self) -> Option<Value> {
        let output = Command::new(env!("CARGO_BIN_EXE_purlin"))
            .args(["status", "--json", "-c", "conf"])
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).ok()
    }

    fn settled_status(&self) -> Value {
        wait_until("the daemon tells its status", || self.status())
    }

    /// Pids of the workers that serve.
    fn workers(&self, status: &Value) -> Vec<u64> {
        let workers = status["workers"].as_array().cloned().unwrap_or_default();
        let ready = workers.iter().filter(|worker| worker["state"] == "serving");
        ready.filter_map(|worker| worker["pid"].as_u64()).collect()
    }

    /// CPU that master and workers have used, those that ended included.
    fn cpu(&self) -> Duration {
        let master = u64::from(self.master.id());
        let status = self.settled_status();
        let pids = self.workers(&status).into_iter().map(|pid| (pid, 2));
        let ticks: u64 = pids
            .chain([(master, 4)])
            .map(|(pid, n)| ticks(pid, n))
            .sum();
        Duration::from_millis(ticks * 10)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone = self.master.kill();
        let _reaped = self.master.wait();
    }
}

/// The first `fields` of utime, stime, cutime and cstime, in 10 ms.
fn ticks(pid: u64, fields: usize) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, behind_name) = stat.rsplit_once(") ").unwrap();
    let numbers = behind_name.split(' ').skip(11).take(fields);
    numbers.map(|number| number.parse::<u64>().unwrap()).sum()
}

fn wait_until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(result) = ready() {
            return result;
        }
        assert!(Instant::now() < until, "waited in vain until {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// An echo of `comm` frames.
fn echo(stream: &mut TcpStream, number: usize) -> io::Result<()> {
    let body = format!("{number:>64}");
    let mut frame = vec![0, 72, 0, 1];
    frame.extend(crc32fast::hash(body.as_bytes()).to_be_bytes());
    frame.extend(body.as_bytes());
    stream.write_all(&frame)?;
    let mut reply = vec![0; frame.len()];
    stream.read_exact(&mut reply)?;
    // A fault may cost a connection, never a byte of a reply.
    assert_eq!(reply, frame);
    Ok(())
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// What clients met.
#[derive(Clone, Copy, Debug, Default)]
struct Met {
    answered: u64,
    broken: u64,
}

/// Connects, talks, leaves, again and again for `time`.
fn load(address: &str, time: Duration) -> Met {
    let over = AtomicBool::new(false);
    let client = || {
        let mut met = Met::default();
        while !over.load(Ordering::Relaxed) {
            let talked = connect(address).and_then(|mut stream| {
                (0..MESSAGES).try_for_each(|number| {
                    echo(&mut stream, number)?;
                    met.answered += 1;
                    Ok(())
                })
            });
            met.broken += u64::from(talked.is_err());
        }
        met
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        thread::sleep(time);
        over.store(true, Ordering::Relaxed);
        let each = clients.into_iter().map(|client| client.join().unwrap());
        each.fold(Met::default(), |sum, met| Met {
            answered: sum.answered + met.answered,
            broken: sum.broken + met.broken,
        })
    })
}

/// CPU a reply, in nanoseconds, and what clients met.
fn cost(daemon: &Daemon, time: Duration) -> (f64, Met) {
    let before = daemon.cpu();
    let met = load(&daemon.address, time);
    let used = daemon.cpu() - before;
    #[allow(clippy::cast_precision_loss, reason = "counts of a test")]
    let answered = met.answered as f64;
    (used.as_secs_f64() * 1e9 / answered, met)
}

fn counter(status: &Value, name: &str) -> u64 {
    status["counters"][name].as_u64().unwrap()
}

#[test]
fn faults_of_the_kernel_cost_connections_and_nothing_else() {
    let seconds = std::env::var("FAULT_SECONDS").map_or(10, |text| text.parse().unwrap());
    let daemon = Daemon::start();
    let before = daemon.workers(&daemon.settled_status());
    let (quiet, calm) = cost(&daemon, Duration::from_secs(3));
    assert_eq!(calm.broken, 0);

    daemon.fail(&SERVING, ONE_PER_CENT);
    let (faulty, met) = cost(&daemon, Duration::from_secs(seconds));
    println!("CPU a reply: {quiet:.0} ns, with faults {faulty:.0} ns; {calm:?}, {met:?}");
    assert!(met.broken > 0, "no fault was met: nothing was tested");
    assert!(faulty < 1.5 * quiet, "{faulty:.0} ns against {quiet:.0} ns");

    // Nobody asks for anything: whoever spins because of an error shows now.
    let idle = daemon.cpu();
    thread::sleep(Duration::from_secs(2));
    let spent = daemon.cpu() - idle;
    assert!(spent < Duration::from_millis(500), "idle, used {spent:?}");

    daemon.fail(&SERVING, 0);
    let healed = Instant::now();
    let mut last = Met::default();
    wait_until("a hundred connections in a row are served", || {
        (0..100).try_for_each(|number| {
            let talked = connect(&daemon.address).and_then(|mut at| echo(&mut at, number));
            last.answered += u64::from(talked.is_ok());
            last.broken += u64::from(talked.is_err());
            talked.ok()
        })
    });
    println!(
        "served without a failure {:?} after the faults",
        healed.elapsed()
    );

    // Nobody died, and every connection and message is accounted for.
    let gone = wait_until("everybody is gone", || {
        let status = daemon.status()?;
        let zero = |name| counter(&status, name) == 0;
        (zero("connections_live") && zero("connections_quarantined")).then_some(status)
    });
    assert_eq!(daemon.workers(&gone), before, "{}", daemon.log());
    let count = |name| counter(&gone, name);
    assert_eq!(count("connections_accepted"), count("connections_closed"));
    assert_eq!(count("connections_closed"), count("connections_recycled"));
    assert_eq!(count("bytes_buffered"), 0);
    // A connection that broke had at most one message on its way.
    let answered = calm.answered + met.answered + last.answered;
    let handled = count("messages_handled");
    let all = answered..=answered + met.broken + last.broken;
    assert!(all.contains(&handled), "{handled} handled, {all:?} sent");
}

/// `fork` fails every second time while workers are killed: each is replaced in
/// the end, and the master lives.
#[test]
fn a_fork_that_fails_is_tried_again() {
    let daemon = Daemon::start();
    daemon.fail(&[Point::Fork], 500_000);
    for turn in 0..6 {
        // Those that served less than a second are replaced with hesitation.
        thread::sleep(Duration::from_millis(1100));
        let before = daemon.workers(&daemon.settled_status());
        let victim = before[turn % 2];
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(i32::try_from(victim).unwrap()),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        wait_until("the worker is replaced", || {
            let now = daemon.workers(&daemon.status()?);
            (now.len() == 2 && !now.contains(&victim)).then_some(())
        });
    }
    daemon.fail(&[Point::Fork], 0);
    let talk = connect(&daemon.address).and_then(|mut stream| echo(&mut stream, 1));
    talk.unwrap();
    let log = daemon.log();
    assert!(log.contains("fork"), "no fork has failed: {log}");
}
