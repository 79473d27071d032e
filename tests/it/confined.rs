//! What a worker has of whoever started its master: no session, no terminal, no
//! open file, no right.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;

use crate::daemon::children;
use crate::harness::{has, skip, wait_until};
use crate::instance::{Instance, signal};

/// The lines of `/proc/PID/status`.
fn status(pid: u32) -> HashMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

/// Session and terminal: the sixth and seventh field of `/proc/PID/stat`.
fn session(pid: u32) -> (u32, i32) {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, behind_name) = text.rsplit_once(')').unwrap();
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    (fields[3].parse().unwrap(), fields[4].parse().unwrap())
}

fn open_files(pid: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let paths = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    paths.collect()
}

/// As `O_ACCMODE` of an open file.
fn access(pid: u32, descriptor: u32) -> i32 {
    let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")).unwrap();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    i32::from_str_radix(flags.unwrap().trim(), 8).unwrap() & OFlag::O_ACCMODE.bits()
}

fn assert_has_no_rights(pid: u32) {
    let status = status(pid);
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set} of {pid}");
    }
    assert_eq!(status["NoNewPrivs"], "1");
}

#[test]
fn a_worker_has_no_terminal_of_its_starter() {
    if !has("script", "bsdutils") {
        return;
    }
    let instance = Instance::new("workers = 2");
    let run = format!(
        "exec {} run -c {}",
        instance.program().display(),
        instance.path("conf").display()
    );
    let mut shell = Command::new("script");
    shell.args(["-q", "-e", "-c", &run, "/dev/null"]);
    let mut terminal = shell
        .current_dir(instance.path("."))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the master listens", || {
        instance.ask(&["status"]).status.success()
    });
    wait_until("the server serves", || instance.serves_with(2));
    let master = instance.master().unwrap();
    assert_ne!(session(master).1, 0, "the master has the terminal");
    for worker in instance.workers() {
        assert_eq!(session(worker), (worker, 0));
        let input = fs::read_link(format!("/proc/{worker}/fd/0")).unwrap();
        assert_eq!(input, PathBuf::from("/dev/null"));
        for descriptor in [1, 2] {
            assert_eq!(
                access(worker, descriptor),
                1,
                "descriptor {descriptor} is written alone"
            );
        }
        assert_has_no_rights(worker);
    }
    signal(master, Signal::SIGTERM);
    assert!(terminal.wait().unwrap().success());
}

#[test]
fn what_the_shell_left_open_is_closed() {
    let instance = Instance::new("workers = 1");
    // As in `exec 9>lock; flock 9`.
    let start = format!(
        "exec {} start -c {} 9>{}",
        instance.program().display(),
        instance.path("conf").display(),
        instance.path("lock").display()
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &start]).current_dir(instance.path("."));
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let master = instance.master().unwrap();
    let held = [vec![master], children(master)].concat();
    assert_eq!(held.len(), 2);
    for pid in held {
        let files = open_files(pid);
        assert!(
            !files.contains(&instance.path("lock")),
            "{pid} has {files:?}"
        );
    }
}

/// Over reloads and upgrades too, and however the master was started.
#[test]
fn no_worker_has_a_right_of_roots() {
    let instance = Instance::started("workers = 2");
    for change in ["reload", "upgrade"] {
        for worker in instance.workers() {
            assert_has_no_rights(worker);
            assert_eq!(session(worker), (worker, 0));
        }
        instance.must(change);
        instance.settle();
    }
    for worker in instance.workers() {
        assert_has_no_rights(worker);
    }
}

/// A service that may bind low ports hands that right to no worker.
#[test]
fn ambient_capabilities_end_with_the_master() {
    if !nix::unistd::geteuid().is_root() {
        return skip("not root: capabilities cannot be given (run it as root)");
    }
    if !has("setpriv", "util-linux") {
        return;
    }
    let instance = Instance::new("workers = 1");
    let folder = instance.path(".");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(&folder, mode).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.args([
        "--inh-caps=+net_bind_service",
        "--ambient-caps=+net_bind_service",
    ]);
    // Where that user may go.
    let program = instance.path("program");
    fs::copy(instance.program(), &program).unwrap();
    command.arg(program).args(["start", "-c"]);
    let output = command
        .arg(instance.path("conf"))
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let master = instance.master().unwrap();
    assert_ne!(
        status(master)["CapEff"],
        "0000000000000000",
        "the master keeps it"
    );
    for worker in instance.workers() {
        assert_has_no_rights(worker);
    }
}
