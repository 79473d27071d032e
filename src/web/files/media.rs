//! What a file is, told by its name. Pure.

use std::path::Path;

/// The value of `Content-Type`, and whether packing is worth the time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Kind {
    /// Without a character set.
    name: &'static str,
    /// It is text, or as repetitive as text.
    pub(super) packs: bool,
}

impl Kind {
    pub(super) fn of(path: &Path) -> Self {
        let guess = mime_guess::from_path(path).first_raw();
        let name = guess.unwrap_or("application/octet-stream");
        let packs = name.starts_with("text/")
            || [".xml", "+xml", "/xml", "+json", "/json"]
                .iter()
                .any(|end| name.ends_with(end))
            || PACKS.contains(&name);
        Self { name, packs }
    }

    /// The field's value. Text is UTF-8: browsers would take it for whatever
    /// their owner's language was written in long ago.
    pub(super) fn content_type(self) -> String {
        let is_text = self.name.starts_with("text/") || self.name == "application/javascript";
        let charset = if is_text { "; charset=utf-8" } else { "" };
        format!("{}{charset}", self.name)
    }
}

const PACKS: &[&str] = &[
    "application/javascript",
    "application/manifest+json",
    "application/wasm",
    "application/vnd.ms-fontobject",
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
        for (name, expected, packs) in [
            ("a.html", "text/html; charset=utf-8", true),
            ("a.HTML", "text/html; charset=utf-8", true),
            ("a.css", "text/css; charset=utf-8", true),
            ("a.js", "text/javascript; charset=utf-8", true),
            ("a.txt", "text/plain; charset=utf-8", true),
            ("a.json", "application/json", true),
            ("a.svg", "image/svg+xml", true),
            ("a.wasm", "application/wasm", true),
            ("a.png", "image/png", false),
            ("a.mp4", "video/mp4", false),
            ("a.woff2", "font/woff2", false),
            ("a.gz", "application/gzip", false),
            ("a.tar.gz", "application/gzip", false),
            ("README", "application/octet-stream", false),
            ("a.unknown-thing", "application/octet-stream", false),
        ] {
            let kind = Kind::of(Path::new(name));
            assert_eq!(
                (&*kind.content_type(), kind.packs),
                (expected, packs),
                "{name}"
            );
        }
    }
}
