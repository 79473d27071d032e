//! Programs that live on conditional requests, ranges and connections that are
//! kept: what they fetch from us is what lies there.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::downloads::web;
use crate::harness::{has, wait_until};
use crate::instance::Instance;

/// Runs what has to succeed; gives what it said.
fn run(command: &mut Command) -> String {
    let output = said(command);
    assert!(output.status.success(), "{command:?}: {output:?}");
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// Nothing of the machine's own configuration is read.
fn said(command: &mut Command) -> Output {
    command.env("LC_ALL", "C").env_remove("http_proxy");
    command.env_remove("HTTP_PROXY").env("no_proxy", "*");
    command.output().unwrap()
}

fn url(instance: &Instance, path: &str) -> String {
    format!("http://{}/{path}", instance.address)
}

/// Bytes that no two places have in common.
fn content(len: u32) -> Vec<u8> {
    (0..len / 4).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn apt_updates_from_a_flat_repository_and_again_without_fetching_it() {
    if !has("apt-get", "apt") {
        return;
    }
    let instance = web("");
    let at = |name: &str| instance.path(name);
    fs::create_dir_all(at("repo")).unwrap();
    let package = "Package: nothing\nVersion: 1\nArchitecture: all\nMaintainer: N <n@n>\n\
                   Filename: ./nothing.deb\nSize: 0\nDescription: nothing\n\n";
    fs::write(at("repo/Packages"), package.repeat(100)).unwrap();
    let sums = run(Command::new("sha256sum").arg(at("repo/Packages")));
    let (sum, len) = (&sums[..64], 100 * package.len());
    let release = format!(
        "Origin: n\nSuite: n\nDate: Sat, 01 Jan 2022 00:00:00 UTC\nSHA256:\n {sum} {len} Packages\n"
    );
    fs::write(at("repo/Release"), release).unwrap();
    for folder in [
        "apt/state/lists/partial",
        "apt/cache/archives/partial",
        "apt/etc",
    ] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    fs::write(at("apt/status"), "").unwrap();
    let source = format!("deb [trusted=yes] {} ./\n", url(&instance, "repo"));
    fs::write(at("apt/etc/sources.list"), source).unwrap();
    let update = || {
        let base = at("apt").display().to_string();
        let mut apt = Command::new("apt-get");
        for option in [
            format!("Dir::State={base}/state"),
            format!("Dir::State::status={base}/status"),
            format!("Dir::Cache={base}/cache"),
            format!("Dir::Etc={base}/etc"),
            "Dir::Etc::Parts=-".into(),
            "APT::Sandbox::User=".into(),
            "Acquire::http::Proxy=DIRECT".into(),
            "Acquire::Languages=none".into(),
            "Acquire::GzipIndexes=false".into(),
        ] {
            apt.args(["-o", &option]);
        }
        run(apt.arg("update"))
    };
    let first = update();
    assert!(first.contains("Get:") && !first.contains("Err:"), "{first}");
    let lists = fs::read_dir(at("apt/state/lists")).unwrap();
    let packages: Vec<_> = lists
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with("_Packages"))
        .collect();
    assert_eq!(packages.len(), 1, "{first}");
    assert_eq!(
        fs::read_to_string(&packages[0]).unwrap(),
        package.repeat(100)
    );
    let second = update();
    assert!(
        second.contains("Hit:") && !second.contains("Err:"),
        "{second}"
    );
}

#[test]
fn git_clones_a_repository_of_plain_files() {
    if !has("git", "git") {
        return;
    }
    let instance = web("");
    let git = |folder: &Path, arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=n", "-c", "user.email=n@n"]);
        git.args(arguments).current_dir(folder);
        git.env("GIT_CONFIG_GLOBAL", "/dev/null");
        run(git.env("GIT_CONFIG_SYSTEM", "/dev/null"))
    };
    let folder = instance.path("work");
    fs::create_dir(&folder).unwrap();
    git(&folder, &["init", "-q"]);
    for n in 0..20 {
        fs::write(folder.join(format!("file {n}")), content(4 * n + 4)).unwrap();
        git(&folder, &["add", "."]);
        git(&folder, &["commit", "-q", "-m", "one more"]);
    }
    let top = instance.path("");
    git(&top, &["clone", "-q", "--bare", "work", "repo.git"]);
    git(&top.join("repo.git"), &["update-server-info"]);
    git(&top, &["clone", "-q", &url(&instance, "repo.git"), "copy"]);
    let head = |name: &str| git(&top.join(name), &["rev-parse", "HEAD"]);
    assert_eq!(head("copy"), head("work"));
    assert_eq!(fs::read(top.join("copy/file 19")).unwrap(), content(80));
}

