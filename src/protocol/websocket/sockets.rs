//! What the connections of a listener may become, and for whom.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::framed::Framed;
use super::limits::Limits;
use super::raw::Destination;
use super::{MessagesById, RAW, RawMessages};
use crate::protocol::frame::Format;
use crate::protocol::{Chosen, Protocol, Successors};

/// What the connections of a listener may become. Shared by all of them.
#[derive(Debug)]
pub struct Sockets {
    limits: Limits,
    origins: Origins,
    by_id: Option<ById>,
    /// Where connections become that, whatever the program's routes are.
    path: Option<String>,
    /// Made when the first connection comes for the path: the listener does not
    /// know the routes of the program.
    raw: Mutex<Vec<Arc<RawMessages>>>,
}

/// What has messages with ids.
struct ById {
    /// Pushes as frames, and what a client offers that wants them so.
    frames: Arc<dyn Protocol>,
    offer: Option<String>,
    /// Pushes in JSON.
    json: Arc<dyn Protocol>,
}

impl fmt::Debug for ById {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ById({:?})", self.frames.name())
    }
}

/// What a client offers that wants pushes in JSON.
const OFFER_JSON: &str = "purlin.json";

impl Sockets {
    /// Within `limits`, for pages of `origins`.
    #[must_use]
    pub const fn new(limits: Limits, origins: Origins) -> Self {
        Self {
            limits,
            origins,
            by_id: None,
            path: None,
            raw: Mutex::new(Vec::new()),
        }
    }

    /// Messages have ids: binary ones are frames of `format`, which is called `name`,
    /// and at the end each peer gets one of the id `going_away`. Connections become
    /// that at `path`, where the program has no route.
    #[must_use]
    pub fn with_ids(
        mut self,
        format: impl Format,
        name: Option<&str>,
        going_away: Option<u32>,
        path: Option<&str>,
    ) -> Self {
        let (limits, format) = (self.limits, Arc::new(Framed(format)));
        let made = |json| MessagesById::new(limits, &format, going_away, json);
        self.by_id = Some(ById {
            frames: Arc::new(made(false)),
            offer: name.map(|name| format!("purlin.frame.{name}")),
            json: Arc::new(made(true)),
        });
        self.path = path.map(str::to_owned);
        self
    }
}

impl Successors for Sockets {
    fn admits(&self, origin: Option<&[u8]>, host: Option<&[u8]>) -> bool {
        self.origins.admits(origin, host)
    }

    fn raw(&self, path: &str) -> Arc<dyn Protocol> {
        let known = self.raw.lock();
        let mut known = known.expect("nothing under this lock panics");
        if let Some(found) = known.iter().find(|one| *one.to.path == *path) {
            return Arc::clone(found) as Arc<dyn Protocol>;
        }
        let made = Arc::new(RawMessages {
            limits: self.limits,
            to: Arc::new(Destination::new(path)),
        });
        known.push(Arc::clone(&made));
        made
    }

    /// A client that offers nothing is pushed frames.
    fn by_id(&self, offered: &mut dyn Iterator<Item = &[u8]>) -> Option<Chosen<'_>> {
        let by_id = self.by_id.as_ref()?;
        for offer in offered {
            if offer == OFFER_JSON.as_bytes() {
                return Some((Arc::clone(&by_id.json), Some(OFFER_JSON)));
            }
            let own = by_id.offer.as_deref();
            if own.is_some_and(|own| own.as_bytes() == offer) {
                return Some((Arc::clone(&by_id.frames), own));
            }
        }
        Some((Arc::clone(&by_id.frames), None))
    }

    fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    fn named(&self, name: &str) -> Option<Arc<dyn Protocol>> {
        if let Some(path) = name.strip_prefix(RAW) {
            return Some(self.raw(path));
        }
        let by_id = self.by_id.as_ref()?;
        let both = [&by_id.frames, &by_id.json];
        let is_it = |one: &&Arc<dyn Protocol>| one.name().as_deref() == Some(name);
        both.into_iter().find(is_it).cloned()
    }
}

/// The pages that may connect beside those of the same host: a browser sends along
/// the cookies of whoever looks at a page, whosever page that is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Origins(Vec<String>);

impl Origins {
    /// These: `https://a.example`, a host with or without a port, or `*` for all.
    #[must_use]
    pub fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Whether a page of `origin` may connect to `host`, both as the request says
    /// them. Who is no browser says none.
    #[must_use]
    pub fn admits(&self, origin: Option<&[u8]>, host: Option<&[u8]>) -> bool {
        let Some(origin) = origin else {
            return true;
        };
        let Ok(origin) = std::str::from_utf8(origin) else {
            return false;
        };
        let origin = origin.to_ascii_lowercase();
        let from = origin.split_once("://").map(|(_, host)| host);
        let is_listed =
            |name: &String| name == "*" || *name == origin || from.is_some_and(|from| from == name);
        let is_own = from
            .zip(host)
            .is_some_and(|(from, host)| from.as_bytes().eq_ignore_ascii_case(host));
        is_own || self.0.iter().any(is_listed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn pages_of_the_same_host_and_those_on_the_list_may_connect() {
        let names = ["https://A.example".into(), "b.example:8080".into()];
        let listed = Origins::new(&names);
        for (origin, host, own, on_list) in [
            (None, Some("x"), true, true),
            (Some("http://x"), Some("x"), true, true),
            (Some("https://X:7000"), Some("x:7000"), true, true),
            (Some("http://x"), Some("x:7000"), false, false),
            (Some("http://evil.example"), Some("x"), false, false),
            (Some("null"), Some("x"), false, false),
            (Some("null"), None, false, false),
            (Some("https://a.example"), Some("x"), false, true),
            (Some("http://a.example"), Some("x"), false, false),
            (Some("http://b.example:8080"), Some("x"), false, true),
            (Some("http://x.evil.example"), Some("x"), false, false),
        ] {
            let (origin, host) = (origin.map(str::as_bytes), host.map(str::as_bytes));
            assert_eq!(Origins::default().admits(origin, host), own, "{origin:?}");
            assert_eq!(listed.admits(origin, host), on_list, "{origin:?}");
            assert!(Origins::new(&["*".into()]).admits(origin, host));
        }
    }

    #[test]
    fn a_path_has_one_protocol_which_is_found_by_its_name() {
        let sockets = Sockets::new(Limits { message: 10 }, Origins::default());
        let one = sockets.raw("/a");
        assert!(Arc::ptr_eq(&one, &sockets.raw("/a")));
        assert!(!Arc::ptr_eq(&one, &sockets.raw("/b")));
        let named = sockets.named(&one.name().unwrap()).unwrap();
        assert!(Arc::ptr_eq(&one, &named));
        assert!(sockets.named("http/1.1").is_none());
    }
}
