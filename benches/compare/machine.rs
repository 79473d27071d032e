//! What the machine is: a figure without it says nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cores::Cores;

/// Lines about the machine, the programs and when it was, for the report.
pub(crate) fn describe(cores: Cores) -> Vec<(&'static str, String)> {
    let info = read("/proc/cpuinfo");
    let virtual_machine = info.contains(" hypervisor");
    let place = match cores {
        Cores::Pinned { server, client } => {
            format!("servers on core {server}, load on core {client}, 127.0.0.1")
        }
        Cores::Shared => "ONE CORE ONLY: the load slows the servers".into(),
    };
    let kind = if virtual_machine {
        "virtual machine"
    } else {
        "no hypervisor"
    };
    vec![
        (
            "date",
            jiff::Timestamp::now()
                .strftime("%Y-%m-%d %H:%M UTC")
                .to_string(),
        ),
        ("commit", commit()),
        (
            "CPU",
            format!("{}, {} cores, {kind}", model(&info), processors(&info)),
        ),
        ("governor", governor()),
        (
            "kernel",
            format!("Linux {}", read("/proc/sys/kernel/osrelease")),
        ),
        ("compiler", said("rustc", &["--version"])),
        ("place", place),
    ]
}

fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn model(info: &str) -> &str {
    let line = info.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':'))
        .map_or("unknown CPU", |(_, name)| name.trim())
}

fn processors(info: &str) -> usize {
    let lines = info.lines();
    lines.filter(|line| line.starts_with("processor")).count()
}

fn governor() -> String {
    let path = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
    if Path::new(path).exists() {
        read(path)
    } else {
        "not visible: the clock is the host's".into()
    }
}

fn commit() -> String {
    let commit = said("git", &["rev-parse", "--short", "HEAD"]);
    // The file that this run is about to write may differ.
    let sources = [
        "status",
        "--porcelain",
        "--",
        "src",
        "benches/*.rs",
        "Cargo.lock",
    ];
    if said("git", &sources).is_empty() {
        commit
    } else {
        format!("{commit}, with changes")
    }
}

/// The first line that a program prints, nothing when it cannot be run.
pub(crate) fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let text = output.map_or(Vec::new(), |output| output.stdout);
    let text = String::from_utf8_lossy(&text);
    text.lines().next().unwrap_or_default().to_owned()
}
