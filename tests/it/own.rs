//! What is a program's own, as an operator meets it: a table in the file, flags, a
//! command, a version.

use std::fs;
use std::process::Output;

use purlin::Server;
use purlin::prelude::*;

use crate::harness::{Client, comm, wait_until};
use crate::instance::Instance;
use crate::websocket;

/// An instance of the program, with this for its table.
fn own(app: &str) -> Instance {
    let instance = Instance::own();
    write(&instance, app);
    instance
}

fn write(instance: &Instance, app: &str) {
    let address = instance.address;
    instance.write(&format!(
        "workers = 1\nuser = \"root\"\nallow_root = true\n[app]\n{app}\n[log]\nfile = \"log\"\n\
         [[listener]]\naddress = \"{address}\"\n\
         [[listener]]\naddress = \"127.0.0.77:0\"\nname = \"internal\"\nprotocol = \"auto\"\n"
    ));
}

/// A client of the internal listener.
fn internal(instance: &Instance) -> Client {
    let address = instance.status()["listeners"][1]
        .as_str()
        .unwrap()
        .to_owned();
    Client::connect(address.parse().unwrap())
}

fn said(client: &mut Client, id: u16, body: &str) -> String {
    text(&client.call(id, body.as_bytes()).1)
}

fn text(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).unwrap()
}

fn ok(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

fn answer(instance: &Instance, id: u16) -> String {
    text(&Client::connect(instance.address).call(id, b"").1)
}

#[test]
fn a_reload_takes_good_settings_and_refuses_bad_ones_with_their_place() {
    let instance = own("motd = \"one\"\nseats = 4");
    instance.must("start");
    assert_eq!(
        (answer(&instance, 1), answer(&instance, 2)),
        ("one".into(), "4".into())
    );
    write(&instance, "motd = \"two\"\nseats = 5");
    instance.must("reload");
    wait_until("the new settings hold", || answer(&instance, 1) == "two");
    assert_eq!(answer(&instance, 2), "5");
    for (app, expected) in [
        (
            "seats = 1",
            "conf:5:9: app.seats is 1, must be from 2 to 64",
        ),
        (
            "\nidle = 30",
            "conf:6:8: app.idle is 30, must be a time with its unit",
        ),
        (
            "mottd = \"x\"",
            "conf:5:1: unknown key `app.mottd`; the nearest known one is `app.motd`",
        ),
    ] {
        write(&instance, app);
        for command in [&["reload"][..], &["-t"]] {
            let (code, said) = instance.refused(command);
            assert_eq!(code, 78, "{said}");
            assert!(said.contains(expected) && said.contains('^'), "{said}");
        }
        assert_eq!(
            (answer(&instance, 1), answer(&instance, 2)),
            ("two".into(), "5".into())
        );
    }
    let (code, said) = instance.refused(&["start"]);
    assert_eq!(code, 78, "{said}");
}

#[test]
fn file_environment_set_and_flag_stand_over_each_other_in_this_order() {
    let instance = own("motd = \"file\"\nseats = 3");
    let print = |env: &[(&str, &str)], arguments: &[&str]| {
        let mut command = instance.command(&["-T"]);
        let output = command.args(arguments).envs(env.iter().copied()).output();
        let printed = ok(output.unwrap());
        let (_, app) = printed.split_once("[app]\n").unwrap();
        let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        app.lines().map(squeezed).collect::<Vec<_>>()
    };
    let env = [("PURLIN__APP__MOTD", "variable")];
    let set = ["--set", "app.motd=set"];
    let flag = ["-m", "flag", "--set", "app.motd=set"];
    let expected = |motd: &str| {
        let rest = ["idle = \"30s\" # default", "seats = 3 # conf:6"];
        [
            rest[0].to_owned(),
            format!("motd = {motd}"),
            rest[1].to_owned(),
        ]
    };
    assert_eq!(print(&[], &[]), expected("\"file\" # conf:5"));
    assert_eq!(
        print(&env, &[]),
        expected("\"variable\" # PURLIN__APP__MOTD")
    );
    assert_eq!(print(&env, &set), expected("\"set\" # --set"));
    assert_eq!(print(&env, &flag), expected("\"flag\" # --set"));
    // What was given at the start holds over reloads.
    let started = instance.ask(&["start", "--motd", "kept"]);
    assert!(started.status.success(), "{started:?}");
    instance.must("reload");
    assert_eq!(answer(&instance, 1), "kept");
    let (code, said) = instance.refused(&["reload", "--motd", "other"]);
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("app.motd=other"), "{said}");
}

