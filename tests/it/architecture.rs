//! The architecture, as a test: who may import whom, where `unsafe` may be, and
//! how large things may grow. A refusal names the file and the line.
//!
//! Each rule was tried by breaking it once.

use std::fmt;
use std::ops::Range;

use crate::source::{self, Token};

/// Module, and the modules it may import. The order is the layering, top first.
const LAYERS: &[(&str, &str)] = &[
    (
        "main",
        "prelude app cli master admin worker listener web dispatch stress client session redis \
         sqlite body bus net protocol scoreboard config log sys",
    ),
    // The book: text and nothing else.
    ("docs", ""),
    // What programs import; it only names what the layers below offer.
    (
        "prelude",
        "app web dispatch body bus net protocol scoreboard",
    ),
    (
        "app",
        "cli master admin worker listener web dispatch stress client session redis sqlite body bus net \
         protocol scoreboard config log sys",
    ),
    (
        "cli",
        "master admin worker listener dispatch stress client net protocol scoreboard config log sys",
    ),
    (
        "master",
        "admin worker listener bus net scoreboard config log sys",
    ),
    // Figures and health: the server's own code, and no way to change anything.
    (
        "admin",
        "worker listener web dispatch body net protocol scoreboard config log sys",
    ),
    (
        "worker",
        "dispatch body bus net protocol scoreboard config log sys",
    ),
    // The one place where the configuration meets every protocol.
    ("listener", "web net protocol config"),
    (
        "web",
        "dispatch session body net protocol scoreboard log sys",
    ),
    ("dispatch", "body bus net protocol scoreboard sys"),
    ("stress", "client body protocol log sys"),
    ("client", "body protocol sys"),
    ("session", "redis sqlite sys"),
    // For programs: they know nothing of connections of clients.
    ("redis", "scoreboard"),
    ("sqlite", ""),
    ("body", "protocol sys"),
    // A layout of frames is checked by what runs it.
    ("config", "protocol sys"),
    // No `config` and no `log` in these two: limits come in as plain structs,
    // and what is worth a line is handed up as a value.
    ("bus", "net scoreboard sys"),
    ("net", "protocol scoreboard sys"),
    ("protocol", "scoreboard sys"),
    ("scoreboard", "sys"),
    ("log", "sys"),
    ("sys", ""),
];

/// The crate's face: they name the whole crate and belong to no layer.
const FACE: &[&str] = &["lib"];

/// Longest function, in lines; most are below 10.
const FUNCTION_MAX: usize = 70;

/// Longest file in lines of code: tests, comments and blank lines do not count.
/// Most are below 120.
const FILE_MAX: usize = 400;

/// `file` or `file function` that may be longer, and why it is better so.
const EXCUSED: &[(&str, &str)] = &[];

#[test]
fn the_layering_has_no_cycle() {
    for (index, (module, allowed)) in LAYERS.iter().enumerate() {
        for target in allowed.split_whitespace() {
            let below = LAYERS[index + 1..].iter().any(|(name, _)| *name == target);
            assert!(
                below,
                "`{module}` may use `{target}`, which is not below it"
            );
        }
    }
}

#[test]
fn imports_go_down() {
    let mut refused = Vec::new();
    for (path, text) in source::files("src") {
        let module = modules(&path);
        if FACE.contains(&module[0]) {
            continue;
        }
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module[0]) else {
            refused.push(format!("{path}: `{}` has no row in LAYERS", module[0]));
            continue;
        };
        let tokens = source::tokens(&text);
        let shipped = Shipped::new(&tokens);
        for (at, target) in imports(&tokens, &shipped, &module) {
            let known =
                target == module[0] || allowed.split_whitespace().any(|name| name == target);
            if !known {
                let line = tokens[at].line;
                refused.push(format!(
                    "{path}:{line}: `{}` may not use `{target}`",
                    module[0]
                ));
            }
        }
    }
    assert_none(&refused);
}

#[test]
fn unsafe_code_is_in_sys_alone() {
    let refused = everywhere(|path, text| {
        // An allocator that counts cannot be written without, nor a program that
        // uses descriptors which it has not opened.
        let others = ["tests/allocations.rs", "tests/programs/hostile.rs"];
        if path.starts_with("src/sys/") || others.contains(&path) {
            return Vec::new();
        }
        lines_with(text, |token| token == "unsafe")
    });
    assert_none(&refused);
}

