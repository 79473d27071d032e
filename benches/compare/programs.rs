//! The programs that are measured: built here, so that one command does all.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;

/// Where they are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// purlin: the example `bench-purlin`.
    pub(crate) purlin: PathBuf,
    /// Everybody else: `peers`.
    pub(crate) peers: PathBuf,
    /// A folder for the files that servers over HTTP serve.
    pub(crate) www: PathBuf,
}

impl Programs {
    /// Builds all of them, optimised when this bench is.
    ///
    /// # Errors
    ///
    /// When one cannot be built; cargo has said why.
    pub(crate) fn build() -> Result<Self, Failure> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        // target/PROFILE/deps/compare-HASH
        let itself = env::current_exe()?;
        let target = itself
            .ancestors()
            .nth(3)
            .ok_or_else(|| format!("{} is not in a target folder", itself.display()))?;
        cargo(package, target, &["--example", "bench-purlin"])?;
        // A workspace of its own, with its own lock file.
        let peers = target.join("peers");
        cargo(&package.join("benches/peers"), &peers, &["--locked"])?;
        Ok(Self {
            purlin: target.join(PROFILE).join("examples/bench-purlin"),
            peers: peers.join(PROFILE).join("peers"),
            www: target.join("bench-www"),
        })
    }
}

/// The folder of the profile.
const PROFILE: &str = if cfg!(debug_assertions) {
    "debug"
} else {
    "release"
};

fn cargo(package: &Path, target: &Path, arguments: &[&str]) -> Result<(), Failure> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.arg("build").args(arguments);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let status = command
        .arg("--target-dir")
        .arg(target)
        .current_dir(package)
        .status()
        .map_err(|error| format!("run cargo: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{} cannot be built", package.display()).into())
    }
}
