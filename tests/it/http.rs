//! HTTP: routes without sockets, then a real server with real clients.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use purlin::Server;
use purlin::prelude::*;
use purlin::scoreboard::Counter;

use crate::daemon::Daemon;
use crate::harness::{Client, address, comm, wait_for};

#[derive(Deserialize, Serialize)]
struct Point {
    x: i32,
    y: Option<i32>,
}

/// States that were made, to see that each request has its own.
static STATES: AtomicU32 = AtomicU32::new(0);

struct State(u32);

impl Default for State {
    fn default() -> Self {
        STATES.fetch_add(1, Ordering::SeqCst);
        Self(0)
    }
}

fn routes() -> Web<State> {
    Web::<State>::new()
        .get("/", |_, (): ()| Html("<h1>purlin</h1>"))
        .get_inline("/inline", |_, (): ()| "inline")
        .post("/echo", |_, body: Bytes| body)
        .post("/point", |_, Json(p): Json<Point>| {
            Json(Point { x: p.x + 1, ..p })
        })
        .post("/form", |_, Form(p): Form<Point>| Json(p))
        .get("/query", |c, (): ()| c.query::<Point>().map(Json))
        .get("/users/:id", |c, (): ()| {
            let id: u64 = c.param_as("id")?;
            Ok::<_, Error>(format!("user {id}"))
        })
        .put("/users/:id", |c, (): ()| c.status(201))
        .get("/all/*rest", |c, (): ()| c.param("rest").into_owned())
        .get("/fails", |_, (): ()| {
            Err::<(), _>(Error::new(409, "not now"))
        })
        .get("/panics", |_, (): ()| -> String {
            panic!("as the test wants")
        })
        .get("/old", |c, (): ()| c.redirect("/new"))
        .get("/cookie", |c, (): ()| {
            let seen = c.cookie("sid").unwrap_or("none").to_owned();
            c.set_cookie("sid", "42");
            seen
        })
        .get("/later", |c, (): ()| {
            c.later(|replier| {
                thread::spawn(move || replier.send("at last"));
            })
        })
        .get("/state", |c, (): ()| {
            c.0 += 1;
            c.0.to_string()
        })
        .any("/any", |c, (): ()| c.method().to_owned())
}

fn app() -> App<State> {
    App::new().on(1, |_, body: Bytes| body).web(routes())
}

pub(crate) const HTTP: &[(&str, &str)] = &[("listener.0.protocol", "http")];

