//! What a file is, told by its name, or by its first bytes where the name does
//! not tell. Pure.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Bytes at the beginning of a file that are looked at.
pub(super) const LOOK: usize = 512;

/// The value of `Content-Type`, and whether packing is worth the time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Kind {
    pub(super) content_type: Arc<str>,
    /// It is text, or as repetitive as text.
    pub(super) packs: bool,
}

impl Kind {
    /// Of a media type. Text without a character set is UTF-8: browsers would
    /// take it for whatever their owner's language was written in long ago.
    fn new(media_type: &str) -> Self {
        let name = media_type.split(';').next().unwrap_or_default().trim_end();
        let packs = name.starts_with("text/")
            || [".xml", "+xml", "/xml", "+json", "/json"]
                .iter()
                .any(|end| name.ends_with(end))
            || PACKS.contains(&name);
        let is_text = name.starts_with("text/") || name == "application/javascript";
        let charset = if is_text && name.len() == media_type.len() {
            "; charset=utf-8"
        } else {
            ""
        };
        Self {
            content_type: format!("{media_type}{charset}").into(),
            packs,
        }
    }

    /// Of something that begins so, whose name says nothing. Text is what has
    /// none of the bytes that no text has (WHATWG MIME Sniffing, 7.2) and is
    /// UTF-8, as it is told.
    pub(super) fn of_content(start: &[u8]) -> Self {
        let is_binary = |byte: &u8| matches!(byte, 0..=8 | 11 | 14..=26 | 28..=31);
        let is_utf8 = match std::str::from_utf8(start) {
            Ok(_) => true,
            // The last letter may go on behind what was looked at.
            Err(error) => error.error_len().is_none() && start.len() == LOOK,
        };
        Self::new(if is_utf8 && !start.iter().any(is_binary) {
            "text/plain"
        } else {
            "application/octet-stream"
        })
    }
}

/// What names are.
#[derive(Debug, Default)]
pub(super) struct Types {
    /// By extension in small letters, before all others.
    own: HashMap<String, Kind>,
    /// Of what has no known extension. `None`: its content tells.
    default: Option<Kind>,
}

impl Types {
    pub(super) fn set(&mut self, extension: &str, media_type: &str) {
        let extension = extension.to_ascii_lowercase();
        self.own.insert(extension, Kind::new(media_type));
    }

    pub(super) fn set_default(&mut self, media_type: &str) {
        self.default = Some(Kind::new(media_type));
    }

    /// What a file of this name is; `None` when its content has to be looked at.
    pub(super) fn of(&self, path: &Path) -> Option<Kind> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let extension = extension.unwrap_or_default().to_ascii_lowercase();
        if let Some(own) = self.own.get(&extension) {
            return Some(own.clone());
        }
        let corrected = TABLE.iter().find(|(known, _)| *known == extension);
        let known = corrected.map(|(_, media_type)| *media_type);
        known
            .or_else(|| mime_guess::from_ext(&extension).first_raw())
            .map(Kind::new)
            .or_else(|| self.default.clone())
    }
}

