//! The folder for what a program keeps, such as its database: which one it is, and
//! that the workers may write to it.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, lchown};
use std::path::{Path, PathBuf};

use super::privileges::Identity;

/// What systemd makes for a unit with `StateDirectory=`, and names in this variable.
const STATE: &str = "STATE_DIRECTORY";

/// Where that is not said, below the working directory.
const DEFAULT: &str = "data";

/// Where a program keeps what outlives it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DataFolder(PathBuf);

impl DataFolder {
    /// That of the configuration, or else of the service manager, or else the default.
    #[must_use]
    pub fn new(named: Option<&Path>) -> Self {
        let state = || {
            let folders = std::env::var_os(STATE)?;
            // Several are separated by colons; the first is the program's.
            let mut folders = std::env::split_paths(&folders);
            folders.next().filter(|first| first.is_absolute())
        };
        Self(named.map_or_else(
            || state().unwrap_or_else(|| DEFAULT.into()),
            Path::to_path_buf,
        ))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes it where it is not there, for `owner`, who alone may look into it. One
    /// that is there is its owner's, whoever that is.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn make(&self, owner: Option<&Identity>) -> io::Result<()> {
        if let Some(above) = self.0.parent() {
            std::fs::create_dir_all(above)?;
        }
        match DirBuilder::new().mode(0o700).create(&self.0) {
            Ok(()) => {}
            // Another worker was quicker.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            Err(error) => return Err(error),
        }
        let Some((user, group)) = owner.map(Identity::numbers) else {
            return Ok(());
        };
        // Whoever may write above could have put a link in its place.
        lchown(&self.0, Some(user), Some(group))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn it_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let made = DataFolder::new(Some(&folder.path().join("a/data")));
        made.make(None).unwrap();
        let found = std::fs::metadata(made.path()).unwrap();
        assert_eq!(found.mode() & 0o777, 0o700);
        made.make(None).unwrap();
        assert_eq!(std::fs::metadata(made.path()).unwrap().ino(), found.ino());
    }
}
