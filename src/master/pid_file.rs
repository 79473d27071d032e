//! The pid file: proof that a master runs, and which one.
//!
//! The proof is the lock (`flock`), not the number: a number left behind by a
//! crash names a stranger sooner or later, a lock dies with its holder. So a
//! pid counts only while the file is locked.
//!
//! ```text
//! lock --> (daemonize: the lock goes along) --> write --> ... --> remove
//! ```
//!
//! The lock belongs to the open file, which every forked process shares. It is
//! never unlocked, only closed: an unlock in a worker would free the master's.
//! A worker drops its copy right after the fork, or it keeps the lock of a
//! master that is gone.
//!
//! Whoever can open a file can lock it, and hold the lock for ever. So nobody
//! but its owner can open this one. A file that others can open, as versions
//! before this one made it, or that somebody else has locked and is no master,
//! is replaced: by one that was locked under another name, where nobody else can
//! open it either.

use std::error::Error;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::exit::{Ending, Exit};
use crate::sys::process::Pid;
use crate::sys::{local, unnamed};

/// Times that a file is tried which others just look at, or just unlinked.
const TRIES: u32 = 1000;

/// Those after which whoever has it locked does not just look at it.
const LOOKS: u32 = 100;

/// The pid file of this master, locked for as long as it lives.
#[derive(Debug)]
pub struct PidFile {
    file: File,
    /// `None`: it has no name, and stands where one is wanted.
    path: Option<PathBuf>,
}

/// Why there is no pid file. Every one is the operator's to solve.
#[derive(Debug)]
pub enum PidFileError {
    /// A master holds it; its pid, unless it is still starting.
    Running(PathBuf, Option<Pid>),
    /// The file has contents that no master wrote; it was left alone.
    Foreign(PathBuf),
    /// The file cannot be opened or written.
    Unusable(PathBuf, io::Error),
}

impl fmt::Display for PidFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running(path, Some(pid)) => {
                write!(f, "pid file {} is held by master {pid}", path.display())
            }
            Self::Running(path, None) => {
                let path = path.display();
                write!(f, "pid file {path} is held by a master that is starting")
            }
            Self::Foreign(path) => {
                let path = path.display();
                write!(f, "pid file {path} has contents that are no pid")
            }
            Self::Unusable(path, error) => {
                write!(f, "pid file {}: {error}", path.display())
            }
        }
    }
}

impl Error for PidFileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unusable(_, error) => Some(error),
            Self::Running(..) | Self::Foreign(_) => None,
        }
    }
}

impl From<PidFileError> for Ending {
    fn from(error: PidFileError) -> Self {
        let exit = match &error {
            PidFileError::Running(..) => Exit::Running,
            PidFileError::Foreign(_) => Exit::Config,
            PidFileError::Unusable(_, cause) => Self::of(cause),
        };
        Self::new(exit, error.to_string())
    }
}

/// For the next program to inherit.
impl AsFd for PidFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Who holds a pid file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Holder {
    /// No master runs, whatever the file says.
    Nobody,
    /// A master that has not written its pid yet.
    Starting,
    /// This master. It may end at any moment, so signal it at once or not.
    Master(Pid),
}

/// What a pid file says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Contents {
    Empty,
    Pid(Pid),
    Foreign,
}

impl PidFile {
    /// Creates the file at `path`, or takes over a stale one, and locks it. It
    /// is empty until [`write`](Self::write).
    ///
    /// `path` is to be absolute: daemonizing changes the working directory.
    ///
    /// # Errors
    ///
    /// [`PidFileError::Running`] when a master holds it: do not start.
    pub fn lock(path: &Path) -> Result<Self, PidFileError> {
        let unusable = |error| PidFileError::Unusable(path.to_path_buf(), error);
        for tries in 0..TRIES {
            let file = open(path).map_err(unusable)?;
            if !empty_while_nobody_runs(&file, path)? {
                let pid = match contents(&file).map_err(unusable)? {
                    Contents::Pid(pid) => Some(pid),
                    Contents::Empty | Contents::Foreign => None,
                };
                return Err(PidFileError::Running(path.to_path_buf(), pid));
            }
            if tries > LOOKS || !is_private(&file).map_err(unusable)? {
                if let Some(file) = replace(&file, path)? {
                    let path = Some(path.to_path_buf());
                    return Ok(Self { file, path });
                }
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            // Upgrading a shared lock lets go of it first: somebody else may
            // have been quicker, then the next round says so.
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                Err(TryLockError::Error(error)) => return Err(unusable(error)),
            }
            // The master before may have unlinked it after it was opened here.
            if is_at(&file, path) {
                let path = Some(path.to_path_buf());
                return Ok(Self { file, path });
            }
        }
        Err(unusable(io::ErrorKind::ResourceBusy.into()))
    }

