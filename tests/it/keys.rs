//! Keys of the configuration whose effect only a server that runs can show: who may
//! connect to its sockets, where its lines go, whom its workers become.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::harness::{Client, skip, wait_until};
use crate::instance::{Instance, signal};

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// One GET over HTTP; the whole answer.
fn get(mut stream: impl Read + Write, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_unix_socket_has_the_mode_that_its_listener_says() {
    let instance = Instance::new("");
    let sock = instance.path("sock");
    let configure = |keys: &str| {
        instance.write(&format!(
            "workers = 1\n[[listener]]\naddress = \"unix:{}\"\nprotocol = \"http\"\n{keys}",
            sock.display()
        ));
    };
    configure("mode = \"0660\"\n");
    instance.must("-t");
    instance.must("start");
    let found = || fs::symlink_metadata(&sock).unwrap();
    assert_eq!(found().mode() & 0o777, 0o660);
    assert!(get(UnixStream::connect(&sock).unwrap(), "/").contains(" 200 "));
    let before = found().ino();
    configure("mode = \"0606\"\n");
    instance.must("reload");
    wait_until("the new mode is in force", || {
        found().mode() & 0o777 == 0o606
    });
    assert_eq!(found().ino(), before, "it is the same socket");
    if !is_root() {
        return skip("not root: sockets cannot be given away (run it as root)");
    }
    configure("user = \"3999999999\"\ngroup = \"3999999998\"\nmode = \"0640\"\n");
    instance.must("reload");
    wait_until("it is theirs", || {
        (found().uid(), found().gid()) == (3_999_999_999, 3_999_999_998)
    });
    wait_until("its mode is in force", || found().mode() & 0o777 == 0o640);
    configure("group = \"no-such-group\"\n");
    for command in ["-t", "reload"] {
        let (code, text) = instance.refused(&[command]);
        assert_ne!(code, 0, "{command}");
        assert!(
            text.contains("listener.0.group cannot be used: group `no-such-group` does"),
            "{text}"
        );
    }
}

#[test]
fn socket_paths_are_checked_before_a_start() {
    let instance = Instance::new("");
    for (address, said) in [
        (format!("unix:{}", "p".repeat(108)), "at most 107"),
        ("unix:@name".to_owned(), "abstract socket"),
        (
            "unix:/nonexistent/sock".to_owned(),
            "/nonexistent is no folder",
        ),
    ] {
        instance.write(&format!("[[listener]]\naddress = \"{address}\"\n"));
        let (code, text) = instance.refused(&["-t"]);
        assert_eq!(code, 78, "{text}");
        assert!(text.contains(said), "{text}");
        assert!(!instance.path("@name").exists());
    }
}

/// A port that nobody has, over IPv4 or IPv6.
fn free_port() -> Option<u16> {
    let socket = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).ok()?;
    Some(socket.local_addr().unwrap().port())
}

#[test]
fn ipv6_takes_ipv4_as_well_unless_another_listener_has_it() {
    let Some(port) = free_port() else {
        return skip("this machine has no IPv6 (enable net.ipv6)");
    };
    let instance = Instance::new("");
    let (v4, v6) = (
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
    );
    let write = |more: &str| {
        instance.write(&format!(
            "workers = 1\n[limits]\n[log]\nfile = \"log\"\n[http]\naccess_log = \"access\"\n\
             [[listener]]\naddress = \"[::]:{port}\"\nprotocol = \"http\"\n{more}"
        ));
    };
    write("allow = [\"127.0.0.0/8\", \"::1\"]\n");
    instance.must("start");
    for address in [v4, v6] {
        assert!(
            get(TcpStream::connect(address).unwrap(), "/").contains(" 200 "),
            "{address}"
        );
    }
    wait_until("both are in the access log", || {
        let log = fs::read_to_string(instance.path("access")).unwrap_or_default();
        log.lines().any(|line| line.starts_with("127.0.0.1 ")) && log.contains("::1 ")
    });
    // The socket cannot become another one.
    write("ipv6_only = \"true\"\n");
    let (code, text) = instance.refused(&["reload"]);
    assert_eq!(code, 78, "{text}");
    assert!(text.contains("listener.0.ipv6_only"), "{text}");
    instance.must("stop");
    instance.must("start");
    assert!(TcpStream::connect(v4).is_err());
    assert!(TcpStream::connect(v6).is_ok());
    instance.must("stop");
    write(&format!("[[listener]]\naddress = \"127.0.0.1:{port}\"\n"));
    instance.must("start");
    let mut frames = Client::connect(v4);
    assert_eq!(frames.call(1, b"hello"), (1, b"hello".to_vec()));
    assert!(get(TcpStream::connect(v6).unwrap(), "/").contains(" 200 "));
    instance.must("stop");
}

