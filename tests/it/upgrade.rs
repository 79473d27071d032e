//! Upgrading the binary: the new one takes over without a lost request, or is
//! rolled back as if it had never been.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::sys::signal::Signal;

use crate::daemon::children;
use crate::harness::{Client, comm, skip, wait_until};
use crate::instance::{Instance, Over, busy, lives, signal, under_load};

/// Upgrades in a row; the full number is for `make chaos`.
fn rounds() -> u32 {
    let wanted = std::env::var("PURLIN_TEST_UPGRADES").ok();
    wanted.map_or(5, |count| count.parse().unwrap())
}

impl Instance {
    /// Upgrades, and waits until the old master and its workers have left.
    pub(crate) fn upgraded(&self) {
        let old = self.master().unwrap();
        let mut all = self.workers();
        all.push(old);
        self.must("upgrade");
        assert_ne!(self.master(), Some(old), "the pid file names the new one");
        wait_until("the old ones left", || !all.iter().any(|&pid| lives(pid)));
        wait_until("the new master noticed", || !self.awaits_elder());
    }

    fn awaits_elder(&self) -> bool {
        self.status()["replaces"] != serde_json::Value::Null
    }

    /// Has `upgrade` start a shell script; `$PROGRAM` in it is the real one.
    fn upgrade_by(&self, top: &str, script: &str) {
        let path = self.path("new");
        let program = self.program().display().to_string();
        let text = format!("#!/bin/sh\nPROGRAM='{program}'\n{script}\n");
        // Not written in place: it may be running.
        fs::write(self.path("new.tmp"), text).unwrap();
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.path("new.tmp"), executable).unwrap();
        fs::rename(self.path("new.tmp"), path).unwrap();
        self.configure(&format!("{top}\nupgrade_binary = \"new\""));
        self.must("reload");
        wait_until("those before the reload left", || {
            let status = self.status();
            let mut workers = status["workers"].as_array().unwrap().iter();
            workers.all(|one| one["state"] == "serving")
        });
        self.reloaded();
    }

    /// Waits until the workers before the reload have left.
    fn reloaded(&self) {
        wait_until("the reload is over", || {
            let status = self.status();
            let mut workers = status["workers"].as_array().unwrap().iter();
            workers.all(|one| one["state"] == "serving")
        });
    }

    /// An upgrade that goes on only when the file `go` is there.
    fn begin_upgrade(&self, top: &str) -> std::process::Child {
        let wait = "while [ ! -e go ]; do sleep 0.02; done; exec \"$PROGRAM\" \"$@\"";
        self.upgrade_by(top, wait);
        let child = self.command(&["upgrade"]).stderr(Stdio::piped()).spawn();
        wait_until("the new binary runs", || {
            self.log().matches("the new binary is pid").count() > 0
        });
        child.unwrap()
    }

    fn new_binary(&self) -> u32 {
        let log = self.log();
        let (_, pid) = log.rsplit_once("the new binary is pid ").unwrap();
        pid.lines().next().unwrap().trim().parse().unwrap()
    }

    /// The old generation serves alone, as if nothing had been.
    fn is_as_before(&self, master: u32, workers: &[u32]) {
        assert_eq!(self.master(), Some(master));
        wait_until("nothing else is left", || children(master) == workers);
        self.echo();
    }
}

#[test]
fn the_binary_that_is_there_now_takes_over_in_the_same_pid_file() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("purlin");
    let copy = || {
        let fresh = folder.path().join("fresh");
        fs::copy(env!("CARGO_BIN_EXE_purlin"), &fresh).unwrap();
        fs::rename(&fresh, &program).unwrap();
        fs::metadata(&program).unwrap().ino()
    };
    let first = copy();
    let instance = Instance::of_program(&program, "workers = 2");
    instance.must("start");
    let old = instance.master().unwrap();
    let pid_file = fs::metadata(instance.path("purlin.pid")).unwrap().ino();
    let binary = |pid: u32| fs::metadata(format!("/proc/{pid}/exe")).unwrap().ino();
    assert_eq!(binary(old), first);
    instance.echo();
    let second = copy();
    assert_ne!(first, second);
    instance.upgraded();
    let new = instance.master().unwrap();
    assert_eq!(binary(new), second);
    let status = instance.status();
    assert_eq!(status["pid"], new);
    assert_eq!(status["generation"], 2);
    assert!(instance.serves_with(2));
    let same = fs::metadata(instance.path("purlin.pid")).unwrap().ino();
    assert_eq!(same, pid_file);
    instance.echo();
    assert_eq!(instance.counter("messages_handled"), 2, "counted on");
    let (code, text) = instance.refused(&["start"]);
    assert_eq!(code, 75, "{text}");
    instance.must("reload");
    instance.must("stop");
    assert!(!lives(new));
    for name in ["purlin.pid", "purlin.ctl"] {
        assert!(!instance.path(name).exists(), "{name}");
    }
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Asks for an echo; `None` when the connection ended before the answer came.
fn ask(client: &Client) -> Option<()> {
    let request = comm(1, b"kept");
    let mut reply = vec![0; request.len()];
    let mut socket = &client.0;
    let sent = socket.write_all(&request);
    sent.and_then(|()| socket.read_exact(&mut reply)).ok()?;
    assert_eq!(reply, request);
    Some(())
}

