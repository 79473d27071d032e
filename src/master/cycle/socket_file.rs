//! The file at the path of a Unix socket, which nobody removes but its maker.
//!
//! A path says nothing about who made what is there now: another master may
//! have replaced it. So the file is known by its inode. The master's thread
//! alone uses it; dropping removes nothing, because every worker drops a copy.

use std::os::unix::fs::MetadataExt;
use std::path::{self, Path, PathBuf};
use std::{fs, io};

/// A socket file that this program made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::master) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    file: (u64, u64),
}

impl SocketFile {
    /// The file that was just made at `path`.
    ///
    /// # Errors
    ///
    /// Somebody removed it already.
    pub(in crate::master) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path::absolute(path)?,
            file: identity(path)?,
        })
    }

    /// What the next program needs to know of it: path, device and inode.
    pub(in crate::master) fn parts(&self) -> (PathBuf, u64, u64) {
        let (device, inode) = self.file;
        (self.path.clone(), device, inode)
    }

    /// The file that the program before this one made.
    pub(in crate::master) fn from_parts((path, device, inode): (PathBuf, u64, u64)) -> Self {
        let file = (device, inode);
        Self { path, file }
    }

    /// Whether it was made at this path.
    pub(in crate::master) fn is_at(&self, path: &Path) -> bool {
        path::absolute(path).is_ok_and(|path| path == self.path)
    }

    /// Its path.
    pub(in crate::master) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nothing is at its path any more.
    pub(in crate::master) fn is_gone(&self) -> bool {
        identity(&self.path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Unlinks it, unless the path names something else by now.
    pub(in crate::master) fn remove(&self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            let _gone_already = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn what_somebody_else_put_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sock");
        let _ours = UnixListener::bind(&path).unwrap();
        let file = SocketFile::at(&path).unwrap();
        let aside = folder.path().join("aside");
        fs::rename(&path, &aside).unwrap();
        let _theirs = UnixListener::bind(&path).unwrap();
        file.remove();
        assert!(path.exists());
        fs::rename(&aside, &path).unwrap();
        file.remove();
        assert!(!path.exists());
    }
}
