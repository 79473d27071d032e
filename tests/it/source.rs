//! Reads the package's own source: files, tokens, items.
//!
//! Just enough of Rust's grammar to tell code from comments and strings, and
//! tests from what ships. What it cannot read it shows as code, so a rule may
//! be checked once too often, never once too seldom.

use std::fs;
use std::iter::Peekable;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::CharIndices;

/// A name, a `::`, or one other character of code.
#[derive(Clone, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

/// Every Rust file below `folder` of the package, with its text; the paths
/// are relative to the package. Empty when there is no such folder.
pub(crate) fn files(folder: &str) -> Vec<(String, String)> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![package.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(package).unwrap().to_str().unwrap();
                found.push((name.to_owned(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The code of `source`; comments, strings and character literals are left out.
pub(crate) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut at = 0;
    while at < source.len() {
        let rest = &source[at..];
        let len = match skipped(rest) {
            0 => {
                let len = code(rest);
                let text = &rest[..len];
                if !text.trim().is_empty() {
                    tokens.push(Token { text, line });
                }
                len
            }
            len => len,
        };
        line += rest[..len].matches('\n').count();
        at += len;
    }
    tokens
}

/// Length of the comment or literal that `rest` begins with, 0 when neither.
fn skipped(rest: &str) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    let prefix = rest.find(|c| !matches!(c, 'b' | 'c' | 'r')).unwrap_or(0);
    let (prefix, literal) = rest.split_at(prefix.min(2));
    if literal.starts_with(['"', '#']) && prefix.contains('r') {
        return raw_string(rest, prefix.len());
    }
    if literal.starts_with('"') {
        return prefix.len() + quoted(literal, '"');
    }
    if literal.starts_with('\'') && is_character(literal) {
        return prefix.len() + quoted(literal, '\'');
    }
    0
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let step = &rest[at..];
        at += match () {
            () if step.starts_with("/*") => {
                depth += 1;
                2
            }
            () if step.starts_with("*/") => {
                depth -= 1;
                2
            }
            () => step.chars().next().map_or(0, char::len_utf8),
        };
        if depth == 0 || at == rest.len() {
            return at;
        }
    }
}

/// `r"…"`, `r#"…"#`; `r#name` is a name and not skipped.
fn raw_string(rest: &str, prefix: usize) -> usize {
    let hashes = rest[prefix..].find(|c| c != '#').unwrap_or(0);
    if !rest[prefix + hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body = prefix + hashes + 1;
    rest[body..]
        .find(&end)
        .map_or(rest.len(), |len| body + len + end.len())
}

fn quoted(literal: &str, quote: char) -> usize {
    let mut characters = literal.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        if c == '\\' {
            characters.next();
        } else if c == quote {
            return at + 1;
        }
    }
    literal.len()
}

/// `'a'` is a character, `'a` a lifetime.
fn is_character(literal: &str) -> bool {
    let mut characters = literal.chars().skip(1);
    match characters.next() {
        Some('\\') => true,
        Some(_) => characters.next() == Some('\''),
        None => false,
    }
}

/// Length of the one token that `rest` begins with.
fn code(rest: &str) -> usize {
    let mut characters: Peekable<CharIndices<'_>> = rest.char_indices().peekable();
    while characters
        .next_if(|(_, c)| c.is_alphanumeric() || *c == '_')
        .is_some()
    {}
    match characters.peek() {
        Some(&(0, ':')) if rest.starts_with("::") => 2,
        Some(&(0, c)) => c.len_utf8(),
        Some(&(len, _)) => len,
        None => rest.len(),
    }
}

/// The tokens that `#[cfg(test)]` or `#[cfg(loom)]` keep out of the product.
pub(crate) fn test_items(tokens: &[Token<'_>]) -> Vec<Range<usize>> {
    let mut items: Vec<Range<usize>> = Vec::new();
    for at in 0..tokens.len() {
        let inside_last = items.last().is_some_and(|item| at < item.end);
        if !inside_last && is_test_attribute(&tokens[at..]) {
            items.push(at..at + item_len(&tokens[at..]));
        }
    }
    items
}

fn is_test_attribute(tokens: &[Token<'_>]) -> bool {
    let begins = ["#", "[", "cfg", "("];
    let texts = || tokens.iter().map(|token| token.text);
    texts().take(4).eq(begins) && !shippable(&mut texts().skip(4).peekable()).hold
}

/// What a condition can be in the product, where `test` and `loom` are off and
/// everything else may be either.
struct Can {
    hold: bool,
    fail: bool,
}

fn shippable<'a>(condition: &mut Peekable<impl Iterator<Item = &'a str>>) -> Can {
    let name = condition.next().unwrap_or_default();
    if condition.next_if_eq(&"(").is_none() {
        // A key such as `feature` may have a value, which is a literal and gone.
        condition.next_if_eq(&"=");
        let hold = !matches!(name, "test" | "loom");
        return Can { hold, fail: true };
    }
    let mut parts = Vec::new();
    while condition.next_if_eq(&")").is_none() && condition.peek().is_some() {
        parts.push(shippable(condition));
        condition.next_if_eq(&",");
    }
    match name {
        "any" => Can {
            hold: parts.iter().any(|part| part.hold),
            fail: parts.iter().all(|part| part.fail),
        },
        "not" => Can {
            hold: parts.iter().all(|part| part.fail),
            fail: parts.iter().any(|part| part.hold),
        },
        _ => Can {
            hold: parts.iter().all(|part| part.hold),
            fail: parts.iter().any(|part| part.fail),
        },
    }
}

/// Tokens of the item that these begin with: up to its `;` or its closing brace.
pub(crate) fn item_len(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    // `use a::{b, c};` ends behind its brace.
                    let more = tokens.get(at + 1).is_some_and(|next| next.text == ";");
                    return at + 1 + usize::from(more);
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        tokens(source).iter().map(|token| token.text).collect()
    }

    #[test]
    fn code_is_told_from_comments_and_literals() {
        for (source, expected) in [
            ("a::b // c", "a :: b"),
            ("a /* b /* c */ d */ e", "a e"),
            (r#"f("b // \" c", 'd', '\'', b"e")"#, "f ( , , , )"),
            (r##"f(r"b\", r#"c " d"#, br"e")"##, "f ( , , )"),
            (
                "r#type<'a>(&'static x)",
                "r # type < ' a > ( & ' static x )",
            ),
            ("brick(c) bcr", "brick ( c ) bcr"),
            ("'é' é", "é"),
        ] {
            assert_eq!(texts(source).join(" "), expected, "{source}");
        }
    }

    #[test]
    fn lines_are_counted_through_literals_and_comments() {
        let tokens = tokens("a /*\n*/ b \"\n\n\" c // d\n e");
        let lines: Vec<usize> = tokens.iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 2, 4, 5]);
    }

    #[test]
    fn items_for_tests_are_found_with_all_they_contain() {
        for (source, expected) in [
            ("a(); #[cfg(test)] mod t { fn f() { x } } b", "a ( ) ; b"),
            ("#[cfg(test)] use a::{b, c}; d", "d"),
            ("#[cfg(test)] mod t; d", "d"),
            ("#[cfg(all(test, loom))] #[path = \"x\"] mod t {} d", "d"),
            ("#[cfg(not(loom))] d", "# [ cfg ( not ( loom ) ) ] d"),
            ("#[cfg(unix)] d", "# [ cfg ( unix ) ] d"),
            ("#[cfg(all(test, not(loom)))] mod t {} d", "d"),
            ("#[cfg(not(any(unix, not(test))))] mod t {} d", "d"),
            (
                "#[cfg(any(feature = \"a\", test))] d",
                "# [ cfg ( any ( feature = , test ) ) ] d",
            ),
        ] {
            let tokens = tokens(source);
            let tests = test_items(&tokens);
            let rest: Vec<&str> = (0..tokens.len())
                .filter(|at| !tests.iter().any(|item| item.contains(at)))
                .map(|at| tokens[at].text)
                .collect();
            assert_eq!(rest.join(" "), expected, "{source}");
        }
    }
}
