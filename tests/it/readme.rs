//! The two READMEs say the same, in the same order, in clean text.

use std::fs;
use std::path::Path;

const README: &str = "README.md";
const CHINESE: &str = "README_zh.md";

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    String::from_utf8(fs::read(path).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The outline: how deep each heading is, and which language each code block
/// has. Words differ between the two, this does not.
fn outline(text: &str) -> Vec<&str> {
    let mut in_block = false;
    let mut outline = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
            if in_block {
                outline.push(line);
            }
        } else if !in_block && line.starts_with('#') {
            outline.push(line.split(' ').next().unwrap());
        }
    }
    outline
}

#[test]
fn both_readmes_have_the_same_sections_and_code_blocks() {
    let (english, chinese) = (read(README), read(CHINESE));
    assert!(!outline(&english).is_empty());
    assert_eq!(outline(&english), outline(&chinese));
}

#[test]
fn both_readmes_are_clean_text() {
    for name in [README, CHINESE] {
        for (number, line) in (1..).zip(read(name).lines()) {
            let unclean = |c: char| c.is_control() || matches!(c, '\u{fffd}' | '\u{feff}');
            assert!(!line.contains(unclean), "{name}:{number}: {line:?}");
        }
    }
}
