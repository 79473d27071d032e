//! What the connections of a listener may become, and for whom.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::framed::Framed;
use super::limits::Limits;
use super::writer::{Counts, Packing, Writer};
use super::{MessagesById, RAW, RawMessages, offer, uncompressed};
use crate::protocol::frame::Format;
use crate::protocol::{Agreement, Chosen, Protocol, Successors};
use crate::scoreboard::Row;

/// What the connections of a listener may become. Shared by all of them.
#[derive(Debug)]
pub struct Sockets {
    limits: Limits,
    origins: Origins,
    /// Messages of so many bytes or more are compressed for whoever agrees on that.
    /// `None`: nobody is asked, and only who agreed elsewhere sends any.
    compressed_from: Option<usize>,
    counts: Counts,
    by_id: Option<ById>,
    /// Where connections become that, whatever the program's routes are.
    path: Option<String>,
    /// Made when the first connection comes for the path: the listener does not
    /// know the routes of the program.
    raw: Mutex<Vec<Arc<RawMessages>>>,
}

/// What has messages with ids.
struct ById {
    /// What a client offers that wants pushes as frames.
    offer: Option<String>,
    /// Makes one that pushes in JSON, or as frames.
    make: Box<dyn Fn(bool, Writer) -> Arc<dyn Protocol> + Send + Sync>,
    /// Those that were asked for.
    made: Mutex<Vec<Made>>,
}

/// Pushes in JSON or not, with this window or uncompressed.
type Made = ((bool, Option<u8>), Arc<dyn Protocol>);

impl fmt::Debug for ById {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ById({:?})", self.offer)
    }
}

/// What a client offers that wants pushes in JSON.
const OFFER_JSON: &str = "purlin.json";

impl Sockets {
    /// Within `limits`, for pages of `origins`.
    #[must_use]
    pub fn new(limits: Limits, origins: Origins) -> Self {
        Self {
            limits,
            origins,
            compressed_from: None,
            counts: Counts::default(),
            by_id: None,
            path: None,
            raw: Mutex::new(Vec::new()),
        }
    }

    /// Messages of `from` bytes or more are compressed for whoever offers that.
    #[must_use]
    pub const fn compressed(mut self, from: usize) -> Self {
        self.compressed_from = Some(from);
        self
    }

    /// Messages have ids: binary ones are frames of `format`, which is called `name`,
    /// and at the end each peer gets one of the id `going_away`. Connections become
    /// that at `path`, where the program has no route.
    #[must_use]
    pub fn with_ids(
        mut self,
        format: impl Format + Clone,
        name: Option<&str>,
        going_away: Option<u32>,
        path: Option<&str>,
    ) -> Self {
        let limits = self.limits;
        let make = move |json, writer| {
            let format = Framed {
                format: format.clone(),
                writer,
            };
            Arc::new(MessagesById::new(limits, format, going_away, json)) as Arc<dyn Protocol>
        };
        self.by_id = Some(ById {
            offer: name.map(|name| format!("purlin.frame.{name}")),
            make: Box::new(make),
            made: Mutex::default(),
        });
        self.path = path.map(str::to_owned);
        self
    }

    fn writer(&self, window: Option<u8>) -> Writer {
        let Some(window) = window else {
            return Writer::default();
        };
        Writer::packing(Packing {
            window,
            min: self.compressed_from.unwrap_or(usize::MAX),
            counts: Arc::clone(&self.counts),
        })
    }

    /// What pushes in JSON or as frames.
    fn made(&self, by_id: &ById, json: bool, window: Option<u8>) -> Arc<dyn Protocol> {
        let made = by_id.made.lock();
        let mut made = made.expect("nothing under this lock panics");
        if let Some((_, found)) = made.iter().find(|(kind, _)| *kind == (json, window)) {
            return Arc::clone(found);
        }
        let new = (by_id.make)(json, self.writer(window));
        made.push(((json, window), Arc::clone(&new)));
        new
    }
}

impl Successors for Sockets {
    fn admits(&self, origin: Option<&[u8]>, host: Option<&[u8]>) -> bool {
        self.origins.admits(origin, host)
    }

    fn agree(
        &self,
        offers: &mut dyn Iterator<Item = &[u8]>,
        agent: Option<&[u8]>,
    ) -> Option<Agreement> {
        self.compressed_from?;
        let agent = agent.and_then(|agent| std::str::from_utf8(agent).ok());
        if agent.is_some_and(offer::is_broken) {
            return None;
        }
        offer::choose(offers)
    }

