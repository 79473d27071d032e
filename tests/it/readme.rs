//! The two READMEs say the same, in the same order, in clean text.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::daemon::Daemon;
use crate::harness::{Client, comm};

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

/// The programs in a README: its Rust blocks.
fn programs(text: &str) -> Vec<&str> {
    let blocks = text.split("```rust\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap())
        .collect()
}

#[test]
fn both_readmes_show_the_same_short_programs() {
    let (english, chinese) = (read(README), read(CHINESE));
    let programs = programs(&english);
    assert_eq!(programs, self::programs(&chinese));
    let lines: Vec<usize> = programs
        .iter()
        .map(|program| program.lines().count())
        .collect();
    assert!(lines[0] <= 10 && lines[1] <= 15, "{lines:?}");
}

#[test]
fn the_book_has_at_most_twelve_pages_of_two_screens_and_both_readmes_name_each() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/docs");
    let all = fs::read_dir(folder).unwrap();
    let names = all.map(|one| one.unwrap().file_name().into_string().unwrap());
    let pages: Vec<String> = names.filter(|name| name.ends_with(".md")).collect();
    assert!((1..=12).contains(&pages.len()), "{pages:?}");
    for page in &pages {
        let path = format!("src/docs/{page}");
        let text = read(&path);
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(text.lines().count() <= 130, "{page}");
        // Rows of a table cannot be broken.
        assert!(widest <= Some(240), "{page}: {widest:?}");
        for readme in [README, CHINESE] {
            assert!(
                read(readme).contains(&format!("]({path})")),
                "{readme}: {path}"
            );
        }
    }
    for readme in [README, CHINESE] {
        for link in read(readme).split("](src/docs/").skip(1) {
            let page = link.split(')').next().unwrap();
            assert!(pages.iter().any(|known| known == page), "{readme}: {page}");
        }
    }
}

/// Builds the README's programs as a user would: a package of their own that
/// depends on this one. It shares our target folder, so that nothing is built
/// twice.
fn build(programs: &[&str]) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = root.join("target/readme");
    fs::create_dir_all(package.join("src/bin")).unwrap();
    let ours = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let profiles = &ours[ours.find("[profile.release]").unwrap()..];
    let manifest = format!(
        "[package]\nname = \"readme\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [dependencies]\npurlin = {{ path = {root:?} }}\nserde = {{ version = \"1\", features = \
         [\"derive\"] }}\n\n{profiles}"
    );
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
    let names: Vec<String> = (0..programs.len()).map(|n| format!("readme_{n}")).collect();
    for (name, program) in names.iter().zip(programs) {
        fs::write(package.join(format!("src/bin/{name}.rs")), program).unwrap();
    }
    let output = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--manifest-path"])
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(root.join("target"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    names
        .iter()
        .map(|name| root.join("target/debug").join(name))
        .collect()
}

#[test]
fn the_programs_of_the_readme_serve_real_clients() {
    let english = read(README);
    let binaries = build(&programs(&english));
    let echo = Daemon::program(&binaries[0], &[]);
    let mut client = Client::connect(echo.address());
    assert_eq!(client.call(1, b"hello"), (1, b"hello".to_vec()));
    let login = Daemon::program(&binaries[1], &[]);
    let mut client = Client::connect(login.address());
    let (id, body) = client.call(6, br#"{"user":"ann","pass":"secret"}"#);
    assert_eq!((id, &body[..]), (6, &br#"{"uid":1}"#[..]));
    let (id, body) = client.call(6, br#"{"user":"ann","pass":"guess"}"#);
    assert_eq!((id, &body[..6]), (65_535, &[0, 0, 0, 6, 1, 0x91][..]));
    let (id, body) = client.call(6, b"no JSON");
    assert_eq!((id, &body[4..6]), (65_535, &400_u16.to_be_bytes()[..]));
    let web = Daemon::program(&binaries[2], &[("listener.0.protocol", "http")]);
    let mut client = Client::connect(web.address());
    client.send(b"GET /hello/ann HTTP/1.0\r\n\r\n");
    assert!(client.rest().ends_with(b"\r\n\r\nhello ann\n"));
    let mut client = Client::connect(web.address());
    client.send(b"POST /sum HTTP/1.0\r\nContent-Length: 7\r\n\r\n[1,2,3]");
    assert!(client.rest().ends_with(b"\r\n\r\n6"));
}

/// The line that the README offers for a first try, with the shell's `printf`.
#[test]
fn the_frame_of_the_readme_comes_back() {
    let english = read(README);
    let (_, line) = english.split_once("`printf '").unwrap();
    let (format, _) = line.split_once("' | nc").unwrap();
    let printed = Command::new("printf").arg(format).output().unwrap().stdout;
    assert_eq!(printed, comm(1, b"hi"));
    let daemon = Daemon::start(&[]);
    let mut client = Client::connect(daemon.address());
    client.send(&printed);
    assert_eq!(client.exactly(10), printed);
}
