//! Commands as bytes, and which may be sent twice. Pure.

/// Those that change nothing. `SET` is not among them: somebody else may have written
/// between the first time and the second.
const REPEATABLE: &[&str] = &[
    "BITCOUNT",
    "DBSIZE",
    "ECHO",
    "EXISTS",
    "GET",
    "GETBIT",
    "GETRANGE",
    "HEXISTS",
    "HGET",
    "HGETALL",
    "HKEYS",
    "HLEN",
    "HMGET",
    "HSTRLEN",
    "HVALS",
    "INFO",
    "LINDEX",
    "LLEN",
    "LRANGE",
    "MGET",
    "PING",
    "PTTL",
    "SCARD",
    "SISMEMBER",
    "SMEMBERS",
    "SMISMEMBER",
    "STRLEN",
    "TIME",
    "TTL",
    "TYPE",
    "XLEN",
    "XRANGE",
    "ZCARD",
    "ZCOUNT",
    "ZRANGE",
    "ZRANGEBYSCORE",
    "ZRANK",
    "ZSCORE",
];

/// Whether to carry it out twice is the same as once.
pub(super) fn is_repeatable(command: &[impl AsRef<[u8]>]) -> bool {
    let Some(name) = command.first() else {
        return false;
    };
    let is = |known: &str| name.as_ref().eq_ignore_ascii_case(known.as_bytes());
    REPEATABLE.iter().any(|known| is(known))
}

/// Those that change what their connection is, or have other than one reply: the next
/// command on it would get what is not for it.
const OF_CONNECTION: &[&str] = &[
    "AUTH",
    "DISCARD",
    "EXEC",
    "HELLO",
    "MONITOR",
    "MULTI",
    "PSUBSCRIBE",
    "PSYNC",
    "PUNSUBSCRIBE",
    "QUIT",
    "READONLY",
    "READWRITE",
    "RESET",
    "SELECT",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SUNSUBSCRIBE",
    "SYNC",
    "UNSUBSCRIBE",
    "UNWATCH",
    "WATCH",
];

/// The first of these that is for a connection of one's own. From `MULTI` to `EXEC`
/// nothing is: together they leave it as it was.
pub(super) fn of_connection<C: AsRef<[u8]>>(commands: &[impl AsRef<[C]>]) -> Option<&'static str> {
    let among = |word: Option<&C>, known: &[&'static str]| {
        let is_it = |known: &&&'static str| {
            word.is_some_and(|word| word.as_ref().eq_ignore_ascii_case(known.as_bytes()))
        };
        known.iter().find(is_it).copied()
    };
    let name = |command: &[C]| match among(command.first(), &["CLIENT"]) {
        Some(_) => among(command.get(1), &["CACHING", "REPLY", "TRACKING"]),
        None => among(command.first(), OF_CONNECTION),
    };
    let within = match commands {
        [first, within @ .., last]
            if name(first.as_ref()) == Some("MULTI") && name(last.as_ref()) == Some("EXEC") =>
        {
            within
        }
        all => all,
    };
    within.iter().find_map(|command| name(command.as_ref()))
}

/// A command as it is sent.
pub(super) fn packed(command: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut words = redis::Cmd::new();
    for word in command {
        words.arg(word.as_ref());
    }
    words.get_packed_command()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_adds_or_takes_is_sent_once() {
        for (command, expected) in [
            (&["get", "k"][..], true),
            (&["SET", "k", "v"], false),
            (&["SET", "k", "v", "NX"], false),
            (&["INCR", "k"], false),
            (&["LPOP", "k"], false),
            (&["EVAL", "return 1", "0"], false),
            (&[], false),
        ] {
            assert_eq!(is_repeatable(command), expected, "{command:?}");
        }
        for (commands, expected) in [
            (&[&["GET", "k"][..]][..], None),
            (&[&["subscribe", "k"]], Some("SUBSCRIBE")),
            (&[&["CLIENT", "LIST"]], None),
            (&[&["client", "reply", "off"]], Some("REPLY")),
            (&[&["MULTI"], &["INCR", "k"], &["exec"]], None),
            (&[&["MULTI"], &["SELECT", "1"], &["EXEC"]], Some("SELECT")),
            (&[&["MULTI"], &["INCR", "k"]], Some("MULTI")),
            (&[], None),
        ] {
            assert_eq!(of_connection(commands), expected, "{commands:?}");
        }
        assert_eq!(packed(&["GET", "k"]), b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    }
}