#[test]
fn a_command_of_the_program_sees_its_settings_and_says_what_is_wrong() {
    let instance = own("users = \"users\"");
    assert_eq!(ok(instance.ask(&["adduser", "ann", "--admin"])), "");
    ok(instance.ask(&["adduser", "bob"]));
    let users = fs::read_to_string(instance.path("users")).unwrap();
    assert_eq!(users, "ann true\nbob false\n");
    let (code, said) = instance.refused(&["adduser", "eve", "--set", "app.users="]);
    assert_eq!(code, 1, "{said}");
    assert_eq!(
        said,
        "own: app.users is empty: it names the file of users\n"
    );
    let (code, said) = instance.refused(&["adduser"]);
    assert_eq!(code, 64, "{said}");
    write(&instance, "seats = 0");
    let (code, said) = instance.refused(&["adduser", "eve"]);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("conf:5:9: app.seats is 0"), "{said}");
}

#[test]
fn help_version_manual_and_completions_are_the_programs() {
    let instance = own("");
    let help = ok(instance.ask(&["--help"]));
    for part in [
        "A place to meet",
        "Let somebody log in",
        "-m, --motd <TEXT>",
        "own -t -c",
    ] {
        assert!(help.contains(part), "{part}: {help}");
    }
    let help = ok(instance.ask(&["adduser", "--help"]));
    for part in [
        "Let somebody log in",
        "Usage: own adduser",
        "May kick others",
        "--set",
    ] {
        assert!(help.contains(part), "{part}: {help}");
    }
    assert!(ok(instance.ask(&["-v"])).starts_with("own 7.8.9 (purlin "));
    assert!(ok(instance.ask(&["-V"])).starts_with("own 7.8.9 (purlin "));
    for (artifact, parts) in [
        ("man", [".TH own 8", "7.8.9", "adduser"]),
        ("bash", ["own", "adduser", "--motd"]),
        ("zsh", ["#compdef own", "adduser", "--motd"]),
        ("fish", ["complete -c own", "adduser", "-l motd"]),
    ] {
        let mut command = std::process::Command::new(instance.program());
        let text = ok(command.args(["generate", artifact]).output().unwrap());
        for part in parts {
            assert!(text.contains(part), "{artifact}: {part}");
        }
    }
}

#[test]
fn a_listener_has_functions_of_its_own_also_after_a_reload() {
    let instance = own("motd = \"hi\"");
    instance.must("start");
    let (mut ann, mut admin) = (Client::connect(instance.address), internal(&instance));
    ann.send(&comm(3, b"ann"));
    assert_eq!(
        (said(&mut ann, 4, ""), said(&mut admin, 4, "")),
        ("".into(), "internal".into())
    );
    assert_eq!(said(&mut admin, 100, "ann"), "1");
    assert_eq!(said(&mut admin, 1, ""), "hi");
    let (id, body) = ann.call(100, b"ann");
    assert_eq!(id, 65535);
    assert!(body.ends_with(b"no handler for message 100"));
    // They go on in the worker of the next generation.
    instance.must("reload");
    wait_until("the old worker left", || {
        instance.status()["workers"].as_array().unwrap().len() == 1
    });
    assert_eq!(
        (said(&mut ann, 4, ""), said(&mut admin, 4, "")),
        ("".into(), "internal".into())
    );
    assert_eq!(said(&mut admin, 100, "ann"), "1");
    let mut browser = internal(&instance);
    browser.send(b"GET /health HTTP/1.0\r\n\r\n");
    assert!(text(&browser.rest()).ends_with("\r\n\r\nfine"));
}

