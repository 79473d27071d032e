//! What the crate shows to its users: the modules that `cargo doc` lists, and
//! the words of its first page.

use std::path::Path;

/// For users; and one for each feature. The rest is the program's own.
const VISIBLE: [&str; 12] = [
    "app", "body", "client", "dispatch", "docs", "prelude", "redis", "session", "sqlite", "stress",
    "web", "codec",
];

fn face() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn users_see_their_modules_and_no_others() {
    let face = face();
    let mut hidden = false;
    let mut visible = Vec::new();
    for line in face.lines() {
        if let Some(module) = line.strip_prefix("pub mod ") {
            let module = module.trim_end_matches([';', '{', ' ']);
            visible.extend((!hidden).then_some(module));
        }
        // An attribute belongs to what follows it.
        hidden = line == "#[doc(hidden)]" || hidden && line.starts_with('#');
    }
    assert_eq!(visible, VISIBLE);
}

#[test]
fn the_glossary_is_short_and_leads_somewhere() {
    let face = face();
    let (_, rest) = face.split_once("//! # Glossary\n").unwrap();
    let (_, rest) = rest.split_once("//! ```text\n").unwrap();
    let (table, _) = rest.split_once("//! ```\n").unwrap();
    let rows: Vec<&str> = table.lines().skip(1).collect();
    assert!((15..=20).contains(&rows.len()), "{} lines", rows.len());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let shipped = crate::source::files("src");
    for row in rows {
        let row = row.trim_start_matches("//! ");
        let (word, places) = row.split_at(43);
        for place in places.split_whitespace() {
            assert!(source.join(place).exists(), "{word}: {place} is not there");
        }
        let stands_there = |path: &str| {
            let inside = |place: &str| path.starts_with(&format!("src/{place}"));
            places.split_whitespace().any(inside)
        };
        for word in word[..20].trim().split(", ") {
            let says = |text: &str| text.to_lowercase().contains(word);
            let mut files = shipped.iter().filter(|(path, _)| stands_there(path));
            assert!(files.any(|(_, text)| says(text)), "{places}: no {word}");
        }
    }
}
