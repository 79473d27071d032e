//! `purlin stress` on handlers that want a login and answer something of their own.

use std::fs;

use purlin::prelude::*;
use purlin::{App, Server};

use crate::stress::text;
use crate::stress::with_the_tool::{assert_good, stress};

const AUTO: (&str, &str) = ("listener.0.protocol", "auto");

/// Message 1 logs in; 2 answers those who have with how long the body is, 3 as it is.
fn app() -> App<bool> {
    App::new()
        .on(1, |c, secret: String| {
            if secret != "ann:1234" {
                return Err(Error::new(401, "another secret"));
            }
            **c = true;
            Ok("hello")
        })
        .group(2..=3, |g| {
            g.need(403, "log in first", |c| **c)
                .on(2, |_, body: Bytes| format!("{} bytes", body.len()))
                .on(3, |_, body: Bytes| body)
        })
        .web(Web::new().websocket("/ws", |_| ()))
}

#[test]
fn a_login_goes_before_all_and_right_replies_are_those_that_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name).display().to_string()
    };
    let (secret, five) = (file("secret", "ann:1234"), file("five", "five!"));
    let length = file("length", "128 bytes");
    for preset in ["comm", "rpc"] {
        // A push is no reply to what is sent first.
        let app = app().opened(|c| c.send(9, "welcome"));
        let server = Server::configured(app, &[AUTO, ("listener.0.frame", preset)]).unwrap();
        let address = server.addresses()[0].to_string();
        let socket = format!("ws://{address}/ws");
        let load = |place: &str, args: &str| stress(place, &format!("--preset {preset} {args}"));
        for (place, args) in [
            (&address, format!("--id 2 --expect @{length}")),
            (&address, "--id 3 --depth 8".to_owned()),
            (&address, "--id 3 --body move --churn 5".to_owned()),
            (&socket, "--id 3 --churn 50".to_owned()),
            (&socket, format!("--id 2 --expect @{length} --depth 8")),
        ] {
            for first in ["ann:1234", &format!("@{secret}")] {
                let output = load(place, &format!("-n 600 -c 6 --first 1:{first} {args}"));
                assert_good(&output);
                assert!(text(&output.stdout).contains("600 of 600"), "{args}");
            }
        }
        // "five!" is answered by "5 bytes".
        let args = format!("--id 2 --body-file {five} --expect @{five}");
        let output = load(&address, &format!("-n 6 -c 6 --first 1:ann:1234 {args}"));
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(text(&output.stdout).contains("6 wrong replies"), "{told}");
        for part in ["body of 7 bytes instead of 5", "expected 0x0000 [66] 69"] {
            assert!(told.contains(part), "{told}");
        }
    }
}

#[test]
fn a_login_that_is_refused_ends_the_run_and_says_why() {
    let server = Server::configured(app(), &[AUTO]).unwrap();
    let address = server.addresses()[0].to_string();
    for place in [address.clone(), format!("ws://{address}/ws")] {
        let output = stress(&place, "--id 3 --first 1:bob:1 -c 20 -t 2 -d 30");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(text(&output.stdout), "");
        let told = text(&output.stderr);
        let said = "--first: the server answered error 401: another secret\n";
        assert!(told.ends_with(said), "{told}");
    }
    // Nobody has logged in, and nothing says that somebody should.
    let output = stress(&address, "--id 3 -c 2 -n 4");
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    for part in ["error 403: log in first", "that is --first"] {
        assert!(told.contains(part), "{told}");
    }
    // It is not answered.
    let silent = Server::configured(App::<()>::new().on(1, |_, _: Bytes| ()), &[]).unwrap();
    let args = "--first 1:x --timeout 0.2 -c 1 -n 1";
    let output = stress(&silent.addresses()[0], args);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("no reply to --first in 200ms"), "{told}");
}
