//! What is counted by name: messages by id, requests by route, a program's own
//! metrics and checks; and that whoever asks for what there is not makes no more of it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::admin::{address, get, metrics, shown};
use crate::daemon::Daemon;
use crate::harness::{Client, comm, has, wait_until};
use crate::instance::{Instance, lives, signal};

/// Messages of the program of the tests.
const MOTD: u16 = 1;
const SEATS: u16 = 2;
const LOGIN: u16 = 3;

fn own(instance: &Instance) {
    instance.write(&format!(
        "workers = 2\nuser = \"root\"\nallow_root = true\n[[listener]]\naddress = \"{}\"\n\
         [[listener]]\nname = \"internal\"\naddress = \"127.0.0.77:0\"\n\
         [admin]\naddress = \"127.0.0.1:0\"\n[log]\nfile = \"log\"\n",
        instance.address
    ));
}

#[test]
fn a_programs_own_metrics_are_shown_everywhere_and_survive() {
    let instance = Instance::own().showing("");
    own(&instance);
    instance.must("start");
    let address = address(&instance);
    let greet = |count: usize| {
        let mut client = Client::connect(instance.address);
        (0..count).for_each(|_| assert_eq!(client.call(MOTD, b"").1, b"welcome"));
        client.send(&comm(LOGIN, b"ann"));
        assert_eq!(client.call(SEATS, b"").1, b"8");
    };
    greet(5);
    let wait_for = |greetings: f64| {
        wait_until("they are counted", || {
            metrics(address).is_some_and(|now| now["own_greetings_total"] == greetings)
        });
        metrics(address).unwrap()
    };
    let now = wait_for(5.0);
    assert_eq!(now["own_seats"], 8.0, "of two workers");
    assert_eq!(now["own_name_length_bucket{le=\"2.0\"}"], 0.0);
    assert_eq!(now["own_name_length_bucket{le=\"4.0\"}"], 1.0);
    assert_eq!(now["own_name_length_sum"], 3.0);
    assert_eq!(now["purlin_messages_total{id=\"1\"}"], 5.0);
    assert_eq!(now["purlin_messages_total{id=\"3\"}"], 1.0);
    assert!(now["purlin_message_duration_seconds_count{id=\"1\"}"] >= 1.0);
    let status = String::from_utf8(instance.ask(&["status"]).stdout).unwrap();
    for line in [
        "own:",
        "  own_greetings 5",
        "  own_seats 8.0",
        "  own_name_length 1",
    ] {
        assert!(status.lines().any(|one| one == line), "{line}: {status}");
    }
    assert!(!status.contains("connections_refused_denied"), "{status}");
    let all = String::from_utf8(instance.ask(&["status", "--all"]).stdout).unwrap();
    assert!(all.contains("  connections_refused_denied 0"), "{all}");
    let seen: Value = serde_json::from_str(&get(address, "/status.json").unwrap().1).unwrap();
    assert_eq!(seen["own"][0]["value"], 5);
    assert_eq!(seen["ids"][0]["messages"], 5);
    instance.settle();
    instance
        .workers()
        .iter()
        .for_each(|&pid| signal(pid, Signal::SIGKILL));
    wait_until("they are replaced", || instance.serves_with(2));
    greet(5);
    wait_for(10.0);
    instance.must("reload");
    wait_until("the old ones left", || instance.serves_with(2));
    greet(5);
    wait_for(15.0);
    // Another release, which counts one thing more: the totals go over by name.
    for (file, greetings) in [("more", 20.0), ("other", 25.0)] {
        fs::write(instance.path(file), "").unwrap();
        let old = instance.master().unwrap();
        let before = metrics(address).unwrap();
        instance.must("upgrade");
        wait_until("it answers", || get(address, "/livez").is_some());
        let after = metrics(address).unwrap();
        for name in ["own_greetings_total", "purlin_messages_total{id=\"1\"}"] {
            assert!(
                after[name] >= before[name],
                "{name} fell to {}",
                after[name]
            );
        }
        assert!(after.contains_key("own_more_total"));
        wait_until("the old master is gone", || !lives(old));
        greet(5);
        let now = wait_for(greetings);
        assert_eq!(now["own_name_length_count"], greetings / 5.0);
    }
}

#[test]
fn a_check_that_fails_takes_the_server_out_of_service() {
    let instance = Instance::own().showing("");
    own(&instance);
    instance.must("start");
    let address = address(&instance);
    let ready = || get(address, "/readyz?verbose").unwrap();
    wait_until("the checks have run", || ready().0 == 200);
    fs::write(instance.path("broken"), "").unwrap();
    wait_until("it is not ready", || ready().0 == 503);
    assert!(
        ready().1.contains("check `files` failed in worker"),
        "{}",
        ready().1
    );
    assert_eq!(get(address, "/livez").unwrap().0, 200);
    wait_until("the log says why", || {
        instance
            .log()
            .contains("check `files` failed, the server is not ready: there is a file")
    });
    fs::remove_file(instance.path("broken")).unwrap();
    wait_until("it is ready again", || ready().0 == 200);
}

