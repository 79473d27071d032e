//! A daemon in the background, as an operator has it: the harness of the tests
//! of the master. What runs in an instance's directory ends with it.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::daemon::children;
use crate::harness::{Client, wait_until};

const PURLIN: &str = env!("CARGO_BIN_EXE_purlin");

/// Workers that stay root where the tests are.
const AS_ROOT: &str = "user = \"root\"\nallow_root = true\n";

/// Where the programs of `tests/programs` are, built when they are not.
fn programs() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(PURLIN).parent().unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--offline", "--quiet"]);
        cargo.args(["--example", "subject", "--example", "mover"]);
        cargo.args([
            "--example",
            "hostile",
            "--example",
            "owing",
            "--example",
            "own",
            "--example",
            "lobby",
        ]);
        cargo.args(["--example", "rooms", "--example", "events"]);
        if cfg!(feature = "sqlite") {
            cargo.args(["--features", "full", "--example", "notes"]);
            cargo.args(["--example", "login-web"]);
        }
        cargo.arg("--target-dir").arg(folder.parent().unwrap());
        if folder.ends_with("release") {
            cargo.arg("--release");
        }
        let output = cargo
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        folder.join("examples")
    })
}

/// The program of `tests/programs/subject.rs`.
pub(crate) fn subject() -> PathBuf {
    programs().join("subject")
}

/// Held by the tests that keep every core busy, so that they do so one by one.
pub(crate) fn busy() -> MutexGuard<'static, ()> {
    static BUSY: Mutex<()> = Mutex::new(());
    // Another test has failed: that is not this one's fault.
    BUSY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory with a configuration. Whatever runs there is ended when dropped.
pub(crate) struct Instance {
    program: PathBuf,
    /// The first lines of the configuration.
    basis: &'static str,
    /// Whether figures are shown where the configuration says.
    has_admin: bool,
    folder: tempfile::TempDir,
    pub(crate) address: SocketAddr,
}

impl Instance {
    /// Of the daemon, with `top` as the first lines of its configuration.
    pub(crate) fn new(top: &str) -> Self {
        Self::of(PURLIN.into(), "", top)
    }

    /// Of the subject, whose workers stay root where the tests are, so that
    /// they find the files in its directory.
    pub(crate) fn subject(top: &str) -> Self {
        Self::of(subject(), AS_ROOT, top)
    }

    /// Of the mover, as [`Self::subject`].
    pub(crate) fn mover(top: &str) -> Self {
        Self::of(programs().join("mover"), AS_ROOT, top)
    }

    /// Of the program that never gives the replies that it owes.
    pub(crate) fn owing(top: &str) -> Self {
        Self::of(programs().join("owing"), AS_ROOT, top)
    }

    /// Of the program that has a table, flags and a command of its own.
    pub(crate) fn own() -> Self {
        Self::of(programs().join("own"), AS_ROOT, "")
    }

    /// Of the lobby of the examples.
    pub(crate) fn example_lobby() -> Self {
        Self::of(programs().join("lobby"), AS_ROOT, "")
    }

    /// Of one of the examples.
    pub(crate) fn example(name: &str, top: &str) -> Self {
        Self::of(programs().join(name), AS_ROOT, top)
    }

    /// Of the program whose workers can be made to turn on their master.
    pub(crate) fn hostile(top: &str) -> Self {
        Self::of(programs().join("hostile"), AS_ROOT, top)
    }

    /// As [`Self::new`], of a program at a path of the test's own.
    pub(crate) fn of_program(program: &Path, top: &str) -> Self {
        Self::of(program.to_path_buf(), "", top)
    }

    /// As [`Self::new`], with an admin listener on a free port.
    pub(crate) fn with_admin(top: &str) -> Self {
        Self::new(top).showing(top)
    }