#[test]
fn every_file_says_what_it_is() {
    let refused = everywhere(|_, text| {
        let first = text.lines().next().unwrap_or_default();
        let says = first
            .strip_prefix("//! ")
            .is_some_and(|said| !said.is_empty());
        if says { Vec::new() } else { vec![1] }
    });
    assert_none(&refused);
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file is not refused itself.
    let words = [["TO", "DO"], ["FIX", "ME"]].map(|halves| halves.concat());
    let refused = everywhere(|_, text| {
        let marked = (1..).zip(text.lines());
        let marked = marked.filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        let mut lines: Vec<usize> = marked.map(|(number, _)| number).collect();
        lines.extend(macros(text, &["todo", "unimplemented"]));
        lines
    });
    assert_none(&refused);
}

#[test]
fn functions_and_files_stay_small() {
    let mut refused = Vec::new();
    let mut needed = Vec::new();
    for (path, text) in source::files("src") {
        if path.ends_with("/tests.rs") {
            continue;
        }
        let tokens = source::tokens(&text);
        let mut judge = |place: String, line: usize, lines: usize, max: usize| {
            if lines <= max {
                return;
            }
            if EXCUSED.iter().all(|(excused, _)| *excused != place) {
                refused.push(format!(
                    "{path}:{line}: `{place}` has {lines} lines, over {max}"
                ));
            }
            needed.push(place);
        };
        let shipped = Shipped::new(&tokens);
        judge(path.clone(), 1, shipped.lines(&tokens), FILE_MAX);
        // Tables of cases may be as long as there are cases.
        let product: Vec<Token<'_>> = (0..tokens.len())
            .filter(|at| shipped.contains(*at))
            .map(|at| tokens[at].clone())
            .collect();
        for (name, line, lines) in functions(&product) {
            judge(format!("{path} {name}"), line, lines, FUNCTION_MAX);
        }
    }
    for (place, reason) in EXCUSED {
        assert!(!reason.is_empty(), "{place} is excused for no reason");
        let needed = needed.iter().any(|needed| needed == place);
        assert!(needed, "{place} needs its excuse no more");
    }
    assert_none(&refused);
}

/// Which tokens are part of the product.
struct Shipped {
    tests: Vec<Range<usize>>,
}

impl Shipped {
    fn new(tokens: &[Token<'_>]) -> Self {
        let tests = source::test_items(tokens);
        Self { tests }
    }

    /// How many lines have a token of the product.
    fn lines(&self, tokens: &[Token<'_>]) -> usize {
        let shipped = (0..tokens.len()).filter(|at| self.contains(*at));
        let mut lines: Vec<usize> = shipped.map(|at| tokens[at].line).collect();
        lines.dedup();
        lines.len()
    }

    fn contains(&self, at: usize) -> bool {
        !self.tests.iter().any(|item| item.contains(&at))
    }
}

/// `src/net/pool.rs` is `["net", "pool"]`, `src/net/mod.rs` is `["net"]`.
fn modules(path: &str) -> Vec<&str> {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
    inside.split('/').filter(|name| *name != "mod").collect()
}

/// Top-level modules that the code names, each with the token that does.
fn imports<'a>(
    tokens: &[Token<'a>],
    shipped: &Shipped,
    module: &[&'a str],
) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    // Braces that are open, and whether each belongs to an inline module.
    let mut braces: Vec<bool> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let text = tokens[at].text;
        if text == "{" {
            braces.push(at >= 2 && tokens[at - 2].text == "mod");
        } else if text == "}" {
            braces.pop();
        }
        let supers = supers(&tokens[at..]);
        let depth = module.len() + braces.iter().filter(|inline| **inline).count();
        let from_root = match text {
            "crate" => 1,
            // The binary is a crate of its own, above the library.
            "purlin" if module == ["main"] => 1,
            "super" if supers == depth => 2 * supers - 1,
            _ => 0,
        };
        if from_root > 0 && shipped.contains(at) {
            found.extend(heads(&tokens[at + from_root..]).map(|head| (at, head)));
        }
        // All of `super::super::` is one path.
        at += (2 * supers).max(1);
    }
    found
}

/// How many `super` a path begins with.
fn supers(tokens: &[Token<'_>]) -> usize {
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
    let mut supers = 0;
    while is(2 * supers, "super") && is(2 * supers + 1, "::") {
        supers += 1;
    }
    supers
}

/// The first names behind `::`: one, or each of a group in braces.
fn heads<'a>(tokens: &[Token<'a>]) -> impl Iterator<Item = &'a str> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let mut heads = Vec::new();
    if text(0) == "::" && text(1) == "{" {
        let group = &tokens[1..][..source::item_len(&tokens[1..])];
        let mut depth = 0;
        for pair in group.windows(2) {
            match pair[0].text {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if depth == 1 && matches!(pair[0].text, "{" | ",") && pair[1].text != "}" {
                heads.push(pair[1].text);
            }
        }
    } else if text(0) == "::" {
        heads.push(text(1));
    }
    heads.into_iter()
}

