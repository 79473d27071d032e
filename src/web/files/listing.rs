//! The page that shows what is in a folder. Pure.

use std::cmp::Reverse;
use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// What needs no escape in one segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// One row of the page.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) name: OsString,
    pub(super) is_folder: bool,
    /// Bytes of a file.
    pub(super) len: u64,
    /// Seconds since 1970.
    pub(super) modified: i64,
}

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; --line: #8883; --dim: #777; --link: #0a5cc5; }
@media (prefers-color-scheme: dark) { :root { --dim: #999; --link: #7ab7ff; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.25rem; font-weight: 600; overflow-wrap: anywhere; }
table { width: 100%; border-collapse: collapse; }
td, th { padding: .4rem .5rem; border-bottom: 1px solid var(--line); text-align: left; }
th { font-size: .85rem; font-weight: 500; color: var(--dim); }
td:first-child { overflow-wrap: anywhere; }
td:nth-child(n+2), th:nth-child(n+2) { text-align: right; white-space: nowrap; color: var(--dim);
  font-variant-numeric: tabular-nums; }
a { color: var(--link); text-decoration: none; } a:hover { text-decoration: underline; }
@media (max-width: 36rem) { td:nth-child(3), th:nth-child(3) { display: none; } }
</style>
"#;

/// The page of the folder at `path`, decoded. `has_parent`: there is one above
/// it to go to. `whole`: there is no more than these.
pub(super) fn page(path: &str, has_parent: bool, items: &mut [Item], whole: bool) -> String {
    items.sort_by(|one, other| {
        let key = |item: &Item| Reverse(item.is_folder);
        key(one)
            .cmp(&key(other))
            .then_with(|| one.name.cmp(&other.name))
    });
    let mut page = String::from(HEAD);
    let title = escaped(path);
    let _infallible = write!(
        page,
        "<title>{title}</title></head>\n<body><h1>{title}</h1>\n<table>\n\
         <tr><th>Name</th><th>Size</th><th>Changed (UTC)</th></tr>\n"
    );
    if has_parent {
        page += "<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n";
    }
    for item in &*items {
        row(&mut page, item);
    }
    page += "</table>\n";
    if !whole {
        page += "<p>There is more than fits here.</p>\n";
    }
    page += "</body></html>\n";
    page
}

fn row(page: &mut String, item: &Item) {
    let link = percent_encode(item.name.as_bytes(), SEGMENT);
    let name = escaped(&item.name.to_string_lossy());
    let slash = if item.is_folder { "/" } else { "" };
    let size = if item.is_folder {
        String::new()
    } else {
        size(item.len)
    };
    let date = jiff::Timestamp::from_second(item.modified).unwrap_or_default();
    let date = date.strftime("%Y-%m-%d %H:%M");
    let _infallible = writeln!(
        page,
        "<tr><td><a href=\"./{link}{slash}\">{name}{slash}</a></td><td>{size}</td><td>{date}</td></tr>"
    );
}

/// As text of a page.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Bytes, for people: three digits and a unit.
fn size(len: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if len < 1024 {
        return format!("{len} B");
    }
    // In tenths, rounded; the next unit where they would be 1024.0.
    let (mut len, mut unit) = (u128::from(len) * 10, 0);
    len = (len + 512) / 1024;
    while len >= 10_240 {
        len = (len + 512) / 1024;
        unit += 1;
    }
    format!("{}.{} {}", len / 10, len % 10, units[unit])
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn item(name: &str, is_folder: bool) -> Item {
        Item {
            name: name.into(),
            is_folder,
            len: 2048,
            modified: 784_111_777,
        }
    }

    #[test]
    fn folders_come_first_then_names() {
        let mut items = [
            item("b", false),
            item("z", true),
            item("a", false),
            item("y", true),
        ];
        let page = page("/x/", true, &mut items, true);
        let order: Vec<_> = page
            .match_indices("href=\"./")
            .map(|(at, found)| &page[at + found.len()..][..1])
            .collect();
        assert_eq!(order, ["y", "z", "a", "b"]);
        assert!(
            page.contains("<td>2.0 KiB</td><td>1994-11-06 08:49</td>"),
            "{page}"
        );
        assert!(page.contains("href=\"../\""));
    }

    #[test]
    fn names_cannot_write_into_the_page() {
        let mut items = [
            item("<script>\"'&\n", false),
            item("javascript:x", false),
            item("a\\b%c?d#e", true),
        ];
        let page = page("/<b>/", true, &mut items, false);
        assert!(
            page.contains("&lt;script&gt;&quot;&#39;&amp;\u{fffd}</a>"),
            "{page}"
        );
        assert!(
            page.contains("href=\"./%3Cscript%3E%22%27%26%0A\""),
            "{page}"
        );
        assert!(page.contains("href=\"./javascript%3Ax\""), "{page}");
        assert!(
            page.contains("href=\"./a%5Cb%25c%3Fd%23e/\">a\\b%c?d#e/</a>"),
            "{page}"
        );
        assert!(page.contains("<h1>/&lt;b&gt;/</h1>"), "{page}");
        assert!(!page.contains("<script") && !page.contains("<b>"));
        assert!(page.contains("more than fits"));
    }

    #[test]
    fn the_top_has_no_way_up() {
        assert!(!page("/a/", false, &mut [], true).contains("../"));
    }

    #[test]
    fn sizes_are_for_people() {
        for (len, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (10 * 1024 * 1024, "10.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(len), expected, "{len}");
        }
    }
}
