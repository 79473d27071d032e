//! What `-T` prints: the configuration in force, as a file that says the same,
//! with the origin of each value behind it. Pure.

use std::fmt::Write;

use super::{Config, TABLES, dotted};

/// Column of the comments, for all but the longest values.
const COMMENT: usize = 40;

impl Config {
    /// The configuration as TOML. Behind each value stands where it came from:
    /// `default`, `FILE:LINE`, the name of an environment variable, or `--set`.
    #[must_use]
    pub fn effective(&self) -> String {
        let mut text = String::from("# The effective configuration, and where it came from.\n");
        let line = |line: String, key: &str, text: &mut String| {
            let origin = self.place(key);
            let _never_fails = writeln!(text, "{line:<COMMENT$} # {origin}");
        };
        for (path, table) in self.tables() {
            if TABLES.contains(&path.as_str()) {
                text += &format!("\n[{path}]\n");
            } else if !path.is_empty() {
                text += "\n[[listener]]\n";
            }
            for key in table.keys() {
                let value = table.show(key).expect("a table shows each of its keys");
                line(format!("{key} = {value}"), &dotted(&path, key), &mut text);
            }
        }
        for (path, rows) in self.own.tables() {
            text += &format!("\n[{path}]\n");
            for (key, value) in rows {
                line(format!("{key} = {value}"), &dotted(path, key), &mut text);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Config {
        Config::parse(Some(("-T".as_ref(), text.as_bytes())), [], &[]).unwrap()
    }

    #[test]
    fn what_is_printed_is_read_back_as_the_same() {
        let custom = r#"
            shutdown_timeout = "59m 59s"
            [[listener]]
            address = "unix:a \"quoted\" path"
            frame = { length = { offset = 0, bytes = 2, counts = "all", adjust = -4 },
                      id = { offset = 2, bytes = 2, endian = "little" },
                      crc = { offset = 4 }, max = "29000B", heartbeat = 0 }
            [[listener]]
            address = "[::1]:0"
            frame = "zinx-ltv"
            unknown_id = "close"
            [[listener]]
            address = "[::1]:1"
            frame = { fixed = 12, id = { offset = 0, bytes = 1, mask = 0xf0 },
                      constants = [{ offset = 1, hex = "CA fe", mask = "f0ff", check = false }],
                      echo = { offset = 3, bytes = 1, mask = "0f", push = "01", add = 1 },
                      trailer = { checksum = "xor8", covers = "all", hex = "0d0a" } }
            [[listener]]
            address = "[::1]:2"
            frame = { delimiter = "\r\n", crlf = true }
            [[listener]]
            address = "[::1]:3"
            frame = { length = { offset = 0, varint = true, bytes = 4 } }
            [worker]
            turn_time = "1500us"
            connections_max = 10
            [heartbeat]
            timeout = "0s"
            [limits]
            outbound_max = "5MB"
            [log]
            level = "trace"
            file = "logs/\u00e4\n#.log"
        "#;
        for text in ["", custom] {
            let config = parsed(text);
            let printed = config.effective();
            assert_eq!(parsed(&printed), config, "{printed}");
        }
    }

    #[test]
    fn each_line_says_where_its_value_came_from() {
        let file = "[worker]\nconnections_max = 100\nbusiness_threads = 3\n";
        let env = [("PURLIN__WORKER__BUSINESS_THREADS", "5")];
        let flags = [("log.level".to_owned(), "warn".to_owned())];
        let config = Config::parse(
            Some(("my.toml".as_ref(), file.as_bytes())),
            env.map(|(name, value)| (name.into(), value.into())),
            &flags,
        );
        let printed = config.unwrap().effective();
        for (key, expected) in [
            ("shutdown_timeout", "\"30s\" # default"),
            ("connections_max", "100 # my.toml:2"),
            ("connections_initial", "100 # my.toml:2"),
            ("business_threads", "5 # PURLIN__WORKER__BUSINESS_THREADS"),
            ("level", "\"warn\" # --set"),
        ] {
            let line = printed.lines().find(|line| line.starts_with(key)).unwrap();
            let squeezed: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(squeezed.join(" "), format!("{key} = {expected}"));
        }
    }
}
