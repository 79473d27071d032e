//! What rustc says to the mistakes that newcomers make: the words that help are
//! among its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::instance::subject;

/// A program that must not compile, and what must be in the message.
const MISTAKES: &[(&str, &[&str])] = &[
    (
        "App::<()>::new().on(1, |_, (): ()| 7_u64)",
        &["`u64` cannot be sent as a reply", "return `()`, `Bytes`"],
    ),
    (
        "App::<()>::new().on(1, |_, n: u64| n.to_string())",
        &[
            "`u64` cannot be the body of a message",
            "take `()`, `Bytes`",
        ],
    ),
    (
        "struct Login; App::<()>::new().on(1, |_, _: Login| ())",
        &["`Login` cannot be the body", "#[derive(Deserialize)]"],
    ),
    (
        "App::<()>::new().on(1, |_, text: String| -> Result<String, String> { Err(text) })",
        &[
            "`Result<String, String>` cannot be sent as a reply",
            "both halves count",
            ".map_err(|text| Error::new(400, text))",
        ],
    ),
    (
        "App::<()>::new().on(1, |_, (): ()| -> Result<u64, Error> { Ok(7) })",
        &["`Result<u64, purlin::", "both halves count"],
    ),
    (
        "App::<()>::new().on(1, async |_, (): ()| \"late\")",
        &[
            "cannot be sent as a reply",
            "no `async` function: it may block",
        ],
    ),
    (
        "App::<()>::new().web(Web::new().get(\"/\", |_, (): ()| 7_u64))",
        &["`u64` cannot be sent as a reply"],
    ),
    (
        "App::<()>::new().on(1, |body: Bytes| body)",
        &["expected to take 2 arguments"],
    ),
    (
        "struct Player; App::<Player>::new().on(1, |_, (): ()| ())",
        &["#[derive(Default)]"],
    ),
    (
        "struct Users; App::<()>::new().data(|| Users)",
        &["expected `Result<_, _>`, found `Users`", "Ok("],
    ),
    (
        "let n = std::rc::Rc::new(1); App::<()>::new().on(1, move |_, (): ()| n.to_string())",
        &["cannot be sent between threads safely", "Rc<i32>"],
    ),
];

/// Programs that compile.
const RIGHT: &[&str] = &[
    "Web::<()>::new().files(\"/a\", std::path::PathBuf::from(\"/srv\"))",
    "Web::<()>::new().files(\"/a\", String::from(\"/srv\")).files(\"/b\", \"/srv\")",
    "App::<()>::new().on(1, |c, (): ()| matches!(c.peer(), purlin::Peer::Unix).to_string())",
    "App::<()>::new().on(1, |_, (): ()| std::fs::read(\"x\").map_err(Error::internal))",
    "App::<()>::new().on(1, |_, (): ()| std::fs::read(\"x\"))",
];

/// The library as cargo has built it last.
fn library() -> PathBuf {
    // Built by cargo with what it starts, so that it is whole.
    let folder = subject().ancestors().nth(2).expect("examples").join("deps");
    let files = fs::read_dir(folder).expect("a folder").flatten();
    let libraries = files.filter(|file| {
        let name = file.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libpurlin-") && name.ends_with(".rlib")
    });
    let last = libraries.max_by_key(|file| file.metadata().and_then(|data| data.modified()).ok());
    last.expect("the library").path()
}

/// What rustc says to a program whose `main` has this expression; `None`: nothing,
/// it compiles.
fn refusal(library: &Path, folder: &Path, expression: &str) -> Option<String> {
    let source = folder.join("program.rs");
    let body = match expression.rsplit_once("; App") {
        Some((before, app)) => format!("{before}; let _made = App{app};"),
        None => format!("let _made = {expression};"),
    };
    let text = format!("use purlin::prelude::*;\nfn main() {{\n    {body}\n}}\n");
    fs::write(&source, text).expect("a file");
    let output = Command::new("rustc")
        .args([
            "--edition",
            "2024",
            "--emit",
            "metadata",
            "--crate-name",
            "program",
        ])
        .arg("--out-dir")
        .arg(folder)
        .arg("--extern")
        .arg(format!("purlin={}", library.display()))
        .arg("-L")
        .arg(format!(
            "dependency={}",
            library.with_file_name("").display()
        ))
        .arg(source)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("rustc, which has built this test");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    (!output.status.success()).then_some(told)
}

#[test]
fn the_compiler_names_what_is_wrong_and_what_would_be_right() {
    let (library, folder) = (library(), tempfile::tempdir().unwrap());
    for (program, words) in MISTAKES {
        let told = refusal(&library, folder.path(), program);
        let told = told.unwrap_or_else(|| panic!("{program} compiles"));
        for word in *words {
            assert!(told.contains(word), "{program}: no {word:?} in\n{told}");
        }
    }
}

#[test]
fn what_newcomers_try_first_compiles() {
    let (library, folder) = (library(), tempfile::tempdir().unwrap());
    for program in RIGHT {
        assert_eq!(refusal(&library, folder.path(), program), None, "{program}");
    }
}
