//! The extension `permessage-deflate`: what a client offers, what it is answered
//! (RFC 7692, 5 and 7.1). Pure.

use super::deflate::{WINDOW_MAX, WINDOW_MIN};
use crate::protocol::Agreement;

/// The first of `offers`, the values of `Sec-WebSocket-Extensions`, that can be
/// agreed on.
pub(super) fn choose<'a>(offers: impl Iterator<Item = &'a [u8]>) -> Option<Agreement> {
    let texts = offers.filter_map(|offer| std::str::from_utf8(offer).ok());
    texts.flat_map(|text| text.split(',')).find_map(agree)
}

/// What answers one offer, if it is for this extension and says nothing wrong.
fn agree(offer: &str) -> Option<Agreement> {
    let mut parameters = offer.split(';').map(str::trim);
    if !parameters
        .next()?
        .eq_ignore_ascii_case("permessage-deflate")
    {
        return None;
    }
    let (mut seen, mut window) = (Vec::new(), None);
    for parameter in parameters {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(unquoted(value.trim_start())?)),
            None => (parameter, None),
        };
        let name = name.to_ascii_lowercase();
        match (&*name, value) {
            // What it asks of us, or says of itself: neither remembers anything.
            ("server_no_context_takeover" | "client_no_context_takeover", None) => {}
            ("server_max_window_bits", Some(value)) => window = Some(bits(value)?),
            ("client_max_window_bits", Some(value)) => _ = bits(value)?,
            ("client_max_window_bits", None) => {}
            _ => return None,
        }
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
    }
    let mut answer =
        String::from("permessage-deflate; server_no_context_takeover; client_no_context_takeover");
    if let Some(window) = window {
        answer.push_str(&format!("; server_max_window_bits={window}"));
    }
    Some(Agreement {
        window: window.map_or(WINDOW_MAX, |window| window.max(WINDOW_MIN)),
        answer,
    })
}

fn unquoted(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"'),
        None => Some(value),
    }
}

/// 8 to 15, without a zero before it.
fn bits(value: &str) -> Option<u8> {
    let is_number = value.bytes().all(|byte| byte.is_ascii_digit()) && !value.starts_with('0');
    value
        .parse()
        .ok()
        .filter(|bits| is_number && (8..=WINDOW_MAX).contains(bits))
}

/// Whether a client says that it is one of those which offer this and get it wrong:
/// Safari 15, on any device of Apple's, marks every frame of a message it cuts.
pub(super) fn is_broken(agent: &str) -> bool {
    let is_safari = agent.contains("AppleWebKit/") && !agent.contains("Chrome/");
    is_safari && (agent.contains("Version/15.") || agent.contains("OS 15_"))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const BOTH: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    #[test]
    fn an_offer_is_answered_with_what_was_asked_for() {
        for (offer, window, more) in [
            ("permessage-deflate", 15, ""),
            ("permessage-deflate; client_max_window_bits", 15, ""),
            (" Permessage-Deflate ;client_max_window_bits = 10 ", 15, ""),
            (
                "permessage-deflate; server_no_context_takeover;client_no_context_takeover",
                15,
                "",
            ),
            (
                "permessage-deflate; server_max_window_bits=12",
                12,
                "; server_max_window_bits=12",
            ),
            (
                "permessage-deflate; server_max_window_bits=\"9\"",
                9,
                "; server_max_window_bits=9",
            ),
            (
                "permessage-deflate; server_max_window_bits=8",
                9,
                "; server_max_window_bits=8",
            ),
            (
                "permessage-deflate; server_max_window_bits=15",
                15,
                "; server_max_window_bits=15",
            ),
            ("x-other; a=\"b\", permessage-deflate", 15, ""),
            (
                "permessage-deflate; server_max_window_bits=7, permessage-deflate",
                15,
                "",
            ),
            (
                "permessage-deflate; unknown, permessage-deflate; server_max_window_bits=10, permessage-deflate",
                10,
                "; server_max_window_bits=10",
            ),
        ] {
            let agreed = choose([offer.as_bytes()].into_iter());
            let answer = format!("{BOTH}{more}");
            assert_eq!(agreed, Some(Agreement { window, answer }), "{offer}");
        }
    }

    #[test]
    fn what_is_wrong_or_unknown_is_not_agreed_on() {
        for offer in [
            "",
            "x-webkit-deflate-frame",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=08",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
            "permessage-deflate; server_max_window_bits=\"9",
            "permessage-deflate; client_max_window_bits=1",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; mystery",
            "permessage-deflate;",
            "\"permessage-deflate\"",
        ] {
            assert_eq!(choose([offer.as_bytes()].into_iter()), None, "{offer}");
        }
        assert_eq!(choose([&b"permessage-deflate\xff"[..]].into_iter()), None);
    }

    #[test]
    fn a_second_field_goes_on_with_the_list() {
        let fields = [&b"x-other"[..], b"permessage-deflate"];
        assert_eq!(
            choose(fields.into_iter()).map(|agreed| agreed.window),
            Some(15)
        );
    }

    #[test]
    fn safari_15_is_known_by_its_name() {
        for (agent, broken) in [
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.4 Safari/605.1.15",
                true,
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 15_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/97.0 Mobile/15E148 Safari/604.1",
                true,
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Safari/605.1.15",
                false,
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36",
                false,
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0",
                false,
            ),
            ("", false),
        ] {
            assert_eq!(is_broken(agent), broken, "{agent}");
        }
    }
}
