//! What is spoken on each listener: from the configuration to protocols.
//!
//! A protocol of its own gets its name in `config` and its row here; the worker
//! knows none of them. Pure, but that it looks whether a `root` is there.

use std::sync::Arc;

use crate::config::{self, Config, ConfigError, Framing};
use crate::protocol::Protocol;
use crate::protocol::auto::Auto;
pub use crate::protocol::frame::Codecs;
use crate::protocol::frame::{AnyFormat, Format, Frames, PRESETS};
use crate::protocol::http::{self, AccessFormat, Http1, Root};
use crate::web::Files;

/// Files that a worker keeps open for each listener with a root.
pub const OPEN_FILES_MAX: u64 = 512;

/// What is spoken on one listener.
pub type Spoken = Arc<dyn Protocol>;

/// What is spoken on each listener, in their order, by a program that has
/// `codecs`.
///
/// # Errors
///
/// [`ConfigError`], with its place, when a format has no such name or cannot
/// work, or a root is no folder.
pub fn protocols(config: &Config, codecs: &Codecs) -> Result<Vec<Spoken>, ConfigError> {
    let listeners = config.listener.iter().enumerate();
    listeners
        .map(|(n, listener)| {
            let frames = match format(config, codecs, n)? {
                AnyFormat::Plain(layout) => frames(config, n, layout)?,
                AnyFormat::Coded(codec) => frames(config, n, codec)?,
            };
            let http = requests(config);
            let http = Arc::new(match root(config, n, listener)? {
                Some(root) => http.with_root(root),
                None => http,
            });
            Ok(match listener.protocol {
                config::Protocol::Frame => frames,
                config::Protocol::Http => http,
                config::Protocol::Auto => Arc::new(Auto::new(frames, http)),
            })
        })
        .collect()
}

fn requests(config: &Config) -> Http1 {
    let keys = &config.http;
    let limits = http::Limits {
        line: keys.line_max,
        head: keys.head_max,
        fields: usize::from(keys.fields_max),
        body: keys.body_max,
        memory: keys.body_memory_max,
    };
    let http = Http1::new(limits).spooling_to(&keys.body_folder);
    match (&keys.access_log, keys.access_log_format) {
        (None, _) => http,
        (Some(_), config::AccessFormat::Combined) => http.recorded(AccessFormat::Combined),
        (Some(_), config::AccessFormat::Json) => http.recorded(AccessFormat::Json),
    }
}

/// The files that listener `n` serves. A root that is not there is an error even
/// where nobody could ask for it, as a layout that cannot work.
fn root(
    config: &Config,
    n: usize,
    listener: &config::Listener,
) -> Result<Option<Arc<dyn Root>>, ConfigError> {
    let Some(folder) = &listener.root else {
        return Ok(None);
    };
    let place = format!("listener.{n}.root");
    if !std::fs::metadata(folder).is_ok_and(|folder| folder.is_dir()) {
        let why = format!("is {:?}, where no folder is", folder.display().to_string());
        return Err(config.refuse(&place, &why));
    }
    let most = usize::try_from(OPEN_FILES_MAX).unwrap_or(usize::MAX);
    let files = Files::new(folder).listing(listener.listing).open_max(most);
    let files = match listener.max_age {
        Some(age) => files.cache_control(&format!("public, max-age={}", age.as_secs())),
        None => files,
    };
    Ok(Some(Arc::new(files)))
}

/// The format of listener `n`. One that cannot work is an error even where it is
/// not used: it waits for the day on which it is.
fn format(config: &Config, codecs: &Codecs, n: usize) -> Result<AnyFormat, ConfigError> {
    let place = format!("listener.{n}.frame");
    match &config.listener[n].frame {
        Framing::Named(name) => {
            let codec = || codecs.named(name).cloned().map(AnyFormat::Coded);
            let known = AnyFormat::preset(name).or_else(codec);
            known.ok_or_else(|| {
                let codecs: Vec<&str> = codecs.names().collect();
                let known = [PRESETS, &codecs].concat().join(", ");
                let why = format!("is \"{name}\", must be one of {known}, or a table of fields");
                config.refuse(&place, &why)
            })
        }
        Framing::Custom(custom) => {
            let format = custom.format();
            format.map_err(|error| config.refuse(&place, &format!("cannot work: {error}")))
        }
    }
}

/// The protocol of listener `n`, which speaks frames of `format`.
fn frames(config: &Config, n: usize, format: impl Format) -> Result<Spoken, ConfigError> {
    let listener = &config.listener[n];
    if format.heartbeat().is_none() || listener.protocol != config::Protocol::Frame {
        needs_no_heartbeat(config, n)?;
    }
    let frames = match config.heartbeat.ping {
        config::Pinging::Server => Frames::new(format).without_echo(),
        config::Pinging::Client | config::Pinging::Both => Frames::new(format),
    };
    let id = listener.going_away_id;
    if id == 0 {
        return Ok(Arc::new(frames));
    }
    let frames = frames.going_away(id).map_err(|error| {
        let place = format!("listener.{n}.going_away_id");
        config.refuse(&place, &format!("is {id}: {error}"))
    })?;
    Ok(Arc::new(frames))
}

