//! Text of somebody who is not trusted, made fit for an operator's terminal.
//!
//! A worker's text ends up on the terminal of whoever asked the master, who is
//! root. There a control character is a command: it moves the cursor, rewrites
//! lines, types. And a character that turns the direction of writing shows
//! other text than there is.

use std::fmt::Write;

/// `text` without what a terminal would obey, and no longer than `max`
/// characters. What is taken out stands there as its number.
pub(super) fn plain(text: &str, max: usize) -> String {
    let mut plain = String::new();
    for (n, one) in text.chars().enumerate() {
        if n == max {
            plain.push('…');
            break;
        }
        if is_obeyed(one) {
            let _never_fails = write!(plain, "{}", one.escape_unicode());
        } else {
            plain.push(one);
        }
    }
    plain
}

/// Control characters, the ends of lines and paragraphs, and the marks of the
/// direction of writing, which can hide what stands between them.
fn is_obeyed(one: char) -> bool {
    one.is_control()
        || matches!(one, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_and_what_a_terminal_obeys_is_shown_as_its_number() {
        for (text, expected) in [
            ("no space left: /tmp/ü", "no space left: /tmp/ü"),
            ("\x1b]0;root\x07", "\\u{1b}]0;root\\u{7}"),
            ("one\r\n3 connections", "one\\u{d}\\u{a}3 connections"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("a\u{202e}b\u{2066}c", "a\\u{202e}b\\u{2066}c"),
        ] {
            assert_eq!(plain(text, 100), expected);
        }
        assert_eq!(plain("twelve chars", 6), "twelve…");
        assert_eq!(plain("twelve", 6), "twelve");
    }
}
