//! Runs before the compilation: hands over what `-V` tells and the compiler
//! keeps to itself. No time, no host, no path: builds stay reproducible.
#![allow(clippy::print_stdout, reason = "stdout is how cargo is spoken to")]

use std::env;
use std::process::Command;

fn main() {
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let rustc = Command::new(variable("RUSTC")).arg("--version").output();
    let rustc = rustc.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let mut features: Vec<String> = env::vars()
        .filter_map(|(name, _)| Some(name.strip_prefix("CARGO_FEATURE_")?.to_lowercase()))
        .collect();
    features.sort();
    println!("cargo::rerun-if-changed=src/cli/build.rs");
    println!(
        "cargo::rustc-env=PURLIN_RUSTC={}",
        rustc.unwrap_or_default()
    );
    println!("cargo::rustc-env=PURLIN_PROFILE={}", variable("PROFILE"));
    println!("cargo::rustc-env=PURLIN_TARGET={}", variable("TARGET"));
    println!("cargo::rustc-env=PURLIN_FEATURES={}", features.join(", "));
}