#[test]
fn upgrades_in_a_row_lose_no_new_connection_and_no_request_that_was_received() {
    let _busy = busy();
    for (mode, rounds) in [("mutex", rounds()), ("reuseport", rounds().min(3))] {
        // Clients that never pause keep the old ones for half of it.
        let top = format!("workers = 2\nshutdown_timeout = \"6s\"\naccept = \"{mode}\"");
        let instance = Instance::started(&top);
        let (over, kept) = (AtomicBool::new(false), AtomicU64::new(0));
        let mut open = Vec::new();
        let short = std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut client = Client::connect(instance.address);
                    while !over.load(Ordering::Relaxed) {
                        if ask(&client).is_some() {
                            kept.fetch_add(1, Ordering::Relaxed);
                        } else {
                            client = Client::connect(instance.address);
                        }
                    }
                });
            }
            let _when_done_or_panicking = Over(&over);
            under_load(&instance, || {
                for _ in 0..rounds {
                    instance.upgraded();
                    let master = instance.master().unwrap();
                    let workers = instance.workers();
                    assert_eq!(workers.len(), 2, "no orphan and no zombie");
                    open.push(descriptors(master));
                }
            })
        });
        let kept = kept.into_inner();
        println!("{mode}: {short} short connections, {kept} requests kept alive");
        assert_eq!(instance.status()["generation"], 1 + rounds);
        // What the server handled, its clients have the answer to.
        assert_eq!(instance.counter("messages_handled"), short + kept);
        assert!(
            open.iter().all(|count| count.abs_diff(open[0]) <= 1),
            "descriptors of the masters: {open:?}"
        );
    }
}

#[test]
fn a_binary_that_never_serves_is_rolled_back_and_all_are_served() {
    let _busy = busy();
    let instance = Instance::subject("workers = 2");
    instance.must("start");
    let master = instance.master().unwrap();
    let served = under_load(&instance, || {
        for (top, script, code, expected) in [
            ("", "exit 3", 70, "exited with code 3 before it took over"),
            ("", "exit 0", 70, "exited with code 0 before it took over"),
            (
                "",
                "kill -9 $$",
                70,
                "killed by SIGKILL before it took over",
            ),
            (
                "",
                "exec sleep 1000",
                70,
                "not ready within upgrade_timeout",
            ),
            (
                "",
                "echo broken > data; exec \"$PROGRAM\" \"$@\"",
                70,
                ": broken",
            ),
            (
                "",
                "touch hang; exec \"$PROGRAM\" \"$@\"",
                70,
                "not ready within",
            ),
            (
                "",
                "exec \"$PROGRAM\" run -d -c conf --set workers=0",
                78,
                "workers is 0",
            ),
            (
                "",
                "exec \"$PROGRAM\" run -d --no-such-option",
                64,
                "exited with code 64",
            ),
            (
                "",
                "exec \"$PROGRAM\" run -d -c conf --set accept=exclusive",
                78,
                "accept is \"mutex\" in the running master",
            ),
        ] {
            instance.upgrade_by(
                &format!("workers = 2\nupgrade_timeout = \"1s\"\n{top}"),
                script,
            );
            let workers = instance.workers();
            let (found, text) = instance.refused(&["upgrade"]);
            assert_eq!(found, code, "{script}: {text}");
            assert!(text.contains("upgrade rolled back: "), "{script}: {text}");
            assert!(text.contains(expected), "{script}: {text}");
            for file in ["data", "hang"] {
                let _not_there = fs::remove_file(instance.path(file));
            }
            instance.is_as_before(master, &workers);
        }
    });
    assert!(served > 0);
    instance.configure("workers = 2\nupgrade_binary = \"nowhere\"");
    instance.must("reload");
    let (code, text) = instance.refused(&["upgrade"]);
    assert_eq!(code, 69, "{text}");
    assert!(text.contains("nowhere: No such file"), "{text}");
    instance.configure("workers = 2");
    instance.must("reload");
    instance.reloaded();
    instance.upgraded();
}

