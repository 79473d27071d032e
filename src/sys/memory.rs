//! Memory that a process and its children share: atomic words, nothing else.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ops::{Deref, Range};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use nix::sys::stat::Mode;

use super::fault::{self, Point};

/// A file that has no name and lives in memory, for handing much to another
/// process: reading and writing it never waits.
///
/// # Errors
///
/// `EMFILE`, `ENFILE` or `ENOMEM`.
pub fn file() -> io::Result<File> {
    let file = memfd_create(c"purlin-list", MFdFlags::MFD_CLOEXEC)?;
    Ok(file.into())
}

/// An array of atomic words that this process and its future children share.
///
/// Words, not structs: an `AtomicU64` is valid whatever its bytes are, so no
/// process can hand another one an invalid value, and no caller needs `unsafe`.
/// What each word means is for the owner to say (see `scoreboard`).
#[derive(Debug)]
pub struct SharedWords {
    start: NonNull<AtomicU64>,
    len: usize,
    /// What they are mapped from; `None`: it has no name here, or is closed.
    file: Option<OwnedFd>,
}

// SAFETY: the mapping is not tied to a thread, and its contents are atomics.
unsafe impl Send for SharedWords {}
// SAFETY: as above: all access through `&SharedWords` is atomic.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// `len` words, all zero, in a `memfd` sealed against changes of its size.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EMFILE` or `ENFILE`.
    ///
    /// # Panics
    ///
    /// When `len` is 0: there would be nothing to share.
    pub fn new(len: usize) -> io::Result<Self> {
        Self::named(c"purlin-scoreboard", len)
    }

    /// As [`Self::new`], called so in `/proc/PID/maps`.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    ///
    /// # Panics
    ///
    /// As [`Self::new`].
    pub fn named(name: &CStr, len: usize) -> io::Result<Self> {
        fault::point(Point::Map)?;
        let file = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        let bytes = len * size_of::<AtomicU64>();
        nix::unistd::ftruncate(
            &file,
            libc::off_t::try_from(bytes).unwrap_or(libc::off_t::MAX),
        )?;
        // Whoever shares it has it from us: nobody else is to open it anew.
        nix::sys::stat::fchmod(&file, Mode::S_IRUSR | Mode::S_IWUSR)?;
        // A mapping of a file that somebody shrinks kills its readers (SIGBUS).
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        Self::map(file, len)
    }

    /// `len` words, all zero, that this process shares with the children which
    /// keep them, and with nobody else: no descriptor leads to them.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    ///
    /// # Panics
    ///
    /// As [`Self::new`].
    pub fn anonymous(len: usize) -> io::Result<Self> {
        fault::point(Point::Map)?;
        let both = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let bytes = Self::bytes(len);
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases
        // nothing that Rust knows of.
        let start = unsafe { mmap_anonymous(None, bytes, both, MapFlags::MAP_SHARED) }?;
        Ok(Self {
            start: start.cast(),
            len,
            file: None,
        })
    }

    /// The same words for a process that must not change them: a store there
    /// ends it, and it has nothing by which it could make them writable again.
    ///
    /// # Errors
    ///
    /// When `/proc` is not mounted; those of `mmap`.
    pub fn reader(&self) -> io::Result<Self> {
        // An open file of its own, for reading: a mapping of the one that can be
        // written could be made writable.
        let file = self.read_only()?;
        Ok(Self {
            start: Self::map_as(file.as_fd(), self.len, ProtFlags::PROT_READ)?,
            len: self.len,
            file: None,
        })
    }

    /// Their file once more, open for reading alone: for another program, and for
    /// [`Self::inherit_reader`] there.
    ///
    /// # Errors
    ///
    /// When `/proc` is not mounted, or they have no file.
    pub fn read_only(&self) -> io::Result<OwnedFd> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        Ok(File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?.into())
    }

    /// As [`Self::inherit`], of a file that is open for reading alone: a store there
    /// ends the process.
    ///
    /// # Errors
    ///
    /// As [`Self::inherit`].
    pub fn inherit_reader(file: OwnedFd) -> io::Result<Self> {
        let len = Self::len_of(&file)?;
        Ok(Self {
            start: Self::map_as(file.as_fd(), len, ProtFlags::PROT_READ)?,
            len,
            file: None,
        })
    }

    /// All words of a file that [`Self::new`] made in the process before this
    /// one.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when it is another file, or could be shrunk under us.
    /// Otherwise those of `mmap`.
    pub fn inherit(file: OwnedFd) -> io::Result<Self> {
        let len = Self::len_of(&file)?;
        Self::map(file, len)
    }

    /// How many words are in a file that is ours.
    fn len_of(file: &OwnedFd) -> io::Result<usize> {
        let seals = fcntl(file, FcntlArg::F_GET_SEALS)?;
        let len = usize::try_from(nix::sys::stat::fstat(file)?.st_size).unwrap_or(0);
        let is_ours = SealFlag::from_bits_retain(seals).contains(SealFlag::F_SEAL_SHRINK)
            && len > 0
            && len.is_multiple_of(size_of::<AtomicU64>());
        if !is_ours {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(len / size_of::<AtomicU64>())
    }

    /// Sets `words` to 0 and gives their memory back, for everybody who maps
    /// them. Others may use the words beside them meanwhile.
    ///
    /// # Panics
    ///
    /// When there are no such words.
    pub fn clear(&self, words: Range<usize>) {
        let cleared = &self[words.clone()];
        let offset = |at: usize| libc::off_t::try_from(at * size_of::<AtomicU64>());
        // Storing zeroes would first give memory to the pages that have none.
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let punched = match (&self.file, offset(words.start), offset(words.len())) {
            (Some(file), Ok(start), Ok(len)) => fallocate(file, hole, start, len).is_ok(),
            _ => false,
        };
        if !punched {
            cleared
                .iter()
                .for_each(|word| word.store(0, Ordering::SeqCst));
        }
    }

    /// The first `len` words of a file, for a test that steers from outside.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the file is shorter: to read behind its end would
    /// kill the process. Otherwise those of `mmap`.
    #[cfg(feature = "failpoints")]
    pub(super) fn of_file(file: OwnedFd, len: usize) -> io::Result<Self> {
        let bytes = nix::sys::stat::fstat(&file)?.st_size;
        if usize::try_from(bytes).unwrap_or(0) < len * size_of::<AtomicU64>() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Self::map(file, len)
    }

    fn map(file: OwnedFd, len: usize) -> io::Result<Self> {
        let both = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        Ok(Self {
            start: Self::map_as(file.as_fd(), len, both)?,
            len,
            file: Some(file),
        })
    }

    fn map_as(file: BorrowedFd<'_>, len: usize, how: ProtFlags) -> io::Result<NonNull<AtomicU64>> {
        let bytes = Self::bytes(len);
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases
        // nothing that Rust knows of.
        let start = unsafe { mmap(None, bytes, how, MapFlags::MAP_SHARED, file, 0) }?;
        Ok(start.cast())
    }

    fn bytes(len: usize) -> NonZeroUsize {
        NonZeroUsize::new(len * size_of::<AtomicU64>()).expect("at least one word")
    }

    /// For the next program to inherit, by [`Self::inherit`].
    #[must_use]
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }
}

