//! The cookie that carries a session's secret. Pure.

/// Its name where nothing but TLS, or the loopback interface, is used: a browser takes
/// it only with `Secure`, from this host, for all paths.
pub(crate) const STRICT: &str = "__Host-session";

/// Its name over plain HTTP.
pub(crate) const PLAIN: &str = "session";

/// The field that gives it a value.
pub(crate) fn set(is_secure: bool, secret: &str, seconds: u64) -> String {
    field(is_secure, secret, seconds)
}

/// The field that takes it away, with the same attributes: without them a browser keeps
/// a `__Host-` cookie.
pub(crate) fn remove(is_secure: bool) -> String {
    field(is_secure, "", 0)
}

fn field(is_secure: bool, secret: &str, seconds: u64) -> String {
    let (name, secure) = if is_secure {
        (STRICT, "Secure; ")
    } else {
        (PLAIN, "")
    };
    format!("{name}={secret}; {secure}HttpOnly; SameSite=Lax; Path=/; Max-Age={seconds}")
}

/// Whether `host` is this machine to who asks, where browsers take TLS for granted.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_name = name.eq_ignore_ascii_case("localhost") || name.ends_with(".localhost");
    is_name
        || name
            .parse()
            .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_and_what_removes_it_have_the_same_attributes() {
        let rest = "Secure; HttpOnly; SameSite=Lax; Path=/";
        assert_eq!(
            set(true, "x", 60),
            format!("__Host-session=x; {rest}; Max-Age=60")
        );
        assert_eq!(remove(true), format!("__Host-session=; {rest}; Max-Age=0"));
        let plain = "HttpOnly; SameSite=Lax; Path=/; Max-Age=60";
        assert_eq!(set(false, "x", 60), format!("session=x; {plain}"));
    }

    #[test]
    fn this_machine_has_several_names() {
        for (host, expected) in [
            ("localhost", true),
            ("localhost:7000", true),
            ("a.localhost", true),
            ("127.0.0.77:80", true),
            ("[::1]:80", true),
            ("10.0.0.1", false),
            ("[2001:db8::1]", false),
            ("localhost.evil.example", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
    }
}