#[test]
fn a_file_without_a_listener_that_the_program_needs_is_refused() {
    let instance = own("");
    instance.must("start");
    let address = instance.address;
    for (name, expected) in [
        (
            "",
            "listener has none with name = \"internal\", for which the program has functions",
        ),
        (
            "name = \"internl\"\n",
            "conf:6:8: listener.0.name is \"internl\", but the program",
        ),
    ] {
        instance.write(&format!(
            "user = \"root\"\nallow_root = true\nworkers = 1\n[[listener]]\n\
             address = \"{address}\"\n{name}"
        ));
        for command in [&["-t"][..], &["reload"]] {
            let (code, said) = instance.refused(command);
            assert_eq!(code, 78, "{said}");
            assert!(said.contains(expected), "{said}");
        }
        assert_eq!(answer(&instance, 1), "welcome");
    }
    write(&instance, "motd = \"again\"");
    instance.must("reload");
    wait_until("the file is good again", || answer(&instance, 1) == "again");
}

#[test]
fn users_are_listed_and_kicked_in_every_worker() {
    let instance = own("");
    instance.must("start");
    let output = instance.ask(&["workers", "3"]);
    assert!(output.status.success(), "{output:?}");
    let mut anns: Vec<Client> = (0..6).map(|_| Client::connect(instance.address)).collect();
    let mut bob = Client::connect(instance.address);
    for client in &mut anns {
        client.send(&comm(3, b"ann"));
        assert_eq!(said(client, 1, ""), "welcome");
    }
    bob.send(&comm(3, "böb \u{7}".as_bytes()));
    assert_eq!(said(&mut bob, 1, ""), "welcome");
    let listed = ok(instance.ask(&["connections", "--json"]));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let of = |user: &str| {
        let all = listed["connections"].as_array().unwrap().iter();
        all.filter(|one| one["user"] == user).count()
    };
    assert_eq!((of("ann"), of("böb \\u{7}")), (6, 1), "{listed}");
    let lines = ok(instance.ask(&["connections"]));
    let ends = |end: &str| lines.lines().filter(|line| line.ends_with(end)).count();
    assert_eq!(
        (ends("  user  rooms"), ends("  ann"), ends("  böb \\u{7}")),
        (1, 6, 1),
        "{lines}"
    );
    let kicked = ok(instance.ask(&["kick", "--user", "ann"]));
    assert_eq!(kicked, "closed 6 connections of user ann\n");
    for client in &mut anns {
        assert_eq!(client.rest(), b"");
    }
    assert_eq!(instance.counter("connections_closed_kicked"), 6);
    let (code, told) = instance.refused(&["kick", "--user", "ann"]);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("no connection is of user ann"), "{told}");
    assert_eq!(said(&mut bob, 1, ""), "welcome");
    let (code, told) = instance.refused(&["kick"]);
    assert_eq!(code, 64, "{told}");
}

#[test]
fn connections_are_listed_with_the_rooms_that_they_are_in() {
    let instance = own("");
    instance.must("start");
    let mut bob = Client::connect(instance.address);
    bob.send(&comm(3, b"bob"));
    assert_eq!(said(&mut bob, 1, ""), "welcome");
    let listed = ok(instance.ask(&["connections", "--json"]));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let one = &listed["connections"][0];
    assert_eq!(one["user"], "bob");
    assert_eq!(one["rooms"], serde_json::json!(["hall", "zoo"]));
    let lines = ok(instance.ask(&["connections"]));
    assert!(
        lines.lines().any(|line| line.ends_with("  bob  hall zoo")),
        "{lines}"
    );
}