#[test]
fn meanwhile_everything_else_is_refused_and_stop_ends_both() {
    let instance = Instance::started("workers = 2");
    let upgrade = instance.begin_upgrade("workers = 2");
    let new = instance.new_binary();
    for command in ["upgrade", "reload", "reopen"] {
        let (code, text) = instance.refused(&[command]);
        assert_eq!(code, 75, "{command}: {text}");
        assert!(text.contains("an upgrade is going on"), "{command}: {text}");
    }
    let master = instance.master().unwrap();
    assert_eq!(instance.status()["pid"], master);
    instance.echo();
    instance.must("stop");
    let output = upgrade.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("ordered to stop meanwhile"), "{text}");
    assert_eq!(output.status.code(), Some(75));
    assert!(!lives(master) && !lives(new));
}

#[test]
fn when_the_new_one_is_killed_the_old_one_goes_on_and_can_be_upgraded() {
    let instance = Instance::started("workers = 2");
    let upgrade = instance.begin_upgrade("workers = 2");
    let (master, workers) = (instance.master().unwrap(), instance.workers());
    let new = instance.new_binary();
    signal(new, Signal::SIGKILL);
    let output = upgrade.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(70), "{output:?}");
    let workers: Vec<u32> = workers.into_iter().filter(|&pid| pid != new).collect();
    instance.is_as_before(master, &workers);
    fs::write(instance.path("go"), "").unwrap();
    instance.upgraded();
}

#[test]
fn when_the_old_one_is_killed_the_new_one_rules() {
    let instance = Instance::started("workers = 2");
    let upgrade = instance.begin_upgrade("workers = 2");
    let (old, new) = (instance.master().unwrap(), instance.new_binary());
    signal(old, Signal::SIGKILL);
    let output = upgrade.wait_with_output().unwrap();
    assert!(!output.status.success(), "nobody could answer");
    fs::write(instance.path("go"), "").unwrap();
    wait_until("the new one rules", || instance.master() == Some(new));
    wait_until("it is alone", || {
        instance.serves_with(2) && !instance.awaits_elder()
    });
    instance.echo();
    instance.must("reload");
    instance.must("stop");
    assert!(!lives(new));
}

/// Its workers lose their master and drain. Nobody else is put into their rows.
#[test]
fn one_that_is_killed_when_its_workers_serve_already_leaves_nothing_behind() {
    let instance = Instance::started("workers = 2");
    let upgrade = instance.begin_upgrade("workers = 2");
    let (master, new) = (instance.master().unwrap(), instance.new_binary());
    let workers: Vec<u32> = instance
        .workers()
        .into_iter()
        .filter(|&pid| pid != new)
        .collect();
    signal(master, Signal::SIGSTOP);
    fs::write(instance.path("go"), "").unwrap();
    let generation = "ready: generation 3 serves";
    wait_until("its workers serve", || instance.log().contains(generation));
    let orphans = children(new);
    assert_eq!(orphans.len(), 2);
    signal(new, Signal::SIGKILL);
    signal(master, Signal::SIGCONT);
    let output = upgrade.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(70), "{output:?}");
    wait_until("its workers left", || {
        !orphans.iter().any(|&pid| lives(pid))
    });
    instance.is_as_before(master, &workers);
    wait_until("an upgrade is possible again", || {
        instance.ask(&["upgrade"]).status.success()
    });
    assert_ne!(instance.master(), Some(master));
    wait_until("the old one left", || !lives(master));
    instance.echo();
    wait_until("nobody is counted any more", || {
        instance.counter("connections_live") == 0
    });
}

#[test]
fn a_new_master_that_is_killed_later_takes_its_workers_along_as_any_master() {
    let instance = Instance::started("workers = 2\nhandover = false");
    let mut slow = Client::connect(instance.address);
    // Half a frame: it may still come.
    slow.send(&comm(1, b"slow")[..6]);
    wait_until("it was accepted", || {
        instance.counter("connections_live") == 1
    });
    let old = instance.master().unwrap();
    instance.must("upgrade");
    let new = instance.master().unwrap();
    let workers = instance.workers();
    signal(new, Signal::SIGKILL);
    wait_until("its workers left", || {
        !workers.iter().any(|&pid| lives(pid))
    });
    assert!(lives(old), "it drains");
    assert_eq!(instance.refused(&["status"]).0, 69, "nobody rules");
    signal(old, Signal::SIGTERM);
    wait_until("the old one left as well", || !lives(old));
    instance.must("start");
    instance.echo();
}

