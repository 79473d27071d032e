//! `purlin doctor` on the machine that runs the tests.

use std::process::Command;

use serde_json::Value;

use crate::harness::skip;
use crate::instance::Instance;

fn doctor(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_purlin"))
        .arg("doctor")
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), text)
}

#[test]
fn the_doctor_asks_for_what_the_configuration_needs() {
    let keys = ["--set", "workers=64", "--set", "limits.buffered_max=1GiB"];
    let (code, text) = doctor(&keys);
    let memory = text.lines().find(|line| line.contains("memory.max"));
    assert!(memory.is_some(), "{text}");
    assert_eq!(code, Some(i32::from(text.contains("LOW"))), "{text}");
    let (again, json) = doctor(&[&keys[..], &["--json"]].concat());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(again, code);
    assert_eq!(json["ok"], code == Some(0));
    assert_eq!(json["limits"].as_array().unwrap().len(), 10);
}

#[test]
fn a_bad_configuration_is_told_instead() {
    let (code, text) = doctor(&["--set", "workers=many"]);
    assert_eq!((code, &*text), (Some(78), ""));
}

#[test]
fn a_start_says_what_the_doctor_says_one_line_each() {
    if !nix::unistd::Uid::effective().is_root() {
        return skip("start as root; run the tests as root");
    }
    let instance = Instance::new("workers = 1\nuser = \"nobody\"");
    let checked = instance.ask(&["-t"]);
    let told = String::from_utf8_lossy(&checked.stderr);
    let warnings: Vec<&str> = told
        .lines()
        .filter_map(|line| Some(line.split_once("warning: ")?.1))
        .filter(|line| line.starts_with("user is nobody"))
        .collect();
    assert_eq!(warnings.len(), 1, "{told}");
    instance.must("start");
    let log = instance.log();
    let said = |text: &str| log.lines().filter(|line| line.ends_with(text)).count();
    assert_eq!(said(warnings[0]), 1, "{log}");
    assert!(log.contains(" warn master/"), "{log}");
}
