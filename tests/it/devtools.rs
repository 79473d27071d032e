//! A real browser that a test drives: tabs, and scripts that run in them.
//!
//! Chromium takes commands over a pipe, an object in JSON behind which is a zero
//! (the DevTools protocol with `--remote-debugging-pipe`): nothing else is needed.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, wait_until};

/// Chromium without a window, and nothing of it that a test did not ask for.
pub(crate) fn chromium(profile: &Path) -> Command {
    let mut command = Command::new("chromium");
    command.args([
        "--headless",
        // Its own walls need rights that a test may not have.
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--disable-background-networking",
        "--no-first-run",
        "--autoplay-policy=no-user-gesture-required",
    ]);
    command.arg(format!("--user-data-dir={}", profile.display()));
    command.env("HOME", profile);
    command
}

/// Chromium, ended with all its processes.
pub(crate) struct Browser(pub(crate) Child);

impl Drop for Browser {
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.0.id()).expect("a pid"));
        // Gone already is as good.
        let _gone = killpg(group, Signal::SIGKILL);
        let _waited = self.0.wait();
    }
}

/// A browser that is driven.
pub(crate) struct Driven {
    commands: ChildStdin,
    said: Receiver<Value>,
    last: u64,
    _browser: Browser,
}

/// One of its tabs.
pub(crate) struct Tab(String);

impl Driven {
    pub(crate) fn start(profile: &Path) -> Self {
        let mut chromium = chromium(profile);
        chromium.args([
            "--remote-debugging-pipe",
            // Of two tabs one is never in front: both are to be as quick.
            "--disable-background-timer-throttling",
            "--disable-backgrounding-occluded-windows",
            "--disable-renderer-backgrounding",
        ]);
        // It reads descriptor 3 and writes 4.
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "exec \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null",
            "sh",
            "chromium",
        ]);
        command.args(chromium.get_args()).env("HOME", profile);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().unwrap();
        let commands = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (tell, said) = channel();
        std::thread::spawn(move || {
            loop {
                let mut text = Vec::new();
                let read = output.read_until(0, &mut text);
                let is_whole = text.pop() == Some(0);
                if read.is_err() || !is_whole {
                    break;
                }
                let value = serde_json::from_slice(&text).expect("it says JSON");
                if tell.send(value).is_err() {
                    break;
                }
            }
        });
        Self {
            commands,
            said,
            last: 0,
            _browser: Browser(child),
        }
    }

    fn ask(&mut self, method: &str, params: &Value, tab: Option<&Tab>) -> Value {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": params });
        if let Some(Tab(session)) = tab {
            command["sessionId"] = json!(session);
        }
        self.commands
            .write_all(format!("{command}\0").as_bytes())
            .unwrap();
        loop {
            let mut said = self.said.recv_timeout(PATIENCE).expect("an answer");
            if said["id"] == json!(self.last) {
                assert!(said["error"].is_null(), "{method}: {said}");
                return said["result"].take();
            }
        }
    }

    /// A new tab, whose page is there.
    pub(crate) fn tab(&mut self, url: &str) -> Tab {
        let target = self.ask("Target.createTarget", &json!({ "url": url }), None);
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.ask("Target.attachToTarget", &target, None);
        let tab = Tab(session["sessionId"].as_str().unwrap().to_owned());
        wait_until("the page is there", || {
            let there = format!("document.readyState == 'complete' && location.href == '{url}'");
            self.run(&tab, &there) == json!(true)
        });
        tab
    }

    /// What `script` gives in this tab; of a promise, what becomes of it.
    pub(crate) fn run(&mut self, tab: &Tab, script: &str) -> Value {
        let params = json!({ "expression": script, "awaitPromise": true, "returnByValue": true });
        let mut given = self.ask("Runtime.evaluate", &params, Some(tab));
        assert!(given["exceptionDetails"].is_null(), "{script}: {given}");
        given["result"]["value"].take()
    }
}
