//! Whether a request comes from a page of ours: without tokens, by what browsers say
//! themselves. Pure.

/// What a request says of where it comes from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Said<'a> {
    pub(crate) method: &'a str,
    pub(crate) host: Option<&'a str>,
    pub(crate) origin: Option<&'a str>,
    /// `Sec-Fetch-Site`.
    pub(crate) site: Option<&'a str>,
}

/// Whether it may change anything. `trusted` are origins whose pages may as well.
pub(crate) fn is_own(said: Said<'_>, trusted: &[String]) -> bool {
    if matches!(said.method, "GET" | "HEAD" | "OPTIONS") {
        return true;
    }
    let is_trusted = |origin: &str| {
        let name = |known: &String| {
            origin.eq_ignore_ascii_case(known) || authority(origin).eq_ignore_ascii_case(known)
        };
        trusted.iter().any(name)
    };
    if said.origin.is_some_and(is_trusted) {
        return true;
    }
    match (said.site, said.origin) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        // No browser: nobody's cookies are sent against his will.
        (None, None) => true,
        (None, Some(origin)) => {
            let host = said.host.unwrap_or_default();
            !host.is_empty() && authority(origin).eq_ignore_ascii_case(host)
        }
    }
}

/// Host and port of an origin.
fn authority(origin: &str) -> &str {
    origin.split_once("://").map_or(origin, |(_, rest)| rest)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn pages_of_others_change_nothing() {
        let said = |method, origin, site| Said {
            method,
            host: Some("a.example:8080"),
            origin,
            site,
        };
        let own = Some("http://a.example:8080");
        let other = Some("https://evil.example");
        for (said, expected) in [
            (said("GET", other, Some("cross-site")), true),
            (said("HEAD", other, None), true),
            (said("POST", own, Some("same-origin")), true),
            (said("POST", None, Some("none")), true),
            (said("POST", own, Some("same-site")), false),
            (said("POST", own, Some("cross-site")), false),
            (said("DELETE", None, Some("cross-site")), false),
            (said("POST", None, None), true),
            (said("POST", own, None), true),
            (said("POST", Some("http://A.example:8080"), None), true),
            (said("POST", Some("http://a.example"), None), false),
            (said("POST", other, None), false),
            (said("POST", Some("null"), None), false),
            (
                said("POST", Some("https://friend.example"), Some("cross-site")),
                true,
            ),
            (
                Said {
                    host: None,
                    ..said("POST", own, None)
                },
                false,
            ),
        ] {
            let trusted = ["https://friend.example".to_owned()];
            assert_eq!(is_own(said, &trusted), expected, "{said:?}");
        }
    }
}