#[test]
fn every_route_answers_as_registered() {
    let mut test = app().test();
    for (method, target, body, status, text) in [
        ("GET", "/", "", 200, "<h1>purlin</h1>"),
        ("GET", "/?x=1", "", 200, "<h1>purlin</h1>"),
        ("GET", "/inline", "", 200, "inline"),
        ("POST", "/echo", "hello", 200, "hello"),
        ("POST", "/point", r#"{"x":1}"#, 200, r#"{"x":2,"y":null}"#),
        ("POST", "/form", "x=1&y=-2", 200, r#"{"x":1,"y":-2}"#),
        ("GET", "/query?x=1&y=%32", "", 200, r#"{"x":1,"y":2}"#),
        ("GET", "/users/7", "", 200, "user 7"),
        ("GET", "/users/seven", "", 404, "no `id` can be `seven`\n"),
        ("PUT", "/users/7", "", 201, ""),
        ("GET", "/all/a/b%2Fc", "", 200, "a/b/c"),
        ("GET", "/fails", "", 409, "not now\n"),
        ("GET", "/panics", "", 500, "the handler panicked\n"),
        ("GET", "/old", "", 303, ""),
        ("GET", "/later", "", 200, "at last"),
        ("GET", "/nowhere", "", 404, "there is nothing here\n"),
        (
            "DELETE",
            "/users/7",
            "",
            405,
            "DELETE is not allowed here\n",
        ),
        ("HEAD", "/inline", "", 200, ""),
        ("OPTIONS", "/users/7", "", 204, ""),
        ("OPTIONS", "*", "", 200, ""),
        ("OPTIONS", "/nowhere", "", 204, ""),
        ("GET", "//inline", "", 200, "inline"),
        ("GET", "/./inline", "", 200, "inline"),
        ("GET", "/users/../inline", "", 200, "inline"),
        ("GET", "/%69nline", "", 200, "inline"),
        ("GET", "http://h/inline", "", 200, "inline"),
        ("GET", "HTTPS://h?x=1", "", 200, "<h1>purlin</h1>"),
        ("GET", "*://h/inline", "", 400, "400 Bad Request\n"),
        ("GET", "inline", "", 400, "400 Bad Request\n"),
        ("GET", "/inline#f", "", 400, "400 Bad Request\n"),
        ("GET", "/../inline", "", 400, "400 Bad Request\n"),
        ("GET", "/inline%00", "", 400, "400 Bad Request\n"),
        ("TRACE", "/any", "", 405, "405 Method Not Allowed\n"),
        ("CONNECT", "h:443", "", 405, "405 Method Not Allowed\n"),
        ("BREW", "/any", "", 200, "BREW"),
        ("BREW", "/echo", "", 501, "501 Not Implemented\n"),
        ("BREW", "/nowhere", "", 501, "501 Not Implemented\n"),
        ("PATCH", "/echo", "", 405, "PATCH is not allowed here\n"),
    ] {
        let answered = test.http(method, target, body);
        assert_eq!(
            (answered.status, &answered.text()[..]),
            (status, text),
            "{method} {target}"
        );
    }
    assert_eq!(test.http("POST", "/point", "{").status, 400);
    assert_eq!(test.http("POST", "/form", "y=1").status, 400);
    assert_eq!(test.http("GET", "/query?x=a", "").status, 400);
}

#[test]
fn a_guarded_path_is_guarded_in_every_spelling() {
    let folder = tempfile::tempdir().unwrap();
    let private = folder.path().join("private");
    std::fs::create_dir_all(private.join("a+b ä")).unwrap();
    for name in ["x", "a+b ä/x", "b:c"] {
        std::fs::write(private.join(name), "secret").unwrap();
    }
    let guard = |_: &mut Http<'_, ()>, (): ()| Err::<(), _>(Error::new(401, "who are you?"));
    let web = Web::<()>::new()
        .any("/private/*rest", guard)
        .get("/b%3Ac", guard)
        .files("/", folder.path());
    let mut test = App::<()>::new().web(web).test();
    for target in [
        "/private/x",
        "/%70rivate/x",
        "//private/x",
        "/private//x",
        "/./private/x",
        "/private/./x",
        "/d/../private/x",
        "/%2e/private/x",
        "/d/%2E%2e/private/%78",
        "http://h/%70rivate/x",
        "/private/a+b%20%C3%A4/x",
        "/private/a%2Bb%20\u{e4}/x",
        "/private/b%3Ac",
        "/b:c",
        "/b%3ac",
    ] {
        assert_eq!(test.http("GET", target, "").status, 401, "{target}");
    }
    for target in ["/private%2Fx", "/private%2fx", "/x/..%2fprivate/x"] {
        assert_eq!(test.http("GET", target, "").status, 404, "{target}");
    }
    let seen = Web::<()>::new()
        .wrap(|c, body, next| match c.path().strip_prefix("/private") {
            Some(_) => Err(Error::new(401, "who are you?")),
            None => next.run(c, body),
        })
        .files("/", folder.path());
    let mut test = App::<()>::new().web(seen).test();
    for target in ["/%70rivate/x", "//private/x", "/a/../private/x"] {
        assert_eq!(test.http("GET", target, "").status, 401, "{target}");
    }
}

#[test]
fn a_form_that_is_wrong_says_where() {
    let mut test = app().test();
    for (answered, field) in [
        (test.http("GET", "/query?x=a", ""), "`x`"),
        (test.http("GET", "/query?x=1&y=1e9", ""), "`y`"),
        (test.http("POST", "/form", "y=1"), "`x`"),
        (test.http("POST", "/form", "x=1&x=2"), "`x`"),
        (test.http("POST", "/form", "x=1&y=999999999999999"), "`y`"),
    ] {
        assert_eq!(answered.status, 400);
        let text = answered.text();
        assert!(text.contains(field), "{text}");
    }
}

#[test]
fn responses_say_what_they_are() {
    let mut test = app().test();
    for (method, target, field, value) in [
        ("GET", "/", "content-type", Some("text/html; charset=utf-8")),
        (
            "GET",
            "/inline",
            "content-type",
            Some("text/plain; charset=utf-8"),
        ),
        (
            "POST",
            "/echo",
            "content-type",
            Some("application/octet-stream"),
        ),
        (
            "GET",
            "/query?x=1",
            "content-type",
            Some("application/json"),
        ),
        ("GET", "/old", "location", Some("/new")),
        ("PUT", "/echo", "allow", Some("POST, OPTIONS")),
        ("PUT", "/inline", "allow", Some("GET, HEAD, OPTIONS")),
        (
            "OPTIONS",
            "/users/1",
            "allow",
            Some("GET, HEAD, PUT, OPTIONS"),
        ),
        ("HEAD", "/inline", "content-length", Some("6")),
        ("PUT", "/users/7", "content-length", Some("0")),
        ("OPTIONS", "*", "content-length", Some("0")),
        (
            "OPTIONS",
            "*",
            "allow",
            Some("GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"),
        ),
        (
            "TRACE",
            "/",
            "allow",
            Some("GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"),
        ),
        ("OPTIONS", "/nowhere", "allow", Some("OPTIONS")),
    ] {
        let answered = test.http(method, target, "");
        assert_eq!(answered.header(field), value, "{method} {target}");
        assert!(
            answered
                .header("date")
                .is_some_and(|date| date.ends_with(" GMT"))
        );
    }
}

#[test]
fn cookies_come_and_go() {
    let mut test = app().test();
    let first = test.http("GET", "/cookie", "");
    assert_eq!(first.text(), "none");
    let set = first.header("set-cookie").unwrap();
    assert_eq!(set, "sid=42; Path=/; HttpOnly; SameSite=Lax");
    let fields = [("Cookie", "a=b; sid=42")];
    assert_eq!(test.http_with("GET", "/cookie", &fields, "").text(), "42");
}

#[test]
fn middleware_is_around_every_route() {
    let web = Web::<()>::new()
        .get("/open", |_, (): ()| "open")
        .wrap(|c, body, next| {
            c.set_header("x-seen", "1");
            if c.header("authorization").is_some() {
                next.run(c, body)
            } else {
                Err(Error::new(401, "who are you?"))
            }
        });
    let mut test = App::new().web(web).test();
    let refused = test.http("GET", "/open", "");
    assert_eq!((refused.status, refused.header("x-seen")), (401, Some("1")));
    let fields = [("Authorization", "me")];
    assert_eq!(test.http_with("GET", "/open", &fields, "").text(), "open");
}

#[test]
fn two_handlers_of_one_route_stop_the_program() {
    let twice = || {
        Web::<()>::new()
            .get("/a", |_, (): ()| ())
            .get("/a", |_, (): ()| ())
    };
    let unclear = || {
        let web = Web::<()>::new()
            .get("/:a", |_, (): ()| ())
            .get("/:b", |_, (): ()| ());
        App::new().web(web)
    };
    for result in [
        std::panic::catch_unwind(|| drop(twice())),
        std::panic::catch_unwind(|| drop(unclear())),
    ] {
        let text = result.unwrap_err().downcast::<String>().unwrap();
        assert!(text.contains("tests/it/http.rs:"), "{text}");
    }
}

/// The next response: its head, and its content as long as the head says.
pub(crate) fn response(client: &mut Client) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.exactly(1));
    }
    let head = String::from_utf8(head).unwrap();
    let lower = head.to_ascii_lowercase();
    let length = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let body = client.exactly(length.map_or(0, |length| length.parse().unwrap()));
    (head, body)
}

