//! From a path to what is there. Blocks as long as the disk does: on the pool.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use percent_encoding::percent_decode_str;

use super::Files;
use super::cache::Entry;
use super::coding::Coding;
use super::listing::{self, Item};
use super::media::{Kind, LOOK};
use super::place::Place;
use super::variant::{Manner, State, Variant};
use crate::body::Error;
use crate::log;
use crate::sys::beneath;
use crate::sys::privileges::whose;

/// Rows of a listing, at most: each costs a look at the disk.
const ROWS_MAX: usize = 2000;

/// What is at a path.
pub(super) enum Found {
    File(Arc<Entry>),
    /// A folder, asked for without the slash at its end.
    Folder,
    /// The page of a folder.
    Listing(String),
    Nothing,
    /// Something that cannot be sent.
    Refused(Error),
}

/// Two clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// Coarse milliseconds of the clock that never jumps.
    pub(super) millis: u64,
    /// Seconds since 1970.
    pub(super) wall: u64,
}

/// Why there is nothing to send.
enum Miss {
    Nothing,
    Unreadable(Unreadable),
}

/// Something that is there, or ought to be, and cannot be read.
struct Unreadable {
    /// Where below the folder.
    below: OsString,
    error: io::Error,
}

impl Miss {
    /// What an error means that came when `below` was looked at. Names that the
    /// file system cannot have are not there.
    fn of(below: &OsStr) -> impl Fn(io::Error) -> Self {
        move |error| match error.raw_os_error() {
            Some(
                libc::ENOENT
                | libc::ENOTDIR
                | libc::ELOOP
                | libc::EXDEV
                | libc::ENAMETOOLONG
                | libc::EILSEQ
                | libc::ENXIO
                | libc::ENODEV,
            ) => Self::Nothing,
            _ => Self::Unreadable(Unreadable {
                below: below.to_owned(),
                error,
            }),
        }
    }
}

impl Files {
    /// Looks on the disk. `path` is that of the request; `old` was at `place`
    /// before.
    pub(super) fn find(
        &self,
        path: &str,
        place: Place<'_>,
        old: Option<&Entry>,
        now: Now,
    ) -> Found {
        match self.look(path, place, old, now) {
            Ok(found) => found,
            Err(Miss::Nothing) => Found::Nothing,
            Err(Miss::Unreadable(unreadable)) => self.refuse(&unreadable, now),
        }
    }

    fn look(
        &self,
        path: &str,
        place: Place<'_>,
        old: Option<&Entry>,
        now: Now,
    ) -> Result<Found, Miss> {
        // Without it nothing at all is served, which somebody should know.
        let root = beneath::folder(&self.folder).map_err(|error| {
            Miss::Unreadable(Unreadable {
                below: OsString::new(),
                error,
            })
        })?;
        let (file, metadata) = open(&root, place.below)?;
        if metadata.is_file() && !place.is_folder {
            let entry = self.entry(&root, place.below, file, &metadata, old, now)?;
            return Ok(Found::File(entry));
        }
        if !metadata.is_dir() {
            return Ok(Found::Nothing);
        }
        if !place.is_folder {
            return Ok(Found::Folder);
        }
        if let Some((below, file, metadata)) = self.find_index(&root, place.below)? {
            let entry = self.entry(&root, &below, file, &metadata, old, now)?;
            return Ok(Found::File(entry));
        }
        if !self.listing {
            return Ok(Found::Nothing);
        }
        let names = beneath::names(file, ROWS_MAX + 1).map_err(Miss::of(place.below))?;
        let mut items: Vec<Item> = Vec::new();
        let whole = names.len() <= ROWS_MAX;
        for name in names.into_iter().take(ROWS_MAX) {
            match self.item(&root, place.below, name) {
                Ok(item) => items.push(item),
                Err(miss) => self.pass_over(miss, "left out of its folder's list", now),
            }
        }
        let path = percent_decode_str(path).decode_utf8_lossy();
        // What is above the top is not ours, and may be nothing.
        let has_parent = !place.below.is_empty();
        let page = listing::page(&path, has_parent, &mut items, whole);
        Ok(Found::Listing(page))
    }

    /// What is served for the folder at `below`, if one of the names is there.
    fn find_index(
        &self,
        root: &OwnedFd,
        below: &OsStr,
    ) -> Result<Option<(OsString, File, Metadata)>, Miss> {
        for name in &self.index {
            let below = Path::new(below).join(name).into_os_string();
            match open(root, &below) {
                Ok((file, metadata)) if metadata.is_file() => {
                    return Ok(Some((below, file, metadata)));
                }
                Ok(_) | Err(Miss::Nothing) => {}
                Err(unreadable) => return Err(unreadable),
            }
        }
        Ok(None)
    }

    /// The row of `name` in the list of the folder at `below`. What nobody could
    /// get has none.
    fn item(&self, root: &OwnedFd, below: &OsStr, name: OsString) -> Result<Item, Miss> {
        if name.as_bytes().starts_with(b".") {
            return Err(Miss::Nothing);
        }
        let below = Path::new(below).join(&name).into_os_string();
        let (_, metadata) = open(root, &below)?;
        let is_folder = metadata.is_dir();
        if is_folder {
            // One with an index that may not be read is refused as a whole, and
            // so is one in which nothing may be looked up.
            self.find_index(root, &below)?;
        } else if !metadata.is_file() {
            return Err(Miss::Nothing);
        }
        Ok(Item {
            name,
            is_folder,
            len: metadata.len(),
            modified: metadata.mtime(),
        })
    }

