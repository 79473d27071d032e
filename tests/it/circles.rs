//! Circles of imports: between the folders inside of a module none, between
//! files only small ones. Beside the layers of `architecture`, which say who is
//! above whom, this says that what is inside of a layer has an order too.
//!
//! A name is followed to the file that defines it, through every `pub use`: a
//! page that only passes names on imports nothing.
//!
//! Each rule was tried by breaking it once.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{self, Token};

/// What stands in one folder, and what of it each may import: `*` is all that
/// stands below. The order is the layering, top first.
const FOLDERS: &[(&str, &[(&str, &str)])] = &[
    (
        "worker",
        &[
            ("threads", "*"),
            (
                "reactor",
                "turn shared setup report queues connection limits",
            ),
            ("turn", "shared queues connection"),
            ("worker_handle", "shared queues connection"),
            ("shared", "queues connection limits"),
            ("from_config", "setup limits"),
            ("exchange", "connection"),
            ("setup", "report limits"),
            ("report", ""),
            ("queues", "connection"),
            ("connection", ""),
            ("limits", ""),
        ],
    ),
    (
        "master",
        &[
            ("untrusted", "*"),
            ("start", "*"),
            ("event_loop", "*"),
            ("upgrade", "daemon cycle supervisor"),
            ("daemon", "control exit"),
            ("control", "cycle"),
            ("workers", "cycle exit supervisor"),
            ("plan", "cycle exit supervisor"),
            ("admin", "cycle exit"),
            ("cycle", "exit supervisor"),
            ("pid_file", "exit"),
            ("exit", "supervisor"),
            ("plain", ""),
            ("watchdog", ""),
            ("supervisor", ""),
        ],
    ),
];

/// Files of the largest circle that may be.
const CIRCLE_MAX: usize = 9;

/// Modules in which no file may be part of a circle.
const STRAIGHT: &[&str] = &["dispatch"];

type Module = Vec<String>;

/// Which file imports which, by the names of their modules.
struct Graph(BTreeMap<Module, BTreeSet<Module>>);

impl Graph {
    fn of(files: &[(String, String)]) -> Self {
        let files: BTreeMap<Module, File> = files
            .iter()
            .filter(|(path, _)| !path.ends_with("tests.rs"))
            .map(|(path, text)| (module(path), File::read(&module(path), text)))
            .collect();
        let imports = |(module, file): (&Module, &File)| {
            let named = file.imports.iter();
            let defined = named.filter_map(|path| definition(&files, path, 0));
            let others = defined.filter(|other| other != module);
            (module.clone(), others.collect())
        };
        Self(files.iter().map(imports).collect())
    }

    /// Everything that `from` imports, and what that imports, and so on.
    fn reach(&self, from: &Module) -> BTreeSet<Module> {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&Module> = self.0[from].iter().collect();
        while let Some(module) = next.pop() {
            if reached.insert(module.clone()) {
                next.extend(&self.0[module]);
            }
        }
        reached
    }

    /// The sets of files that all import each other in the end.
    fn circles(&self) -> BTreeSet<BTreeSet<Module>> {
        let reach: BTreeMap<&Module, BTreeSet<Module>> = self
            .0
            .keys()
            .map(|module| (module, self.reach(module)))
            .collect();
        let circle = |(module, reached): (&&Module, &BTreeSet<Module>)| {
            let back = |other: &&Module| reach[*other].contains(*module);
            reached.iter().filter(back).cloned().collect()
        };
        let circles = reach.iter().map(circle);
        circles
            .filter(|circle: &BTreeSet<Module>| !circle.is_empty())
            .collect()
    }

    /// Who imports whom among what stands in `folder`; its own page belongs to
    /// none of it.
    fn inside(&self, folder: &[String]) -> BTreeMap<String, BTreeSet<String>> {
        let part = |module: &Module| {
            let inside = module.strip_prefix(folder)?;
            inside.first().cloned()
        };
        let mut parts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (module, others) in &self.0 {
            let Some(own) = part(module) else { continue };
            let others = others.iter().filter_map(part).filter(|other| *other != own);
            parts.entry(own.clone()).or_default().extend(others);
        }
        parts
    }
}

/// What one file says of others.
#[derive(Default)]
struct File {
    /// Whole paths from the root of the crate.
    imports: Vec<Module>,
    /// Names that it passes on, with what they are.
    passed_on: BTreeMap<String, Module>,
}