/// Whether this can be the value of `Content-Type`: type and subtype, and
/// parameters in plain ASCII behind them (RFC 9110, 8.3.1).
pub(crate) fn is_media_type(text: &str) -> bool {
    let name = text.split(';').next().unwrap_or_default().trim_end();
    let is_token = |token: &str| {
        !token.is_empty()
            && token
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let is_named = name
        .split_once('/')
        .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    is_named && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// Whether a name can end so, behind a dot.
pub(crate) fn is_extension(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_control() || matches!(c, '.' | '/'))
}

/// What `mime_guess` has otherwise than nginx and IANA, or not at all. Where the
/// two differ, what IANA has registered.
const TABLE: &[(&str, &str)] = &[
    ("3mf", "model/3mf"),
    ("bz2", "application/x-bzip2"),
    ("cjs", "text/javascript"),
    ("dll", "application/octet-stream"),
    ("java", "text/plain"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("m4a", "audio/x-m4a"),
    ("m4s", "video/iso.segment"),
    ("mid", "audio/midi"),
    ("midi", "audio/midi"),
    ("mjs", "text/javascript"),
    ("mtl", "model/mtl"),
    ("obj", "model/obj"),
    ("otf", "font/otf"),
    ("pdb", "application/x-pilot"),
    ("prc", "application/x-pilot"),
    ("ra", "audio/x-realaudio"),
    ("rpm", "application/x-redhat-package-manager"),
    ("sea", "application/x-sea"),
    ("sql", "application/sql"),
    ("stl", "model/stl"),
    ("tgz", "application/gzip"),
    ("toml", "application/toml"),
    ("ts", "video/mp2t"),
    ("ttc", "font/collection"),
    ("usdz", "model/vnd.usdz+zip"),
    ("vcf", "text/vcard"),
    ("webmanifest", "application/manifest+json"),
    ("woff", "font/woff"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zst", "application/zstd"),
];

const PACKS: &[&str] = &[
    "application/javascript",
    "application/sql",
    "application/toml",
    "application/vnd.apple.mpegurl",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/yaml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/x-icon",
];

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_a_file_is() {
        let types = Types::default();
        for (name, expected, packs) in [
            ("a.html", "text/html; charset=utf-8", true),
            ("a.HTML", "text/html; charset=utf-8", true),
            ("a.css", "text/css; charset=utf-8", true),
            ("a.js", "text/javascript; charset=utf-8", true),
            ("a.mjs", "text/javascript; charset=utf-8", true),
            ("a.txt", "text/plain; charset=utf-8", true),
            ("a.json", "application/json", true),
            ("a.webmanifest", "application/manifest+json", true),
            ("a.svg", "image/svg+xml", true),
            ("a.wasm", "application/wasm", true),
            ("a.png", "image/png", false),
            ("a.mp4", "video/mp4", false),
            ("a.ts", "video/mp2t", false),
            ("a.TS", "video/mp2t", false),
            ("a.m3u8", "application/vnd.apple.mpegurl", true),
            ("a.woff", "font/woff", false),
            ("a.woff2", "font/woff2", false),
            ("a.otf", "font/otf", true),
            ("a.ttf", "font/ttf", true),
            ("a.rpm", "application/x-redhat-package-manager", false),
            ("a.deb", "application/octet-stream", false),
            ("a.gz", "application/gzip", false),
            ("a.tar.gz", "application/gzip", false),
            ("a.tgz", "application/gzip", false),
        ] {
            let kind = types.of(Path::new(name)).unwrap();
            assert_eq!(
                (&*kind.content_type, kind.packs),
                (expected, packs),
                "{name}"
            );
        }
        for name in ["README", "a.unknown-thing", "a.", "a"] {
            assert_eq!(types.of(Path::new(name)), None, "{name}");
        }
    }

    #[test]
    fn own_types_come_before_all_others() {
        let mut types = Types::default();
        types.set("TS", "text/x-typescript");
        types.set("md", "text/markdown; charset=iso-8859-1");
        types.set("thing", "application/x-thing");
        types.set_default("application/x-unknown");
        for (name, expected) in [
            ("a.ts", "text/x-typescript; charset=utf-8"),
            ("a.MD", "text/markdown; charset=iso-8859-1"),
            ("a.thing", "application/x-thing"),
            ("a.css", "text/css; charset=utf-8"),
            ("README", "application/x-unknown"),
            ("a.other", "application/x-unknown"),
        ] {
            let kind = types.of(Path::new(name)).unwrap();
            assert_eq!(&*kind.content_type, expected, "{name}");
        }
    }

    #[test]
    fn text_is_told_from_other_things_by_its_bytes() {
        let (text, other) = ("text/plain; charset=utf-8", "application/octet-stream");
        let long = "ä".repeat(LOOK);
        let cut = &long.as_bytes()[1..=LOOK];
        let odd = [&b"x"[..], &long.as_bytes()[..LOOK - 1]].concat();
        for (start, expected) in [
            (&b"A line.\r\n\tAnd another one.\x0c\n"[..], text),
            (b"", text),
            (b"\xef\xbb\xbfmarked", text),
            (b"\x1b[1mbold", text),
            ("gr\u{fc}n".as_bytes(), text),
            (&odd, text),
            (cut, other),
            (b"cut \xc3", other),
            (b"latin \xe4", other),
            (b"\xff\xfea\0b\0", other),
            (b"\x7fELF\x02\x01\x01\0", other),
            (b"nul \0", other),
            (b"bell \x07", other),
        ] {
            let kind = Kind::of_content(start);
            assert_eq!(&*kind.content_type, expected, "{start:?}");
            assert_eq!(kind.packs, expected == text);
        }
    }

    #[test]
    fn what_could_begin_another_field_is_no_type() {
        for good in [
            "text/plain",
            "a/b;c=d",
            "image/svg+xml",
            "text/html; charset=\"a b\"",
        ] {
            assert!(is_media_type(good), "{good}");
        }
        for bad in [
            "",
            "text",
            "text/",
            "/plain",
            "a/b/c",
            "a b/c",
            "text/plain\r\nX: y",
            "a/b;\t",
            "a/b; \u{e4}",
            ";a/b",
        ] {
            assert!(!is_media_type(bad), "{bad:?}");
        }
        assert!(is_extension("7z") && is_extension("c++"));
        assert!(!is_extension("") && !is_extension("tar.gz") && !is_extension("a/b"));
    }

    #[test]
    fn the_table_is_in_order_and_corrects_something() {
        for pair in TABLE.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{}", pair[1].0);
        }
        for (extension, media_type) in TABLE {
            assert!(is_media_type(media_type), "{extension}");
        }
    }
}