    /// The file, and what it was packed into beside it.
    fn entry(
        &self,
        root: &OwnedFd,
        below: &OsStr,
        file: File,
        metadata: &Metadata,
        old: Option<&Entry>,
        now: Now,
    ) -> Result<Arc<Entry>, Miss> {
        let state = State::of(metadata, now.wall);
        let still = |old: &&Arc<Variant>| old.state().is_still(&state);
        let plain = match old.map(|old| &old.plain).filter(still) {
            Some(plain) => Arc::clone(plain),
            None => {
                let opened = self
                    .kind(below, &file)
                    .and_then(|kind| Variant::open(file, state, None, self.manner(&kind, now)));
                Arc::new(opened.map_err(Miss::of(below))?)
            }
        };
        let manner = self.manner(&plain.kind, now);
        let mut packed = Vec::new();
        if manner.kind.packs {
            for coding in Coding::ALL {
                let old = old.and_then(|old| old.packed_as(coding));
                match sibling(root, below, coding, old, plain.state(), manner) {
                    Ok(found) => packed.extend(found.map(|variant| (coding, variant))),
                    Err(miss) => self.pass_over(miss, "another form of it is sent", now),
                }
            }
        }
        Ok(Arc::new(Entry::new(plain, packed, now.millis)))
    }

    /// What the file at `below` is: by its name, otherwise by a look at it.
    fn kind(&self, below: &OsStr, file: &File) -> io::Result<Kind> {
        if let Some(kind) = self.types.of(Path::new(below)) {
            return Ok(kind);
        }
        let mut start = [0; LOOK];
        let len = file.read_at(&mut start, 0)?;
        Ok(Kind::of_content(&start[..len]))
    }

    /// What is told of something that cannot be read.
    fn refuse(&self, unreadable: &Unreadable, now: Now) -> Found {
        let error = match unreadable.error.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => Error::new(403, "the file may not be read"),
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => {
                Error::new(503, "too many files are open")
            }
            // The folder of all files is gone.
            Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => {
                self.report(unreadable, "nothing is served from there", now);
                return Found::Nothing;
            }
            _ => Error::new(500, "the file cannot be read"),
        };
        self.report(unreadable, &format!("answered {}", error.code), now);
        Found::Refused(error)
    }

    /// Goes on without something; the log says so if it is there.
    fn pass_over(&self, miss: Miss, then: &str, now: Now) {
        if let Miss::Unreadable(unreadable) = miss {
            self.report(&unreadable, then, now);
        }
    }

    /// Tells the operator what only the system knows: a client sees a number, and
    /// whoever looks at the file with other rights than ours sees no fault.
    fn report(&self, unreadable: &Unreadable, then: &str, now: Now) {
        let Some(suppressed) = self.reports.admit(0, now.millis) else {
            return;
        };
        let path = self.folder.join(&unreadable.below);
        let (path, whose, error) = (path.display(), whose(), &unreadable.error);
        match error.raw_os_error().map(Errno::from_raw) {
            Some(errno) => log::warn!("read {path} as {whose}: {errno}; {then}{suppressed}"),
            None => log::warn!("read {path} as {whose}: {error}; {then}{suppressed}"),
        }
    }

    pub(super) fn manner<'a>(&'a self, kind: &'a Kind, now: Now) -> Manner<'a> {
        Manner {
            kind,
            cache_control: self.cache_control.as_deref(),
            varies: kind.packs,
            now: now.wall,
        }
    }
}

/// Opens what is at `below`, for reading.
fn open(root: &OwnedFd, below: &OsStr) -> Result<(File, Metadata), Miss> {
    let opened = beneath::open_beneath(root, below).and_then(|file| {
        let metadata = file.metadata()?;
        Ok((file, metadata))
    });
    opened.map_err(Miss::of(below))
}

/// `below` as it was packed beforehand. One that is older than the file was made
/// of another content.
fn sibling(
    root: &OwnedFd,
    below: &OsStr,
    coding: Coding,
    old: Option<&Arc<Variant>>,
    plain: &State,
    manner: Manner<'_>,
) -> Result<Option<Arc<Variant>>, Miss> {
    let mut name = below.to_owned();
    name.push(coding.suffix());
    let (file, metadata) = match open(root, &name) {
        Err(Miss::Nothing) => return Ok(None),
        opened => opened?,
    };
    let state = State::of(&metadata, manner.now);
    if !metadata.is_file() || state.is_older(plain) {
        return Ok(None);
    }
    if let Some(old) = old.filter(|old| old.state().is_still(&state)) {
        return Ok(Some(Arc::clone(old)));
    }
    let opened = Variant::open(file, state, Some(coding), manner);
    Ok(Some(Arc::new(opened.map_err(Miss::of(&name))?)))
}
