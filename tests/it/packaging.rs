//! What packages ship: `make install` and `uninstall`, the unit, the logrotate
//! file, the manual.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::daemon::children;
use crate::harness::{has, skip, wait_until};
use crate::instance::lives;

const BINARY: &str = env!("CARGO_BIN_EXE_purlin");

fn make(target: &str, folder: &Path, prefix: &str) {
    let output = Command::new("make")
        .args([
            "--silent",
            "--directory",
            env!("CARGO_MANIFEST_DIR"),
            target,
        ])
        .arg(format!("DESTDIR={}", folder.display()))
        .arg(format!("PREFIX={prefix}"))
        .arg(format!("BINARY={BINARY}"))
        // Not those of a `make test` that runs this.
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Every file below `folder`, by its path in there.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let inside = path.strip_prefix(folder).unwrap();
                found.insert(inside.to_str().unwrap().to_owned());
            }
        }
    }
    found
}

const INSTALLED: [&str; 8] = [
    "etc/logrotate.d/purlin",
    "etc/purlin/purlin.toml",
    "usr/bin/purlin",
    "usr/lib/systemd/system/purlin.service",
    "usr/share/bash-completion/completions/purlin",
    "usr/share/fish/vendor_completions.d/purlin.fish",
    "usr/share/man/man8/purlin.8",
    "usr/share/zsh/site-functions/_purlin",
];

#[test]
fn install_puts_every_file_in_its_place_and_uninstall_takes_them_away() {
    let folder = tempfile::tempdir().unwrap();
    make("install", folder.path(), "/usr");
    let all: BTreeSet<String> = INSTALLED.map(str::to_owned).into();
    assert_eq!(files(folder.path()), all);
    for file in INSTALLED {
        let data = fs::metadata(folder.path().join(file)).unwrap();
        let mode = if file == "usr/bin/purlin" {
            0o755
        } else {
            0o644
        };
        assert!(data.len() > 0, "{file}");
        assert_eq!(data.permissions().mode() & 0o777, mode, "{file}");
    }
    let unit = fs::read_to_string(folder.path().join(INSTALLED[3])).unwrap();
    assert!(unit.contains("ExecStart=/usr/bin/purlin run -c /etc/purlin/purlin.toml\n"));
    make("uninstall", folder.path(), "/usr");
    assert_eq!(files(folder.path()), BTreeSet::new());
    assert!(!folder.path().join("etc/purlin").exists());
}

#[test]
fn an_edited_configuration_survives_both() {
    let folder = tempfile::tempdir().unwrap();
    make("install", folder.path(), "/opt/purlin");
    let file = folder.path().join("etc/purlin/purlin.toml");
    fs::write(&file, "workers = 3\n").unwrap();
    make("install", folder.path(), "/opt/purlin");
    make("uninstall", folder.path(), "/opt/purlin");
    assert_eq!(fs::read_to_string(&file).unwrap(), "workers = 3\n");
    let left: Vec<String> = files(folder.path()).into_iter().collect();
    assert_eq!(left, ["etc/purlin/purlin.toml"]);
}

#[test]
fn the_installed_configuration_is_good_and_keeps_its_state_in_run() {
    let folder = tempfile::tempdir().unwrap();
    make("install", folder.path(), "/usr");
    let file = folder.path().join("etc/purlin/purlin.toml");
    let output = run(Command::new(BINARY).arg("-T").arg("-c").arg(file));
    let printed = String::from_utf8(output.stdout).unwrap();
    for line in [
        "pid_file = \"/run/purlin/purlin.pid\"",
        "control_socket = \"/run/purlin/purlin.ctl\"",
    ] {
        assert!(printed.contains(line), "{printed}");
    }
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

fn shipped(name: &str) -> String {
    fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("conf")
            .join(name),
    )
    .unwrap()
}

/// A shipped file with the paths of this build in it.
fn placed(folder: &Path, name: &str) -> PathBuf {
    let text = shipped(name).replace("/usr/local/bin/purlin", BINARY);
    assert!(text.contains(BINARY));
    let path = folder.join(name);
    let text = text.replace("/var/log/purlin", folder.to_str().unwrap());
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn systemd_finds_nothing_to_complain_about() {
    if !has("systemd-analyze", "systemd") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let unit = placed(folder.path(), "purlin.service");
    let output = run(Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(unit));
    let said = String::from_utf8(output.stderr).unwrap();
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("purlin"))
        .collect();
    assert!(ours.is_empty(), "{ours:?}");
}