#[test]
fn rclone_copies_a_folder_with_any_names_and_finds_nothing_new_in_it() {
    if !has("rclone", "rclone") {
        return;
    }
    let instance = web("");
    let text = fs::read_to_string(instance.path("conf")).unwrap();
    instance.write(&text.replace("root = \".\"", "root = \".\"\nlisting = true"));
    instance.must("reload");
    let names = [
        "a:b.txt",
        "two words",
        "100%",
        "ä",
        "sub/deep/x#y?z",
        "sub/&amp;",
    ];
    for (n, name) in (1..).zip(names) {
        let path = instance.path("from").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content(1000 * n)).unwrap();
    }
    let copy = || {
        let mut rclone = Command::new("rclone");
        rclone.args([
            "copy",
            "-v",
            "--http-url",
            &url(&instance, "from/"),
            ":http:",
        ]);
        rclone
            .arg(instance.path("to"))
            .env("HOME", instance.path(""));
        run(rclone.env("RCLONE_CONFIG", instance.path("none")))
    };
    copy();
    for (n, name) in (1..).zip(names) {
        let came = fs::read(instance.path("to").join(name)).unwrap();
        assert_eq!(came, content(1000 * n), "{name}");
    }
    let again = copy();
    assert!(!again.contains("Copied"), "{again}");
}

#[test]
fn zsync_fetches_the_parts_that_it_has_not() {
    if !has("zsync", "zsync") {
        return;
    }
    let instance = web("");
    let top = instance.path("");
    let whole = content(4 << 20);
    fs::write(top.join("file"), &whole).unwrap();
    // Two parts of it are others.
    let mut old = whole.clone();
    old[1 << 20..(1 << 20) + 5000].fill(1);
    old[3 << 20..(3 << 20) + 50_000].fill(2);
    fs::write(top.join("old"), &old).unwrap();
    let mut make = Command::new("zsyncmake");
    make.args(["-u", &url(&instance, "file"), "-o", "file.zsync", "file"]);
    run(make.current_dir(&top));
    let before = instance.counter("bytes_sent");
    let mut zsync = Command::new("zsync");
    zsync.args([
        "-q",
        "-i",
        "old",
        "-o",
        "new",
        &url(&instance, "file.zsync"),
    ]);
    run(zsync.current_dir(&top));
    assert!(
        fs::read(top.join("new")).unwrap() == whole,
        "other bytes came"
    );
    let sent = instance.counter("bytes_sent") - before;
    assert!(sent < 1 << 20, "{sent} bytes for what was missing");
}

#[test]
fn ffprobe_is_told_of_an_empty_file_that_it_is_empty() {
    if !has("ffprobe", "ffmpeg") {
        return;
    }
    let instance = web("");
    fs::write(instance.path("empty.mp4"), "").unwrap();
    // What it makes of that is its own affair.
    let output = said(Command::new("ffprobe").arg(url(&instance, "empty.mp4")));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("416"), "{text}");
    let line = "\"GET /empty.mp4 HTTP/1.1\" 200 0 ";
    wait_until("it is recorded", || {
        let log = fs::read_to_string(instance.path("access")).unwrap();
        log.contains(line)
    });
}