    /// The same instance, with an admin listener on a free port.
    pub(crate) fn showing(mut self, top: &str) -> Self {
        self.has_admin = true;
        self.configure(top);
        self
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    fn of(program: PathBuf, basis: &'static str, top: &str) -> Self {
        // Not 127.0.0.1: the clients of other tests hold thousands of its
        // ports, and one of them could take this before the daemon does.
        let free = TcpListener::bind("127.0.0.77:0").unwrap();
        let address = free.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let instance = Self {
            program,
            basis,
            has_admin: false,
            folder,
            address,
        };
        instance.configure(top);
        instance
    }

    /// As [`Self::new`], and starts it.
    pub(crate) fn started(top: &str) -> Self {
        let instance = Self::new(top);
        instance.must("start");
        instance
    }

    pub(crate) fn configure(&self, top: &str) {
        let (address, basis) = (self.address, self.basis);
        let admin = if self.has_admin {
            "[admin]\naddress = \"127.0.0.1:0\"\n"
        } else {
            ""
        };
        let text = format!(
            "{top}\n{basis}[[listener]]\naddress = \"{address}\"\n[log]\nfile = \"log\"\n{admin}"
        );
        fs::write(self.path("conf"), text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).args(["-c", "conf"]);
        command.current_dir(self.folder.path());
        if self.has_admin {
            command.env_remove("PURLIN__ADMIN__ADDRESS");
        }
        command
    }

    pub(crate) fn ask(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Does what has to succeed.
    pub(crate) fn must(&self, command: &str) {
        let output = self.ask(&[command]);
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        assert!(output.status.success(), "{command}: {output:?}\n{log}");
    }

    /// Does what has to fail; gives the code and the text.
    pub(crate) fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.ask(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), text)
    }

    pub(crate) fn status(&self) -> Value {
        let output = self.ask(&["status", "--json"]);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The pid file, if it is there and whole.
    pub(crate) fn master(&self) -> Option<u32> {
        fs::read_to_string(self.path("purlin.pid"))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    pub(crate) fn workers(&self) -> Vec<u32> {
        children(self.master().unwrap())
    }

    /// Whether exactly so many workers serve.
    pub(crate) fn serves_with(&self, count: usize) -> bool {
        let status = self.status();
        let workers = status["workers"].as_array().unwrap();
        workers.len() == count && workers.iter().all(|one| one["state"] == "serving")
    }

    /// Waits until every worker has served so long that it is replaced at once.
    pub(crate) fn settle(&self) {
        wait_until("all workers have served a second", || {
            let status = self.status();
            let workers = status["workers"].as_array().unwrap();
            workers.iter().all(|one| one["for"].as_u64() >= Some(2))
        });
    }

    /// Writes the whole configuration.
    pub(crate) fn write(&self, text: &str) {
        fs::write(self.path("conf"), text).unwrap();
    }

    /// What the log file says by now.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// One of the counters of the whole server.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.status()["counters"][name].as_u64().unwrap()
    }

    /// The worker that has the accept mutex, as `status` shows it.
    pub(crate) fn holder(&self) -> Option<Value> {
        let status = self.status();
        let mut workers = status["workers"].as_array().unwrap().iter();
        workers.find(|one| one["has_turn"] == true).cloned()
    }

    /// A client of the subject, and who serves it: the pid of the worker and
    /// the connection's name.
    pub(crate) fn acquaint(&self) -> (Client, u32, u64) {
        let mut client = Client::connect(self.address);
        let (pid, conn) = client.who();
        (client, pid, conn)
    }

    pub(crate) fn echo(&self) {
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

impl Client {
    /// Asks the subject who serves: the pid of the worker and the connection's
    /// name.
    pub(crate) fn who(&mut self) -> (u32, u64) {
        let (id, body) = self.call(2, b"");
        assert_eq!((id, body.len()), (2, 16));
        let word = |at: usize| u64::from_be_bytes(body[at..at + 8].try_into().unwrap());
        (u32::try_from(word(0)).unwrap(), word(8))
    }
}

/// The pid of a worker that lives, as `status` shows it.
pub(crate) fn pid_of(worker: &Value) -> u32 {
    u32::try_from(worker["pid"].as_u64().unwrap()).unwrap()
}

/// Not for a pid that may be somebody else's by now: all are of our instance.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let _gone_already = kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal);
}

pub(crate) fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    !state.is_empty() && !state.starts_with('Z')
}

/// Says so when it is dropped, by a panic as well.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Short connections while `meanwhile` runs; gives how many were served.
pub(crate) fn under_load(instance: &Instance, meanwhile: impl FnOnce()) -> u64 {
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