#[test]
fn logrotate_understands_its_file() {
    if !has("logrotate", "logrotate") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = placed(folder.path(), "purlin.logrotate");
    fs::write(folder.path().join("purlin.log"), "a line\n").unwrap();
    let state = folder.path().join("state");
    let mut logrotate = Command::new("logrotate");
    let path = std::env::var("PATH").unwrap() + ":/usr/sbin";
    logrotate
        .env("PATH", path)
        .args(["--debug", "--force", "--state"]);
    let output = run(logrotate.arg(state).arg(file));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("running postrotate script"), "{said}");
    assert!(said.contains("purlin.log"), "{said}");
    assert!(!said.contains("error:"), "{said}");
}

#[test]
fn the_manual_reads_without_a_warning() {
    if !has("groff", "groff-base") {
        return;
    }
    let page = run(Command::new(BINARY).args(["generate", "man"])).stdout;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("purlin.8");
    fs::write(&file, page).unwrap();
    let output = run(Command::new("groff")
        .args(["-man", "-ww", "-Tutf8"])
        .arg(&file));
    let (read, said) = (output.stdout, output.stderr);
    let read = String::from_utf8(read).unwrap();
    assert!(
        read.contains("reload") && read.contains("PURLIN_CONF"),
        "{read}"
    );
    assert_eq!(String::from_utf8(said).unwrap(), "");
}

#[test]
fn bash_takes_its_completions() {
    let script = run(Command::new(BINARY).args(["generate", "bash"])).stdout;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("purlin");
    fs::write(&file, script).unwrap();
    if has("bash", "bash") {
        run(Command::new("bash").arg("-n").arg(file));
    }
}

/// What the unit lets the master do, by the names that `setpriv` knows.
fn capabilities() -> String {
    let unit = shipped("purlin.service");
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let names = line.unwrap().split_whitespace();
    let names = names.map(|name| name.strip_prefix("CAP_").unwrap().to_lowercase());
    names.fold("-all".to_owned(), |all, name| format!("{all},+{name}"))
}

/// A master that is not left behind, nor are its workers, when a test fails.
struct Master(u32);

impl Drop for Master {
    fn drop(&mut self) {
        let mut all = children(self.0);
        all.push(self.0);
        // All gone in a test that went well.
        let named = |pid: &u32| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline"));
            line.is_ok_and(|line| line.contains("purlin"))
        };
        all.retain(named);
        all.into_iter().for_each(|pid| signal(pid, Signal::SIGKILL));
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap());
    let _gone_already = kill(pid, signal);
}

/// The rights of the unit are enough to start, to replace a worker, to reload
/// and to stop, with workers that are somebody else.
#[test]
fn the_rights_of_the_unit_suffice() {
    if !nix::unistd::geteuid().is_root() {
        skip("only root has rights to give up: run it as root");
        return;
    }
    if !has("setpriv", "util-linux") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = "workers = 2\nuser = \"nobody\"\nshutdown_timeout = \"1s\"\n\
                [[listener]]\naddress = \"127.0.0.79:988\"\n";
    fs::write(folder.path().join("conf"), file).unwrap();
    let purlin = |command: &str| {
        let mut setpriv = Command::new("setpriv");
        let rights = capabilities();
        setpriv
            .args([
                "--no-new-privs",
                "--bounding-set",
                &rights,
                "--inh-caps",
                &rights,
            ])
            .args([BINARY, command, "-c", "conf"])
            .current_dir(folder.path());
        run(&mut setpriv)
    };
    purlin("start");
    let master = fs::read_to_string(folder.path().join("purlin.pid")).unwrap();
    let Master(master) = &Master(master.trim().parse().unwrap());
    let workers = children(*master);
    assert_eq!(workers.len(), 2);
    for &worker in &workers {
        let status = fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
        let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(
            !line("Uid:").split_whitespace().any(|id| id == "0"),
            "{status}"
        );
        assert!(line("CapEff:").ends_with("0000000000000000"), "{status}");
    }
    signal(workers[0], Signal::SIGKILL);
    wait_until("the killed worker is replaced", || {
        let now = children(*master);
        now.len() == 2 && !now.contains(&workers[0])
    });
    purlin("reload");
    purlin("reopen");
    purlin("upgrade");
    let old = *master;
    wait_until("the old master left", || !lives(old));
    let master = fs::read_to_string(folder.path().join("purlin.pid")).unwrap();
    let Master(master) = &Master(master.trim().parse().unwrap());
    // One that does not end by itself: the master has to kill it.
    signal(children(*master)[0], Signal::SIGSTOP);
    purlin("stop");
}
