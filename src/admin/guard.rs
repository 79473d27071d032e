//! Who may ask: a page of somebody else's must not read what a browser can reach.
//! Pure.
//!
//! Whoever has a name lead to this address ("DNS rebinding") is of the same origin
//! for a browser as what is served here, but asks for his own name: so addresses and
//! `localhost` pass, and of names those that were configured.

/// What a request says of where it comes from and for whom it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked<'a> {
    pub(super) host: Option<&'a str>,
    pub(super) origin: Option<&'a str>,
    /// `Sec-Fetch-Site`, which browsers alone send.
    pub(super) site: Option<&'a str>,
    /// `Sec-Fetch-Mode`.
    pub(super) mode: Option<&'a str>,
}

impl Asked<'_> {
    /// Why it is refused, if it is.
    pub(super) fn refusal(&self, names: &[String]) -> Option<&'static str> {
        // Every browser says which one it asks for.
        let host = self.host.unwrap_or_default();
        if self.host.is_some_and(|host| !is_known(host, names)) {
            return Some("this name is not one of the server's: see admin.hosts");
        }
        let is_foreign = |origin: &str| {
            let (_, from) = origin.split_once("://").unwrap_or_default();
            !from.eq_ignore_ascii_case(host)
        };
        // A link that somebody follows shows the page and tells the other nothing.
        let is_link = self.mode == Some("navigate");
        let is_own = matches!(self.site, None | Some("same-origin" | "none"));
        if self.origin.is_some_and(is_foreign) || !(is_own || is_link) {
            return Some("the request is from a page of another origin");
        }
        None
    }
}

/// Whether a `Host` is an address, `localhost`, or one of `names`.
fn is_known(host: &str, names: &[String]) -> bool {
    if let Some(bracketed) = host.strip_prefix('[') {
        let (address, rest) = bracketed.split_once(']').unwrap_or_default();
        return address.parse::<std::net::Ipv6Addr>().is_ok() && is_port(rest);
    }
    let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_it = |known: &String| known.eq_ignore_ascii_case(name);
    let is_local = name.eq_ignore_ascii_case("localhost");
    let is_address = name.parse::<std::net::Ipv4Addr>().is_ok();
    is_port(port) && (is_local || is_address || names.iter().any(is_it))
}

/// Nothing, or a colon and digits.
fn is_port(text: &str) -> bool {
    text.is_empty()
        || text
            .strip_prefix(':')
            .is_some_and(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_that_are_known_pass() {
        let names = ["admin.example".to_owned()];
        for (host, expected) in [
            ("127.0.0.1:7090", true),
            ("127.0.0.1", true),
            ("10.1.2.3:80", true),
            ("[::1]:7090", true),
            ("[::1]", true),
            ("localhost:7090", true),
            ("LOCALHOST", true),
            ("admin.example", true),
            ("Admin.Example.:443", true),
            ("", false),
            ("evil.example:7090", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("127.0.0.1@evil.example", false),
            ("admin.example:x", false),
            ("[::1", false),
            ("[evil]", false),
            ("[::1]evil", false),
        ] {
            assert_eq!(is_known(host, &names), expected, "{host}");
        }
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        for (origin, site, mode, expected) in [
            (None, None, None, true),
            (
                Some("http://127.0.0.1:7090"),
                Some("same-origin"),
                Some("cors"),
                true,
            ),
            (None, Some("none"), Some("navigate"), true),
            (None, Some("cross-site"), Some("navigate"), true),
            (Some("http://evil.example"), None, None, false),
            (Some("http://127.0.0.1:7091"), None, None, false),
            (Some("null"), None, None, false),
            (None, Some("cross-site"), Some("no-cors"), false),
            (None, Some("same-site"), Some("cors"), false),
        ] {
            let asked = Asked {
                host: Some("127.0.0.1:7090"),
                origin,
                site,
                mode,
            };
            let is_served = asked.refusal(&[]).is_none();
            assert_eq!(is_served, expected, "{asked:?}");
        }
    }
}