impl File {
    fn read(module: &[String], text: &str) -> Self {
        let all = source::tokens(text);
        let tests = source::test_items(&all);
        let shipped = |at: &usize| !tests.iter().any(|item| item.contains(at));
        let tokens: Vec<Token<'_>> = (0..all.len())
            .filter(shipped)
            .map(|at| all[at].clone())
            .collect();
        let children = children(&tokens);
        let mut file = Self::default();
        let mut at = 0;
        while at < tokens.len() {
            let text = |n: usize| tokens.get(n).map_or("", |token| token.text);
            // The scope of a visibility names nothing that is used.
            if text(at) == "pub" && text(at + 2) == "in" {
                at += 1 + source::item_len(&tokens[at + 1..at + 2]).max(1);
                while text(at) != ")" {
                    at += 1;
                }
            }
            if text(at) == "use" {
                let passes_on = at > 0 && matches!(text(at - 1), "pub" | ")");
                let end = (at..tokens.len()).find(|n| text(*n) == ";");
                let end = end.unwrap_or(tokens.len());
                for (path, name) in tree(&tokens[at + 1..end]) {
                    let Some(path) = absolute(module, &children, &path) else {
                        continue;
                    };
                    if passes_on {
                        file.passed_on.insert(name, path);
                    } else {
                        file.imports.push(path);
                    }
                }
                at = end;
            } else if (at == 0 || text(at - 1) != "::") && text(at + 1) == "::" {
                let path = plain_path(&tokens[at..]);
                file.imports.extend(absolute(module, &children, &path));
                at += 2 * path.len() - 1;
            }
            at += 1;
        }
        file
    }
}