pub(crate) fn ask(client: &mut Client, method: &str, target: &str) -> (String, Vec<u8>) {
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    response(client)
}

#[test]
fn a_connection_serves_many_requests_each_with_its_own_state() {
    let server = Server::configured(app(), HTTP).unwrap();
    let mut client = Client::to(&server);
    for _ in 0..3 {
        assert_eq!(ask(&mut client, "GET", "/state").1, b"1");
        assert_eq!(ask(&mut client, "GET", "/inline").1, b"inline");
        let (head, _) = ask(&mut client, "GET", "/panics");
        assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
        assert_eq!(ask(&mut client, "GET", "/later").1, b"at last");
    }
    assert_eq!(server.read(Counter::Accepted), 1);
    assert_eq!(server.read(Counter::Panicked), 3);
}

#[test]
fn pipelined_requests_are_answered_in_order_with_few_writes() {
    const REQUESTS: usize = 200;
    let server = Server::configured(app(), HTTP).unwrap();
    let mut client = Client::to(&server);
    let mut text = String::new();
    for n in 0..REQUESTS {
        // Inline and pooled handlers in turn: order holds over both.
        let body = n.to_string();
        text += "GET /inline HTTP/1.1\r\nHost: x\r\n\r\n";
        text += &format!(
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
    }
    client.send(text.as_bytes());
    for n in 0..REQUESTS {
        assert_eq!(response(&mut client).1, b"inline");
        assert_eq!(response(&mut client).1, n.to_string().as_bytes());
    }
    assert!(
        server.read(Counter::Writes) < 20,
        "{}",
        server.read(Counter::Writes)
    );
}

#[test]
fn refusals_are_answered_counted_and_closed_behind_good_requests() {
    let keys = [HTTP[0], ("http.body_max", "10B"), ("http.line_max", "128B")];
    let server = Server::configured(app(), &keys).unwrap();
    let good = "GET /inline HTTP/1.1\r\nHost: x\r\n\r\n";
    for (bad, status, counter) in [
        ("GET /\r\n\r\n", "400", Counter::HttpBadRequest),
        (
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n",
            "413",
            Counter::HttpBodyTooLong,
        ),
        (
            &format!("GET /{}", "a".repeat(200)),
            "414",
            Counter::HttpHeadTooLong,
        ),
        (
            &format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(20_000)),
            "431",
            Counter::HttpHeadTooLong,
        ),
        (
            "GET / HTTP/1.1\r\nTransfer-Encoding: br\r\n",
            "400",
            Counter::HttpBadRequest,
        ),
        (
            "GET / HTTP/1.1\r\nTransfer-Encoding: br, chunked\r\n",
            "501",
            Counter::HttpUnsupported,
        ),
        (
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "505",
            Counter::SpokeHttp2,
        ),
    ] {
        let before = server.read(counter);
        let mut client = Client::to(&server);
        client.send(format!("{good}{bad}").as_bytes());
        assert_eq!(response(&mut client).1, b"inline");
        let (head, _) = response(&mut client);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert_eq!(client.until_closed(), b"");
        wait_for(&server, counter, before + 1);
    }
    let mut tls = Client::to(&server);
    tls.send(&[0x16, 3, 1, 2, 0, 1, 0]);
    assert_eq!(tls.until_closed(), b"");
    wait_for(&server, Counter::SpokeTls, 1);
}

