//! `purlin stress` as its users run it, on the real daemon.

use std::process::{Command, Output, Stdio};

#[cfg(not(feature = "stress"))]
#[test]
fn a_program_without_the_load_tool_says_how_to_get_it() {
    for args in [&["stress"][..], &["stress", "--classic", "127.0.0.1:1"]] {
        let output = purlin(args);
        assert_eq!(output.status.code(), Some(64), "{args:?}");
        let told = text(&output.stderr);
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.contains("--features stress"), "{told}");
    }
    let help = purlin(&["--help"]);
    assert!(!text(&help.stdout).contains("stress"));
}

fn purlin(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_purlin"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[cfg(feature = "stress")]
pub(crate) mod with_the_tool {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::process::{Command, Stdio};
    use std::thread;

    use purlin::prelude::*;
    use purlin::{App, Server};
    use serde_json::Value;

    use super::{Output, purlin, text};
    use crate::daemon::Daemon;
    use crate::harness::{threads, wait_until};

    /// Runs the tool on `address`; `args` are split at spaces.
    pub(crate) fn stress(address: impl ToString, args: &str) -> Output {
        let address = address.to_string();
        let mut all = vec!["stress", &*address];
        all.extend(args.split_whitespace());
        purlin(&all)
    }

    #[test]
    fn a_layout_of_ones_own_is_the_text_that_the_server_has() {
        let fields = "{ length = { offset = 2, bytes = 2, endian = \"little\" }, \
                      id = { offset = 0, bytes = 2 }, max = \"64KiB\" }";
        let daemon = Daemon::start(&[("listener.0.frame", fields)]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("layout.toml");
        let shown = file.display();
        for text in [
            fields.to_owned(),
            format!("# As the server has it.\n\nframe = {fields}\n"),
        ] {
            std::fs::write(&file, text).unwrap();
            let args = format!("--layout {shown} -n 1000 -c 4 --json");
            let output = stress(daemon.address(), &args);
            assert_good(&output);
            assert_eq!(json(&output)["settings"]["preset"], shown.to_string());
        }
        for (text, said) in [
            (
                "{ lenght = { offset = 0, bytes = 2 } }",
                "layout.toml: unknown key `lenght`; the nearest known one is `length`",
            ),
            ("nosuch", "layout.toml: must be one of"),
            (
                "{ fixed = 10, header = 2 }",
                "body of 128 bytes is over the 8",
            ),
        ] {
            std::fs::write(&file, text).unwrap();
            let output = stress(daemon.address(), &format!("--layout {shown}"));
            assert_eq!(output.status.code(), Some(64), "{text}");
            let told = self::text(&output.stderr);
            assert!(told.contains(said), "{told}");
        }
        let output = stress(daemon.address(), "--layout /nonexistent");
        assert!(self::text(&output.stderr).contains("--layout /nonexistent: No such file"));
        assert_eq!(output.status.code(), Some(64));
    }

    /// Constants, echoes, masks, trailers, delimiters, varints, fixed lengths.
    #[test]
    fn whatever_a_listener_speaks_can_be_stressed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("layout.toml");
        let modbus = "{ length = { offset = 4, bytes = 2, adjust = -2 }, id = { offset = 7, \
                      bytes = 1 }, sequence = { offset = 0, bytes = 1 }, constants = { offset = 2, \
                      hex = \"0000\" }, echo = { offset = 6, bytes = 1, push = \"ff\" } }";
        for (format, args) in [
            (modbus, "--depth 9"),
            (
                "{ length = { offset = 1, bytes = 4, varint = true }, \
                 id = { offset = 0, bytes = 1, mask = 0xf0 } }",
                "--size 300",
            ),
            ("{ delimiter = \"$_$\" }", "--size 9"),
            ("{ delimiter = \"\\n\", crlf = true }", "--depth 20"),
            ("{ fixed = 10, header = 2 }", "--size 8"),
            (
                "{ length = { offset = 0, bytes = 2 }, trailer = { checksum = \"crc32\" } }",
                "--size 0",
            ),
            ("\"varint\"", ""),
            ("frame = \"line\"", ""),
        ] {
            let app = App::<()>::new()
                .on(1, |_, body: Bytes| body)
                .otherwise(|_, body: Bytes| body);
            let frame = format.trim_start_matches("frame = ").trim_matches('"');
            let server = Server::configured(app, &[("listener.0.frame", frame)]).unwrap();
            std::fs::write(&file, format).unwrap();
            let shown = file.display();
            // Over 255 numbers of a request, which begin again.
            let args = format!("--layout {shown} -n 3000 -c 4 {args}");
            let output = stress(&server.addresses()[0], &args);
            assert_eq!(text(&output.stderr), "", "{format}");
            assert_eq!(output.status.code(), Some(0), "{format}");
            assert!(
                text(&output.stdout).contains("3,000"),
                "{format}: {}",
                text(&output.stdout)
            );
        }
        std::fs::write(&file, modbus).unwrap();
        let args = format!("--layout {} --depth 256", file.display());
        let output = stress("127.0.0.1:1", &args);
        assert!(text(&output.stderr).contains("over the 255 numbers"));
        assert_eq!(output.status.code(), Some(64));
    }

    pub(crate) fn json(output: &Output) -> Value {
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn assert_good(output: &Output) {
        let told = text(&output.stderr);
        assert_eq!(
            (output.status.code(), told),
            (Some(0), ""),
            "{}",
            text(&output.stdout)
        );
    }

    #[test]
    fn the_classic_load_is_forty_thousand_of_forty_thousand() {
        let daemon = Daemon::start(&[]);
        let output = stress(daemon.address(), "--classic");
        assert_good(&output);
        let told = text(&output.stdout);
        for line in [
            "200 connections to ",
            "256 bytes",
            "  total        40,000 of 40,000 replies\n",
            "  errors       0\n",
            "  connections  200\n",
        ] {
            assert!(told.contains(line), "{line:?} is missing in:\n{told}");
        }
        for name in [
            "duration", "ops/s", "mean", "p50", "p95", "p99", "p99.9", "max",
        ] {
            let line = told
                .lines()
                .find(|line| line.trim_start().starts_with(&format!("{name} ")));
            assert!(line.is_some(), "{name} is missing in:\n{told}");
        }
        let counters = daemon.stop();
        assert_eq!(counters["messages_handled"], 40_000);
        assert_eq!(counters["connections_accepted"], 200);
    }

    #[test]
    fn short_connections_are_counted_alike_by_both_sides() {
        let daemon = Daemon::start(&[]);
        let output = stress(
            daemon.address(),
            "--churn 1 --count 2000 --connections 20 --json",
        );
        assert_good(&output);
        let report = json(&output);
        assert_eq!(report["connections_opened"], 2000);
        assert_eq!(report["replies"], 2000);
        let counters = daemon.stop();
        assert_eq!(counters["connections_accepted"], 2000);
        assert_eq!(counters["messages_handled"], 2000);
    }

    #[test]
    fn every_preset_is_spoken() {
        let presets = [
            "comm", "zinx", "zinx-ltv", "rpc", "frame32", "len16", "len32",
        ];
        for preset in presets {
            // `on` for those with ids, `otherwise` for those without.
            let app = App::<()>::new()
                .on(1, |_, body: Bytes| body)
                .otherwise(|_, body: Bytes| body);
            let server = Server::configured(app, &[("listener.0.frame", preset)]).unwrap();
            let args = format!(
                "--preset {preset} --connections 5 --depth 4 --count 500 --size 1000 --json"
            );
            let output = stress(&server.addresses()[0], &args);
            assert_good(&output);
            assert_eq!(json(&output)["replies"], 500, "{preset}");
        }
    }

    #[test]
    fn unix_sockets_are_loaded_too() {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("unix:{}", folder.path().join("s").display());
        let app = App::<()>::new().on(1, |_, body: Bytes| body);
        let _server = Server::configured(app, &[("listener.0.address", &address)]).unwrap();
        assert_good(&stress(&address, "--count 1000 --churn 10 --connections 5"));
    }

    #[test]
    fn an_open_loop_keeps_its_rate_and_says_it_in_json() {
        let daemon = Daemon::start(&[]);
        let args = "--rate 1000/s --seconds 0.5 --connections 10 --json";
        let output = stress(daemon.address(), args);
        assert_good(&output);
        let report = json(&output);
        assert_eq!(report["requests"], 500);
        assert_eq!(report["errors"], 0);
        assert_eq!(report["settings"]["rate_per_second"], 1000);
        assert_eq!(report["settings"]["size_bytes"], 128);
        assert_eq!(report["sent_bytes"], 500 * (8 + 128));
        assert_eq!(report["received_bytes"], 500 * (8 + 128));
        let number = |name: &str| report[name].as_f64().unwrap();
        assert!(number("duration_seconds") >= 0.499);
        let names = ["p50", "p95", "p99", "p99_9", "max"].map(|name| format!("latency_{name}_ms"));
        let latencies: Vec<f64> = names.iter().map(|name| number(name)).collect();
        assert!(latencies[0] > 0.0 && latencies.is_sorted(), "{latencies:?}");
    }

    #[test]
    fn a_wrong_reply_is_shown_and_ends_with_1() {
        let listener = TcpListener::bind("127.0.0.77:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut frame = [0; 4 + 64];
            stream.read_exact(&mut frame).unwrap();
            frame[4 + 0x12] ^= 0x80;
            stream.write_all(&frame).unwrap();
        });
        let output = stress(
            address,
            "--preset len32 --connections 1 --count 1 --size 64",
        );
        server.join().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stdout).contains("  errors       1 wrong replies\n"));
        let told = text(&output.stderr);
        for part in ["client 0, request 0", "offset 0x0012", "received 0x0010"] {
            assert!(told.contains(part), "{part} is missing in:\n{told}");
        }
    }

    #[test]
    fn error_frames_are_told_with_their_text() {
        let daemon = Daemon::start(&[]);
        let output = stress(daemon.address(), "--id 7 --connections 2 --count 4");
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stdout).contains("  errors       4 error frames\n"));
        let told = text(&output.stderr);
        for part in ["error 404: no handler for message 7", "hint: name the id"] {
            assert!(told.contains(part), "{part} is missing in:\n{told}");
        }
    }

    #[test]
    fn nobody_there_is_69_and_what_cannot_be_is_64() {
        let free = TcpListener::bind("127.0.0.77:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let output = stress(address, "");
        assert_eq!(output.status.code(), Some(69));
        assert!(text(&output.stderr).contains("start the server"));
        assert!(text(&output.stdout).is_empty());
        for (args, expected) in [
            ("--preset komm", "comm"),
            ("--size 30000", "30000 bytes"),
            ("--plot", "FILE.html"),
        ] {
            let output = stress(address, args);
            assert_eq!(output.status.code(), Some(64), "{args}");
            assert!(text(&output.stderr).contains(expected), "{args}");
        }
    }

    #[test]
    fn too_few_open_files_are_told_with_the_line_that_raises_them() {
        let tool = env!("CARGO_BIN_EXE_purlin");
        // Root might raise the hard limit, unless it gives that right away.
        let script = "ulimit -n 100; drop=; \
                      [ $(id -u) = 0 ] && drop='setpriv --bounding-set=-all'; \
                      exec $drop \"$0\" stress --connections 500";
        let output = Command::new("sh")
            .args(["-c", script, tool])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(77), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("`ulimit -Hn 564`"));
    }

    #[test]
    fn an_interrupt_ends_a_run_early_with_its_report() {
        let daemon = Daemon::start(&[]);
        let child = Command::new(env!("CARGO_BIN_EXE_purlin"))
            .args(["stress", &daemon.address().to_string(), "--seconds", "600"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Signals are blocked before there are threads.
        wait_until("it runs", || {
            threads(child.id()).iter().any(|name| name == "lane-1")
        });
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::SIGINT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_good(&output);
        let told = text(&output.stdout);
        assert!(told.contains(", ended early\n"), "{told}");
    }

    #[test]
    fn the_page_is_written_and_a_bad_path_is_told_before_the_run() {
        let daemon = Daemon::start(&[]);
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("page.html");
        let args = format!("--count 2000 --quiet --plot {}", page.display());
        let output = stress(daemon.address(), &args);
        assert_good(&output);
        assert!(output.stdout.is_empty(), "quiet");
        let page = std::fs::read_to_string(page).unwrap();
        assert_eq!(page.matches("</svg>").count(), 3);
        let output = stress(daemon.address(), "--plot /nowhere/page.html");
        assert_eq!(output.status.code(), Some(77));
        assert!(text(&output.stderr).contains("/nowhere/page.html"));
        assert_eq!(daemon.stop()["messages_handled"], 2000);
    }

    #[test]
    fn the_table_has_a_row_for_each_cell_and_the_rates_side_by_side() {
        let daemon = Daemon::start(&[]);
        let output = stress(daemon.address(), "--table --connections 100 --seconds 0.05");
        assert_good(&output);
        let told = text(&output.stdout);
        let rows: Vec<Vec<&str>> = told
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(rows.len(), 1 + 10 + 1 + 1 + 2, "{told}");
        assert_eq!(rows[1][..2], ["1", "1"]);
        assert_eq!(rows[10][..2], ["100", "10,240"]);
        assert!(rows[1..=10].iter().all(|row| row[6] == "0"), "{told}");
        assert_eq!(rows[14][1], rows[6][2], "the rate of 100 x 1");
        let output = stress(
            daemon.address(),
            "--table --connections 1 --seconds 0.05 --json",
        );
        assert_eq!(json(&output)["cells"].as_array().unwrap().len(), 5);
    }
}
