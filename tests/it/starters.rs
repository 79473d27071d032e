//! Whoever starts the server, and in whatever state: it serves, replaces its
//! workers, and ends when it is told to.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use crate::daemon::children;
use crate::harness::{Client, comm, has, skip, wait_until};
use crate::instance::{Instance, lives, signal};

/// A server in the foreground, waited for when dropped.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _ours_until_waited_for = self.0.wait();
    }
}

/// Starts the server of `instance` by `starter`, which becomes it.
fn run(instance: &Instance, starter: &[&str]) -> Started {
    let mut command = Command::new(starter[0]);
    command.args(&starter[1..]).arg(instance.program());
    command.args(["run", "-c", "conf"]);
    command.current_dir(instance.path("."));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let started = Started(command.stderr(Stdio::null()).spawn().unwrap());
    wait_until("the master listens", || {
        instance.ask(&["status"]).status.success()
    });
    started
}

/// The server replaces a worker that was killed, and ends when it is told to.
fn assert_supervises(instance: &Instance, mut started: Started) {
    let master = instance.master().unwrap();
    wait_until("it serves", || instance.serves_with(2));
    instance.echo();
    let workers = children(master);
    signal(workers[0], Signal::SIGKILL);
    wait_until("the dead one is replaced", || {
        let now = children(master);
        now.len() == 2 && !now.contains(&workers[0])
    });
    wait_until("it serves again", || instance.serves_with(2));
    instance.echo();
    signal(master, Signal::SIGTERM);
    assert!(started.0.wait().unwrap().success());
}

#[test]
fn signals_that_the_starter_ignored_or_blocked_are_heard() {
    for starter in [
        &["env", "--ignore-signal=CHLD"][..],
        &["env", "--ignore-signal=CHLD,TERM,HUP,USR1,USR2,QUIT,ABRT"],
        &["env", "--block-signal=CHLD,TERM,HUP,ABRT,INT"],
        &["env", "--block-signal"],
        &["env", "--ignore-signal"],
    ] {
        let instance = Instance::new("workers = 2");
        let started = run(&instance, starter);
        assert_supervises(&instance, started);
    }
}

/// A watchdog could abort no worker that inherited it blocked or ignored.
#[test]
fn workers_have_no_signal_blocked_but_those_of_their_master() {
    let instance = Instance::new("workers = 2");
    let _started = run(&instance, &["env", "--ignore-signal", "--block-signal"]);
    wait_until("it serves", || instance.serves_with(2));
    let masks = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let mask = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
        };
        (mask("SigBlk:"), mask("SigIgn:"))
    };
    let bit = |signal: Signal| 1_u64 << (signal as i32 - 1);
    for pid in [instance.workers(), vec![instance.master().unwrap()]].concat() {
        let (blocked, ignored) = masks(pid);
        // The C library keeps 32 and 33 to itself.
        let ignored = ignored & !(0b11 << 31);
        assert_eq!(ignored, bit(Signal::SIGPIPE), "{pid} ignores {ignored:x}");
        for wanted in [Signal::SIGABRT, Signal::SIGSEGV, Signal::SIGALRM] {
            assert_eq!(blocked & bit(wanted), 0, "{pid} blocks {blocked:x}");
        }
    }
}

/// As a process group and its supervisor do: the second one would end at once
/// those that are being served.
#[test]
fn a_term_that_comes_twice_at_once_lets_clients_finish() {
    for (first, second) in [
        (Signal::SIGTERM, Signal::SIGTERM),
        (Signal::SIGINT, Signal::SIGTERM),
        (Signal::SIGTERM, Signal::SIGINT),
    ] {
        let instance = Instance::started("workers = 1\n[worker]\ndrain_idle = \"3s\"");
        let mut client = Client::connect(instance.address);
        let request = comm(1, b"half");
        client.send(&request[..6]);
        wait_until("it was accepted", || {
            instance.counter("connections_live") == 1
        });
        let master = instance.master().unwrap();
        signal(master, first);
        wait_until("it drains", || instance.status()["stopping"] == true);
        signal(master, second);
        assert_eq!(instance.status()["stopping"], true);
        client.send(&request[6..]);
        assert_eq!(client.rest(), request);
        wait_until("it is gone", || !lives(master));
    }
}