#[test]
fn who_asks_for_a_close_gets_it_at_once_and_wakes_nobody() {
    let body = "x".repeat(100_000);
    let reply = body.clone();
    let web = Web::<()>::new().get_inline("/", move |_, (): ()| reply.clone());
    let server = Server::configured(App::<()>::new().web(web), HTTP).unwrap();
    for rounds in 1..=10 {
        let mut client = Client::to(&server);
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(String::from_utf8(client.rest()).unwrap().ends_with(&body));
        wait_for(&server, Counter::Recycled, rounds);
    }
    assert_eq!(server.read(Counter::Turns), 0);
}

#[test]
fn who_asks_for_a_close_and_goes_on_is_lingered_for() {
    let body = "x".repeat(1_000_000);
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let (reply, gate) = (body.clone(), std::sync::Mutex::new(gate));
    let web = Web::<()>::new().get("/", move |_, (): ()| {
        gate.lock().unwrap().recv().unwrap();
        reply.clone()
    });
    let server = Server::configured(App::<()>::new().web(web), HTTP).unwrap();
    let ask = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET / HTTP";
    for rounds in 1..=10 {
        let mut client = Client::to(&server);
        let read = server.read(Counter::BytesIn) + ask.len() as u64;
        client.send(ask);
        wait_for(&server, Counter::BytesIn, read);
        open.send(()).unwrap();
        // More than the server ever reads of it: a reset would cost the reply.
        client.send(&[b'x'; 50_000]);
        assert!(String::from_utf8(client.rest()).unwrap().ends_with(&body));
        drop(client);
        wait_for(&server, Counter::Recycled, rounds);
    }
}

