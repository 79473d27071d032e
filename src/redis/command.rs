//! Commands as bytes, and which may be sent twice. Pure.

/// Those that change nothing. `SET` is among them without options: what it writes the
/// second time is there already, and its reply is the same.
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
    REPEATABLE.iter().any(|known| is(known)) || (is("SET") && command.len() == 3)
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
            (&["SET", "k", "v"], true),
            (&["SET", "k", "v", "NX"], false),
            (&["INCR", "k"], false),
            (&["LPOP", "k"], false),
            (&["EVAL", "return 1", "0"], false),
            (&[], false),
        ] {
            assert_eq!(is_repeatable(command), expected, "{command:?}");
        }
        assert_eq!(packed(&["GET", "k"]), b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    }
}