/// Refuses rules about a message that the peers of listener `n` do not have.
fn needs_no_heartbeat(config: &Config, n: usize) -> Result<(), ConfigError> {
    let heartbeat = &config.heartbeat;
    let refuse = |key, value| {
        let why = format!("is {value}, but what listener.{n} speaks has no heartbeat message");
        Err(config.refuse(key, &why))
    };
    if heartbeat.counts == config::Proof::Ping {
        return refuse("heartbeat.counts", "ping");
    }
    match heartbeat.ping {
        config::Pinging::Client => Ok(()),
        config::Pinging::Server => refuse("heartbeat.ping", "server"),
        config::Pinging::Both => refuse("heartbeat.ping", "both"),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::protocol::frame::Layout;

    fn layout(text: &str) -> Result<Layout, String> {
        let text = format!("[[listener]]\nframe = {text}\n");
        let file = Some(("f.toml".as_ref(), text.as_bytes()));
        let config = Config::parse(file, [], &[]).map_err(|error| error.to_string())?;
        let Framing::Custom(custom) = &config.listener[0].frame else {
            panic!("a table")
        };
        protocols(&config, Codecs::NONE).map_err(|error| error.to_string())?;
        match custom.format() {
            Ok(AnyFormat::Plain(layout)) => Ok(layout),
            other => Err(format!("{other:?}")),
        }
    }

    /// Every preset can be written as a layout of one's own.
    #[test]
    fn presets_are_custom_layouts_with_a_name() {
        let cases = [
            (
                "comm",
                r#"{ length = { offset = 0, bytes = 2, counts = "all" }, id = { offset = 2, bytes = 2 },
                    crc = { offset = 4 }, max = 29000, heartbeat = 0, error_id = 65535 }"#,
            ),
            (
                "zinx",
                r#"{ length = { offset = 4, bytes = 4 }, id = { offset = 0, bytes = 4 },
                    max = 1048584, heartbeat = 99999, error_id = 4294967295 }"#,
            ),
            (
                "zinx-ltv",
                r#"{ length = { offset = 0, bytes = 4, endian = "little" },
                    id = { offset = 4, bytes = 4, endian = "little" },
                    max = 1048584, heartbeat = 99999, error_id = 4294967295 }"#,
            ),
            (
                "rpc",
                r#"{ length = { offset = 0, bytes = 4 }, id = { offset = 4, bytes = 4 },
                    sequence = { offset = 8, bytes = 4 }, crc = { offset = 12 },
                    max = 16777232, heartbeat = 0, error_id = 4294967295 }"#,
            ),
            (
                "frame32",
                r#"{ length = { offset = 0, bytes = 4, counts = "all" }, max = "1MiB" }"#,
            ),
            ("len16", "{ length = { offset = 0, bytes = 2 } }"),
            (
                "len32",
                "{ length = { offset = 0, bytes = 4 }, max = 1048580 }",
            ),
        ];
        for (name, text) in cases {
            let text: String = text.lines().map(str::trim).collect();
            let text = sized(&text);
            assert_eq!(layout(&text), Ok(Layout::preset(name).unwrap()), "{name}");
        }
    }

    /// Sizes carry their unit.
    fn sized(text: &str) -> String {
        let Some((before, after)) = text.split_once("max = ") else {
            return text.to_owned();
        };
        if after.starts_with('"') {
            return text.to_owned();
        }
        let end = after
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(after.len());
        format!("{before}max = \"{}B\"{}", &after[..end], &after[end..])
    }

    #[test]
    fn a_root_has_to_be_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = |root: &std::path::Path| {
            let text = format!("[[listener]]\nroot = {root:?}\nmax_age = \"60s\"\n");
            let config = Config::parse(Some(("f.toml".as_ref(), text.as_bytes())), [], &[]);
            let error = protocols(&config.unwrap(), Codecs::NONE).err();
            error.map(|error| error.to_string())
        };
        assert_eq!(error(folder.path()), None);
        for root in [file, folder.path().join("none")] {
            let error = error(&root).unwrap();
            assert!(error.contains("f.toml:2:"), "{error}");
            assert!(error.contains("where no folder is"), "{error}");
        }
    }

    #[test]
    fn a_heartbeat_rule_needs_a_heartbeat_message() {
        for (key, value) in [("counts", "ping"), ("ping", "server"), ("ping", "both")] {
            let refused = |what: &str| {
                let text = format!("[[listener]]\n{what}\n[heartbeat]\n{key} = \"{value}\"");
                let config = Config::parse(Some(("f.toml".as_ref(), text.as_bytes())), [], &[]);
                let refused = protocols(&config.unwrap(), Codecs::NONE).err();
                refused.map(|error| error.to_string())
            };
            for what in ["frame = \"len32\"", "protocol = \"http\""] {
                let error = refused(what).unwrap();
                assert!(error.contains("f.toml:4:"), "{error}");
                assert!(error.contains("has no heartbeat message"), "{error}");
            }
            assert_eq!(refused("frame = \"comm\""), None);
        }
    }

    #[test]
    fn a_name_that_is_no_format_is_refused_with_its_place() {
        let text = "[[listener]]\nframe = \"rcp\"\n";
        let config = Config::parse(Some(("f.toml".as_ref(), text.as_bytes())), [], &[]);
        let error = protocols(&config.unwrap(), Codecs::NONE).err().unwrap();
        let expected = "f.toml:2:9: listener.0.frame is \"rcp\", must be one of comm, zinx,";
        assert!(error.to_string().starts_with(expected), "{error}");
    }

    #[test]
    fn a_layout_that_cannot_work_is_refused_with_its_place() {
        let error =
            layout("{ length = { offset = 0, bytes = 4 }, id = { offset = 2, bytes = 4 } }")
                .unwrap_err();
        assert!(error.contains("f.toml:2:"), "{error}");
        assert!(error.contains("id and length overlap"), "{error}");
    }
}
