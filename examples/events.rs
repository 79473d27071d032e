//! Server-sent events: a page that hears what anybody says, over HTTP or in
//! frames, in whatever worker.
//!
//! ```text
//! cargo run --release --example events -- run --set listener.0.protocol=auto
//! ```
//!
//! Then open the address that it logs, in two windows.

use purlin::prelude::*;

const PAGE: &str = r#"<!doctype html><title>events</title>
<form><input autofocus><button>Say</button></form><ol></ol><script>
new EventSource("/events").onmessage = event =>
    document.querySelector("ol").append(
        Object.assign(document.createElement("li"), { textContent: event.data }));
document.forms[0].onsubmit = () => {
    const input = document.querySelector("input");
    fetch("/say", { method: "POST", body: input.value });
    input.value = "";
    return false;
};
</script>"#;

/// Message ids, and the room that everybody is in.
const JOIN: Id = 1;
const SAY: Id = 2;
const HEARD: Id = 3;
const ROOM: &str = "all";

fn main() -> ExitCode {
    let web = Web::<()>::new()
        .get_inline("/", |_, (): ()| Html(PAGE))
        .get("/events", |c, (): ()| {
            c.events_of(&[ROOM], |_, text| {
                Some(String::from_utf8_lossy(text).into_owned())
            })
        })
        .post("/say", |c, text: String| {
            c.hub().room(ROOM).send(HEARD, text);
        });
    App::<()>::new()
        .on(JOIN, |c, (): ()| c.join(ROOM))
        .on(SAY, |c, text: String| {
            c.hub().room(ROOM).send(HEARD, text);
        })
        .web(web)
        .main()
}
