//! Counts: starts a server under callgrind twice, and divides the difference.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::Failure;
use crate::callgrind;
use crate::cells::{Cell, Peer};
use crate::cores::Cores;
use crate::programs::Programs;
use crate::server::{Server, Spec};
use crate::work;

/// Everything that a count needs.
pub(crate) struct Meter {
    programs: Programs,
    cores: Cores,
    /// Removed in the end.
    folder: TempDir,
}

impl Meter {
    /// Builds the programs, always optimised; with `peers` all of them.
    ///
    /// # Errors
    ///
    /// When one cannot be built; the compiler has said why.
    pub(crate) fn build(cores: Cores, peers: bool) -> Result<Self, Failure> {
        let mut programs = Programs::find(true)?;
        programs.build_purlin(&["--features", "stress"])?;
        if peers {
            programs.build_peers()?;
        }
        let folder = tempfile::Builder::new()
            .prefix("purlin-instructions-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir()?;
        programs.www = folder.path().join("www");
        let meter = Self {
            programs,
            cores,
            folder,
        };
        // Workers are nobody when this is root, and write what was counted.
        fs::create_dir(meter.out())?;
        fs::set_permissions(meter.out(), Permissions::from_mode(0o777))?;
        meter.build_shim()?;
        Ok(meter)
    }

    fn build_shim(&self) -> Result<(), Failure> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/openat2.c");
        let status = Command::new("cc")
            .args(["-O2", "-shared", "-fPIC", "-o"])
            .arg(self.shim())
            .arg(source)
            .arg("-ldl")
            .status()
            .map_err(|error| format!("run cc: {error}"))?;
        if status.success() {
            Ok(())
        } else {
            Err("benches/instructions/openat2.c cannot be built".into())
        }
    }

    /// How it is counted, for the head of the file.
    pub(crate) fn settings() -> [(&'static str, String); 3] {
        [
            ("counted by", callgrind::settings()),
            (
                "server",
                "`bench-purlin`, release, one worker, otherwise as shipped".into(),
            ),
            ("load", work::settings()),
        ]
    }

    /// Where the programs are.
    pub(crate) const fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Instructions a request of purlin, once for each round.
    ///
    /// # Errors
    ///
    /// A server did not start, answer or end as it should.
    pub(crate) fn rounds(&self, cell: &Cell, rounds: usize) -> Result<Vec<f64>, Failure> {
        (0..rounds)
            .map(|_| self.slope(cell, &cell.purlin))
            .collect()
    }

    /// The same of who is counted beside it, once: limit loop, nginx.
    ///
    /// # Errors
    ///
    /// As [`Self::rounds`].
    pub(crate) fn peers(&self, cell: &Cell) -> Result<[Option<f64>; 2], Failure> {
        let mut figures = [None; 2];
        if let Some((peer, spec)) = &cell.peer {
            let column = match peer {
                Peer::LimitLoop => 0,
                Peer::Nginx => 1,
            };
            figures[column] = Some(self.slope(cell, spec)?);
        }
        Ok(figures)
    }

    fn slope(&self, cell: &Cell, spec: &Spec) -> Result<f64, Failure> {
        let [few, many] = cell.counts;
        let least = self.total(cell, spec, few)?;
        let most = self.total(cell, spec, many)?;
        Ok((most as f64 - least as f64) / (many - few) as f64)
    }

    /// Everything that the worker executes from its start to its end.
    fn total(&self, cell: &Cell, spec: &Spec, count: u64) -> Result<u64, Failure> {
        let shim = cell.opens_files.then(|| self.shim());
        let counted = callgrind::under(spec, &self.out(), shim.as_deref());
        let server = Server::start(&counted, &[], self.cores)?;
        // The master, if there is one, comes first, and the worker last.
        let worker = *server.processes.last().ok_or("no process")?;
        cell.work
            .run(&server.target, count, &self.programs.purlin)?;
        server.stop();
        callgrind::counted(&self.out(), worker)
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    fn shim(&self) -> PathBuf {
        self.folder.path().join("openat2.so")
    }
}
