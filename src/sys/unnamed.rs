//! Files without a name: nobody else can open them, and they are gone with the
//! last descriptor, however the process ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::memfd::{MFdFlags, memfd_create};

/// Tries to find a name that nobody has.
const TRIES: u32 = 16;

/// A new file of `folder`'s disk, for reading and writing (mode 0600).
///
/// # Errors
///
/// There is no such folder, or this process may not write there.
pub fn unnamed(folder: &Path) -> io::Result<File> {
    let opened = options().custom_flags(libc::O_TMPFILE).open(folder);
    match opened {
        // Kernels and file systems that have no such files say one of these.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)
            ) =>
        {
            named_for_a_moment(folder)
        }
        opened => opened,
    }
}

/// A new file that is nowhere but in memory.
///
/// # Errors
///
/// `EMFILE` or `ENFILE`.
pub fn in_memory() -> io::Result<File> {
    Ok(memfd_create(c"purlin-file", MFdFlags::MFD_CLOEXEC)?.into())
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

fn named_for_a_moment(folder: &Path) -> io::Result<File> {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for _ in 0..TRIES {
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".purlin.{}.{number}", std::process::id()));
        match options().create_new(true).open(&path) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

    #[test]
    fn they_have_no_name_and_belong_to_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        for file in [unnamed(folder.path()), named_for_a_moment(folder.path())] {
            let file = file.unwrap();
            file.write_all_at(b"body", 0).unwrap();
            let mut back = [0; 4];
            file.read_exact_at(&mut back, 0).unwrap();
            assert_eq!(&back, b"body");
            let found = file.metadata().unwrap();
            assert_eq!(
                (found.nlink(), found.permissions().mode() & 0o777),
                (0, 0o600)
            );
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(unnamed(&folder.path().join("missing")).is_err());
    }
}
