//! The tests of the wire and of its faults once more, with the other ways to
//! share listeners and with edges: what a client meets does not depend on them.

use std::process::{Command, Stdio};

#[test]
fn the_wire_is_the_same_in_every_accept_mode_and_with_edges() {
    let run = |mode, trigger| {
        Command::new(std::env::current_exe().unwrap())
            .args(["bad_input::", "flow::", "daemon::", "silence::", "flood::"])
            .args(["slow::a_message", "slow::who_never", "slow::slow_clients"])
            .args(["websocket::", "websocket_ids::", "websocket_packed::"])
            .arg("websocket_limits::")
            // Of the daemon, which does not hear of the mode; or long.
            .args(["--skip", "reload", "--skip", "bombs", "--skip", "memory"])
            .args(["--skip", "autobahn", "--skip", "thousand"])
            // There is one cable.
            .args(["--skip", "cable", "--test-threads", "4"])
            .env("PURLIN_TEST_ACCEPT", mode)
            .env("PURLIN_TEST_TRIGGER", trigger)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    // They mostly wait.
    let modes = [
        ("mutex", "edge"),
        ("exclusive", "level"),
        ("reuseport", "edge"),
    ];
    let runs = modes.map(|(mode, trigger)| (mode, trigger, run(mode, trigger)));
    for (mode, trigger, run) in runs {
        let output = run.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{mode}, {trigger}:\n{text}");
        let (_, passed) = text.split_once("test result: ok. ").unwrap();
        let passed = passed.split_whitespace().next().unwrap();
        assert!(passed.parse::<usize>().unwrap() > 20, "{text}");
    }
}
