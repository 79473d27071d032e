//! A real browser: it shows the page that is built in, and plays and seeks a
//! film.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use purlin::Server;
use purlin::prelude::*;

use crate::daemon::Daemon;
use crate::devtools::{Browser, chromium};
use crate::harness::{address, has, wait_until};

/// Opens a page; what it writes goes nowhere.
fn open(profile: &Path, url: &str) -> Browser {
    let mut command = chromium(profile);
    command.args(["--remote-debugging-port=0", url]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Browser(command.process_group(0).spawn().unwrap())
}

#[test]
fn the_page_that_is_built_in_shows_its_figures() {
    if !has("chromium", "chromium") {
        return;
    }
    let daemon = Daemon::start(&[
        ("listener.0.protocol", "auto"),
        ("listener.0.websocket", "/ws"),
    ]);
    let profile = tempfile::tempdir().unwrap();
    let output = chromium(profile.path())
        .args(["--virtual-time-budget=4000", "--dump-dom"])
        .arg(format!("http://{}/", daemon.address()))
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let page = String::from_utf8(output.stdout).unwrap();
    let version = format!("<span id=\"version\">{}</span>", env!("CARGO_PKG_VERSION"));
    let at = format!("<span class=\"at\">{}</span>/echo", daemon.address());
    for part in [&*version, &at, ">live</span>", ">hello</output>"] {
        assert!(page.contains(part), "{part} is missing in {page}");
    }
}

/// Uses the client for browsers, and says what came.
const CALLS: &str = r#"<!DOCTYPE html><script src="/purlin.js"></script>
<script>
const say = what => fetch("/said/" + encodeURIComponent(what));
let opened = 0;
const server = purlin.connect("/ws", { pauseMin: 20, onopen: () => opened++ });
server.on(9, body => say("pushed " + body));
(async () => {
  await say(await server.call(3, "ann"));
  await say("sum " + await server.call(2, [1, 2, 39]));
  await say("bytes " + (await server.call(1, new Uint8Array([0, 255]))).join());
  await server.call(6).catch(error => say("error " + error.code + " " + error.message));
  server.send(4, "lobby");
  server.send(5, "hi");
  await server.call(1);
  await server.call(12).catch(error => say("lost " + error.code));
  await say("again " + await server.call(3, "bob") + ", connection " + opened);
})().catch(error => say("failed " + error));
</script>"#;

#[test]
fn the_client_for_browsers_calls_is_pushed_to_and_comes_back() {
    if !has("chromium", "chromium") {
        return;
    }
    let said = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&said);
    let web = Web::<()>::new()
        .get("/", |_, (): ()| Html(CALLS))
        .get("/said/:what", move |c, (): ()| {
            hears.lock().unwrap().push(c.param("what").into_owned());
        })
        .websocket("/ws", |_| ());
    let app = App::<()>::new()
        .on(1, |_, body: Bytes| body)
        .on(2, |_, Json(numbers): Json<Vec<i64>>| {
            Json(numbers.iter().sum::<i64>())
        })
        .on(3, |_, name: String| format!("hello {name}"))
        .on(4, |c, room: String| c.join(&room))
        .on(5, |c, said: String| {
            c.hub().room("lobby").send(9, said);
        })
        .on(6, |_, (): ()| Err::<(), _>(Error::new(418, "teapot")))
        .on(12, |c, (): ()| c.abort())
        .web(web);
    let server = Server::configured(app, &[("listener.0.protocol", "http")]).unwrap();
    let profile = tempfile::tempdir().unwrap();
    let browser = open(profile.path(), &format!("http://{}/", address(&server)));
    wait_until("the page has said all", || said.lock().unwrap().len() >= 7);
    drop(browser);
    let mut said = said.lock().unwrap().clone();
    said.sort();
    let expected = [
        "again hello bob, connection 2",
        "bytes 0,255",
        "error 418 teapot",
        "hello ann",
        "lost 0",
        "pushed hi",
        "sum 42",
    ];
    assert_eq!(said, expected);
}

/// Comes back after it was told that there is too much to do, and after it was not.
const PAUSES: &str = r#"<!DOCTYPE html><script src="/purlin.js"></script>
<script>
const say = what => fetch("/said/" + encodeURIComponent(what));
let left;
const server = purlin.connect("/ws", {
  pauseMin: 100,
  onclose: code => { left = [code, performance.now()]; },
  onopen: () => left && say(left[0] + " " + Math.round(performance.now() - left[1])),
});
(async () => {
  await server.call(1, "a");
  for (const code of [4000, 1013]) {
    await server.call(2, String(code)).catch(() => {});
    await server.call(1, "b");
  }
})();
</script>"#;