#[test]
fn the_access_log_goes_where_a_word_says() {
    for (word, is_out) in [("-", true), ("stdout", true), ("stderr", false)] {
        let instance = Instance::new(&format!("workers = 1\n[http]\naccess_log = \"{word}\""));
        let (out, err) = (instance.path("out"), instance.path("err"));
        let file = |path| Stdio::from(fs::File::create(path).unwrap());
        let mut run = instance.command(&["run", "--set", "listener.0.protocol=http"]);
        let mut server = run.stdout(file(&out)).stderr(file(&err)).spawn().unwrap();
        wait_until("it serves", || instance.ask(&["status"]).status.success());
        let connect = || TcpStream::connect(instance.address).unwrap();
        assert!(get(connect(), "/once").contains(" 404 "));
        let lines = |path| {
            let text = fs::read_to_string(path).unwrap();
            text.matches("GET /").count()
        };
        let (place, other) = if is_out { (&out, &err) } else { (&err, &out) };
        wait_until("the line is there", || lines(place) == 1);
        // A new worker, and logs that are opened again.
        instance.must("reload");
        instance.must("reopen");
        assert!(get(connect(), "/twice").contains(" 404 "));
        wait_until("so is the next one", || lines(place) == 2);
        assert_eq!(lines(other), 0, "{word}");
        assert!(!instance.path(word).exists(), "a file has that name");
        signal(instance.master().unwrap(), Signal::SIGTERM);
        assert!(server.wait().unwrap().success());
        let (code, text) = instance.refused(&["start"]);
        assert_eq!(code, 78, "{text}");
        assert!(text.contains("leads nowhere in the background"), "{text}");
    }
}

#[test]
fn the_access_log_goes_to_syslog() {
    let instance = Instance::new("");
    let path = instance.path("syslog");
    let daemon = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    daemon
        .set_read_timeout(Some(crate::harness::PATIENCE))
        .unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let folder = instance.path("");
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    instance.configure(&format!(
        "workers = 1\n[http]\naccess_log = \"syslog\"\n[log]\nsyslog = \"unix:{}\"",
        path.display()
    ));
    let text = fs::read_to_string(instance.path("conf")).unwrap();
    let (first, _) = text.rsplit_once("[log]").unwrap();
    instance.write(&format!("{first}protocol = \"http\"\n"));
    instance.must("start");
    let stream = TcpStream::connect(instance.address).unwrap();
    assert!(get(stream, "/told").contains(" 404 "));
    let mut datagram = [0; 4096];
    loop {
        let len = daemon.recv(&mut datagram).unwrap();
        let line = String::from_utf8_lossy(&datagram[..len]).into_owned();
        if line.contains("\"GET /told HTTP/1.1\" 404") {
            assert!(line.contains("purlin["), "{line}");
            break;
        }
    }
    instance.must("stop");
}

#[test]
fn what_is_no_path_is_refused_for_a_log() {
    let instance = Instance::new("");
    for key in ["http.access_log", "log.file"] {
        for word in ["off", "syslog:server=h", "|cat"] {
            let (code, text) = instance.refused(&["-t", "--set", &format!("{key}={word}")]);
            assert_eq!(code, 78, "{text}");
            assert!(
                text.contains("must be a path, stdout, stderr, syslog"),
                "{text}"
            );
        }
    }
    let (code, text) = instance.refused(&["-t", "--set", "log.file=syslog"]);
    assert_eq!(code, 78, "{text}");
    assert!(text.contains("which is for log.syslog to name"), "{text}");
}