/// A daemon over frames and HTTP, and where its figures are.
fn auto() -> (Daemon, SocketAddr) {
    let keys = [
        ("listener.0.protocol", "auto"),
        ("admin.address", "127.0.0.1:0"),
        ("limits.flood", "off"),
    ];
    let daemon = Daemon::start(&keys);
    let status = daemon.ask("status");
    let status = String::from_utf8(status.stdout).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("figures on "));
    let address = line.unwrap_or_else(|| panic!("{status}")).parse().unwrap();
    (daemon, address)
}

/// Asks over one connection for so many paths that are not there.
fn ask_for_nothing(server: SocketAddr, count: usize) {
    let mut stream = TcpStream::connect(server).unwrap();
    let mut seed = 1_u64;
    for batch in 0..count.div_ceil(1000) {
        let last = batch + 1 == count.div_ceil(1000);
        let mut text = String::new();
        for n in 0..1000 {
            // Marsaglia's xorshift.
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let close = if last && n == 999 {
                "Connection: close\r\n"
            } else {
                ""
            };
            text += &format!("GET /{seed:x} HTTP/1.1\r\nHost: h\r\n{close}\r\n");
        }
        let mut reader = stream.try_clone().unwrap();
        let mut writer = stream.try_clone().unwrap();
        let writing = std::thread::spawn(move || writer.write_all(text.as_bytes()).unwrap());
        let mut found = 0;
        let mut buffer = vec![0; 1 << 16];
        let mut rest = Vec::new();
        while found < 1000 {
            let len = reader.read(&mut buffer).unwrap();
            assert!(len > 0, "closed after {found}");
            rest.extend_from_slice(&buffer[..len]);
            let text = String::from_utf8_lossy(&rest);
            let end = text.rfind("HTTP/1.1 404").unwrap_or(0);
            found += text[..end].matches("HTTP/1.1 404").count();
            let tail = text[end..].to_owned();
            // The last one counts when it is whole.
            if found == 999 && tail.contains("\r\n\r\n") && tail.ends_with('\n') {
                found += 1;
            }
            rest = tail.into_bytes();
        }
        writing.join().unwrap();
    }
    stream.flush().unwrap();
}

#[test]
fn paths_and_ids_that_there_are_not_make_the_page_no_larger() {
    let (daemon, address) = auto();
    let server = daemon.address();
    ask_for_nothing(server, 1000);
    let mut client = Client::connect(server);
    client.call(999, b"");
    let lines = || get(address, "/metrics").unwrap().1.lines().count();
    let unmatched = "purlin_http_requests_total{route=\"otherwise\",method=\"GET\",code=\"404\"}";
    wait_until("the first are counted", || {
        metrics(address)
            .unwrap()
            .get(unmatched)
            .is_some_and(|count| *count >= 1000.0)
    });
    let before = lines();
    ask_for_nothing(server, 100_000);
    for id in 1000..11_000_u16 {
        client.send(&comm(id, b""));
        client.comm();
    }
    wait_until("all are counted", || {
        metrics(address).unwrap()[unmatched] >= 101_000.0
    });
    assert_eq!(lines(), before);
}

/// The names and the labels that an expression asks for.
fn asked(expression: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = expression.split(|c: char| !is_word(c));
    let names = words.filter(|word| word.starts_with("purlin_") || word.starts_with("process_"));
    let mut labels = BTreeSet::new();
    for (at, _) in expression.match_indices(['=', '!']) {
        let before = expression[..at].trim_end();
        let label: String = before.chars().rev().take_while(|c| is_word(*c)).collect();
        let label: String = label.chars().rev().collect();
        let is_selector = before.rfind('{') > before.rfind('}');
        if is_selector && !label.is_empty() {
            labels.insert(label);
        }
    }
    for part in expression.split("by (").skip(1) {
        let (list, _) = part.split_once(')').expect("a list of labels");
        labels.extend(list.split(',').map(|label| label.trim().to_owned()));
    }
    (names.map(str::to_owned).collect(), labels)
}

/// All expressions of a dashboard or of rules, wherever they stand.
fn expressions(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if name == "expr" => found.push(text.to_owned()),
                    Some(_) | None => found.extend(expressions(value)),
                }
            }
        }
        Value::Array(list) => found.extend(list.iter().flat_map(expressions)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    found
}

fn shipped(name: &str) -> String {
    fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("conf")
            .join(name),
    )
    .unwrap()
}

