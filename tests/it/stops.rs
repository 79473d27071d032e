//! What a stop means for clients that come, that wait, and that are served; and
//! that every connection is accounted for, however it ended.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Client, comm, wait_until};
use crate::instance::{Instance, lives, signal};

/// Messages of the subject.
const BLOCK: u16 = 6;
const SLEEP: u16 = 8;

fn is_refused(instance: &Instance) -> bool {
    let connected = TcpStream::connect_timeout(&instance.address, Duration::from_secs(60));
    connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[test]
fn new_clients_are_refused_as_soon_as_a_stop_begins() {
    for accept in ["mutex", "exclusive", "reuseport"] {
        let instance = Instance::subject(&format!("workers = 2\naccept = \"{accept}\""));
        let path = instance.path("socket");
        let text = fs::read_to_string(instance.path("conf")).unwrap();
        let unix = format!("[[listener]]\naddress = \"unix:{}\"\n[log]", path.display());
        instance.write(&text.replace("[log]", &unix));
        instance.must("start");
        let master = instance.master().unwrap();
        let mut busy = Client::connect(instance.address);
        busy.send(&comm(SLEEP, b"3000"));
        wait_until("it is busy", || instance.counter("messages_received") == 1);
        signal(master, Signal::SIGTERM);
        wait_until("clients are refused", || is_refused(&instance));
        let unix = UnixStream::connect(&path).unwrap_err().kind();
        assert_eq!(unix, ErrorKind::ConnectionRefused, "{accept}");
        // And not only because nobody is there any more.
        assert!(lives(master), "{accept}");
        assert_eq!(busy.comm(), (SLEEP, b"3000".to_vec()), "{accept}");
        wait_until("it has stopped", || !lives(master));
    }
}

#[test]
fn who_waits_to_be_accepted_when_a_stop_begins_is_served() {
    for accept in ["mutex", "exclusive", "reuseport"] {
        let instance = Instance::subject(&format!("workers = 1\naccept = \"{accept}\""));
        instance.must("start");
        let master = instance.master().unwrap();
        let mut blocking = Client::connect(instance.address);
        blocking.send(&comm(BLOCK, b"300"));
        wait_until("the event loop is blocked", || {
            instance.counter("messages_received") == 1
        });
        let mut waiting: Vec<Client> = (0..5).map(|_| Client::connect(instance.address)).collect();
        for client in &mut waiting {
            client.send(&comm(1, b"before"));
        }
        signal(master, Signal::SIGTERM);
        for client in &mut waiting {
            assert_eq!(client.comm(), (1, b"before".to_vec()), "{accept}");
        }
    }
}

/// It would keep the port.
#[test]
fn what_a_hanging_upgrade_has_started_ends_with_the_stop() {
    let instance = Instance::subject("workers = 1\nupgrade_binary = \"hangs\"");
    let script = "#!/bin/sh\nsleep 1000 &\necho $! > child.new\nmv child.new child\nwait\n";
    fs::write(instance.path("hangs"), script).unwrap();
    let all = fs::Permissions::from_mode(0o755);
    fs::set_permissions(instance.path("hangs"), all).unwrap();
    instance.must("start");
    let master = instance.master().unwrap();
    let mut upgrade = instance.command(&["upgrade"]).spawn().unwrap();
    wait_until("the script hangs", || instance.path("child").exists());
    let child = fs::read_to_string(instance.path("child")).unwrap();
    let child = child.trim().parse().unwrap();
    assert!(lives(child));
    instance.must("stop");
    let _its_text_is_tested_elsewhere = upgrade.wait().unwrap();
    wait_until("all are gone", || !lives(child) && !lives(master));
    assert!(is_refused(&instance));
}

#[test]
fn every_connection_has_an_end_however_its_worker_ended() {
    let instance = Instance::subject("workers = 2");
    instance.must("start");
    let adds_up = || {
        let counters = &instance.status()["counters"];
        let count = |name: &str| counters[name].as_u64().unwrap();
        let ended = count("connections_closed") + count("connections_ended_with_worker");
        assert_eq!(
            count("connections_accepted"),
            ended + count("connections_live")
        );
        count("connections_ended_with_worker")
    };
    for round in 0..3 {
        let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(instance.address)).collect();
        for client in &mut clients {
            client.who();
        }
        drop(clients.drain(..5));
        instance.settle();
        let before = adds_up();
        let killed = instance.workers();
        for worker in &killed {
            signal(*worker, Signal::SIGKILL);
        }
        wait_until("others serve", || {
            let is_new = |worker| !killed.contains(worker);
            instance.workers().iter().all(is_new) && instance.serves_with(2)
        });
        let lost = adds_up() - before;
        assert!((15..=20).contains(&lost), "{lost} in round {round}");
    }
}

#[test]
fn files_that_were_removed_are_made_anew_at_a_signal() {
    let instance = Instance::subject("workers = 1");
    instance.must("start");
    let master = instance.master().unwrap();
    for (round, order) in [Signal::SIGHUP, Signal::SIGUSR1].into_iter().enumerate() {
        fs::remove_file(instance.path("purlin.pid")).unwrap();
        fs::remove_file(instance.path("purlin.ctl")).unwrap();
        signal(master, order);
        wait_until("the files are there", || {
            instance.master() == Some(master) && instance.path("purlin.ctl").exists()
        });
        instance.echo();
        assert_eq!(instance.status()["pid"], master, "round {round}");
    }
    // An upgrade, which goes on with both, is one of these.
    fs::remove_file(instance.path("purlin.pid")).unwrap();
    fs::remove_file(instance.path("purlin.ctl")).unwrap();
    signal(master, Signal::SIGUSR2);
    wait_until("another master rules", || {
        instance.master().is_some_and(|new| new != master) && !lives(master)
    });
    instance.must("status");
}

#[test]
fn commands_reach_a_master_whose_socket_is_gone() {
    let instance = Instance::subject("workers = 1");
    instance.must("start");
    let master = instance.master().unwrap();
    let remove = || fs::remove_file(instance.path("purlin.ctl")).unwrap();
    remove();
    let (code, text) = instance.refused(&["status"]);
    assert!(
        code == 69 && text.contains(&format!("kill -USR1 {master}")),
        "{code} {text}"
    );
    let (code, text) = instance.refused(&["reload"]);
    assert_eq!(code, 69, "a signal would not say what came of it: {text}");
    let output = instance.ask(&["reopen"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("SIGUSR1 instead"),
        "{text}"
    );
    wait_until("it listens again", || instance.path("purlin.ctl").exists());
    instance.must("reload");
    remove();
    instance.must("stop");
    assert!(!lives(master));
}