#[test]
fn workers_become_a_user_of_a_number() {
    if !is_root() {
        return skip("not root: workers stay who they are (run it as root)");
    }
    for (keys, uid, gid) in [
        ("user = \"65534\"", 65_534, None),
        (
            "user = \"3999999999\"\ngroup = \"3999999998\"",
            3_999_999_999,
            Some(3_999_999_998),
        ),
    ] {
        let instance = Instance::started(&format!("workers = 1\n{keys}"));
        let found = fs::metadata(format!("/proc/{}", instance.workers()[0])).unwrap();
        let status = fs::read_to_string(format!("/proc/{}/status", instance.workers()[0])).unwrap();
        let ids = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap();
            line.split_whitespace()
                .map(|id| id.parse().unwrap())
                .collect::<Vec<u32>>()
        };
        assert_eq!(ids("Uid:"), [uid; 4], "{}", found.uid());
        if let Some(gid) = gid {
            assert_eq!(ids("Gid:"), [gid; 4]);
            assert_eq!(ids("Groups:"), [gid]);
        }
        instance.echo();
    }
    let instance = Instance::new("");
    for (key, value, said) in [
        (
            "user",
            "nosuch",
            "user cannot be used: user `nosuch` does not exist",
        ),
        (
            "group",
            "nosuch",
            "group cannot be used: group `nosuch` does not exist",
        ),
        (
            "user",
            "3999999999",
            "group cannot be used: user 3999999999 has no entry",
        ),
    ] {
        let (code, text) = instance.refused(&["-t", "--set", &format!("{key}={value}")]);
        assert_eq!(code, 78, "{text}");
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn a_test_of_the_configuration_sees_what_a_start_would() {
    let instance = Instance::new("");
    let port = instance.address.port();
    instance.write(&format!(
        "[[listener]]\naddress = \"0.0.0.0:{port}\"\n[[listener]]\naddress = \"127.0.0.1:{port}\"\n"
    ));
    let (code, text) = instance.refused(&["-t"]);
    assert_eq!(code, 78, "{text}");
    assert!(text.contains("cannot be had beside"), "{text}");
    instance.configure("");
    for (key, value) in [
        ("pid_file", "/nonexistent/p"),
        ("control_socket", "/nonexistent/c"),
        ("http.body_folder", "/nonexistent"),
        ("log.file", "/nonexistent/log"),
        ("http.access_log", "/nonexistent/log"),
    ] {
        let set = format!("{key}={value}");
        let (code, text) = instance.refused(&["-t", "--set", &set]);
        assert_eq!(code, 78, "{text}");
        assert!(text.contains("/nonexistent"), "{text}");
    }
}

#[test]
fn no_more_workers_than_the_configuration_may_say() {
    let instance = Instance::started("workers = 1");
    for wanted in ["65", "+64", "300"] {
        let (code, text) = instance.refused(&["workers", wanted]);
        assert_eq!(code, 64, "{text}");
        assert!(text.contains("must be from 1 to 64"), "{text}");
    }
    assert!(instance.serves_with(1));
}

/// As little as leaves room for nothing, up to what is enough.
#[test]
fn few_descriptors_are_told_in_a_sentence() {
    let instance = Instance::new("workers = 2");
    for limit in [4, 6, 8, 12, 16, 20, 24, 30, 36] {
        let run = format!("ulimit -n {limit}; exec timeout -s KILL 60 \"$0\" start -c conf");
        let mut shell = Command::new("sh");
        shell.args(["-c", &run]).arg(instance.program());
        let output = shell.current_dir(instance.path("")).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned() + &instance.log();
        assert!(!told.contains("panicked"), "{limit}: {told}");
        assert!(!told.contains("stack backtrace"), "{limit}: {told}");
        if output.status.success() {
            instance.must("stop");
        } else {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!said.trim().is_empty(), "{limit}: {output:?}");
        }
    }
}

/// Each thread has a stack, which counts as data.
#[test]
fn a_thread_that_cannot_be_started_is_named() {
    let instance = Instance::new("workers = 1\n[worker]\nbusiness_threads = 256");
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -d 131072; exec \"$0\" start -c conf"]);
    shell.arg(instance.program()).current_dir(instance.path(""));
    let output = shell.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(70), "{told}");
    for part in ["start the business-", " thread: ", "limit of memory"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(instance.master().is_none());
}
