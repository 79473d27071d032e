//! From a path to what is there. Blocks as long as the disk does: on the pool.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::Files;
use super::cache::Entry;
use super::coding::Coding;
use super::listing::{self, Item};
use super::media::Kind;
use super::place::Place;
use super::variant::{Manner, State, Variant};
use crate::body::Error;
use crate::sys::beneath;

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
    Error(io::Error),
}

impl From<io::Error> for Miss {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(
                libc::ENOENT
                | libc::ENOTDIR
                | libc::ELOOP
                | libc::EXDEV
                | libc::ENAMETOOLONG
                | libc::ENXIO
                | libc::ENODEV,
            ) => Self::Nothing,
            _ => Self::Error(error),
        }
    }
}

impl From<Miss> for Found {
    fn from(miss: Miss) -> Self {
        let error = match miss {
            Miss::Nothing => return Self::Nothing,
            Miss::Error(error) => error,
        };
        Self::Refused(match error.raw_os_error() {
            Some(libc::EACCES) => Error::new(403, "the file may not be read"),
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => {
                Error::new(503, "too many files are open")
            }
            _ => Error::new(500, "the file cannot be read"),
        })
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
        self.look(path, place, old, now).unwrap_or_else(Found::from)
    }

    fn look(
        &self,
        path: &str,
        place: Place<'_>,
        old: Option<&Entry>,
        now: Now,
    ) -> Result<Found, Miss> {
        let root = beneath::folder(&self.folder)?;
        let file = beneath::open_beneath(&root, place.below)?;
        let metadata = file.metadata()?;
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
        if let Some((below, file, metadata)) = self.index(&root, place.below)? {
            let entry = self.entry(&root, &below, file, &metadata, old, now)?;
            return Ok(Found::File(entry));
        }
        if !self.listing {
            return Ok(Found::Nothing);
        }
        let names = beneath::names(file, ROWS_MAX + 1)?;
        Ok(Found::Listing(self.page(path, &root, place.below, names)))
    }

    /// What is served for the folder at `below`, if one of the names is there.
    fn index(
        &self,
        root: &OwnedFd,
        below: &OsStr,
    ) -> Result<Option<(OsString, File, Metadata)>, Miss> {
        for name in &self.index {
            let below = Path::new(below).join(name).into_os_string();
            let file = match beneath::open_beneath(root, &below).map_err(Miss::from) {
                Err(Miss::Nothing) => continue,
                opened => opened?,
            };
            let metadata = file.metadata()?;
            if metadata.is_file() {
                return Ok(Some((below, file, metadata)));
            }
        }
        Ok(None)
    }

    /// The page that lists the folder at `below`. What nobody could get is not
    /// shown.
    fn page(&self, path: &str, root: &OwnedFd, below: &OsStr, names: Vec<OsString>) -> String {
        let whole = names.len() <= ROWS_MAX;
        let shown = |name: &OsString| !name.as_bytes().starts_with(b".");
        let names = names.into_iter().take(ROWS_MAX).filter(shown);
        let mut items: Vec<Item> = names
            .filter_map(|name| self.item(root, below, name).ok())
            .collect();
        let path = percent_decode_str(path).decode_utf8_lossy();
        // What is above the top is not ours, and may be nothing.
        listing::page(&path, !below.is_empty(), &mut items, whole)
    }

    /// The row of `name` in the folder at `below`.
    fn item(&self, root: &OwnedFd, below: &OsStr, name: OsString) -> Result<Item, Miss> {
        let below = Path::new(below).join(&name).into_os_string();
        let metadata = beneath::open_beneath(root, &below)?.metadata()?;
        let is_folder = metadata.is_dir();
        if is_folder {
            // One with an index that may not be read is refused as a whole, and
            // so is one in which nothing may be looked up.
            self.index(root, &below)?;
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
        let manner = self.manner(Kind::of(Path::new(below)), now);
        let state = State::of(metadata, now.wall);
        let still = |old: &&Arc<Variant>| old.state().is_still(&state);
        let plain = match old.map(|old| &old.plain).filter(still) {
            Some(plain) => Arc::clone(plain),
            None => Arc::new(Variant::open(file, state, None, manner)?),
        };
        let mut packed = Vec::new();
        if manner.kind.packs {
            for coding in Coding::ALL {
                let old = old.and_then(|old| old.packed_as(coding));
                let found = sibling(root, below, coding, old, plain.state(), manner);
                packed.extend(found.map(|variant| (coding, variant)));
            }
        }
        Ok(Arc::new(Entry::new(plain, packed, now.millis)))
    }

    pub(super) fn manner(&self, kind: Kind, now: Now) -> Manner<'_> {
        Manner {
            kind,
            cache_control: self.cache_control.as_deref(),
            varies: kind.packs,
            now: now.wall,
        }
    }
}

/// `below` as it was packed beforehand. One that is older than the file was made
/// of another content, and one that cannot be read is as good as none.
fn sibling(
    root: &OwnedFd,
    below: &OsStr,
    coding: Coding,
    old: Option<&Arc<Variant>>,
    plain: &State,
    manner: Manner<'_>,
) -> Option<Arc<Variant>> {
    let mut name = below.to_owned();
    name.push(coding.suffix());
    let file = beneath::open_beneath(root, &name).ok()?;
    let metadata = file.metadata().ok().filter(Metadata::is_file)?;
    let state = State::of(&metadata, manner.now);
    if state.is_older(plain) {
        return None;
    }
    match old.filter(|old| old.state().is_still(&state)) {
        Some(old) => Some(Arc::clone(old)),
        None => Variant::open(file, state, Some(coding), manner)
            .ok()
            .map(Arc::new),
    }
}