    fn raw(&self, path: &str, window: Option<u8>) -> Arc<dyn Protocol> {
        let known = self.raw.lock();
        let mut known = known.expect("nothing under this lock panics");
        let is_it = |one: &&Arc<RawMessages>| one.is_at(path, window);
        if let Some(found) = known.iter().find(is_it) {
            return Arc::clone(found) as Arc<dyn Protocol>;
        }
        let made = Arc::new(RawMessages::new(self.limits, path, self.writer(window)));
        known.push(Arc::clone(&made));
        made
    }

    /// A client that offers nothing is pushed frames.
    fn by_id(
        &self,
        offered: &mut dyn Iterator<Item = &[u8]>,
        window: Option<u8>,
    ) -> Option<Chosen<'_>> {
        let by_id = self.by_id.as_ref()?;
        let own = by_id.offer.as_deref();
        let is_known = |offer: &&[u8]| {
            *offer == OFFER_JSON.as_bytes() || own.is_some_and(|own| own.as_bytes() == *offer)
        };
        let mut offered = offered;
        let chosen = Iterator::find(&mut offered, is_known);
        let json = chosen == Some(OFFER_JSON.as_bytes());
        let name = if json { Some(OFFER_JSON) } else { own };
        Some((self.made(by_id, json, window), chosen.and(name)))
    }

    fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    fn named(&self, name: &str) -> Option<Arc<dyn Protocol>> {
        let (window, plain) = uncompressed(name);
        if let Some(path) = plain.strip_prefix(RAW) {
            return Some(self.raw(path, window));
        }
        let by_id = self.by_id.as_ref()?;
        let both = [false, true].map(|json| self.made(by_id, json, window));
        let is_it = |one: &Arc<dyn Protocol>| one.name().as_deref() == Some(name);
        both.into_iter().find(is_it)
    }

    fn count_in(&self, row: &Row) {
        // Who was first stays: workers on threads of one process share it.
        let _first = self.counts.set(row.clone());
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
    use crate::protocol::frame::Layout;

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
    fn a_path_and_a_window_have_one_protocol_which_is_found_by_its_name() {
        let sockets = Sockets::new(Limits { message: 10 }, Origins::default());
        let one = sockets.raw("/a", None);
        assert!(Arc::ptr_eq(&one, &sockets.raw("/a", None)));
        assert!(!Arc::ptr_eq(&one, &sockets.raw("/b", None)));
        let packing = sockets.raw("/a", Some(15));
        assert!(!Arc::ptr_eq(&one, &packing));
        assert!(!Arc::ptr_eq(&packing, &sockets.raw("/a", Some(9))));
        assert_ne!(one.wire(), packing.wire());
        assert_eq!(one.wire(), sockets.raw("/b", None).wire());
        for one in [one, packing] {
            let named = sockets.named(&one.name().unwrap()).unwrap();
            assert!(Arc::ptr_eq(&one, &named));
        }
        for name in ["http/1.1", "deflate 16 x", "deflate x"] {
            assert!(sockets.named(name).is_none());
        }
    }

    #[test]
    fn what_has_ids_is_found_by_its_name_with_and_without_compression() {
        let layout = Layout::preset("rpc").unwrap();
        let sockets = Sockets::new(Limits::default(), Origins::default());
        let sockets = sockets.with_ids(layout, Some("rpc"), None, None);
        let mut wires = Vec::new();
        for offer in ["purlin.json", "purlin.frame.rpc"] {
            for window in [None, Some(15), Some(9)] {
                let mut offers = [&b"other"[..], offer.as_bytes()].into_iter();
                let (protocol, name) = sockets.by_id(&mut offers, window).unwrap();
                assert_eq!(name, Some(offer));
                let named = sockets.named(&protocol.name().unwrap()).unwrap();
                assert!(Arc::ptr_eq(&protocol, &named));
                assert!(!wires.contains(&protocol.wire()));
                wires.push(protocol.wire());
            }
        }
        let (_, name) = sockets.by_id(&mut std::iter::empty(), None).unwrap();
        assert_eq!(name, None);
    }

    #[test]
    fn nothing_is_agreed_on_that_is_off_or_that_the_client_gets_wrong() {
        let off = Sockets::new(Limits::default(), Origins::default());
        let on = Sockets::new(Limits::default(), Origins::default()).compressed(512);
        let offers = || [&b"permessage-deflate"[..]].into_iter();
        let broken = b"x (iPhone; CPU iPhone OS 15_2 like Mac OS X) AppleWebKit/605 Safari/604";
        assert_eq!(off.agree(&mut offers(), None), None);
        assert!(on.agree(&mut offers(), None).is_some());
        assert!(on.agree(&mut offers(), Some(b"x")).is_some());
        assert_eq!(on.agree(&mut offers(), Some(broken)), None);
    }
}