/// A folder below that of `instance`, with the configuration of a server that
/// keeps what names it elsewhere.
fn release(instance: &Instance, name: &str, workers: u16) -> std::path::PathBuf {
    let folder = instance.path(name);
    fs::create_dir(&folder).unwrap();
    let (top, address) = (instance.path("."), instance.address);
    let top = top.display();
    let text = format!(
        "workers = {workers}\npid_file = \"{top}/purlin.pid\"\n\
         control_socket = \"{top}/purlin.ctl\"\n[[listener]]\naddress = \"{address}\"\n\
         protocol = \"auto\"\nroot = \"www\"\n[log]\nfile = \"log\"\n"
    );
    fs::write(folder.join("c.toml"), text).unwrap();
    fs::create_dir(folder.join("www")).unwrap();
    folder
}

fn in_folder(instance: &Instance, folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(instance.program());
    let output = command
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// As a deployment does, which puts the new release in the place of the old one.
#[test]
fn a_reload_reads_the_folder_that_has_the_name_now() {
    let instance = Instance::new("");
    let app = release(&instance, "app", 1);
    let (code, text) = in_folder(&instance, &app, &["start", "-c", "c.toml"]);
    assert_eq!(code, Some(0), "{text}");
    fs::rename(&app, instance.path("before")).unwrap();
    // Nothing is there: it is named with its folder.
    signal(instance.master().unwrap(), Signal::SIGHUP);
    let named = format!("{}: cannot read the file", app.join("c.toml").display());
    wait_until("the log says what is missing", || {
        let log = fs::read_to_string(instance.path("before/log"));
        log.is_ok_and(|log| log.contains(&named))
    });
    release(&instance, "app", 2);
    let (code, text) = in_folder(&instance, &app, &["reload", "-c", "c.toml"]);
    assert_eq!(code, Some(0), "{text}");
    wait_until("the new file is in force", || {
        let (_, text) = in_folder(&instance, &app, &["status", "--json", "-c", "c.toml"]);
        text.matches("\"serving\"").count() == 2
    });
    assert!(app.join("log").exists(), "relative paths lead there too");
    // The next program as well.
    let (code, text) = in_folder(&instance, &app, &["upgrade", "-c", "c.toml"]);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn what_is_missing_is_named_with_its_folder() {
    let instance = Instance::new("");
    let folder = instance.path("");
    for (arguments, named) in [
        (
            &["-t", "-c", "none.toml"][..],
            "none.toml: cannot read the file",
        ),
        (
            &["run", "-c", "none.toml"],
            "none.toml: cannot read the file",
        ),
        (&["status", "-c", "conf"], "purlin.ctl"),
    ] {
        let (_, text) = in_folder(&instance, &folder, arguments);
        let named = folder.join(named).display().to_string();
        assert!(text.contains(&named), "{arguments:?}: {text}");
    }
}

#[test]
fn reload_and_upgrade_with_another_file_or_value_are_refused() {
    let instance = Instance::started("workers = 1");
    fs::copy(instance.path("conf"), instance.path("other.toml")).unwrap();
    let folder = instance.path("");
    for command in ["reload", "upgrade"] {
        let other = [command, "-c", "other.toml"];
        let (code, text) = in_folder(&instance, &folder, &other);
        assert_eq!(code, Some(64), "{text}");
        for part in ["conf, which it was started with", "not ", "other.toml"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let (code, text) = instance.refused(&[command, "--set", "workers=2"]);
        assert_eq!(code, 64, "{text}");
        assert!(text.contains("was not started with it"), "{text}");
    }
    assert!(instance.serves_with(1), "nothing was changed");
    // Its own, by whatever name, and what only says where the master is.
    std::os::unix::fs::symlink("conf", instance.path("link")).unwrap();
    let whole = instance.path("conf").display().to_string();
    for own in [
        &["reload"][..],
        &["reload", "-c", "link"],
        &["reload", "-c", &whole],
        &["reload", "--set", "control_socket=purlin.ctl"],
    ] {
        let (code, text) = in_folder(&instance, &folder, own);
        assert_eq!(code, Some(0), "{own:?}: {text}");
    }
}

#[test]
fn values_that_the_server_was_started_with_may_be_said_again() {
    let instance = Instance::new("workers = 1");
    let start = instance.ask(&["start", "--set", "workers=2"]);
    assert!(start.status.success(), "{start:?}");
    let same = instance.ask(&["reload", "--set", "workers=2"]);
    assert!(same.status.success(), "{same:?}");
    instance.must("reload");
    let (code, text) = instance.refused(&["reload", "--set", "workers=3"]);
    assert_eq!(code, 64, "{text}");
}

/// Nobody is left who would read it; the next start would have to judge it.
#[test]
fn a_start_that_fails_leaves_nothing_behind() {
    let instance = Instance::new("");
    let _stranger = TcpListener::bind(instance.address).unwrap();
    let sock = instance.path("sock");
    let folder = instance.path("");
    let text = format!(
        "[[listener]]\naddress = \"unix:{}\"\n[[listener]]\naddress = \"{}\"\n",
        sock.display(),
        instance.address
    );
    instance.write(&text);
    for command in ["run", "start"] {
        let (code, text) = instance.refused(&[command]);
        assert_eq!(code, 69, "{text}");
        let left = fs::read_dir(&folder).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        // In the background there is a log, which says why.
        let left: Vec<_> = left.iter().filter(|name| *name != "purlin.log").collect();
        assert_eq!(left, ["conf"], "{command}");
    }
}

#[test]
fn without_a_pid_file_it_runs_and_does_not_start() {
    let instance = Instance::new("pid_file = \"\"");
    let (code, text) = instance.refused(&["start"]);
    assert_eq!(code, 78, "{text}");
    assert!(
        text.contains("pid_file is empty, which is for `run`"),
        "{text}"
    );
    let mut started = run(&instance, &["env"]);
    instance.echo();
    assert!(!instance.path("purlin.pid").exists());
    // One worker may serve before the start is over.
    wait_until("it is started", || instance.status()["starting"].is_null());
    let upgraded = instance.ask(&["upgrade"]);
    assert!(upgraded.status.success(), "{upgraded:?}");
    assert!(started.0.wait().unwrap().success(), "the old one leaves");
    instance.echo();
    instance.must("stop");
    assert!(!instance.path("purlin.pid").exists());
}

#[test]
fn without_a_control_socket_signals_are_heard() {
    let instance = Instance::new("workers = 1\ncontrol_socket = \"\"");
    let mut command = instance.command(&["run"]);
    command.stderr(Stdio::null());
    let mut started = Started(command.spawn().unwrap());
    wait_until("it serves", || TcpStream::connect(instance.address).is_ok());
    instance.echo();
    let (code, text) = instance.refused(&["status"]);
    assert_eq!(code, 78, "{text}");
    assert!(text.contains("hears no commands, but signals"), "{text}");
    let master = started.0.id();
    let before = children(master);
    signal(master, Signal::SIGHUP);
    wait_until("it has reloaded", || {
        let now = children(master);
        now.len() == 1 && now != before
    });
    instance.echo();
    signal(master, Signal::SIGTERM);
    assert!(started.0.wait().unwrap().success());
}

/// What `script` starts in a shell, with `$0` as the program and `$1` as the folder
/// of the configuration.
fn shell(instance: &Instance, starter: &[&str], script: &str) -> Started {
    let mut command = Command::new(starter[0]);
    command.args(&starter[1..]).args(["sh", "-c", script]);
    command.arg(instance.program()).arg(instance.path(""));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    Started(command.stderr(Stdio::null()).spawn().unwrap())
}

fn wait_for_port(instance: &Instance) {
    wait_until("it listens", || {
        TcpStream::connect(instance.address).is_ok()
    });
}

/// Cron gives no terminal, hardly a variable and no home; some starters close the
/// standard descriptors, whose numbers sockets must not get.
#[test]
fn it_serves_whatever_its_starter_has_left() {
    for (name, starter, script) in [
        (
            "closed",
            &["env"][..],
            "cd $1; exec $0 run -c conf <&- >&- 2>&-",
        ),
        ("closed input", &["env"], "cd $1; exec $0 run -c conf <&-"),
        ("closed error", &["env"], "cd $1; exec $0 run -c conf 2>&-"),
        (
            "cron",
            &["env", "-i", "PATH=/usr/bin:/bin"],
            "cd $1; exec $0 run -c conf",
        ),
        (
            "no variable",
            &["env", "-i"],
            "cd $1; exec $0 run -c conf <&- >&- 2>&-",
        ),
        (
            "a pipe that nobody reads",
            &["env"],
            "cd $1; exec $0 run -c conf 2>&1 | exec true",
        ),
        (
            "umask 777",
            &["env"],
            "cd $1; umask 077; exec $0 run -c conf",
        ),
        (
            "a new session",
            &["setsid", "-w"],
            "cd $1; exec $0 run -c conf",
        ),
    ] {
        if starter[0] == "setsid" && !has("setsid", "util-linux") {
            continue;
        }
        let instance = Instance::new("workers = 2");
        let _started = shell(&instance, starter, script);
        wait_until(&format!("{name}: the master listens"), || {
            instance.ask(&["status"]).status.success()
        });
        wait_until(name, || instance.serves_with(2));
        instance.echo();
        // A descriptor of the server's at 0, 1 or 2 would get what is printed.
        for pid in [instance.workers(), vec![instance.master().unwrap()]].concat() {
            for number in 0..3 {
                let path = fs::read_link(format!("/proc/{pid}/fd/{number}")).unwrap();
                let path = path.display().to_string();
                assert!(!path.starts_with("socket:"), "{name}: {number} is {path}");
                assert!(
                    !path.starts_with("anon_inode:"),
                    "{name}: {number} is {path}"
                );
            }
        }
        instance.must("reload");
        instance.echo();
        instance.must("stop");
    }
}

/// As a supervisor does that cannot know which of them is the master.
#[test]
fn a_signal_to_the_whole_group_lets_clients_finish() {
    let instance = Instance::new("workers = 2\n[worker]\ndrain_idle = \"3s\"");
    let mut command = instance.command(&["run"]);
    command.process_group(0).stderr(Stdio::null());
    let mut started = Started(command.spawn().unwrap());
    wait_until("the master listens", || {
        instance.ask(&["status"]).status.success()
    });
    wait_until("it serves", || instance.serves_with(2));
    let mut client = Client::connect(instance.address);
    let request = comm(1, b"half");
    client.send(&request[..6]);
    wait_until("it was accepted", || {
        instance.counter("connections_live") == 1
    });
    let group = -i32::try_from(started.0.id()).unwrap();
    for _ in 0..2 {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(group), Signal::SIGTERM).unwrap();
        signal(started.0.id(), Signal::SIGTERM);
    }
    client.send(&request[6..]);
    assert_eq!(client.rest(), request);
    assert!(started.0.wait().unwrap().success());
}

/// Whether this process may have namespaces of its own.
fn may_unshare(arguments: &[&str]) -> bool {
    if !has("unshare", "util-linux") {
        return false;
    }
    let tried = Command::new("unshare").args(arguments).arg("true").output();
    if tried.unwrap().status.success() {
        return true;
    }
    skip("namespaces are not allowed (run it as root)");
    false
}

#[test]
fn as_process_one_of_a_container_it_reaps_what_others_left() {
    let namespace = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    if !may_unshare(&namespace) {
        return;
    }
    // Its number would name another process out here.
    let instance = Instance::new("workers = 1\npid_file = \"\"");
    let script = "cd $1; (sleep 1000 & echo 1 > orphaned); exec $0 run -c conf";
    let mut started = shell(&instance, &[&["unshare"][..], &namespace].concat(), script);
    wait_for_port(&instance);
    instance.echo();
    let master = children(started.0.id())[0];
    let orphan = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim() == "sleep"
    };
    let orphan = children(master).into_iter().find(orphan).unwrap();
    signal(orphan, Signal::SIGKILL);
    wait_until("it is reaped", || {
        !Path::new(&format!("/proc/{orphan}")).exists()
    });
    instance.echo();
    let worker = children(master)[0];
    signal(worker, Signal::SIGKILL);
    wait_until("the worker is replaced", || {
        let now = children(master);
        now.len() == 1 && now[0] != worker
    });
    wait_until("it serves again", || instance.serves_with(1));
    let (code, text) = instance.refused(&["upgrade"]);
    assert_ne!(code, 0, "{text}");
    signal(master, Signal::SIGTERM);
    assert!(started.0.wait().unwrap().success());
}

#[test]
fn with_a_file_system_that_is_read_only_it_serves() {
    if !may_unshare(&["--mount"]) {
        return;
    }
    let instance = Instance::new("");
    instance.write(&format!(
        "workers = 1\npid_file = \"\"\n[[listener]]\naddress = \"{}\"\n",
        instance.address
    ));
    let script = "mount --bind $1 $1 && mount -o remount,bind,ro $1 && cd $1 && \
                  ! touch x 2>/dev/null && exec $0 run -c conf";
    let mut started = shell(&instance, &["unshare", "--mount"], script);
    wait_for_port(&instance);
    instance.echo();
    let left: Vec<_> = fs::read_dir(instance.path("")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    signal(started.0.id(), Signal::SIGTERM);
    assert!(started.0.wait().unwrap().success());
}
