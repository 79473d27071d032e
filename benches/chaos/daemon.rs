//! The built daemon, in the background, in a directory of its own. Whatever still
//! runs in the directory when the value is dropped is killed.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::{Outcome, subject};

/// What takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// The daemon.
pub(crate) struct Daemon {
    program: PathBuf,
    folder: tempfile::TempDir,
    pub(crate) address: SocketAddr,
}

impl Daemon {
    /// Starts it with `top` as the first lines of its configuration.
    pub(crate) fn start(top: &str) -> Outcome<Self> {
        Self::of(env!("CARGO_BIN_EXE_purlin").into(), top)
    }

    /// As [`start`](Self::start), with [`subject`](crate::subject) in it.
    pub(crate) fn subject(top: &str) -> Outcome<Self> {
        Self::of(std::env::current_exe()?, top)
    }

    fn of(program: PathBuf, top: &str) -> Outcome<Self> {
        let address = TcpListener::bind("127.0.0.79:0")?.local_addr()?;
        let folder = tempfile::tempdir()?;
        let daemon = Self {
            program,
            folder,
            address,
        };
        daemon.configure(top)?;
        daemon.ask("start")?;
        Ok(daemon)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The file the next reload reads.
    pub(crate) fn configure(&self, top: &str) -> Outcome<()> {
        let address = self.address;
        let text = format!("{top}\n[[listener]]\naddress = \"{address}\"\n[log]\nfile = \"log\"\n");
        self.write(&text)
    }

    /// All of that file.
    pub(crate) fn write(&self, text: &str) -> Outcome<()> {
        Ok(fs::write(self.path("conf"), text)?)
    }

    /// A program in the place of the next binary; `$PROGRAM` in it is the real one.
    pub(crate) fn write_binary(&self, script: &str) -> Outcome<()> {
        let program = env!("CARGO_BIN_EXE_purlin");
        let text = format!("#!/bin/sh\nPROGRAM='{program}'\n{script}\n");
        fs::write(self.path("new.tmp"), text)?;
        fs::set_permissions(self.path("new.tmp"), fs::Permissions::from_mode(0o755))?;
        Ok(fs::rename(self.path("new.tmp"), self.path("new"))?)
    }

    /// Runs a command, and fails as it does, with what it said.
    pub(crate) fn ask(&self, command: &str) -> Outcome<Vec<u8>> {
        let output = self.run(command)?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(format!("purlin {command}: {text}").into());
        }
        Ok(output.stdout)
    }

    /// Runs a command, whatever becomes of it.
    pub(crate) fn run(&self, command: &str) -> Outcome<Output> {
        let mut purlin = Command::new(&self.program);
        purlin.args(command.split(' ')).args(["-c", "conf"]);
        purlin.env(subject::ASKED, "1");
        Ok(purlin.current_dir(self.folder.path()).output()?)
    }

    pub(crate) fn status(&self) -> Outcome<Value> {
        Ok(serde_json::from_slice(&self.ask("status --json")?)?)
    }

    pub(crate) fn master(&self) -> Outcome<i32> {
        let text = fs::read_to_string(self.path("purlin.pid"))?;
        Ok(text.trim().parse()?)
    }

    /// The workers that serve, and which of them accepts.
    pub(crate) fn serving(&self) -> Outcome<(Vec<i32>, Option<i32>)> {
        let status = self.status()?;
        let all = status["workers"].as_array().ok_or("no workers")?;
        let pid = |one: &Value| one["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        let serves = |one: &&Value| one["state"] == "serving";
        let holder = all
            .iter()
            .filter(serves)
            .find(|one| one["has_turn"] == true);
        let pids = all.iter().filter(serves).filter_map(pid).collect();
        Ok((pids, holder.and_then(pid)))
    }

    /// For how many seconds the worker that came last has been there.
    pub(crate) fn youngest(&self) -> Outcome<u64> {
        let status = self.status()?;
        let all = status["workers"].as_array().ok_or("no workers")?;
        let ages = all.iter().filter_map(|one| one["for"].as_u64());
        Ok(ages.min().unwrap_or(0))
    }

    /// Waits until exactly `workers` processes are left, and all of them serve.
    pub(crate) fn settled(&self, workers: usize) -> Outcome<()> {
        self.wait("exactly its workers", || {
            let status = self.status()?;
            let all = status["workers"].as_array().ok_or("no workers")?;
            let serve = all.iter().all(|one| one["state"] == "serving");
            let alone = self.processes().len() == workers + 1;
            Ok(serve && all.len() == workers && alone && status["replaces"] == Value::Null)
        })
    }

    /// Waits until `holds` holds.
    pub(crate) fn wait(&self, what: &str, mut holds: impl FnMut() -> Outcome<bool>) -> Outcome<()> {
        let begun = Instant::now();
        while !holds().unwrap_or(false) {
            if begun.elapsed() > DEADLINE {
                let status = self.ask("status").unwrap_or_default();
                let status = String::from_utf8_lossy(&status).into_owned();
                let text = format!(
                    "waited in vain for {what}: {:?}\n{status}",
                    self.processes()
                );
                return Err(text.into());
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// All processes of the daemon, whoever their parent is.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let here = |pid: &i32| {
            fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == self.folder.path())
        };
        pids.filter(here).collect()
    }

    /// Children of the master that nobody has waited for.
    pub(crate) fn zombies(&self) -> Outcome<usize> {
        let children = children(self.master()?)?;
        Ok(children.into_iter().filter(|pid| is_zombie(*pid)).count())
    }
}

/// The children of a process.
pub(crate) fn children(pid: i32) -> Outcome<Vec<i32>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let pids = text.split_whitespace();
    Ok(pids.filter_map(|pid| pid.parse().ok()).collect())
}

/// Whether it is dead, and nobody has waited for it.
pub(crate) fn is_zombie(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.contains(") Z ")
}

/// Sends a signal; a process that is gone needs none.
pub(crate) fn signal(pid: i32, signal: Signal) {
    let _gone_already = kill(Pid::from_raw(pid), signal);
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _not_running = self.ask("stop");
        for pid in self.processes() {
            signal(pid, Signal::SIGKILL);
        }
    }
}
