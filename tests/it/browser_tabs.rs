//! Two tabs of a real browser on two workers talk through `/purlin.js`, and go on
//! over what happens to these.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::devtools::{Driven, Tab};
use crate::harness::{has, wait_until};
use crate::instance::{Instance, signal};

/// The ids of `tests/programs/mover.rs`. Each connection enters the room first.
const PAGE: &str = r#"<!DOCTYPE html><script src="/purlin.js"></script>
<script>
const [WHO, COUNT, JOIN, TELL, PUSH] = [2, 10, 11, 22, 100];
const heard = [];
let server, times;
// Resolves when the room was entered.
const connect = () => {
  server?.close();
  const own = times = { opened: 0, closed: 0 };
  server = purlin.connect("/ws", {
    pauseMin: 50,
    onopen: () => { own.opened++; server.send(JOIN, "lobby"); },
    onclose: () => own.closed++,
  });
  server.on(PUSH, text => heard.push(text));
  return server.call(COUNT);
};
// The process that serves, and the name of the connection.
const who = async () => {
  const words = new DataView((await server.call(WHO)).buffer);
  return [Number(words.getBigUint64(0)), String(words.getBigUint64(8))];
};
// One number after the other until it is told to stop; resolves with how many.
let stop = false, talk;
const say = async () => {
  let n = 0;
  while (!stop) await server.call(TELL, `${n++}`);
  return n;
};
</script>"#;

struct Tabs {
    browser: Driven,
    tabs: [Tab; 2],
}

impl Tabs {
    fn run(&mut self, n: usize, script: &str) -> Value {
        self.browser.run(&self.tabs[n], script)
    }

    /// The worker of a tab, and the name of its connection.
    fn who(&mut self, n: usize) -> (u32, String) {
        let who = self.run(n, "who()");
        let pid = u32::try_from(who[0].as_u64().unwrap()).unwrap();
        (pid, who[1].as_str().unwrap().to_owned())
    }

    /// How often its connection was opened and closed.
    fn ups_and_downs(&mut self, n: usize) -> (u64, u64) {
        let both = self.run(n, "[times.opened, times.closed]");
        (both[0].as_u64().unwrap(), both[1].as_u64().unwrap())
    }

    /// Each says something, which the other one hears.
    fn talk(&mut self, about: &str) {
        for n in [0, 1] {
            let said = json!(format!("{about} {n}"));
            // How many that reached is exact when a dead worker is reaped.
            self.run(n, &format!("server.call(TELL, {said})"));
            wait_until("the other one hears it", || {
                self.run(1 - n, "heard.at(-1) ?? null") == said
            });
        }
    }

    fn connects_to_two_workers(&mut self) {
        self.run(0, "connect()");
        for _ in 0..200 {
            self.run(1, "connect()");
            if self.who(0).0 != self.who(1).0 {
                return;
            }
        }
        panic!("200 connections went to the worker of the first");
    }
}

/// A server of two workers, and two tabs, which are on both.
fn opened() -> Option<(Instance, Tabs, tempfile::TempDir)> {
    if !has("chromium", "chromium") {
        return None;
    }
    let instance = Instance::mover("workers = 2");
    let text = std::fs::read_to_string(instance.path("conf")).unwrap();
    let keys = "protocol = \"auto\"\nwebsocket = \"/ws\"\nroot = \"www\"\n[log]";
    instance.write(&text.replace("[log]", keys));
    std::fs::create_dir(instance.path("www")).unwrap();
    std::fs::write(instance.path("www/index.html"), PAGE).unwrap();
    instance.must("start");
    let profile = tempfile::tempdir().unwrap();
    let mut browser = Driven::start(profile.path());
    let url = format!("http://{}/", instance.address);
    let tabs = [browser.tab(&url), browser.tab(&url)];
    let mut tabs = Tabs { browser, tabs };
    tabs.connects_to_two_workers();
    Some((instance, tabs, profile))
}

#[test]
fn two_tabs_on_two_workers_talk_and_no_reload_closes_them() {
    let Some((instance, mut tabs, _profile)) = opened() else {
        return;
    };
    tabs.talk("first");
    let before = [tabs.who(0), tabs.who(1)];
    assert_eq!(tabs.run(0, "server.call(COUNT)"), json!("2"));
    for reload in 1..=3 {
        // One of them talks all the time, the other one is idle.
        tabs.run(1, "heard.length = 0, stop = false");
        tabs.run(0, "stop = false, talk = say(), null");
        wait_until("it talks", || {
            tabs.run(1, "heard.length > 20") == json!(true)
        });
        instance.must("reload");
        wait_until("the old ones have left", || instance.serves_with(2));
        let count = tabs.run(0, "stop = true, talk");
        let all = format!("heard.length == {count} && heard.every((text, n) => text == n)");
        wait_until("all of it came in its order", || {
            tabs.run(1, &all) == json!(true)
        });
        for (n, (pid, name)) in before.iter().enumerate() {
            assert_eq!(tabs.ups_and_downs(n), (1, 0), "of tab {n}, reload {reload}");
            let (now, same) = tabs.who(n);
            assert!(now != *pid && same == *name, "{now} {same}");
        }
        tabs.talk("again");
        // The state has gone along.
        let counted = tabs.run(0, "server.call(COUNT)");
        assert_eq!(counted, json!((2 + reload).to_string()));
    }
}

#[test]
fn a_tab_whose_worker_is_killed_comes_back_once() {
    let Some((instance, mut tabs, _profile)) = opened() else {
        return;
    };
    let mut expected = [(1, 0), (1, 0)];
    for victim in [0, 1] {
        // So that it is replaced at once.
        instance.settle();
        let pid = tabs.who(victim).0;
        let served = [tabs.who(0).0, tabs.who(1).0].map(|of| of == pid);
        assert!(victim == 1 || served == [true, false], "they are on two");
        signal(pid, Signal::SIGKILL);
        for n in [0, 1] {
            if served[n] {
                expected[n] = (expected[n].0 + 1, expected[n].1 + 1);
            }
            wait_until("it is back", || tabs.ups_and_downs(n) == expected[n]);
            // Whoever answers has entered the room before.
            tabs.run(n, "server.call(COUNT)");
        }
        tabs.talk(&format!("after {victim}"));
        wait_until("there are two again", || instance.serves_with(2));
        let came = [tabs.ups_and_downs(0), tabs.ups_and_downs(1)];
        assert_eq!(came, expected, "once each, and nobody else");
    }
}
