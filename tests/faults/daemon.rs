//! The daemon under test, in the foreground, and a client of plain sockets.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use purlin::sys::fault::{LEN, Point, SPOTS, STOP, Spot};
use serde_json::Value;

/// A generous deadline.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The daemon in the foreground, and the file that makes its calls fail.
pub(crate) struct Daemon {
    program: PathBuf,
    folder: tempfile::TempDir,
    faults: File,
    pub(crate) master: Child,
    pub(crate) address: String,
}

impl Daemon {
    /// Two workers.
    pub(crate) fn start() -> Self {
        Self::configured("workers = 2\nallow_root = true\n")
    }

    /// With `top` as the first lines of its configuration.
    pub(crate) fn configured(top: &str) -> Self {
        Self::of(env!("CARGO_BIN_EXE_purlin").into(), top)
    }

    /// The program of `tests/programs/mover.rs`, whose members are handed over.
    pub(crate) fn mover(top: &str) -> Self {
        let folder = Path::new(env!("CARGO_BIN_EXE_purlin")).parent().unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--offline", "--quiet", "--features", "failpoints"]);
        cargo.args(["--example", "mover"]);
        cargo.arg("--target-dir").arg(folder.parent().unwrap());
        let root = env!("CARGO_MANIFEST_DIR");
        let output = cargo.current_dir(root).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Self::of(folder.join("examples/mover"), top)
    }

    fn of(program: PathBuf, top: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("faults"), [0; LEN * 8]).unwrap();
        let faults = File::options()
            .read(true)
            .write(true)
            .open(path("faults"))
            .unwrap();
        let text = format!("{top}[[listener]]\naddress = \"127.0.0.1:0\"\n");
        fs::write(path("conf"), text).unwrap();
        let mut daemon = Self {
            master: run(&program, folder.path()),
            program,
            folder,
            faults,
            address: String::new(),
        };
        daemon.find();
        daemon
    }

    /// Starts the daemon again, whose master is gone.
    pub(crate) fn start_again(&mut self) {
        self.master.wait().unwrap();
        self.master = run(&self.program, self.folder.path());
        self.find();
    }

    /// Waits until it serves; asks where.
    fn find(&mut self) {
        self.address = wait_until("the daemon serves", || {
            let status = self.status()?;
            status["listeners"][0].as_str().map(str::to_owned)
        });
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The process that visits `spot` for the `visit`th time from now kills itself.
    pub(crate) fn kill_at(&self, spot: Spot, visit: u64) {
        let at = 8 * (SPOTS + spot as usize) as u64;
        self.faults.write_all_at(&visit.to_le_bytes(), at).unwrap();
    }

    /// The same, and it is stopped and goes on when somebody lets it.
    pub(crate) fn stop_at(&self, spot: Spot, visit: u64) {
        self.kill_at(spot, visit | STOP);
    }

    /// Whether somebody has been killed or stopped at `spot`.
    pub(crate) fn has_killed(&self, spot: Spot) -> bool {
        let mut word = [0; 8];
        let at = 8 * (SPOTS + spot as usize) as u64;
        self.faults.read_exact_at(&mut word, at).unwrap();
        word == [0; 8]
    }

    /// From now on so many of a million calls at each point fail.
    pub(crate) fn fail(&self, points: &[Point], chance: u64) {
        for &point in points {
            let at = 8 * point as u64;
            self.faults.write_all_at(&chance.to_le_bytes(), at).unwrap();
        }
    }

    /// What the daemon says of itself; the question may meet a fault.
    pub(crate) fn status(&self) -> Option<Value> {
        let output = Command::new(env!("CARGO_BIN_EXE_purlin"))
            .args(["status", "--json", "-c", "conf"])
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).ok()
    }

    pub(crate) fn settled_status(&self) -> Value {
        wait_until("the daemon tells its status", || self.status())
    }

    /// Pids of the workers that serve.
    pub(crate) fn workers(&self, status: &Value) -> Vec<u64> {
        let workers = status["workers"].as_array().cloned().unwrap_or_default();
        let ready = workers.iter().filter(|worker| worker["state"] == "serving");
        ready.filter_map(|worker| worker["pid"].as_u64()).collect()
    }

    /// CPU that master and workers have used, those that ended included.
    pub(crate) fn cpu(&self) -> Duration {
        let master = u64::from(self.master.id());
        let status = self.settled_status();
        let pids = self.workers(&status).into_iter().map(|pid| (pid, 2));
        let ticks: u64 = pids
            .chain([(master, 4)])
            .map(|(pid, n)| ticks(pid, n))
            .sum();
        Duration::from_millis(ticks * 10)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }
}

fn run(program: &Path, folder: &Path) -> Child {
    let log = File::options()
        .append(true)
        .create(true)
        .open(folder.join("log"));
    Command::new(program)
        .args(["run", "-c", "conf"])
        .current_dir(folder)
        .env("PURLIN_FAILPOINTS", folder.join("faults"))
        .stderr(log.unwrap())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
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

pub(crate) fn wait_until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
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
pub(crate) fn echo(stream: &mut TcpStream, number: usize) -> io::Result<()> {
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

pub(crate) fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

pub(crate) fn counter(status: &Value, name: &str) -> u64 {
    status["counters"][name].as_u64().unwrap()
}

/// Held by a test that measures, and by one that keeps every core busy.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // Another test has failed: that is not this one's fault.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