impl Deref for SharedWords {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: `start` is page-aligned and followed by `len` words that stay
        // mapped as long as `self`; everyone changes them atomically.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length, and no slice
        // of it outlives `self`.
        let _unmapped = unsafe { munmap(self.start.cast(), self.len * size_of::<AtomicU64>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::mman::mprotect;

    #[test]
    fn a_second_mapping_sees_the_same_words() {
        let first = SharedWords::new(1000).unwrap();
        let second =
            SharedWords::map(first.file().unwrap().try_clone_to_owned().unwrap(), 1000).unwrap();
        assert!(first.iter().all(|word| word.load(Ordering::Relaxed) == 0));
        first[999].store(7, Ordering::SeqCst);
        assert_eq!(second[999].load(Ordering::SeqCst), 7);
    }

    #[test]
    fn what_is_cleared_is_zero_in_every_mapping_and_the_rest_stays() {
        let first = SharedWords::new(3000).unwrap();
        let second =
            SharedWords::map(first.file().unwrap().try_clone_to_owned().unwrap(), 3000).unwrap();
        for word in first.iter() {
            word.store(7, Ordering::SeqCst);
        }
        first.clear(100..2900);
        for (at, word) in second.iter().enumerate() {
            let expected = if (100..2900).contains(&at) { 0 } else { 7 };
            assert_eq!(word.load(Ordering::SeqCst), expected, "word {at}");
        }
    }

    #[test]
    fn the_next_program_maps_all_of_it_and_nothing_else() {
        let words = SharedWords::new(1000).unwrap();
        words[999].store(7, Ordering::SeqCst);
        let copy = |file: BorrowedFd<'_>| file.try_clone_to_owned().unwrap();
        let inherited = SharedWords::inherit(copy(words.file().unwrap())).unwrap();
        assert_eq!(inherited.len(), 1000);
        assert_eq!(inherited[999].load(Ordering::SeqCst), 7);
        let file = tempfile::tempfile().unwrap();
        file.set_len(8000).unwrap();
        assert!(SharedWords::inherit(copy(file.as_fd())).is_err());
    }

    #[test]
    fn a_reader_sees_the_words_and_cannot_be_made_to_write_them() {
        let words = SharedWords::new(1000).unwrap();
        let reader = words.reader().unwrap();
        words[999].store(7, Ordering::SeqCst);
        assert_eq!(reader[999].load(Ordering::SeqCst), 7);
        let both = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the mapping is `reader`'s, and what is asked for fails.
        let made = unsafe { mprotect(reader.start.cast(), 8000, both) };
        assert_eq!(made, Err(nix::errno::Errno::EACCES));
    }

    #[test]
    fn words_without_a_file_are_shared_and_cleared() {
        let words = SharedWords::anonymous(1000).unwrap();
        words[999].store(7, Ordering::SeqCst);
        assert!(words.file().is_none());
        words.clear(0..1000);
        assert_eq!(words[999].load(Ordering::SeqCst), 0);
    }

    #[test]
    fn nobody_can_shrink_it() {
        let words = SharedWords::new(1000).unwrap();
        assert!(nix::unistd::ftruncate(words.file().unwrap(), 0).is_err());
    }
}