/// Every function with a body: name, line, number of lines.
fn functions<'a>(tokens: &[Token<'a>]) -> Vec<(&'a str, usize, usize)> {
    let mut functions = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        // A type such as `fn(u8)` has no name.
        if pair[0].text != "fn" || pair[1].text == "(" {
            continue;
        }
        let last = at + source::item_len(&tokens[at..]) - 1;
        let lines = tokens[last].line + 1 - pair[0].line;
        functions.push((pair[1].text, pair[0].line, lines));
    }
    functions
}

fn macros(text: &str, names: &[&str]) -> Vec<usize> {
    let tokens = source::tokens(text);
    let calls = tokens.windows(2).filter(|pair| pair[1].text == "!");
    calls
        .filter(|pair| names.contains(&pair[0].text))
        .map(|pair| pair[0].line)
        .collect()
}

fn lines_with(text: &str, matches: impl Fn(&str) -> bool) -> Vec<usize> {
    let tokens = source::tokens(text);
    let found = tokens.iter().filter(|token| matches(token.text));
    found.map(|token| token.line).collect()
}

/// Asks for the refused lines of every Rust file of the package.
fn everywhere(refuse: impl Fn(&str, &str) -> Vec<usize>) -> Vec<String> {
    let files = ["src", "tests", "examples", "benches"].map(source::files);
    let files = files.iter().flatten();
    files
        .flat_map(|(path, text)| {
            let lines = refuse(path, text).into_iter();
            lines.map(move |line| format!("{path}:{line}"))
        })
        .collect()
}

fn assert_none(refused: &[impl fmt::Display]) {
    let lines: Vec<String> = refused.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "refused:\n{}", lines.join("\n"));
}

/// The reader of imports is the heart of this test, so it is tested itself.
#[test]
fn imports_are_found_however_they_are_written() {
    for (path, text, expected) in [
        ("src/net/pool.rs", "use crate::sys::clock;", "sys"),
        (
            "src/net/pool.rs",
            "use crate::{log, sys::{a, b}};",
            "log sys",
        ),
        ("src/net/pool.rs", "let a = crate::worker::f();", "worker"),
        (
            "src/net/pool.rs",
            "use super::id; use super::super::log::x;",
            "log",
        ),
        (
            "src/net/pool.rs",
            "mod a { use super::super::super::log::x; }",
            "log",
        ),
        ("src/net/mod.rs", "use super::{log, sys};", "log sys"),
        ("src/net/mod.rs", "mod a { use super::b; }", ""),
        (
            "src/net/mod.rs",
            "#[cfg(test)] mod tests { use crate::app; }",
            "",
        ),
        (
            "src/net/mod.rs",
            "// crate::app\nlet a = \"crate::app\";",
            "",
        ),
        ("src/net/mod.rs", "pub(crate) fn f() {}", ""),
        ("src/main.rs", "use purlin::app::App;", "app"),
    ] {
        let tokens = source::tokens(text);
        let found = imports(&tokens, &Shipped::new(&tokens), &modules(path));
        let found: Vec<&str> = found.into_iter().map(|(_, target)| target).collect();
        assert_eq!(found.join(" "), expected, "{path}: {text}");
    }
}
