//! A server under callgrind: how it is started, and what was counted.
//!
//! valgrind reads its options from the environment, not from its command line:
//! purlin writes its title over the arguments that the kernel knows, which are
//! valgrind's own. It keeps pointers into them, and a worker would end with `Bad
//! option` instead of its counts; of the environment it keeps a copy.

use std::fs;
use std::path::Path;

use nix::unistd::Pid;

use crate::Failure;
use crate::counts;
use crate::machine::said;
use crate::server::Spec;

/// A file for each process, all its threads together.
const OPTIONS: &str = "--trace-children=yes --dump-instr=no --separate-threads=no --vgdb=no";

/// How it counts, for the head of the file.
pub(crate) fn settings() -> String {
    format!("--tool=callgrind {OPTIONS}")
}

/// What valgrind says that it is; `None`: it is not installed.
pub(crate) fn version() -> Option<String> {
    let version = said("valgrind", &["--version"]);
    (!version.is_empty()).then_some(version)
}

/// `spec`, counted; a file for each of its processes comes to `folder`. What is
/// `preloaded` replaces functions of its library.
pub(crate) fn under(spec: &Spec, folder: &Path, preloaded: Option<&Path>) -> Spec {
    let out = format!("--callgrind-out-file={}/%p", folder.display());
    let preload = preloaded.map(|library| format!("LD_PRELOAD={}", library.display()));
    let program = spec.program.display().to_string();
    let options = [format!("VALGRIND_OPTS={OPTIONS} {out}")];
    let valgrind = ["valgrind".into(), "--tool=callgrind".into(), program];
    Spec {
        // Executes what it is given: the process stays the same.
        program: "env".into(),
        arguments: options
            .into_iter()
            .chain(preload)
            .chain(valgrind)
            .chain(spec.arguments.iter().cloned())
            .collect(),
        ..spec.clone()
    }
}

/// What `process`, which has ended, executed.
///
/// # Errors
///
/// Nothing was written, or nothing that tells a count.
pub(crate) fn counted(folder: &Path, process: Pid) -> Result<u64, Failure> {
    let path = folder.join(process.to_string());
    let text = fs::read_to_string(&path)
        .map_err(|error| format!("what callgrind counted, {}: {error}", path.display()))?;
    // The next process of this number must not be taken for it.
    fs::remove_file(&path)?;
    let total = counts::total(&text);
    total.ok_or_else(|| format!("{} tells no total", path.display()).into())
}