#[test]
fn pushes_and_hooks_leave_http_connections_alone() {
    static OPENED: AtomicU32 = AtomicU32::new(0);
    let app = App::<()>::new()
        .opened(|_| {
            OPENED.fetch_add(1, Ordering::SeqCst);
        })
        .closed(|_| {
            OPENED.fetch_add(1, Ordering::SeqCst);
        })
        .web(Web::<()>::new().get("/push", |c, (): ()| c.hub().all().send(1, "x").to_string()));
    let server = Server::configured(app, HTTP).unwrap();
    let mut client = Client::to(&server);
    assert_eq!(ask(&mut client, "GET", "/push").1, b"0");
    drop(client);
    wait_for(&server, Counter::Recycled, 1);
    assert_eq!(OPENED.load(Ordering::SeqCst), 0);
}

#[test]
fn a_stop_answers_what_it_has_read_and_closes_idle_connections() {
    let server = Server::configured(app(), &[HTTP[0], ("worker.drain_idle", "50ms")]).unwrap();
    let mut client = Client::to(&server);
    assert_eq!(ask(&mut client, "GET", "/inline").1, b"inline");
    let stopped = server.stop(Duration::from_secs(30)).unwrap();
    assert_eq!(stopped.cut, 0);
    assert_eq!(client.until_closed(), b"");
}