    /// The file that the program before this one locked, and still holds:
    /// `file` is what it had open.
    ///
    /// # Errors
    ///
    /// [`PidFileError::Unusable`] when another file is at `path` by now.
    pub fn inherit(file: OwnedFd, path: Option<&Path>) -> Result<Self, PidFileError> {
        let file = File::from(file);
        let path = path.map(Path::to_path_buf);
        let Some(at) = path.clone().filter(|path| !is_at(&file, path)) else {
            return Ok(Self { file, path });
        };
        let error = io::Error::new(io::ErrorKind::NotFound, "it is no longer the master's");
        Err(PidFileError::Unusable(at, error))
    }

    /// None: nobody finds out who the master is, and nothing is written.
    ///
    /// # Errors
    ///
    /// No descriptor is free.
    pub fn none() -> io::Result<Self> {
        let file = unnamed::in_memory()?;
        Ok(Self { file, path: None })
    }

    /// Names `pid` as the master: the process that goes on after daemonizing,
    /// or after an upgrade. The file holds one pid or the other at any time.
    ///
    /// # Errors
    ///
    /// `ENOSPC` and the like: do not start.
    pub fn write(&self, pid: Pid) -> Result<(), PidFileError> {
        let mut line = format!("{pid}\n");
        let len = line.len() as u64;
        let mut write = || {
            // One call writes over all that is there; then the ends are cut
            // off.
            let before = self.file.metadata()?.len();
            let blank = usize::try_from(before.saturating_sub(len)).unwrap_or(0);
            line.extend(std::iter::repeat_n('\n', blank.min(16)));
            self.file.write_all_at(line.as_bytes(), 0)?;
            self.file.set_len(len)
        };
        let path = || self.path.clone().unwrap_or_default();
        write().map_err(|error| PidFileError::Unusable(path(), error))
    }

    /// Whether somebody removed it: nobody finds the master by it.
    pub fn is_gone(&self) -> bool {
        let there = self.path.as_ref().map(std::fs::symlink_metadata);
        there.is_some_and(|there| there.is_err_and(|error| error.kind() == io::ErrorKind::NotFound))
    }

    /// Makes another one at its path, for the calling process, and lets go of
    /// the one that is gone.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock) and [`write`](Self::write).
    pub fn renew(&mut self) -> Result<(), PidFileError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let renewed = Self::lock(path)?;
        renewed.write(Pid::own())?;
        *self = renewed;
        Ok(())
    }

    /// Unlinks the file if it names the calling process, or nobody yet, and lets
    /// go of it.
    ///
    /// A worker, or a master that an upgrade has replaced, only lets go.
    pub fn remove(self) {
        let Some(path) = &self.path else { return };
        let is_mine = match contents(&self.file) {
            Ok(Contents::Pid(pid)) => pid == Pid::own(),
            Ok(Contents::Empty) => true,
            Ok(Contents::Foreign) | Err(_) => false,
        };
        if is_mine && is_at(&self.file, path) {
            // Before the lock ends: a master that starts now makes a new one.
            let _gone_already = std::fs::remove_file(path);
        }
    }
}

/// Who holds the pid file at `path` now.
///
/// # Errors
///
/// When the file exists and cannot be read.
pub fn holder(path: &Path) -> Result<Holder, PidFileError> {
    let unusable = |error| PidFileError::Unusable(path.to_path_buf(), error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holder::Nobody),
        Err(error) => return Err(unusable(error)),
    };
    // Shared, so that those who only ask do not take each other for masters.
    match file.try_lock_shared() {
        Ok(()) => Ok(Holder::Nobody),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
        Err(TryLockError::WouldBlock) => match contents(&file).map_err(unusable)? {
            Contents::Pid(pid) => Ok(Holder::Master(pid)),
            Contents::Empty => Ok(Holder::Starting),
            Contents::Foreign => Err(PidFileError::Foreign(path.to_path_buf())),
        },
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        // A link in a shared folder could point at anything.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

/// Whether nobody else can open the file, or could ever since its mode is what
/// it is.
fn is_private(file: &File) -> io::Result<bool> {
    let found = file.metadata()?;
    Ok(found.mode() & 0o077 == 0 && found.uid() == local::own_user())
}

/// Puts a locked file of our own in the place of `stale`, which no master holds,
/// whoever else may. `None`: somebody was quicker; look again.
///
/// Masters that do so at once wait for each other at the new file's first name:
/// who has that file locked under this name alone may move it. One that finds it
/// locked finds it at `path` next, or finds it gone.
fn replace(stale: &File, path: &Path) -> Result<Option<File>, PidFileError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let aside = PathBuf::from(name);
    let unusable = |error| PidFileError::Unusable(aside.clone(), error);
    let file = open(&aside).map_err(unusable)?;
    if !is_private(&file).map_err(unusable)? {
        let error = io::Error::new(io::ErrorKind::AlreadyExists, "it is not ours");
        return Err(unusable(error));
    }
    match file.try_lock() {
        Ok(()) if is_at(&file, &aside) => {}
        Ok(()) | Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(unusable(error)),
    }
    // Under the lock: before it, another master may have moved its own there.
    // `stale` has the shared lock, so none begins with it meanwhile.
    let moved = if is_at(stale, path) {
        std::fs::rename(&aside, path).map(|()| Some(file))
    } else {
        std::fs::remove_file(&aside).map(|()| None)
    };
    moved.map_err(unusable)
}

