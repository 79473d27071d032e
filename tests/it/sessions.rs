//! Sessions as clients meet them: the example in four workers, with its store in a file and
//! in a Redis server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Client, wait_until};
use crate::instance::{Instance, Over};
use crate::redis_server::RedisServer;
use crate::visitor::Visitor;

const LOGIN: &str = r#"{"name":"ann","password":"correct horse"}"#;
const WRONG: &str = r#"{"name":"ann","password":"wrong horse"}"#;

struct Site {
    instance: Instance,
    redis: Option<RedisServer>,
}

impl Site {
    fn start(redis: Option<RedisServer>) -> Self {
        let instance = Instance::example("login-web", "");
        let store = redis.as_ref().map_or_else(String::new, |server| {
            format!(
                "[session]\nstore = \"redis\"\n[redis]\nurl = \"{}\"\ntimeout = \"200ms\"\n",
                server.url()
            )
        });
        instance.write(&format!(
            "workers = 4\naccept = \"reuseport\"\nuser = \"root\"\nallow_root = true\n{store}[log]\nfile = \"log\"\n[[listener]]\n\
             address = \"{}\"\nprotocol = \"auto\"\n",
            instance.address
        ));
        instance.must("start");
        let site = Self { instance, redis };
        assert_eq!(site.visitor().post("/register", LOGIN).status, 204);
        site
    }

    fn in_file() -> Self {
        Self::start(None)
    }

    /// Both, or the one that is here.
    fn each() -> Vec<Self> {
        let mut sites = vec![Self::in_file()];
        sites.extend(RedisServer::start(&[]).map(|server| Self::start(Some(server))));
        sites
    }

    fn visitor(&self) -> Visitor {
        Visitor::new(self.instance.address)
    }

