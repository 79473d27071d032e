//! What each feature brings: a program that asks for none depends on no more than
//! before.

use std::collections::BTreeSet;
use std::process::Command;

/// Packages of the library and its build, without purlin itself.
fn packages(features: &str) -> BTreeSet<String> {
    let mut tree = Command::new(env!("CARGO"));
    tree.args([
        "tree",
        "--offline",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
    ]);
    tree.args(["--format", "{p}", "--features", features]);
    let output = tree
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let names = text.lines().filter_map(|line| line.split(' ').next());
    names
        .filter(|name| *name != "purlin")
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_program_without_features_has_no_more_packages_than_it_had() {
    let plain = packages("");
    println!("{} packages", plain.len());
    assert!(plain.len() <= DEFAULT_MAX, "{}: {plain:?}", plain.len());
    for name in [
        "redis",
        "rusqlite",
        "libsqlite3-sys",
        "argon2",
        "hdrhistogram",
    ] {
        assert!(!plain.contains(name), "{name}");
    }
    for (feature, package) in [
        ("sqlite", "rusqlite"),
        ("redis", "redis"),
        ("session", "argon2"),
    ] {
        let with = packages(feature);
        assert!(
            with.contains(package) && !with.contains("tokio"),
            "{feature}"
        );
        assert!(packages("full").is_superset(&with), "{feature}");
    }
}

/// Raised only with a dependency that every program needs.
const DEFAULT_MAX: usize = 87;