/// A client that does not leave keeps the old one draining.
#[test]
fn while_the_old_one_drains_the_new_one_obeys_and_stop_ends_both() {
    let top = "workers = 2\ngenerations_max = 2\nhandover = false\n[worker]\ndrain_idle = \"0s\"\n\
               [heartbeat]\nfirst_message = \"0s\"\n[limits]\nreceive_rate = \"0B\"";
    let instance = Instance::started(top);
    let mut slow = Client::connect(instance.address);
    // Half a frame: it may still come.
    slow.send(&comm(1, b"slow")[..6]);
    wait_until("it was accepted", || {
        instance.counter("connections_live") == 1
    });
    let old = instance.master().unwrap();
    instance.must("upgrade");
    let new = instance.master().unwrap();
    assert_eq!(instance.status()["replaces"], old);
    let (code, text) = instance.refused(&["upgrade"]);
    assert_eq!(code, 75, "{text}");
    assert!(text.contains("still drains"), "{text}");
    let (code, text) = instance.refused(&["reload"]);
    assert_eq!(code, 75, "{text}");
    let who = format!("master pid {old}, which the last upgrade replaced, still drains");
    assert!(text.contains(&who), "{text}");
    instance.echo();
    assert!(lives(old));
    wait_until("both left", || {
        // A second one, at least a second later.
        if lives(new) {
            signal(new, Signal::SIGTERM);
        }
        !lives(old) && !lives(new)
    });
    assert!(!instance.path("purlin.pid").exists());
}

#[test]
fn a_memory_that_does_not_fit_is_made_anew_and_counts_and_connections_go_along() {
    let top = "workers = 2\n[limits]\nconnections_per_ip = 1000\n[worker]\nconnections_max = ";
    let instance = Instance::started(&format!("{top}64"));
    (0..10).for_each(|_| instance.echo());
    instance.configure(&format!("{top}4096"));
    let (code, text) = instance.refused(&["reload"]);
    assert_eq!(code, 78, "{text}");
    let mut idle = Client::connect(instance.address);
    assert_eq!(idle.call(1, b"first"), (1, b"first".to_vec()));
    instance.upgraded();
    instance.echo();
    assert_eq!(idle.call(1, b"second"), (1, b"second".to_vec()));
    assert_eq!(instance.counter("messages_handled"), 13);
    wait_until("it alone is left", || {
        instance.counter("connections_live") == 1
    });
}

#[test]
fn unix_sockets_stay_with_those_who_listen() {
    let instance = Instance::new("workers = 1");
    let address = instance.address;
    let write = |paths: &[&str]| {
        let mut text =
            format!("workers = 1\n[log]\nfile = \"log\"\n[[listener]]\naddress = \"{address}\"\n");
        for path in paths {
            text.push_str(&format!("[[listener]]\naddress = \"unix:{path}\"\n"));
        }
        instance.write(&text);
    };
    write(&["stays", "goes"]);
    instance.must("start");
    let stays = fs::metadata(instance.path("stays")).unwrap().ino();
    let connects =
        |name: &str| std::os::unix::net::UnixStream::connect(instance.path(name)).is_ok();
    // One that is rolled back leaves them alone, and takes its own away.
    write(&["stays", "comes"]);
    let master = instance.master().unwrap();
    instance.write(&format!(
        "{}\n[[listener]]\naddress = \"192.0.2.1:1\"\n",
        fs::read_to_string(instance.path("conf")).unwrap()
    ));
    let (code, text) = instance.refused(&["upgrade"]);
    assert_eq!(code, 69, "{text}");
    assert_eq!(instance.master(), Some(master));
    assert!(connects("stays") && connects("goes") && !instance.path("comes").exists());
    write(&["stays", "comes"]);
    instance.upgraded();
    assert_eq!(fs::metadata(instance.path("stays")).unwrap().ino(), stays);
    assert!(connects("stays") && connects("comes") && !instance.path("goes").exists());
    instance.must("stop");
    assert!(!instance.path("stays").exists() && !instance.path("comes").exists());
}

/// Ended with the test, however that ends.
struct Unshared(std::process::Child);

impl Drop for Unshared {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _waited = self.0.wait();
    }
}

/// In a name space of its own, where the master is the first process.
#[test]
fn process_one_refuses_and_says_why() {
    let unshared = |program: &Path| {
        let mut command = Command::new("unshare");
        command.args(["--fork", "--pid", "--kill-child", "--mount-proc"]);
        command.arg("--map-root-user").arg(program);
        command
    };
    let works = unshared(Path::new("true")).output();
    if !works.is_ok_and(|output| output.status.success()) {
        return skip("no name space of processes can be made here");
    }
    // Its pid means another process out here: nobody is to look for `purlin.pid`.
    let instance = Instance::subject("workers = 1\npid_file = \"one\"");
    let mut command = unshared(instance.program());
    command
        .args(["run", "-c", "conf"])
        .current_dir(instance.path(""));
    let master = Unshared(command.stderr(Stdio::null()).spawn().unwrap());
    wait_until("it serves", || instance.ask(&["status"]).status.success());
    let (code, text) = instance.refused(&["upgrade"]);
    assert_eq!(code, 69, "{text}");
    for part in ["process 1", "replace the container"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let first = children(master.0.id())[0];
    signal(first, Signal::SIGTERM);
    wait_until("it ended", || !lives(first));
}