#[test]
fn dashboard_and_alerts_ask_for_metrics_and_labels_that_there_are() {
    let instance = Instance::own().showing("");
    own(&instance);
    instance.must("start");
    let admin = address(&instance);
    // The second listener speaks frames too: a request over HTTP is needed as well.
    let (daemon, other) = auto();
    ask_for_nothing(daemon.address(), 1000);
    wait_until("the request is counted", || {
        let now = metrics(other).unwrap();
        now.keys()
            .any(|name| name.starts_with("purlin_http_requests_total"))
    });
    let known = [metrics(admin).unwrap(), metrics(other).unwrap()];
    let known: Vec<&String> = known.iter().flat_map(|all| all.keys()).collect();
    let names: BTreeSet<&str> = known
        .iter()
        .map(|one| one.split('{').next().unwrap())
        .collect();
    let mut labels: BTreeSet<&str> = known
        .iter()
        .filter_map(|one| one.split_once('{'))
        .flat_map(|(_, labels)| labels.split(','))
        .filter_map(|label| Some(label.split_once('=')?.0))
        .collect();
    labels.extend(["instance", "job"]);
    let rules: Value = {
        let text = shipped("alerts.yml");
        let mut list = Vec::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(first) = line.trim().strip_prefix("expr: ") else {
                continue;
            };
            let mut whole = first.trim_start_matches(">-").to_owned();
            while let Some(more) = lines.next_if(|line| line.starts_with("          ")) {
                whole += more;
            }
            list.push(serde_json::json!({ "expr": whole }));
        }
        list.into()
    };
    let dashboard: Value = serde_json::from_str(&shipped("grafana.json")).unwrap();
    let all = [expressions(&rules), expressions(&dashboard)];
    assert!(all[0].len() >= 10 && all[1].len() >= 20, "{all:?}");
    for expression in all.iter().flatten() {
        let (wanted, by) = asked(expression);
        assert!(
            !wanted.is_empty() || expression.starts_with("up{"),
            "{expression}"
        );
        for name in &wanted {
            assert!(names.contains(&**name), "{name} is no metric: {expression}");
        }
        for label in &by {
            assert!(
                labels.contains(&**label),
                "{label} is no label: {expression}"
            );
        }
    }
}

#[test]
fn promtool_takes_the_alerts() {
    if !has("promtool", "prometheus") {
        return;
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/alerts.yml");
    let output = Command::new("promtool")
        .args(["check", "rules"])
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Passes requests on as of a client that knows the older format alone.
fn as_older(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _head = stream.read(&mut [0; 4096]);
            let mut server = TcpStream::connect(to).unwrap();
            let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\n\
                           Connection: close\r\n\r\n";
            server.write_all(request.as_bytes()).unwrap();
            let mut answer = Vec::new();
            server.read_to_end(&mut answer).unwrap();
            let _client_is_gone = stream.write_all(&answer);
        }
    });
    address
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn a_real_prometheus_scrapes_both_formats() {
    if !has("prometheus", "prometheus") {
        return;
    }
    let instance = shown("workers = 2");
    let target = address(&instance);
    let older = as_older(target);
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = free.local_addr().unwrap();
    drop(free);
    let config = format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs:\n\
         - job_name: newer\n  static_configs: [{{ targets: [\"{target}\"] }}]\n\
         - job_name: older\n  static_configs: [{{ targets: [\"{older}\"] }}]\n"
    );
    fs::write(instance.path("prometheus.yml"), config).unwrap();
    let log = fs::File::create(instance.path("prometheus.log")).unwrap();
    let mut prometheus = Command::new("prometheus");
    prometheus.arg(format!(
        "--config.file={}",
        instance.path("prometheus.yml").display()
    ));
    prometheus.arg(format!(
        "--storage.tsdb.path={}",
        instance.path("data").display()
    ));
    prometheus.arg(format!("--web.listen-address={api}"));
    prometheus.stdout(Stdio::null()).stderr(log);
    let _ended = Ended(prometheus.spawn().unwrap());
    let query = |query: &str| -> Option<Vec<Value>> {
        let (status, body) = get(api, &format!("/api/v1/query?query={query}"))?;
        let body: Value = serde_json::from_str(unchunked(&body))
            .ok()
            .filter(|_| status == 200)?;
        body["data"]["result"].as_array().cloned()
    };
    wait_until("both are up", || {
        let up = query("up").unwrap_or_default();
        up.len() == 2 && up.iter().all(|one| one["value"][1] == "1")
    });
    for metric in ["purlin_connections_accepted_total", "purlin_ready"] {
        let found = query(metric).unwrap();
        assert_eq!(found.len(), 2, "{metric}: {found:?}");
        assert_eq!(found[0]["value"][1], found[1]["value"][1]);
    }
    let log = fs::read_to_string(instance.path("prometheus.log")).unwrap();
    assert!(!log.contains("level=error"), "{log}");
}

/// Of a body in chunks the first one, which is all of a short answer.
fn unchunked(body: &str) -> &str {
    let from = body.find('{').unwrap_or(0);
    let to = body.rfind('}').map_or(body.len(), |at| at + 1);
    &body[from..to]
}