/// Modules that these tokens declare in files of their own.
fn children(tokens: &[Token<'_>]) -> BTreeSet<String> {
    let declared = tokens.windows(3);
    declared
        .filter(|three| three[0].text == "mod" && three[2].text == ";")
        .map(|three| three[1].text.to_owned())
        .collect()
}

/// `a::b::c`, as far as it is names.
fn plain_path(tokens: &[Token<'_>]) -> Module {
    let mut path = vec![tokens[0].text.to_owned()];
    for pair in tokens[1..].chunks(2) {
        let [colons, name] = pair else { break };
        let is_name = name
            .text
            .starts_with(|c: char| c.is_alphabetic() || c == '_');
        if colons.text != "::" || !is_name {
            break;
        }
        path.push(name.text.to_owned());
    }
    path
}

/// The paths of a `use`, each with the name that it has afterwards.
fn tree(tokens: &[Token<'_>]) -> Vec<(Module, String)> {
    let mut prefix: Module = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].text {
            "::" => {}
            "{" => {
                let parts = split(&tokens[at + 1..tokens.len() - 1]);
                let parts = parts.into_iter().flat_map(tree);
                return parts
                    .map(|(path, name)| ([prefix.clone(), path].concat(), name))
                    .collect();
            }
            "as" => {
                let name = tokens.get(at + 1).map_or("_", |token| token.text);
                return vec![(prefix, name.to_owned())];
            }
            "self" if !prefix.is_empty() => {}
            name => prefix.push(name.to_owned()),
        }
        at += 1;
    }
    let name = prefix.last().cloned().unwrap_or_default();
    vec![(prefix, name)]
}

/// At the commas that are in no inner braces.
fn split<'a, 'b>(tokens: &'b [Token<'a>]) -> Vec<&'b [Token<'a>]> {
    let mut depth = 0;
    let mut parts = Vec::new();
    let mut from = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 0 => {
                parts.push(&tokens[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tokens[from..]);
    parts.retain(|part| !part.is_empty());
    parts
}

/// From the root of the crate; `None`: it belongs to another one.
fn absolute(module: &[String], children: &BTreeSet<String>, path: &[String]) -> Option<Module> {
    let supers = path.iter().take_while(|name| *name == "super").count();
    let first = path.first()?.as_str();
    let (base, rest) = match first {
        "crate" => (&[][..], &path[1..]),
        "super" => (
            &module[..module.len().checked_sub(supers)?],
            &path[supers..],
        ),
        "self" => (module, &path[1..]),
        child if children.contains(child) => (module, path),
        _ => return None,
    };
    Some([base, rest].concat())
}

/// The file in which `path` is defined.
fn definition(files: &BTreeMap<Module, File>, path: &[String], followed: usize) -> Option<Module> {
    let mut lengths = (1..=path.len()).rev();
    let length = lengths.find(|length| files.contains_key(&path[..*length]))?;
    let (module, rest) = path.split_at(length);
    let passed_on = rest
        .first()
        .and_then(|name| files[module].passed_on.get(name));
    match passed_on {
        // More would be names that are passed round.
        Some(target) if followed < 8 => {
            let target = [target, &rest[1..]].concat();
            definition(files, &target, followed + 1)
        }
        _ => Some(module.to_vec()),
    }
}

fn module(path: &str) -> Module {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
    let names = inside.split('/').filter(|name| *name != "mod");
    names.map(ToOwned::to_owned).collect()
}

fn names(path: &str) -> Module {
    path.split("::").map(ToOwned::to_owned).collect()
}

/// The crate's own files; its faces name everything and are above all.
fn graph() -> Graph {
    let mut files = source::files("src");
    files.retain(|(path, _)| !matches!(path.as_str(), "src/lib.rs" | "src/main.rs"));
    Graph::of(&files)
}

#[test]
fn folders_inside_of_a_module_import_downwards() {
    let graph = graph();
    let mut refused = Vec::new();
    for (folder, table) in FOLDERS {
        let inside = graph.inside(&names(folder));
        let order = |name: &str| table.iter().position(|(known, _)| *known == name);
        for (part, others) in &inside {
            let Some(at) = order(part) else {
                refused.push(format!("`{folder}/{part}` has no row in FOLDERS"));
                continue;
            };
            let allowed: Vec<&str> = table[at].1.split_whitespace().collect();
            for other in others {
                let is_below = order(other).is_some_and(|below| below > at);
                let is_allowed = allowed == ["*"] || allowed.contains(&other.as_str());
                if !is_below || !is_allowed {
                    refused.push(format!("`{folder}/{part}` may not use `{other}`"));
                }
            }
        }
        for (row, allowed) in *table {
            let known = inside.contains_key(*row);
            assert!(known, "`{folder}/{row}` is not there any more");
            for other in allowed.split_whitespace().filter(|other| *other != "*") {
                let used = inside[*row].contains(other);
                assert!(used, "`{folder}/{row}` needs `{other}` no more");
            }
        }
    }
    assert!(refused.is_empty(), "refused:\n{}", refused.join("\n"));
}

#[test]
fn no_folders_anywhere_import_each_other() {
    let graph = graph();
    let folders: BTreeSet<Module> = (graph.0.keys())
        .flat_map(|module| (0..module.len()).map(|length| module[..length].to_vec()))
        .collect();
    let mut refused = Vec::new();
    for folder in &folders {
        let inside = graph.inside(folder);
        // Of the crate's own parts, `architecture` has the order.
        let is_folder = |part: &&String| {
            let path = [folder.clone(), vec![(*part).clone()]].concat();
            folders.contains(&path)
        };
        let parts: Vec<&String> = inside.keys().filter(is_folder).collect();
        for (n, a) in parts.iter().enumerate() {
            for b in &parts[n + 1..] {
                if reaches(&inside, a, b) && reaches(&inside, b, a) {
                    refused.push(format!("{}: {a} and {b}", folder.join("::")));
                }
            }
        }
    }
    assert!(refused.is_empty(), "circles:\n{}", refused.join("\n"));
}

fn reaches(parts: &BTreeMap<String, BTreeSet<String>>, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(part) = next.pop() {
        for other in parts.get(part).into_iter().flatten() {
            if other == to {
                return true;
            }
            if seen.insert(other) {
                next.push(other);
            }
        }
    }
    false
}

#[test]
fn circles_of_files_are_small() {
    let circles = graph().circles();
    let straight = |circle: &BTreeSet<Module>| {
        let mut modules = circle.iter();
        modules.all(|module| !STRAIGHT.contains(&module[0].as_str()))
    };
    let refused = circles
        .iter()
        .filter(|circle| circle.len() > CIRCLE_MAX || !straight(circle));
    let refused: Vec<String> = refused
        .map(|circle| {
            let names: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
            format!("{} files: {}", circle.len(), names.join(" "))
        })
        .collect();
    assert!(refused.is_empty(), "refused:\n{}", refused.join("\n"));
}

#[test]
fn the_graph_is_what_the_files_say() {
    let files = [
        (
            "src/a/mod.rs",
            "mod b; pub(in crate::a) use b::{self, B as C}; mod d;",
        ),
        ("src/a/b.rs", "use crate::e::{f, g::{H, I}};"),
        (
            "src/a/d.rs",
            "use super::C; fn f() { super::super::e::f() }",
        ),
        ("src/e.rs", "#[cfg(test)] mod tests { use crate::a::C; }"),
    ];
    let files = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
    let graph = Graph::of(&files);
    let imports = |of: &str| -> Vec<String> {
        let others = graph.0[&names(of)].iter();
        others.map(|module| module.join("::")).collect()
    };
    assert_eq!(
        imports("a"),
        Vec::<String>::new(),
        "passing on is no import"
    );
    assert_eq!(imports("a::b"), ["e"]);
    assert_eq!(imports("a::d"), ["a::b", "e"]);
    assert_eq!(imports("e"), Vec::<String>::new());
    assert!(graph.circles().is_empty());
}

#[test]
fn circles_are_found() {
    let files = [
        ("src/a.rs", "use crate::b::B;"),
        ("src/b.rs", "use crate::c::C;"),
        ("src/c.rs", "use crate::a::A; use crate::d;"),
        ("src/d.rs", ""),
    ];
    let files = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
    let circles = Graph::of(&files).circles();
    let circle = ["a", "b", "c"].map(names).into_iter().collect();
    assert_eq!(circles, BTreeSet::from([circle]));
}
