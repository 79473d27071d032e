//! From the file, the environment and the command line to a checked [`Config`].
//!
//! Everything is applied in the same way: each value that somebody wrote is one
//! [`Setting`], and the settings are applied in the order in which they win.
//! Reading the file is the only effect, and the first thing done.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::elsewhere::instead;
use super::nearest::nearest;
use super::own::{Claims, Written, must_be_table};
use super::place::printable;
use super::setting::{Setting, Source, flags, variables};
use super::value::{Given, Refusal};
use super::{Config, ConfigError, FilePlace, Listener, Place, TABLES, dotted, listener_path};

impl Config {
    /// Reads `path`, if one is given, and applies `env` and `overrides` to it.
    ///
    /// `env` may be the whole environment: what does not begin with `PURLIN__`
    /// is skipped. `PURLIN__WORKER__TURN_TIME` is `worker.turn_time`. `overrides`
    /// are pairs of such a key and its value. In both, text needs no quotes, and
    /// an index one past the last listener adds a listener.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: print it and exit with 78; a running server keeps its
    /// configuration.
    pub fn load(
        path: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
        overrides: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        Self::load_for(Claims::NONE, path, env, overrides)
    }

    /// The same, for a program that has the tables of `claims`.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_for(
        claims: &Claims,
        path: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
        overrides: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let unreadable = |error| ConfigError::Unreadable {
            file: path.unwrap_or(Path::new("")).to_owned(),
            error,
        };
        let bytes = path.map(std::fs::read).transpose().map_err(unreadable)?;
        Self::parse_for(claims, path.zip(bytes.as_deref()), env, overrides)
    }

    /// As [`load`](Self::load), from a file that has been read, for a program without
    /// tables of its own.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn parse(
        file: Option<(&Path, &[u8])>,
        env: impl IntoIterator<Item = (String, String)>,
        overrides: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        Self::parse_for(Claims::NONE, file, env, overrides)
    }

    /// The same, for a program that has the tables of `claims`.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn parse_for(
        claims: &Claims,
        file: Option<(&Path, &[u8])>,
        env: impl IntoIterator<Item = (String, String)>,
        overrides: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let (mut config, mut written) = (Self::default(), Written::default());
        if let Some((file, bytes)) = file {
            config.apply_file((file, bytes), (claims, &mut written))?;
        }
        for setting in variables(env).iter().chain(&flags(overrides)) {
            match &setting.given {
                Given::Text(text) if claims.claim(&setting.key) => written.set(setting, text)?,
                Given::Text(_) | Given::Toml(_) => {
                    config.add_listener_for(&setting.key);
                    config.apply(setting, None, claims)?;
                }
            }
        }
        config.lower_initial();
        config.check()?;
        claims.check(&config)?;
        claims.settle(&mut config)?;
        let (own, places) = written.read(claims)?;
        config.own = own;
        config.sources.0.extend(places);
        Ok(config)
    }

    fn apply_file(
        &mut self,
        (file, bytes): (&Path, &[u8]),
        (claims, written): (&Claims, &mut Written),
    ) -> Result<(), ConfigError> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let end = good.len()..good.len();
            ConfigError::Refused {
                place: Place::File(FilePlace::new(file, &good, end)),
                message: "what follows is not UTF-8".into(),
            }
        })?;
        let source = Source { file, text };
        let document = DeTable::parse(text).map_err(|error| ConfigError::Refused {
            place: source.place(error.span().unwrap_or(text.len()..text.len())),
            message: error.message().to_owned(),
        })?;
        let document = document.get_ref();
        if let Some((key, DeValue::Array(listeners))) = find(document, "listener") {
            self.listener = vec![Listener::default(); listeners.len()];
            let place = source.place(key.span());
            self.sources.0.insert("listener".into(), place);
        }
        for setting in source.settings(document) {
            if !claims.claim(&setting.key) {
                self.apply(&setting, Some(&source), claims)?;
            } else if let Given::Toml(value) = &setting.given
                && let DeValue::Table(table) = value.get_ref()
            {
                written.table(&source, &setting.key, setting.key_place, table);
            } else {
                return Err(must_be_table(&setting.key, &setting.key_place));
            }
        }
        Ok(())
    }

    /// Makes room when `key` is about the listener behind the last one.
    fn add_listener_for(&mut self, key: &str) {
        let next = listener_path(self.listener.len());
        if key.rsplit_once('.').is_some_and(|(table, _)| table == next) {
            self.listener.push(Listener::default());
        }
    }

    fn apply(
        &mut self,
        setting: &Setting<'_>,
        source: Option<&Source<'_>>,
        claims: &Claims,
    ) -> Result<(), ConfigError> {
        let Setting {
            key,
            given,
            shown,
            key_place,
            place,
        } = setting;
        let (table, leaf) = key.rsplit_once('.').unwrap_or(("", key));
        let outcome = self
            .table_mut(table)
            .and_then(|table| table.set(leaf, given))
            .ok_or_else(|| ConfigError::Refused {
                place: key_place.clone(),
                message: self.unknown(key, claims),
            })?;
        let (place, message) = match outcome {
            Ok(()) => {
                self.sources.0.insert(key.clone(), place.clone());
                return Ok(());
            }
            Err(Refusal::MustBe(limits)) => {
                (place.clone(), format!("{key} is {shown}, must be {limits}"))
            }
            Err(Refusal::Inside(message, span)) => (
                span.zip(source)
                    .map_or_else(|| place.clone(), |(span, source)| source.place(span)),
                format!("{key}: {message}"),
            ),
        };
        Err(ConfigError::Refused { place, message })
    }

    /// What to say about a key that does not exist.
    fn unknown(&self, key: &str, claims: &Claims) -> String {
        if TABLES.contains(&key) {
            return format!("{key} is a table and must be written as `[{key}]`");
        }
        if key == "listener" {
            return "listener is a list of tables and must be written as `[[listener]]`".into();
        }
        let tables = self.tables();
        let keys = tables.iter().flat_map(|(path, table)| {
            let keys = table.keys().iter();
            keys.map(move |key| dotted(path, key))
        });
        let names = TABLES.iter().copied().chain(["listener"]);
        let names = names.chain(claims.names()).map(str::to_owned);
        let known: Vec<String> = keys.chain(claims.keys()).chain(names).collect();
        let shown = printable(key);
        if let Some(instead) = instead(key) {
            return format!("unknown key `{shown}`; {instead}");
        }
        match nearest(key, known.iter().map(String::as_str)) {
            Some(near) => format!("unknown key `{shown}`; the nearest known one is `{near}`"),
            None => format!("unknown key `{shown}`"),
        }
    }
}

