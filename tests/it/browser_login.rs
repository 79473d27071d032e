//! Two browsers that log in: the cookie is one that Chromium takes over plain HTTP from
//! this machine, a name planted before the login is worth nothing, and who logs out
//! everywhere is out in the other browser as well.

use serde_json::{Value, json};

use crate::devtools::{Driven, Tab};
use crate::harness::{has, wait_until};
use crate::instance::Instance;

struct Window {
    browser: Driven,
    tab: Tab,
    _profile: tempfile::TempDir,
}

impl Window {
    fn open(url: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Driven::start(profile.path());
        let tab = browser.tab(url);
        Self {
            browser,
            tab,
            _profile: profile,
        }
    }

    fn run(&mut self, script: &str) -> Value {
        self.browser.run(&self.tab, script)
    }

    /// Fills the form in and presses a button; waits for what the page says then.
    fn press(&mut self, button: &str, said: &str) {
        self.run(&format!(
            "(() => {{ const of = document.forms[0].elements; of.name.value = 'ann'; \
             of.password.value = 'correct horse'; at('said').textContent = ''; \
             document.querySelector('button[value=\"{button}\"]').click(); return null; }})()"
        ));
        wait_until(said, || {
            self.run("at('said').textContent.trim()") == json!(said)
        });
    }

    fn shows(&mut self, who: &str) {
        wait_until(who, || self.run("at('who').textContent") == json!(who));
    }
}

#[test]
fn two_browsers_log_in_and_one_logs_both_out() {
    if !has("chromium", "chromium") {
        return;
    }
    let instance = Instance::example("login-web", "workers = 2");
    let text = std::fs::read_to_string(instance.path("conf")).unwrap();
    instance.write(&text.replace("[log]", "protocol = \"auto\"\n[log]"));
    instance.must("start");
    let url = format!("http://{}/", instance.address);
    let (mut desk, mut phone) = (Window::open(&url), Window::open(&url));
    desk.shows("nobody");
    let planted = "A".repeat(43);
    desk.run(&format!(
        "(document.cookie = '__Host-session={planted}; Secure; Path=/', null)"
    ));
    desk.press("/register", "done");
    desk.press("/register", "the name is taken");
    desk.press("/login", "done");
    desk.shows("ann");
    // A script sees none of it, and what was planted is gone.
    assert_eq!(desk.run("document.cookie"), json!(""));
    phone.press("/login", "done");
    phone.shows("ann");
    phone.run("(socket = new WebSocket('/ws'), isOver = false, socket.onclose = () => isOver = true, null)");
    wait_until("the WebSocket is open", || {
        phone.run("socket.readyState") == json!(1)
    });
    // Two requests at a time set different values.
    let both = "Promise.all(['a', 'b'].map(name => fetch('/my/note/' + name, { method: 'PUT', body: \
                name }))).then(all => all.map(one => one.status))";
    assert_eq!(desk.run(both), json!([204, 204]));
    let read =
        "Promise.all(['a', 'b'].map(name => fetch('/my/note/' + name).then(one => one.json())))";
    assert_eq!(desk.run(read), json!(["a", "b"]));
    let devices = "fetch('/my/devices').then(one => one.json()).then(all => all.length)";
    assert_eq!(desk.run(devices), json!(1));
    desk.press("/logout_all", "done");
    desk.shows("nobody");
    wait_until("the other's WebSocket is closed", || {
        phone.run("isOver") == json!(true)
    });
    phone.run("(show(), null)");
    phone.shows("nobody");
    assert_eq!(
        phone.run("fetch('/my/name').then(one => one.status)"),
        json!(401)
    );
}