    fn ann(&self) -> Visitor {
        let mut ann = self.visitor();
        let answered = ann.post("/login", LOGIN);
        assert_eq!(
            (answered.status, &*answered.text),
            (200, r#"{"user":"ann"}"#)
        );
        ann
    }
}

/// Asked over connections of its own, so in whatever worker.
fn name(site: &Site, cookies: &Visitor) -> u16 {
    let mut elsewhere = site.visitor();
    elsewhere.cookies.clone_from(&cookies.cookies);
    elsewhere.get("/my/name").status
}

#[test]
fn who_logs_in_is_known_in_every_worker_until_he_logs_out() {
    for site in Site::each() {
        assert_eq!(site.visitor().get("/my/name").status, 401);
        assert_eq!(site.visitor().post("/register", LOGIN).status, 409);
        let mut ann = site.ann();
        for _ in 0..20 {
            assert_eq!(name(&site, &ann), 200);
        }
        let answered = ann.get("/my/name");
        assert_eq!(answered.text, r#""ann""#);
        let stolen = ann.cookies.clone();
        assert_eq!(ann.post("/logout", "").status, 204);
        assert!(ann.cookies.is_empty(), "{:?}", ann.cookies);
        let mut thief = site.visitor();
        thief.cookies = stolen;
        assert_eq!(thief.get("/my/name").status, 401, "it ended in the store");
    }
}

#[test]
fn the_cookie_is_for_this_host_alone_and_new_at_every_login() {
    let site = Site::in_file();
    let mut visitor = site.visitor();
    // Planted before the login, by whoever knows it.
    let planted = "A".repeat(43);
    visitor
        .cookies
        .insert("__Host-session".to_owned(), planted.clone());
    let answered = visitor.post("/login", LOGIN);
    let cookie = answered.field("set-cookie").unwrap().to_owned();
    let (first, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(
        attributes,
        "Secure; HttpOnly; SameSite=Lax; Path=/; Max-Age=1209600"
    );
    assert!(first.starts_with("__Host-session=") && !first.contains(&planted));
    let mut planter = site.visitor();
    planter.cookies.insert("__Host-session".to_owned(), planted);
    assert_eq!(planter.get("/my/name").status, 401);
    // A second login: another name, and the first is nobody's.
    let before = visitor.cookies.clone();
    assert_eq!(visitor.post("/login", LOGIN).status, 200);
    assert_ne!(visitor.cookies, before);
    let mut old = site.visitor();
    old.cookies = before;
    assert_eq!(
        (old.get("/my/name").status, visitor.get("/my/name").status),
        (401, 200)
    );
    // A wrong password gives no cookie, and takes none away.
    let answered = visitor.post("/login", WRONG);
    assert_eq!((answered.status, answered.field("set-cookie")), (401, None));
    assert_eq!(visitor.get("/my/name").status, 200);
    // Over plain HTTP from elsewhere it has a plain name.
    let plain = [("Host", "a.example")];
    let answered = site.visitor().ask("POST", "/login", &plain, LOGIN).unwrap();
    let cookie = answered.field("set-cookie").unwrap();
    assert!(
        cookie.starts_with("session=") && !cookie.contains("Secure"),
        "{cookie}"
    );
}

#[test]
fn pages_of_other_sites_change_nothing() {
    let site = Site::in_file();
    let mut ann = site.ann();
    let own = format!("http://{}", site.instance.address);
    for (fields, expected) in [
        (&[("Origin", "https://evil.example")][..], 403),
        (&[("Origin", &*own), ("Sec-Fetch-Site", "cross-site")], 403),
        (&[("Sec-Fetch-Site", "same-site")], 403),
        (&[("Origin", &*own)], 204),
        (&[("Sec-Fetch-Site", "same-origin")], 204),
        (&[], 204),
    ] {
        let answered = ann.ask("PUT", "/my/note/a", fields, "x").unwrap();
        assert_eq!(answered.status, expected, "{fields:?}");
    }
    let fields = [("Sec-Fetch-Site", "cross-site")];
    assert_eq!(ann.ask("GET", "/my/name", &fields, "").unwrap().status, 200);
}

#[test]
fn values_that_requests_set_beside_each_other_are_all_there() {
    const VALUES: usize = 40;
    for site in Site::each() {
        let ann = site.ann();
        std::thread::scope(|scope| {
            for n in 0..VALUES {
                let (mut own, cookies) = (site.visitor(), ann.cookies.clone());
                scope.spawn(move || {
                    own.cookies = cookies;
                    let path = format!("/my/note/{n}");
                    assert_eq!(
                        own.ask("PUT", &path, &[], &n.to_string()).unwrap().status,
                        204
                    );
                });
            }
        });
        let mut own = site.visitor();
        own.cookies = ann.cookies.clone();
        for n in 0..VALUES {
            assert_eq!(own.get(&format!("/my/note/{n}")).text, format!("\"{n}\""));
        }
        assert_eq!(own.get("/my/note/none").text, "null");
    }
}

/// An upgrade to a WebSocket with these cookies; the connection once it is one.
fn websocket(site: &Site, cookies: &Visitor) -> Option<Client> {
    let mut client = Client::connect(site.instance.address);
    let cookies: Vec<_> = cookies
        .cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let (host, cookies) = (site.instance.address, cookies.join("; "));
    client.send(
        format!(
            "GET /ws HTTP/1.1\r\nHost: {host}\r\nCookie: {cookies}\r\nConnection: Upgrade\r\nUpgrade: \
             websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        .as_bytes(),
    );
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.exactly(1));
    }
    head.starts_with(b"HTTP/1.1 101").then_some(client)
}

#[test]
fn all_devices_end_together_with_their_connections_in_every_worker() {
    for site in Site::each() {
        assert!(
            websocket(&site, &site.visitor()).is_none(),
            "nobody is logged in"
        );
        let (mut desk, phone, mut tablet) = (site.ann(), site.ann(), site.ann());
        let devices: Value = serde_json::from_str(&desk.get("/my/devices").text).unwrap();
        assert_eq!(devices.as_array().unwrap().len(), 2, "{devices}");
        assert_eq!(devices[0]["user"], "ann");
        assert_eq!(devices[0]["address"], "127.0.0.1");
        let mut open: Vec<Client> = (0..8).filter_map(|_| websocket(&site, &phone)).collect();
        assert_eq!(open.len(), 8);
        // One by frames, with the cookie's value as its token.
        let mut frames = Client::connect(site.instance.address);
        let token = phone.cookies.values().next().unwrap().clone();
        assert_eq!(frames.call(2, token.as_bytes()), (2, b"ann".to_vec()));
        assert_eq!(frames.call(1, b""), (1, b"ann".to_vec()));
        let mut other = websocket(&site, &tablet).unwrap();
        // The end of one session is that of its own connections alone.
        assert_eq!(tablet.post("/logout", "").status, 204);
        other.until_closed();
        assert_eq!(frames.call(1, b""), (1, b"ann".to_vec()));
        assert_eq!(desk.post("/logout_all", "").status, 204);
        for one in &mut open {
            one.until_closed();
        }
        frames.until_closed();
        assert_eq!((name(&site, &phone), name(&site, &desk)), (401, 401));
    }
}

#[test]
fn wrong_passwords_are_counted_in_all_workers() {
    for site in Site::each() {
        for n in 0..10 {
            // Unknown names count as well.
            let body = if n % 2 == 0 {
                WRONG
            } else {
                r#"{"name":"nobody","password":"wrong horse"}"#
            };
            let answered = site.visitor().post("/login", body);
            assert_eq!(
                (answered.status, &*answered.text),
                (401, "the name or the password is wrong\n")
            );
        }
        let answered = site.visitor().post("/login", LOGIN);
        assert_eq!(
            (answered.status, answered.field("retry-after")),
            (429, Some("180"))
        );
        let workers = site.instance.workers();
        for worker in workers {
            crate::instance::signal(worker, nix::sys::signal::Signal::SIGKILL);
        }
        wait_until("others serve", || {
            let answered = site.visitor().ask("POST", "/login", &[], LOGIN);
            answered.is_ok_and(|answered| answered.status == 429)
        });
    }
}

#[test]
fn passwords_that_are_none_are_refused_before_they_cost_anything() {
    let site = Site::in_file();
    for password in ["short".to_owned(), "x".repeat(1025)] {
        let body = format!(r#"{{"name":"bob","password":"{password}"}}"#);
        for path in ["/register", "/login"] {
            assert_eq!(site.visitor().post(path, &body).status, 400, "{path}");
        }
    }
}

/// Other requests are answered while passwords are hashed, and the memory of a flood is
/// that of one block a worker.
#[test]
fn a_flood_of_logins_holds_nobody_up() {
    let site = Site::in_file();
    let over = AtomicBool::new(false);
    let asked = std::thread::scope(|scope| {
        for _ in 0..64 {
            let (mut visitor, over) = (site.visitor(), &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let answered = visitor.ask("POST", "/login", &[], LOGIN);
                    let status = answered.unwrap().status;
                    assert!(matches!(status, 200 | 503), "{status}");
                }
            });
        }
        let end = Over(&over);
        let mut visitor = site.visitor();
        let until = std::time::Instant::now() + Duration::from_secs(3);
        let mut asked = 0;
        while std::time::Instant::now() < until {
            assert_eq!(visitor.get("/").status, 200);
            asked += 1;
        }
        for worker in site.instance.workers() {
            let resident = crate::harness::resident(worker);
            assert!(resident < 96 << 20, "{resident} bytes in worker {worker}");
        }
        drop(end);
        asked
    });
    println!("{asked} other requests in 3 s");
    assert!(asked > 100, "{asked}");
}

#[test]
fn while_the_store_is_away_nobody_is_logged_out() {
    let Some(server) = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"])
    else {
        return;
    };
    let mut site = Site::start(Some(server));
    let mut ann = site.ann();
    let cookies = ann.cookies.clone();
    site.redis.as_mut().unwrap().kill();
    let answered = ann.get("/my/name");
    assert_eq!(
        (answered.status, answered.field("retry-after")),
        (503, Some("5"))
    );
    assert_eq!(answered.field("set-cookie"), None);
    // Who shows no cookie costs the store nothing.
    assert_eq!(site.visitor().get("/").status, 200);
    assert_eq!(site.visitor().get("/my/name").status, 401);
    site.redis.as_mut().unwrap().resume();
    wait_until("she is still logged in", || {
        ann.get("/my/name").status == 200
    });
    assert_eq!(ann.cookies, cookies);
}

#[test]
fn who_shows_no_cookie_costs_the_store_nothing() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let site = Site::start(Some(server));
    let operator = site.redis.as_ref().unwrap().operator();
    let commands = || {
        let stats: String = operator.call(&["INFO", "stats"]).unwrap();
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix("total_commands_processed:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    let before = commands();
    for _ in 0..50 {
        assert_eq!(site.visitor().get("/my/name").status, 401);
        assert_eq!(site.visitor().get("/").status, 200);
        let mut odd = site.visitor();
        odd.cookies
            .insert("__Host-session".to_owned(), "planted".to_owned());
        assert_eq!(odd.get("/my/name").status, 401);
    }
    assert_eq!(commands() - before, 1, "the count itself");
}

/// Nothing outlives what it is about: ten thousand sessions that end leave no key.
#[test]
fn every_key_of_the_store_dies_by_itself() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let site = Site::start(Some(server));
    let (mut desk, mut phone) = (site.ann(), site.ann());
    assert_eq!(desk.ask("PUT", "/my/note/a", &[], "x").unwrap().status, 204);
    assert_eq!(phone.post("/login", WRONG).status, 401);
    let operator = site.redis.as_ref().unwrap().operator();
    let keys = || operator.call::<Vec<String>>(&["KEYS", "*"]).unwrap();
    assert!(keys().len() >= 5, "{:?}", keys());
    for key in keys() {
        let left: i64 = operator.call(&["TTL", &key]).unwrap();
        assert!(left > 0, "{key}: {left}");
        assert!(
            !desk.cookies.values().any(|secret| key.contains(secret)),
            "{key}"
        );
    }
    assert_eq!(phone.post("/logout", "").status, 204);
    assert_eq!(desk.post("/logout_all", "").status, 204);
    let left: Vec<String> = keys()
        .into_iter()
        .filter(|key| !key.starts_with("purlin:f") && !key.starts_with("purlin:a"))
        .collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn an_operator_lists_and_ends_the_sessions_of_a_user() {
    for site in Site::each() {
        let (ann, _phone) = (site.ann(), site.ann());
        let mut open = websocket(&site, &ann).unwrap();
        let asked = |arguments: &[&str]| {
            let output = site.instance.ask(arguments);
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let listed = asked(&["sessions", "ann"]);
        assert_eq!(listed.matches("127.0.0.1").count(), 2, "{listed}");
        assert_eq!(asked(&["sessions", "bob"]), "");
        assert_eq!(asked(&["sessions", "ann", "--end"]), "2 ended\n");
        assert_eq!(name(&site, &ann), 401);
        // By the look once a minute: nobody has told the workers.
        open.0
            .set_read_timeout(Some(Duration::from_secs(600)))
            .unwrap();
        open.until_closed();
    }
}

#[test]
fn a_password_is_hashed_for_a_table_of_users() {
    use std::io::Write;
    let instance = Instance::example("login-web", "");
    let hash = |password: &str| {
        let mut command = instance.command(&["hash"]);
        command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped());
        let mut child = command
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
        child.wait_with_output().unwrap()
    };
    let output = hash("correct horse");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
        "{text}"
    );
    assert!(!hash("short").status.success());
}
