//! What is spoken on each listener: from the configuration to protocols.
//!
//! A protocol of its own gets its name in `config` and its row here; the worker
//! knows none of them. Pure, but that it looks whether a `root` is there.

use std::str::FromStr;
use std::sync::Arc;

use crate::config::{self, Config, ConfigError, Framing};
use crate::net::Access;
use crate::protocol::Protocol;
use crate::protocol::auto::Auto;
pub use crate::protocol::frame::Codecs;
use crate::protocol::frame::{AnyFormat, Format, Frames, Layout, LayoutError, PRESETS};
use crate::protocol::http::{self, AccessFormat, ClientField, Http1, Proxies, Root};
use crate::protocol::websocket::{self, Origins, Sockets};
use crate::web::Files;
use crate::web::files::{is_extension, is_media_type};

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
    check_types(config)?;
    let listeners = config.listener.iter().enumerate();
    listeners
        .map(|(n, listener)| {
            let (frames, sockets) = match format(config, codecs, n)? {
                AnyFormat::Plain(layout) => spoken(config, n, layout)?,
                AnyFormat::Coded(codec) => spoken(config, n, codec)?,
            };
            let http = requests(config, listener).becoming(Arc::new(sockets));
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

fn requests(config: &Config, listener: &config::Listener) -> Http1 {
    let keys = &config.http;
    let limits = http::Limits {
        line: keys.line_max,
        head: keys.head_max,
        fields: usize::from(keys.fields_max),
        body: keys.body_max,
        memory: keys.body_memory_max,
    };
    let http = Http1::new(limits)
        .spooling_to(&keys.body_folder)
        .merging_slashes(keys.merge_slashes)
        .keeping_alive(keys.keep_alive);
    let http = match proxies(config, listener) {
        Some(proxies) => http.behind(proxies),
        None => http,
    };
    let http = http.recording_ends(keys.access_log_ends);
    match (&keys.access_log, keys.access_log_format) {
        (None, _) => http,
        (Some(_), config::AccessFormat::Combined) => http.recorded(AccessFormat::Combined),
        (Some(_), config::AccessFormat::Json) => http.recorded(AccessFormat::Json),
    }
}

/// What listener `n` speaks where that is frames of `format`, and what its
/// connections over HTTP may become.
fn spoken(
    config: &Config,
    n: usize,
    format: impl Format + Clone,
) -> Result<(Spoken, Sockets), ConfigError> {
    let listener = &config.listener[n];
    let frames = frames(config, n, format.clone())?;
    let limits = websocket::Limits {
        message: config.websocket.message_max,
    };
    let sockets = Sockets::new(limits, Origins::new(&listener.websocket_origins.0));
    let sockets = if config.websocket.compression {
        sockets.compressed(config.websocket.compression_min)
    } else {
        sockets
    };
    let name = match &listener.frame {
        Framing::Named(name) => Some(&**name),
        Framing::Custom(_) => None,
    };
    let going_away = Some(listener.going_away_id).filter(|id| *id != 0);
    let path = listener.websocket.0.as_deref();
    Ok((frames, sockets.with_ids(format, name, going_away, path)))
}

/// Who may say whom a request to `listener` is from.
fn proxies(config: &Config, listener: &config::Listener) -> Option<Proxies> {
    let field = match config.http.client_from {
        config::ClientFrom::Off => return None,
        config::ClientFrom::XForwardedFor => ClientField::XForwardedFor,
        config::ClientFrom::Forwarded => ClientField::Forwarded,
        config::ClientFrom::XRealIp => ClientField::XRealIp,
    };
    let access = Access::new(listener.allow.clone(), listener.deny.clone());
    let admits = move |client| access.admits(client);
    Some(Proxies::new(field, listener.trusted.clone(), admits))
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
    let types = config.http.types.0.iter();
    let files = types.fold(files, |files, (extension, media_type)| {
        files.media_type(extension, media_type)
    });
    let files = match &config.http.default_type {
        Some(media_type) => files.default_type(media_type),
        None => files,
    };
    files.announce();
    Ok(Some(Arc::new(files)))
}

/// Refuses media types that cannot be sent, used or not, as a layout.
fn check_types(config: &Config) -> Result<(), ConfigError> {
    for (extension, media_type) in &config.http.types.0 {
        if !is_extension(extension) || !is_media_type(media_type) {
            let why = format!("has {media_type:?} for {extension:?}, which is no media type");
            return Err(config.refuse("http.types", &why));
        }
    }
    match &config.http.default_type {
        Some(media_type) if !is_media_type(media_type) => {
            let why = format!("is {media_type:?}, which is no media type");
            Err(config.refuse("http.default_type", &why))
        }
        Some(_) | None => Ok(()),
    }
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
    // Over HTTP it is WebSockets that are asked for a sign of life.
    let needs_message = listener.protocol != config::Protocol::Http;
    let has_none = format.heartbeat().is_none() && needs_message;
    if has_none || listener.protocol != config::Protocol::Frame {
        needs_no_heartbeat(config, n, has_none)?;
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

/// Refuses rules about a message that the peers of listener `n` do not have; `asks`:
/// the rule that they are asked for it as well.
fn needs_no_heartbeat(config: &Config, n: usize, asks: bool) -> Result<(), ConfigError> {
    let heartbeat = &config.heartbeat;
    let refuse = |key, value| {
        let why = format!("is {value}, but what listener.{n} speaks has no heartbeat message");
        Err(config.refuse(key, &why))
    };
    if heartbeat.counts == config::Proof::Ping {
        return refuse("heartbeat.counts", "ping");
    }
    match heartbeat.ping {
        _ if !asks => Ok(()),
        config::Pinging::Client => Ok(()),
        config::Pinging::Server => refuse("heartbeat.ping", "server"),
        config::Pinging::Both => refuse("heartbeat.ping", "both"),
    }
}

/// What stands behind `frame =` in the configuration: the name of a preset, or
/// a table of fields. So a client reads the very text that its server reads.
///
/// ```
/// use purlin::codec::AnyFormat;
///
/// let text = r#"{ length = { offset = 1, varint = true }, id = { offset = 0, bytes = 1 } }"#;
/// let format: AnyFormat = text.parse()?;
/// assert!(format.is_ordered());
/// # Ok::<(), purlin::client::LayoutError>(())
/// ```
impl FromStr for AnyFormat {
    type Err = LayoutError;

    fn from_str(text: &str) -> Result<Self, LayoutError> {
        match text.parse().map_err(LayoutError::new)? {
            Framing::Named(name) => Self::preset(&name).ok_or_else(|| {
                let presets = PRESETS.join(", ");
                LayoutError::new(format!("must be one of {presets}, or a table of fields"))
            }),
            Framing::Custom(custom) => custom.format(),
        }
    }
}

/// The same, of what a [`Layout`] has words for.
///
/// ```
/// use purlin::client::Layout;
///
/// let text = r#"{ length = { offset = 0, bytes = 2 }, id = { offset = 2, bytes = 2 } }"#;
/// let layout: Layout = text.parse()?;
/// assert_eq!(layout.header, 4);
/// # Ok::<(), purlin::client::LayoutError>(())
/// ```
impl FromStr for Layout {
    type Err = LayoutError;

    fn from_str(text: &str) -> Result<Self, LayoutError> {
        match text.parse()? {
            AnyFormat::Plain(layout) => Ok(layout),
            AnyFormat::Coded(_) => Err(LayoutError::new(
                "needs more than a `Layout` has: read it as an `AnyFormat`",
            )),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

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

    /// A client is given the same text, or the whole line.
    #[test]
    fn a_layout_is_read_from_the_text_of_the_configuration() {
        let table = r#"{ length = { offset = 0, bytes = 2, endian = "little" },
                         id = { offset = 2, bytes = 1 }, max = "4KiB" }"#;
        let one_line: String = table.lines().map(str::trim).collect();
        let custom = layout(&one_line).unwrap();
        for (text, expected) in [
            (one_line.clone(), &custom),
            (format!("  {one_line}\n"), &custom),
            (format!("frame = {one_line}"), &custom),
            (table.to_owned(), &custom),
            ("rpc".to_owned(), &Layout::preset("rpc").unwrap()),
            (
                "frame = \"rpc\"".to_owned(),
                &Layout::preset("rpc").unwrap(),
            ),
        ] {
            assert_eq!(text.parse().as_ref(), Ok(expected), "{text}");
        }
        for (text, why) in [
            ("nosuch", "must be one of comm"),
            ("{ length = { offset = 0 } }", "bytes"),
            (
                "{ length = { offset = 0, bytes = 9 } }",
                "length.bytes is 9",
            ),
            (
                "{ lenght = { offset = 0, bytes = 2 } }",
                "nearest known one is `length`",
            ),
            ("{ length", ""),
        ] {
            let error = text.parse::<Layout>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
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
    fn a_media_type_that_cannot_be_sent_is_refused_with_its_place() {
        for (line, said) in [
            (
                "types = { ts = \"video\" }",
                "http.types has \"video\" for \"ts\"",
            ),
            (
                "types = { \"a.b\" = \"a/b\" }",
                "http.types has \"a/b\" for \"a.b\"",
            ),
            ("default_type = \"a/b\\r\\nX: y\"", "http.default_type is"),
        ] {
            let text = format!("[http]\n{line}\n");
            let config = Config::parse(Some(("f.toml".as_ref(), text.as_bytes())), [], &[]);
            let error = protocols(&config.unwrap(), Codecs::NONE)
                .err()
                .unwrap()
                .to_string();
            assert!(error.contains("f.toml:2:"), "{error}");
            assert!(error.contains(said), "{error}");
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
            // WebSockets have pings; what is no WebSocket proves nothing by one.
            let web = (key == "counts").then_some("protocol = \"http\"");
            for what in ["frame = \"len32\""].into_iter().chain(web) {
                let error = refused(what).unwrap();
                assert!(error.contains("f.toml:4:"), "{error}");
                assert!(error.contains("has no heartbeat message"), "{error}");
            }
            if key == "ping" {
                assert_eq!(refused("protocol = \"http\""), None);
                assert_eq!(refused("protocol = \"auto\""), None);
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