fn find<'a>(
    document: &'a DeTable<'a>,
    name: &str,
) -> Option<(&'a Spanned<std::borrow::Cow<'a, str>>, &'a DeValue<'a>)> {
    let mut entries = document.iter();
    let (key, value) = entries.find(|(key, _)| key.get_ref() == name)?;
    Some((key, value.get_ref()))
}

/// The `control_socket` that `file` names, however broken the rest of it is:
/// whoever repairs it may have to stop the master first.
#[must_use]
pub fn written_control_socket(file: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(file).ok()?;
    let mut values = text.lines().filter_map(|line| {
        let value = line.trim().strip_prefix("control_socket")?;
        let value = value.trim_start().strip_prefix('=')?.trim_start();
        value.strip_prefix('"')?.split('"').next()
    });
    values.next().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::{Address, Framing, Output};

    const SHIPPED: &str = include_str!("../../conf/purlin.toml");

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(Some(("f.toml".as_ref(), text.as_bytes())), [], &[])
    }

    fn refused(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    fn with_env<const N: usize>(env: [(&str, &str); N]) -> Result<Config, ConfigError> {
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Config::parse(None, env, &[])
    }

    fn with_flags(flags: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Config::parse(None, [], &flags.iter().map(own).collect::<Vec<_>>())
    }

    #[test]
    fn refusals_show_the_line_with_carets() {
        assert_eq!(
            refused("[worker]\nconnections_max = 0 # none\n"),
            "f.toml:2:19: worker.connections_max is 0, must be from 1 to 1048575\n  |\n\
             2 | connections_max = 0 # none\n  |                   ^"
        );
    }

    #[test]
    fn refusals_name_place_key_value_and_limits() {
        let size = "must be from 4KiB to 1GiB";
        let time = "must be from 1s to 1h";
        for (text, expected) in [
            (
                "[worker]\nconnections_max = 1048576",
                "2:19: worker.connections_max is 1048576, must be from 1 to 1048575",
            ),
            (
                "[worker]\nconnections_max = -1",
                "2:19: worker.connections_max is -1, must be from 1 to 1048575",
            ),
            (
                "[worker]\nconnections_max = 99999999999999999999",
                "2:19: worker.connections_max is 99999999999999999999, must be from 1 to 1048575",
            ),
            (
                "[worker]\nconnections_max = \"many\"",
                "2:19: worker.connections_max is \"many\", must be from 1 to 1048575",
            ),
            (
                "[worker]\nconnections_max = 1.5",
                "2:19: worker.connections_max is 1.5, must be from 1 to 1048575",
            ),
            (
                "worker.business_threads = 0x101",
                "1:27: worker.business_threads is 0x101, must be from 1 to 256",
            ),
            (
                "shutdown_timeout = \"2h\"",
                &format!("1:20: shutdown_timeout is \"2h\", {time}"),
            ),
            (
                "shutdown_timeout = 30",
                &format!("1:20: shutdown_timeout is 30, {time}, with its unit as in \"30s\""),
            ),
            (
                "shutdown_timeout = \"30\"",
                &format!("1:20: shutdown_timeout is \"30\", {time}, with its unit as in \"30s\""),
            ),
            (
                "shutdown_timeout = \"soon\"",
                &format!("1:20: shutdown_timeout is \"soon\", {time}, with its unit as in \"30s\""),
            ),
            (
                "[heartbeat]\ntimeout = \"1ms\"",
                "2:11: heartbeat.timeout is \"1ms\", must be 0s (off) or from 1s to 24h",
            ),
            (
                "[heartbeat]\ntimeout = 0",
                "2:11: heartbeat.timeout is 0, must be 0s (off) or from 1s to 24h, with its unit",
            ),
            (
                "[limits]\noutbound_high = \"1KiB\"",
                &format!("2:17: limits.outbound_high is \"1KiB\", {size}"),
            ),
            (
                "[limits]\noutbound_high = 65536",
                &format!(
                    "2:17: limits.outbound_high is 65536, {size}, with its unit as in \"64KiB\""
                ),
            ),
            (
                "[limits]\noutbound_over = \"dorp\"",
                "2:17: limits.outbound_over is \"dorp\", must be one of drop, close",
            ),
            (
                "[log]\nlevel = \"loud\"",
                "2:9: log.level is \"loud\", must be one of off, error, warn, info, debug, trace",
            ),
            (
                "[log]\nfile = true",
                "2:8: log.file is true, must be a path, stdout, stderr, syslog, or empty for none",
            ),
            (
                "[[listener]]\nprotocol = \"grpc\"",
                "2:12: listener.0.protocol is \"grpc\", must be one of frame, http, auto",
            ),
            (
                "[[listener]]\naddress = \"7000\"",
                "2:11: listener.0.address is \"7000\", must be IP:PORT",
            ),
            (
                "[[listener]]\n[[listener]]\nbacklog = 0",
                "3:11: listener.1.backlog is 0, must be from 1 to 65535",
            ),
            (
                "[[listener]]\nframe = \"comm rpc\"",
                "2:9: listener.0.frame is \"comm rpc\", must be one of comm, zinx,",
            ),
        ] {
            let error = refused(text);
            assert!(error.starts_with(&format!("f.toml:{expected}")), "{error}");
        }
    }

    #[test]
    fn unknown_keys_are_refused_with_the_nearest_known_one() {
        for (text, expected) in [
            (
                "[heartbeat]\ntimeuot = \"60s\"",
                "2:1: unknown key `heartbeat.timeuot`; the nearest known one is `heartbeat.timeout`",
            ),
            (
                "[workr]\nturn_time = \"1s\"",
                "1:2: unknown key `workr`; the nearest known one is `worker`",
            ),
            (
                "connections_max = 5",
                "1:1: unknown key `connections_max`; the nearest known one is `worker.connections_max`",
            ),
            (
                "[[listener]]\n[[listener]]\nadress = 1",
                "3:1: unknown key `listener.1.adress`; the nearest known one is `listener.1.address`",
            ),
            (
                "[log]\n\"le.vel\" = 1",
                "2:1: unknown key `log.le.vel`; the nearest known one is `log.level`",
            ),
            (
                "worker = 5",
                "1:1: worker is a table and must be written as `[worker]`",
            ),
            (
                "[[worker]]",
                "1:3: worker is a table and must be written as `[worker]`",
            ),
            (
                "[listener]\nbacklog = 5",
                "1:2: listener is a list of tables and must be written as `[[listener]]`",
            ),
            ("listener = [5]", "1:1: listener is a list of tables"),
            (
                "listener = []",
                "1:1: listener is empty; at least one address is needed",
            ),
        ] {
            let error = refused(text);
            assert!(error.starts_with(&format!("f.toml:{expected}")), "{error}");
        }
    }

    #[test]
    fn mistakes_inside_a_layout_are_shown_where_they_are() {
        for (layout, column, expected) in [
            (
                "{ lenght = 1 }",
                11,
                "unknown key `lenght`; the nearest known one is `length`",
            ),
            (
                "{ id = { offset = 0, bytes = 2 } }",
                9,
                "missing field `length`",
            ),
            (
                "{ length = { offset = -1, bytes = 2 } }",
                31,
                "integer `-1`",
            ),
            (
                "{ length = { offset = 0, bytes = 2, endian = \"odd\" } }",
                54,
                "unknown variant `odd`",
            ),
            (
                "{ length = { offset = 0, bytes = 2 }, max = 5 }",
                53,
                "a size needs its unit",
            ),
        ] {
            let error = refused(&format!("[[listener]]\nframe = {layout}"));
            let place = format!("f.toml:2:{column}: listener.0.frame: ");
            assert!(error.starts_with(&place), "{error}");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn broken_toml_is_refused_with_its_place() {
        for (text, place) in [
            ("[worker", "f.toml:1:8: "),
            ("\n\nworker = = 5", "f.toml:3:10: "),
            (
                "[log]\nlevel = \"info\"\nlevel = \"warn\"",
                "f.toml:3:1: duplicate key",
            ),
            ("[log]\nlevel = \"info", "f.toml:2:"),
        ] {
            let error = refused(text);
            assert!(error.starts_with(place), "{error}");
        }
        let error = Config::parse(Some(("f".as_ref(), b"[log]\nfile = \"\xff\"")), [], &[]);
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with("f:2:9: what follows is not UTF-8"),
            "{error}"
        );
    }

    #[test]
    fn keys_that_depend_on_each_other_are_both_named() {
        for (text, expected) in [
            (
                "[limits]\noutbound_high = \"8MiB\"",
                "2:17: limits.outbound_high is 8MiB, must be at most limits.outbound_max, which is 4MiB",
            ),
            (
                "[limits]\noutbound_max = \"32KiB\"",
                "2:16: limits.outbound_max is 32KiB, must be at least limits.outbound_high, which is 64KiB",
            ),
            (
                "[limits]\nbuffered_max = \"1MiB\"",
                "2:16: limits.buffered_max is 1MiB, must be at least limits.outbound_max, which is 4MiB",
            ),
            (
                "[limits]\nmailbox_high = \"512MiB\"",
                "2:16: limits.mailbox_high is 512MiB, must be at most limits.buffered_max, which is 256MiB",
            ),
            (
                "[[listener]]\n[[listener]]\naddress = \"127.0.0.1:7000\"",
                "3:11: listener.1.address is 127.0.0.1:7000, which listener.0.address is already",
            ),
        ] {
            let error = refused(text);
            assert!(error.starts_with(&format!("f.toml:{expected}")), "{error}");
        }
    }

    #[test]
    fn the_first_mistake_of_the_file_is_the_one_reported() {
        let error = refused("[worker]\nturn_messages = 0\n[heartbeat]\ntimeout = 1\n");
        assert!(error.starts_with("f.toml:2:"), "{error}");
    }

    #[test]
    fn several_listeners_may_have_port_0() {
        let text = "[[listener]]\naddress = \"127.0.0.1:0\"\n".repeat(2);
        assert_eq!(parse(&text).unwrap().listener.len(), 2);
    }

    #[test]
    fn fewer_connections_lower_those_that_have_memory_from_the_start() {
        let worker = parse("worker.connections_max = 10").unwrap().worker;
        assert_eq!(worker.connections_initial, 10);
    }

    #[test]
    fn a_timeout_of_zero_is_off() {
        let off = parse("[heartbeat]\ntimeout = \"0s\"\nfirst_message = \"0ms\"").unwrap();
        assert_eq!(
            (off.heartbeat.timeout, off.heartbeat.first_message),
            (None, None)
        );
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_command_line_over_both() {
        let file = "[worker]\nconnections_max = 1\nbusiness_threads = 1\nturn_messages = 1\n";
        let env = ["BUSINESS_THREADS", "TURN_MESSAGES"]
            .map(|key| (format!("PURLIN__WORKER__{key}"), "2".to_owned()));
        let flags = ["3", "4"].map(|value| ("worker.turn_messages".to_owned(), value.to_owned()));
        let file = Some(("f".as_ref(), file.as_bytes()));
        let worker = Config::parse(file, env, &flags).unwrap().worker;
        assert_eq!(worker.connections_max, 1);
        assert_eq!(worker.business_threads, 2);
        assert_eq!(worker.turn_messages, 4);
    }

    #[test]
    fn variables_reach_every_kind_of_value() {
        let config = with_env([
            ("HOME", "/"),
            ("PURLIN_CONF", "skipped"),
            ("PURLIN__SHUTDOWN_TIMEOUT", "5s"),
            ("PURLIN__LISTENER__0__ADDRESS", "[::1]:0"),
            (
                "PURLIN__LISTENER__0__FRAME",
                "{ length = { offset = 0, bytes = 4 } }",
            ),
            ("PURLIN__LISTENER__1__ADDRESS", "unix:s"),
            ("PURLIN__LIMITS__LINGER", "0s"),
            ("PURLIN__LOG__FILE", "a.log"),
        ])
        .unwrap();
        assert_eq!(config.shutdown_timeout, Duration::from_secs(5));
        assert_eq!(config.listener[0].address, "[::1]:0".parse().unwrap());
        assert!(matches!(&config.listener[0].frame, Framing::Custom(layout)
                if layout.length.as_ref().is_some_and(|length| length.bytes == Some(4))));
        assert_eq!(config.listener[1].address, Address::Unix("s".into()));
        assert_eq!(config.limits.linger, Duration::ZERO);
        assert_eq!(config.log.file, Some(Output::File("a.log".into())));
    }

    #[test]
    fn listeners_are_added_in_the_order_of_their_numbers() {
        let variables: Vec<_> = (1..12)
            .map(|n| {
                (
                    format!("PURLIN__LISTENER__{n}__ADDRESS"),
                    format!("127.0.0.1:{n}"),
                )
            })
            .collect();
        let config = Config::parse(None, variables, &[]).unwrap();
        assert_eq!(config.listener[11].address, "127.0.0.1:11".parse().unwrap());
    }

    #[test]
    fn wrong_variables_and_flags_are_named() {
        let name = "PURLIN__WORKER__CONNECTIONS_MAX";
        for (value, shown) in [("0", "0"), ("", "empty"), ("a\nb", "a\\nb")] {
            assert_eq!(
                with_env([(name, value)]).unwrap_err().to_string(),
                format!("{name}: worker.connections_max is {shown}, must be from 1 to 1048575")
            );
        }
        assert_eq!(
            with_env([("PURLIN__WORKER__TURN_TIMES", "1")])
                .unwrap_err()
                .to_string(),
            "PURLIN__WORKER__TURN_TIMES: unknown key `worker.turn_times`; the nearest known one \
             is `worker.turn_time`"
        );
        for (key, value, expected) in [
            (
                "log.format",
                "xml",
                "log.format is xml, must be one of human, json",
            ),
            (
                "listener.5.backlog",
                "1",
                "unknown key `listener.5.backlog`; the nearest known one is `listener.0.backlog`",
            ),
            ("listener.0.frame", "{", "listener.0.frame: "),
            (
                "worker",
                "1",
                "worker is a table and must be written as `[worker]`",
            ),
            ("", "1", "unknown key ``"),
            (
                "limits.outbound_max",
                "5KiB",
                "limits.outbound_max is 5KiB, must be at least limits.outbound_high",
            ),
        ] {
            let error = with_flags(&[(key, value)]).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("--set {key}={value}: {expected}")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let missing = Path::new("/nonexistent/purlin.toml");
        let error = Config::load(Some(missing), [], &[]).unwrap_err();
        assert!(matches!(error, ConfigError::Unreadable { .. }));
        assert!(
            error
                .to_string()
                .starts_with("/nonexistent/purlin.toml: cannot read the file: No such file")
        );
    }

    #[test]
    fn a_file_that_is_there_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("purlin.toml");
        std::fs::write(&file, "[log]\nlevel = \"off\"\n").unwrap();
        let config = Config::load(Some(&file), [], &[]).unwrap();
        assert_eq!(config.log.level, log::LevelFilter::Off);
    }

    /// The line that an error names, if it does.
    fn named_line(error: &ConfigError) -> Option<usize> {
        match error {
            ConfigError::Refused {
                place: Place::File(at),
                ..
            } => Some(at.line),
            ConfigError::Refused { .. }
            | ConfigError::Unreadable { .. }
            | ConfigError::Missing { .. } => None,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_single_wrong_byte_panics_or_goes_without_a_line(
            at in 0..SHIPPED.len(),
            byte: u8,
        ) {
            let mut bytes = SHIPPED.as_bytes().to_vec();
            bytes[at] = byte;
            let lines = SHIPPED.lines().count() + 1;
            if let Err(error) = Config::parse(Some(("f".as_ref(), &bytes)), [], &[]) {
                let line = named_line(&error);
                prop_assert!(line.is_some_and(|line| (1..=lines).contains(&line)), "{error}");
                prop_assert!(error.to_string().contains('^'));
            }
        }

        #[test]
        fn no_garbage_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Err(error) = Config::parse(Some(("f".as_ref(), &bytes)), [], &[]) {
                prop_assert!(named_line(&error).is_some(), "{error}");
            }
        }

        #[test]
        fn no_variable_panics(key in "[A-Z0-9_.]{0,40}", value in "\\PC{0,20}") {
            let result = with_env([(&format!("PURLIN__{key}"), &value)]);
            let named = result.err().is_none_or(|error| error.to_string().starts_with("PURLIN__"));
            prop_assert!(named);
        }
    }
}
