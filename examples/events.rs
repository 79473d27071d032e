//! Server-sent events: a page that hears what anybody says.
//!
//! ```text
//! cargo run --release --example events -- run --set listener.0.protocol=http
//! ```
//!
//! Then open the address that it logs, in two windows.

use std::sync::{Mutex, PoisonError};

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

/// Everybody who listens, in this worker process.
#[derive(Default)]
struct Listeners(Mutex<Vec<EventSender>>);

impl Listeners {
    fn add(&self, one: EventSender) {
        let all = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(one);
    }

    /// Who is gone, or reads too slowly, is let go; the latter comes back.
    fn tell(&self, text: &str) {
        let all = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| one.send(text).is_ok());
    }
}

fn main() -> ExitCode {
    let web = Web::<()>::new()
        .get_inline("/", |_, (): ()| Html(PAGE))
        .get("/events", |c, (): ()| {
            let (sender, stream) = c.events();
            c.data::<Listeners>().add(sender);
            stream
        })
        .post("/say", |c, text: String| {
            c.data::<Listeners>().tell(&text);
        });
    App::<()>::new()
        .data(|| Ok::<_, Error>(Listeners::default()))
        .web(web)
        .main()
}