/// Empties a file that no master holds; `false` when one does.
///
/// Under a *shared* lock: it cannot be had while a master lives, and no master
/// can begin meanwhile. So whoever finds the file locked for good never reads
/// the pid that a dead master left there.
fn empty_while_nobody_runs(file: &File, path: &Path) -> Result<bool, PidFileError> {
    let unusable = |error| PidFileError::Unusable(path.to_path_buf(), error);
    match file.try_lock_shared() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(error)) => return Err(unusable(error)),
    }
    if contents(file).map_err(unusable)? == Contents::Foreign {
        return Err(PidFileError::Foreign(path.to_path_buf()));
    }
    file.set_len(0).map_err(unusable)?;
    Ok(true)
}

fn contents(file: &File) -> io::Result<Contents> {
    if !file.metadata()?.is_file() {
        return Ok(Contents::Foreign);
    }
    let mut text = [0; 16];
    let len = file.read_at(&mut text, 0)?;
    let text = std::str::from_utf8(&text[..len]).unwrap_or("not text");
    if text.is_empty() {
        return Ok(Contents::Empty);
    }
    let pid = text.trim_end().parse().ok().and_then(Pid::new);
    Ok(pid.map_or(Contents::Foreign, Contents::Pid))
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(there)) = (file.metadata(), std::fs::symlink_metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (there.dev(), there.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purlin.pid");
        (folder, path)
    }

    fn some_pid(raw: i32) -> Pid {
        Pid::new(raw).unwrap()
    }

    #[test]
    fn the_holder_is_nobody_then_starting_then_named_then_nobody() {
        let (_folder, path) = folder();
        assert_eq!(holder(&path).unwrap(), Holder::Nobody);
        let file = PidFile::lock(&path).unwrap();
        assert_eq!(holder(&path).unwrap(), Holder::Starting);
        file.write(Pid::own()).unwrap();
        assert_eq!(holder(&path).unwrap(), Holder::Master(Pid::own()));
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\n", Pid::own()));
        file.remove();
        assert_eq!(holder(&path).unwrap(), Holder::Nobody);
        assert!(!path.exists());
    }

    #[test]
    fn a_second_master_is_told_who_runs() {
        let (_folder, path) = folder();
        let file = PidFile::lock(&path).unwrap();
        let error = PidFile::lock(&path).unwrap_err();
        assert!(matches!(error, PidFileError::Running(_, None)), "{error}");
        file.write(some_pid(77)).unwrap();
        let error = PidFile::lock(&path).unwrap_err();
        assert!(error.to_string().ends_with("held by master 77"), "{error}");
        assert_eq!(holder(&path).unwrap(), Holder::Master(some_pid(77)));
    }

    /// As a master leaves it that was killed.
    fn leftover(path: &Path, mode: u32) {
        fs::write(path, "1\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_stale_file_is_taken_over_and_its_pid_never_believed() {
        let (_folder, path) = folder();
        leftover(&path, 0o600);
        assert_eq!(holder(&path).unwrap(), Holder::Nobody);
        let before = fs::metadata(&path).unwrap().ino();
        let file = PidFile::lock(&path).unwrap();
        assert_eq!(holder(&path).unwrap(), Holder::Starting, "not process 1");
        file.write(some_pid(12)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), before);
    }

    #[test]
    fn nobody_else_can_open_it() {
        let (_folder, path) = folder();
        let file = PidFile::lock(&path).unwrap();
        file.write(Pid::own()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    /// A lock that a stranger took on what a crash left kept the server from
    /// starting.
    #[test]
    fn a_lock_that_a_stranger_holds_on_a_stale_file_keeps_nobody_from_starting() {
        for mode in [0o644, 0o600] {
            let (folder, path) = folder();
            leftover(&path, mode);
            let stranger = File::open(&path).unwrap();
            stranger.lock_shared().unwrap();
            let file = PidFile::lock(&path).unwrap();
            file.write(some_pid(12)).unwrap();
            assert_eq!(holder(&path).unwrap(), Holder::Master(some_pid(12)));
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
            let left = fs::read_dir(folder.path()).unwrap().count();
            assert_eq!(left, 1, "the name it was made under is gone");
            drop(file);
            assert_eq!(holder(&path).unwrap(), Holder::Nobody);
        }
    }

    #[test]
    fn a_new_master_writes_its_name_into_the_same_file_and_the_old_master_leaves_it() {
        let (_folder, path) = folder();
        let old_master = PidFile::lock(&path).unwrap();
        old_master.write(Pid::own()).unwrap();
        let before = fs::metadata(&path).unwrap().ino();
        let copy = old_master.as_fd().try_clone_to_owned().unwrap();
        let new_master = PidFile::inherit(copy, Some(&path)).unwrap();
        for raw in [123_456_789, 7] {
            new_master.write(some_pid(raw)).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{raw}\n"));
        }
        old_master.remove();
        assert_eq!(holder(&path).unwrap(), Holder::Master(some_pid(7)));
        assert_eq!(fs::metadata(&path).unwrap().ino(), before);
        let copy = new_master.as_fd().try_clone_to_owned().unwrap();
        fs::rename(&path, path.with_extension("aside")).unwrap();
        assert!(PidFile::inherit(copy, Some(&path)).is_err());
    }

    #[test]
    fn a_copy_that_is_closed_frees_nothing_and_one_that_is_left_holds() {
        let (_folder, path) = folder();
        let file = PidFile::lock(&path).unwrap();
        file.write(Pid::own()).unwrap();
        let worker = file.file.try_clone().unwrap();
        drop(worker);
        assert_eq!(holder(&path).unwrap(), Holder::Master(Pid::own()));
        let forgotten = file.file.try_clone().unwrap();
        drop(file);
        assert_eq!(holder(&path).unwrap(), Holder::Master(Pid::own()));
        drop(forgotten);
        assert_eq!(holder(&path).unwrap(), Holder::Nobody);
    }

    #[test]
    fn only_the_master_named_in_it_unlinks_it() {
        let (_folder, path) = folder();
        let file = PidFile::lock(&path).unwrap();
        file.write(Pid::parent()).unwrap();
        file.remove();
        assert!(path.exists());

        let file = PidFile::lock(&path).unwrap();
        file.write(Pid::own()).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another master's").unwrap();
        file.remove();
        assert!(path.exists(), "the path names another file now");
    }

    #[test]
    fn a_file_that_no_master_wrote_is_left_alone() {
        let (_folder, path) = folder();
        for text in ["workers = 4\n", "-1\n", "0\n", "99999999999999999999"] {
            fs::write(&path, text).unwrap();
            let error = PidFile::lock(&path).unwrap_err();
            assert!(matches!(error, PidFileError::Foreign(_)), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn links_and_folders_are_refused() {
        let (folder, path) = folder();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        for path in [&path, folder.path()] {
            let error = PidFile::lock(path).unwrap_err();
            assert!(matches!(error, PidFileError::Unusable(..)), "{error}");
        }
        assert!(!folder.path().join("elsewhere").exists());
    }

    #[test]
    fn of_many_that_start_at_once_beside_many_that_ask_one_wins() {
        for (mode, has_stranger) in [(0o600, false), (0o644, false), (0o644, true)] {
            one_of_many_wins(mode, has_stranger);
        }
    }

    fn one_of_many_wins(mode: u32, has_stranger: bool) {
        let (_folder, path) = folder();
        leftover(&path, mode);
        let stranger = File::open(&path).unwrap();
        if has_stranger {
            stranger.lock_shared().unwrap();
        }
        let winners: Vec<PidFile> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| PidFile::lock(&path).ok()))
                .collect();
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        assert_ne!(holder(&path).unwrap(), Holder::Master(some_pid(1)));
                    }
                });
            }
            let won = starts.into_iter().filter_map(|start| start.join().unwrap());
            won.collect()
        });
        assert_eq!(winners.len(), 1);
    }
}