#[test]
fn the_client_for_browsers_comes_back_later_where_it_is_asked_to() {
    if !has("chromium", "chromium") {
        return;
    }
    let said = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&said);
    let web = Web::<()>::new()
        .get("/", |_, (): ()| Html(PAUSES))
        .get("/said/:what", move |c, (): ()| {
            hears.lock().unwrap().push(c.param("what").into_owned());
        })
        .websocket("/ws", |_| ());
    let app = App::<()>::new()
        .on(1, |_, body: String| body)
        .on(2, |c, code: String| {
            let code = code.parse().expect("a number");
            c.hub().conn(c.conn()).close_with(code, "as asked");
        })
        .web(web);
    let server = Server::configured(app, &[("listener.0.protocol", "http")]).unwrap();
    let profile = tempfile::tempdir().unwrap();
    let browser = open(profile.path(), &format!("http://{}/", address(&server)));
    wait_until("it was back twice", || said.lock().unwrap().len() >= 2);
    drop(browser);
    let said = said.lock().unwrap();
    // Half of 100 ms, and half of sixteen times as much: at least.
    for (said, code, least) in [(&said[0], "4000", 50), (&said[1], "1013", 800)] {
        let (came, pause) = said.split_once(' ').unwrap();
        assert_eq!(came, code);
        assert!(pause.parse::<u64>().unwrap() >= least, "{said}");
    }
}

/// Ten seconds in, then half a second on; says so, or what went wrong.
const FILM: &str = r#"<!DOCTYPE html><video id="film" muted src="film.mp4" preload="metadata"></video>
<script>
const film = document.getElementById("film");
const say = what => fetch("/said/" + encodeURIComponent(what));
film.onerror = () => say("error " + film.error.code + " " + film.error.message);
film.onloadedmetadata = () => { film.currentTime = film.duration - 10; };
film.onseeked = () => {
  const from = film.currentTime;
  film.ontimeupdate = () => {
    if (film.currentTime > from + .5) {
      film.ontimeupdate = null;
      say("played " + Math.round(from) + " of " + Math.round(film.duration) + " " + film.videoWidth);
    }
  };
  film.play().catch(error => say("refused " + error));
};
</script>"#;

#[test]
fn a_film_is_played_and_sought() {
    if !has("chromium", "chromium") || !has("ffmpeg", "ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), FILM).unwrap();
    // Noise makes it long; its table stands at its end, as ffmpeg writes it, so
    // that nobody can begin without a range.
    let made = Command::new("ffmpeg")
        .args(["-loglevel", "error", "-f", "lavfi", "-i"])
        .arg("testsrc2=duration=40:size=320x240:rate=10,noise=alls=60:allf=t")
        .args([
            "-pix_fmt",
            "yuv420p",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
        ])
        .args(["-crf", "18", "-g", "10"])
        .arg(folder.path().join("film.mp4"))
        .status()
        .unwrap();
    assert!(made.success());
    let said = Arc::new(Mutex::new(Vec::new()));
    let ranges = Arc::new(Mutex::new(Vec::new()));
    let (hears, sees) = (Arc::clone(&said), Arc::clone(&ranges));
    let web = Web::<()>::new()
        .get("/said/:what", move |c, (): ()| {
            hears.lock().unwrap().push(c.param("what").into_owned());
        })
        .files("/", folder.path())
        .wrap(move |c, body, next| {
            let range = c.header("range").map(str::to_owned);
            sees.lock().unwrap().extend(range);
            next.run(c, body)
        });
    let keys = [("listener.0.protocol", "http")];
    let server = Server::configured(App::new().web(web), &keys).unwrap();
    let profile = tempfile::tempdir().unwrap();
    let url = format!("http://{}/", address(&server));
    let browser = open(profile.path(), &url);
    wait_until("the film was played", || !said.lock().unwrap().is_empty());
    drop(browser);
    assert_eq!(said.lock().unwrap()[0], "played 30 of 40 320");
    let ranges = ranges.lock().unwrap();
    let far = ranges.iter().filter(|range| *range != "bytes=0-").count();
    assert!(far > 0, "{ranges:?}");
}