#[test]
fn who_is_kicked_hears_why_in_every_worker_and_protocol() {
    let instance = own("");
    instance.must("start");
    let output = instance.ask(&["workers", "2"]);
    assert!(output.status.success(), "{output:?}");
    let serve_both = || {
        let status = instance.status();
        let mut workers = status["workers"].as_array().unwrap().iter();
        workers.all(|worker| worker["live"].as_u64() > Some(0))
    };
    let mut anns: Vec<Client> = Vec::new();
    while !serve_both() {
        assert!(anns.len() < 2000, "one worker has them all");
        for _ in 0..20 {
            let mut client = Client::connect(instance.address);
            client.send(&comm(3, b"ann"));
            assert_eq!(said(&mut client, 1, ""), "welcome");
            anns.push(client);
        }
    }
    let mut browser = internal(&instance);
    browser.send(websocket::request("/ws", "").as_bytes());
    assert!(websocket::head(&mut browser).0.starts_with("HTTP/1.1 101"));
    let all = anns.len() + 1;
    let longest = "wörk ".repeat(19) + "is over!!";
    let kick = ["kick", "--user", "ann", "--say", &longest];
    assert_eq!(
        ok(instance.ask(&kick)),
        format!("closed {all} connections of user ann\n")
    );
    for client in &mut anns {
        assert_eq!(client.rest(), comm(5, longest.as_bytes()));
    }
    // In frames of its own as well, and then in the words of the protocol.
    let push = comm(5, longest.as_bytes());
    assert_eq!(websocket::next(&mut browser), (0x82, push));
    let close = [&1008_u16.to_be_bytes()[..], longest.as_bytes()].concat();
    assert_eq!(websocket::next(&mut browser), (0x88, close));
    assert_eq!(instance.counter("connections_closed_kicked"), all as u64);
    let mut bob = Client::connect(instance.address);
    assert_eq!(said(&mut bob, 1, ""), "welcome");
    let listed = ok(instance.ask(&["connections", "--json"]));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let id = listed["connections"][0]["id"].as_str().unwrap();
    let kicked = ok(instance.ask(&["kick", id, "--say", "and you"]));
    assert_eq!(kicked, format!("closed {id}\n"));
    assert_eq!(bob.rest(), comm(5, b"and you"));
    let (code, told) = instance.refused(&["kick", id, "--say", &"x".repeat(124)]);
    assert_eq!(code, 64, "{told}");
}

/// What a worker is told used to be cut at 64 bytes, and somebody else was kicked.
#[test]
fn a_user_of_a_long_name_is_kicked_and_nobody_who_is_called_nearly_so() {
    let instance = own("");
    instance.must("start");
    let name = "u".repeat(128);
    let mut clients: Vec<Client> = [&name[..], &name[..54], &name[..52]]
        .map(|name| {
            let mut client = Client::connect(instance.address);
            client.send(&comm(3, name.as_bytes()));
            assert_eq!(said(&mut client, 1, ""), "welcome");
            client
        })
        .into();
    let kicked = ok(instance.ask(&["kick", "--user", &name]));
    assert_eq!(kicked, format!("closed 1 connection of user {name}\n"));
    assert_eq!(clients.remove(0).rest(), b"");
    for client in &mut clients {
        assert_eq!(said(client, 1, ""), "welcome");
    }
}

#[test]
fn the_log_of_a_server_is_its_own_and_can_be_waited_for() {
    let app = |what: &'static str| {
        App::<()>::new()
            .started(move |_| log::info!("{what} begins"))
            .on(1, move |c, name: String| {
                c.bind(&name);
                log::debug!(seats = 8; "{what} seats {name}");
            })
            .on_inline(2, move |_, (): ()| log::info!("{what} inline"))
            .closed(move |c| log::info!("{what} lost {:?}", c.user()))
    };
    let one = Server::with_log(app("one"), &[("log.level", "debug")]).unwrap();
    let two = Server::with_log(app("two"), &[]).unwrap();
    let silent = Server::spawn(app("three")).unwrap();
    for server in [&one, &two, &silent] {
        let mut client = Client::to(server);
        client.send(&[comm(1, b"ann"), comm(2, b"")].concat());
        drop(client);
    }
    for (server, what) in [(&one, "one"), (&two, "two")] {
        let lost = server.wait_log(&format!("{what} lost Some(\"ann\")"));
        assert!(lost.contains(" info "), "{lost}");
        assert!(
            server
                .wait_log("begins")
                .contains(&format!("{what} begins"))
        );
        let inline = server.wait_log(&format!("{what} inline"));
        assert!(
            inline.contains(" conn=") && inline.ends_with(" user=ann"),
            "{inline}"
        );
        let others = ["one", "two", "three"]
            .into_iter()
            .filter(|one| *one != what);
        for other in others {
            let mine = server.log();
            let is_other = |line: &String| line.contains(&format!(": {other} "));
            assert!(!mine.iter().any(is_other), "{mine:?}");
        }
    }
    let seats = one.wait_log("one seats ann");
    assert!(
        seats.contains(" debug ") && seats.contains(" seats=8"),
        "{seats}"
    );
    assert!(
        !two.log().iter().any(|line| line.contains("seats")),
        "level info"
    );
    assert!(silent.log().is_empty());
}