/// Runs a client that Debian has; `None`, with a word in the output, where it
/// is missing.
fn client(program: &str, args: &[&str]) -> Option<String> {
    let run = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output();
    let Ok(output) = run else {
        eprintln!("SKIPPED: {program} is not installed");
        return None;
    };
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn curl_gets_posts_and_uploads_in_chunks() {
    let server = Server::configured(app(), HTTP).unwrap();
    let url = format!("http://{}", address(&server));
    let curl = |args: &[&str]| client("curl", &[&["-sS", "-m", "60"], args].concat());
    let Some(said) = curl(&[&format!("{url}/inline")]) else {
        return;
    };
    assert_eq!(said, "inline");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("upload");
    let text = "0123456789".repeat(50_000);
    std::fs::write(&file, &text).unwrap();
    let data = format!("@{}", file.display());
    let echo = format!("{url}/echo");
    let chunked = [
        "-H",
        "Transfer-Encoding: chunked",
        "--data-binary",
        &data,
        &echo,
    ];
    assert_eq!(curl(&chunked).unwrap(), text);
    let expects = [
        "-H",
        "Expect: 100-continue",
        "--expect100-timeout",
        "60",
        "--data-binary",
        &data,
        &echo,
    ];
    let began = std::time::Instant::now();
    assert_eq!(curl(&expects).unwrap(), text);
    assert!(
        began.elapsed() < Duration::from_secs(50),
        "it was told to go on"
    );
    let page = format!("{url}/state");
    let twice = ["-w", "%{num_connects} ", &page, &page];
    assert_eq!(curl(&twice).unwrap(), "11 10 ");
}

#[test]
fn python_keeps_its_connection() {
    let server = Server::configured(app(), HTTP).unwrap();
    let script = format!(
        "import http.client\n\
         c = http.client.HTTPConnection('{}', timeout=60)\n\
         for n in range(3):\n\
         \x20   c.request('POST', '/echo', body=iter([b'a', b'bc']), encode_chunked=True,\n\
         \x20             headers={{'Transfer-Encoding': 'chunked'}})\n\
         \x20   r = c.getresponse()\n\
         \x20   print(r.status, r.read().decode())\n\
         c.request('HEAD', '/inline')\n\
         print(c.getresponse().getheader('Content-Length'))\n",
        address(&server)
    );
    if let Some(said) = client("python3", &["-c", &script]) {
        assert_eq!(said, "200 abc\n200 abc\n200 abc\n6\n");
        assert_eq!(server.read(Counter::Accepted), 1);
    }
}

/// The load that every release is measured with, short.
#[test]
fn wrk_reads_two_parameters_without_an_error() {
    #[derive(Deserialize)]
    struct Stream {
        streamname: String,
        edgename: String,
    }
    let web = Web::<()>::new().get_inline("/api/v1/stream/", |c, (): ()| {
        let stream: Stream = c.query()?;
        Ok::<_, Error>(format!("{} at {}", stream.streamname, stream.edgename))
    });
    let server = Server::configured(App::new().web(web), HTTP).unwrap();
    let url = format!(
        "http://{}/api/v1/stream/?streamname=livestream1&edgename=edge240",
        address(&server)
    );
    if let Some(said) = client("wrk", &["-t2", "-c50", "-d1s", "--latency", &url]) {
        assert!(
            !said.contains("Socket errors") && !said.contains("Non-2xx"),
            "{said}"
        );
        assert!(server.read(Counter::Handled) > 100, "{said}");
    }
}

#[test]
fn the_daemon_serves_http_where_it_is_told_to() {
    let daemon = Daemon::start(&[HTTP[0]]);
    let mut client = Client::connect(daemon.address());
    for (path, status) in [("/", "200"), ("/nowhere", "404")] {
        let (head, _) = ask(&mut client, "GET", path);
        assert_eq!(&head[9..12], status, "{head}");
    }
    drop(client);
    daemon.stop();
}

#[test]
fn one_port_tells_frames_from_requests() {
    static OPENED: AtomicU32 = AtomicU32::new(0);
    let app = App::<u32>::new()
        .opened(|c| {
            OPENED.fetch_add(1, Ordering::SeqCst);
            **c = 40;
        })
        .on(1, |c, (): ()| {
            **c += 1;
            c.to_string()
        })
        .on_inline(2, |_, body: Bytes| body)
        .web(Web::<u32>::new().get("/state", |c, (): ()| {
            **c += 1;
            c.to_string()
        }));
    let server = Server::configured(app, &[("listener.0.protocol", "auto")]).unwrap();
    let mut undecided = Client::to(&server);
    undecided.send(b"G");
    for _ in 0..20 {
        // Slots are used again by the other kind.
        let mut frames = Client::to(&server);
        for byte in comm(1, b"") {
            frames.send(&[byte]);
        }
        assert_eq!(frames.comm(), (1, b"41".to_vec()));
        assert_eq!(frames.call(2, b"x"), (2, b"x".to_vec()));
        assert_eq!(frames.call(1, b""), (1, b"42".to_vec()));
        let mut web = Client::to(&server);
        assert_eq!(ask(&mut web, "GET", "/state").1, b"1");
        assert_eq!(ask(&mut web, "GET", "/state").1, b"1");
    }
    assert_eq!(OPENED.load(Ordering::SeqCst), 20);
    let mut tls = Client::to(&server);
    tls.send(&[0x16, 3, 1, 2, 0, 1, 0]);
    assert_eq!(tls.until_closed(), b"");
    wait_for(&server, Counter::SpokeTls, 1);
    undecided.send(b"ET /state HTTP/1.0\r\n\r\n");
    assert!(undecided.rest().ends_with(b"\r\n\r\n1"));
}

#[test]
fn who_has_not_said_what_he_speaks_can_leave_and_be_drained() {
    let server = Server::configured(app(), &[("listener.0.protocol", "auto")]).unwrap();
    let leaves = Client::to(&server);
    leaves.finish();
    wait_for(&server, Counter::Recycled, 1);
    let mut stays = Client::to(&server);
    stays.send(b"PO");
    wait_for(&server, Counter::Live, 1);
    assert_eq!(server.stop(Duration::from_secs(30)).unwrap().cut, 0);
    assert_eq!(stays.until_closed(), b"");
}
