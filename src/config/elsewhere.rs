//! Words of other servers' files, and what says the same here. Pure.

/// Key, as others call it, and what to do instead. `%` stands for a number of the
/// listener.
const WORDS: &[(&str, &str)] = &[
    (
        "include",
        "purlin has no include: one file, over it PURLIN__… and --set",
    ),
    (
        "port",
        "the port stands in the address of a listener: address = \"0.0.0.0:7000\"",
    ),
    (
        "listen",
        "write [[listener]] and address = \"0.0.0.0:7000\" below it",
    ),
    (
        "bind",
        "write [[listener]] and address = \"0.0.0.0:7000\" below it",
    ),
    (
        "host",
        "the address of a listener has host and port: address = \"0.0.0.0:7000\"",
    ),
    ("server", "write [[listener]] for each address"),
    (
        "server_name",
        "purlin serves one site for each [[listener]], whatever its name",
    ),
    (
        "location",
        "purlin has no locations: a listener has a root, a program its routes",
    ),
    ("upstream", "purlin is no proxy; it has no upstreams"),
    ("proxy_pass", "purlin is no proxy; it passes nothing on"),
    (
        "rewrite",
        "purlin has no rewrites: a program has its routes",
    ),
    (
        "alias",
        "a listener has one root, and a program more (Web::files)",
    ),
    ("index", "a folder's index is its index.html"),
    (
        "autoindex",
        "that is listing, of a [[listener]] with a root",
    ),
    ("document_root", "that is root, of a [[listener]]"),
    ("documentroot", "that is root, of a [[listener]]"),
    ("worker_processes", "that is workers, above all tables"),
    ("processes", "that is workers, above all tables"),
    ("worker_num", "that is workers, above all tables"),
    ("worker_connections", "that is connections_max, in [worker]"),
    ("maxclients", "that is connections_max, in [worker]"),
    ("maxconn", "that is connections_max, in [worker]"),
    ("max_connections", "that is connections_max, in [worker]"),
    ("max_conn", "that is connections_max, in [worker]"),
    ("threads", "that is business_threads, in [worker]"),
    ("daemon", "that is the command `start`, or `run -d`"),
    ("daemonize", "that is the command `start`, or `run -d`"),
    ("pid", "that is pid_file, above all tables"),
    ("pidfile", "that is pid_file, above all tables"),
    ("error_log", "that is file, in [log]"),
    ("logfile", "that is file, in [log]"),
    ("log_file", "that is file, in [log]"),
    ("log_level", "that is level, in [log]"),
    ("loglevel", "that is level, in [log]"),
    (
        "log_format",
        "that is format, in [log], or access_log_format, in [http]",
    ),
    ("client_max_body_size", "that is body_max, in [http]"),
    (
        "keepalive_timeout",
        "that is heartbeat.timeout, or limits.idle",
    ),
    ("timeout", "that is heartbeat.timeout, or limits.idle"),
    (
        "worker_shutdown_timeout",
        "that is shutdown_timeout, above all tables",
    ),
    (
        "graceful_timeout",
        "that is shutdown_timeout, above all tables",
    ),
    ("limit_conn", "that is connections_per_ip, in [limits]"),
    ("limit_req", "that is flood, in [limits]"),
    ("reuseport", "write accept = \"reuseport\" above all tables"),
    ("accept_mutex", "write accept = \"mutex\" above all tables"),
    ("tcp_nodelay", "it is always on"),
    ("sendfile", "it is always on"),
    (
        "gzip",
        "files are packed where their readers take it, and that is always on",
    ),
    (
        "ssl_certificate",
        "purlin speaks no TLS; let a proxy end it (proxy_protocol)",
    ),
    (
        "ssl",
        "purlin speaks no TLS; let a proxy end it (proxy_protocol)",
    ),
    (
        "tls",
        "purlin speaks no TLS; let a proxy end it (proxy_protocol)",
    ),
    (
        "environment",
        "variables over the file are PURLIN__SECTION__KEY",
    ),
    ("env", "variables over the file are PURLIN__SECTION__KEY"),
];

/// What to say to who wrote `key`, whichever table it stands in.
pub(super) fn instead(key: &str) -> Option<&'static str> {
    let leaf = key.rsplit_once('.').map_or(key, |(_, leaf)| leaf);
    let leaf = leaf.to_ascii_lowercase().replace('-', "_");
    let found = WORDS.iter().find(|(word, _)| *word == leaf);
    found.map(|(_, instead)| *instead)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn words_of_other_servers_are_answered_and_none_is_a_key_of_ours() {
        for (key, said) in [
            ("include", "purlin has no include"),
            ("listener.0.port", "address = "),
            ("port", "address = "),
            ("worker.worker-connections", "connections_max"),
            ("Listen", "[[listener]]"),
        ] {
            let flags = [(key.to_owned(), "1".to_owned())];
            let error = Config::parse(None, [], &flags).unwrap_err().to_string();
            assert!(error.contains(&format!("unknown key `{key}`")), "{error}");
            assert!(error.contains(said), "{key}: {error}");
        }
        let config = Config::default();
        for (path, table) in config.tables() {
            for (word, _) in WORDS.iter().filter(|(word, _)| *word != "timeout") {
                assert!(!table.keys().contains(word), "{path}.{word}");
            }
        }
    }

    #[test]
    fn a_key_that_is_near_to_nothing_gets_no_hint() {
        for key in ["zzzzz", "listener.0.qqqq", "limits.xyz"] {
            let flags = [(key.to_owned(), "1".to_owned())];
            let error = Config::parse(None, [], &flags).unwrap_err().to_string();
            assert!(error.ends_with(&format!("unknown key `{key}`")), "{error}");
        }
    }
}
