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
    /// What npm has installed, for servers in JavaScript.
    pub(crate) modules: PathBuf,
    /// A folder for the files that servers over HTTP serve.
    pub(crate) www: PathBuf,
    target: PathBuf,
    optimised: bool,
}

impl Programs {
    /// Builds all of them, optimised when this bench is.
    ///
    /// # Errors
    ///
    /// When one cannot be built; cargo has said why.
    pub(crate) fn build() -> Result<Self, Failure> {
        let programs = Self::find(!cfg!(debug_assertions))?;
        programs.build_purlin(&[])?;
        programs.build_peers()?;
        Ok(programs)
    }

    /// Where they will be; nothing is built yet.
    ///
    /// # Errors
    ///
    /// When this bench does not lie where cargo puts it.
    pub(crate) fn find(optimised: bool) -> Result<Self, Failure> {
        // target/PROFILE/deps/compare-HASH
        let itself = env::current_exe()?;
        let target = itself
            .ancestors()
            .nth(3)
            .ok_or_else(|| format!("{} is not in a target folder", itself.display()))?;
        let profile = if optimised { "release" } else { "debug" };
        Ok(Self {
            purlin: target.join(profile).join("examples/bench-purlin"),
            peers: target.join("peers").join(profile).join("peers"),
            modules: target.join("tools/node/node_modules"),
            www: target.join("bench-www"),
            target: target.into(),
            optimised,
        })
    }

    /// Builds purlin, with these options of cargo.
    ///
    /// # Errors
    ///
    /// As [`Self::build`].
    pub(crate) fn build_purlin(&self, options: &[&str]) -> Result<(), Failure> {
        let options = [&["--example", "bench-purlin"], options].concat();
        self.cargo("", &self.target, &options)
    }

    /// Builds everybody else.
    ///
    /// # Errors
    ///
    /// As [`Self::build`].
    pub(crate) fn build_peers(&self) -> Result<(), Failure> {
        // A workspace of its own, with its own lock file.
        self.cargo("benches/peers", &self.target.join("peers"), &["--locked"])
    }

    fn cargo(&self, package: &str, target: &Path, options: &[&str]) -> Result<(), Failure> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join(package);
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.arg("build").args(options);
        if self.optimised {
            command.arg("--release");
        }
        let status = command
            .arg("--target-dir")
            .arg(target)
            .current_dir(&package)
            .status()
            .map_err(|error| format!("run cargo: {error}"))?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("{} cannot be built", package.display()).into())
        }
    }
}
