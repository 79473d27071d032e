//! One state of one file, ready to be sent: opened, or small and read, with all
//! fields that it always has already written.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::coding::Coding;
use super::condition::Validators;
use super::media::Kind;
use super::pack;
use crate::protocol::http::http_date;

/// Files of at most so many bytes are kept in memory and need no descriptor.
const SMALL: u64 = 16 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Variant {
    pub(super) content: Stored,
    pub(super) len: u64,
    pub(super) kind: Kind,
    etag: String,
    /// Seconds since 1970; `None`: in the future, which cannot be said.
    modified: Option<u64>,
    /// Fields of every response, 304 too.
    pub(super) brief: Vec<u8>,
    /// Those of a response with content beside them, but for its type.
    pub(super) full: Vec<u8>,
    /// The field that says the type.
    pub(super) media: Vec<u8>,
    /// Whether parts of it may be sent: what is packed anew each time is another
    /// file each time.
    pub(super) ranges: bool,
    state: State,
    packed: OnceLock<Option<Arc<Variant>>>,
}

/// Where the bytes are.
#[derive(Debug)]
pub(super) enum Stored {
    Memory(Bytes),
    Disk(Arc<File>),
}

/// Differs when the file was changed or replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct State {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// The last change was long ago when we looked. Otherwise another one could
    /// follow that the clock of the file system does not tell from it.
    settled: bool,
}

impl State {
    pub(super) fn of(metadata: &Metadata, now: u64) -> Self {
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed,
            settled: i64::try_from(now).is_ok_and(|now| changed.0 + 1 < now),
        }
    }

    /// Whether it is surely the same file with the same content.
    pub(super) fn is_still(&self, now: &Self) -> bool {
        self.settled && self == now
    }

    /// Whether it was written before `other`, so that it may have been made of
    /// another content. In whole seconds: `gzip`, `brotli` and `zstd` give what
    /// they pack the time of the file and cut its fraction off, and so do archives.
    pub(super) fn is_older(&self, other: &Self) -> bool {
        self.modified.0 < other.modified.0
    }

    /// The length and the time of the last change: equal on all machines that
    /// have the same tree. The inode is not in it, which differs.
    fn etag(&self) -> String {
        let (seconds, nanos) = self.modified;
        format!("\"{:x}-{seconds:x}.{nanos:x}\"", self.len)
    }
}

/// What all variants of a file are told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner<'a> {
    pub(super) kind: &'a Kind,
    pub(super) cache_control: Option<&'a str>,
    /// There may be others than this one.
    pub(super) varies: bool,
    /// Seconds since 1970.
    pub(super) now: u64,
}

impl Variant {
    /// Of an open file; reads it when it is small.
    pub(super) fn open(
        file: File,
        state: State,
        coding: Option<Coding>,
        manner: Manner<'_>,
    ) -> io::Result<Self> {
        let content = if state.len <= SMALL {
            Stored::Memory(read(&file, state.len)?)
        } else {
            Stored::Disk(Arc::new(file))
        };
        let modified = u64::try_from(state.modified.0).ok();
        let mut variant = Self {
            content,
            len: state.len,
            kind: manner.kind.clone(),
            etag: state.etag(),
            modified: modified.filter(|modified| *modified <= manner.now),
            brief: Vec::new(),
            full: Vec::new(),
            media: Vec::new(),
            ranges: true,
            state,
            packed: OnceLock::new(),
        };
        variant.write_fields(coding, manner);
        Ok(variant)
    }

    /// Packed as gzip, once; `None` when that does not help or it cannot be read.
    pub(super) fn packed(&self, manner: Manner<'_>) -> Option<&Arc<Self>> {
        let pack = || {
            let content = match &self.content {
                Stored::Memory(bytes) => bytes.clone(),
                Stored::Disk(file) => read(file, self.len).ok()?,
            };
            let packed = pack::gzip(&content)?;
            let mut variant = Self {
                len: packed.len() as u64,
                content: Stored::Memory(packed.into()),
                kind: self.kind.clone(),
                // The same bytes unpacked, which a new zlib may pack otherwise.
                etag: format!("W/{}-gz\"", self.etag.trim_end_matches('"')),
                modified: self.modified,
                brief: Vec::new(),
                full: Vec::new(),
                media: Vec::new(),
                ranges: false,
                state: self.state,
                packed: OnceLock::new(),
            };
            variant.write_fields(Some(Coding::Gzip), manner);
            Some(Arc::new(variant))
        };
        self.packed.get_or_init(pack).as_ref()
    }

    /// What [`Self::packed`] came to, if it was asked before.
    pub(super) fn packed_before(&self) -> Option<Option<&Arc<Self>>> {
        self.packed.get().map(Option::as_ref)
    }

    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn validators(&self, now: u64) -> Validators<'_> {
        Validators {
            etag: Some(&self.etag),
            modified: self.modified,
            now,
        }
    }

    /// Bytes that it holds in memory.
    pub(super) fn held(&self) -> usize {
        let own = match &self.content {
            Stored::Memory(bytes) => bytes.len(),
            Stored::Disk(_) => 0,
        };
        let packed = self.packed.get().and_then(Option::as_ref);
        own + packed.map_or(0, |packed| packed.held())
    }

    fn write_fields(&mut self, coding: Option<Coding>, manner: Manner<'_>) {
        field(&mut self.brief, "ETag", self.etag.as_bytes());
        if let Some(modified) = self.modified {
            field(&mut self.brief, "Last-Modified", &http_date(modified));
        }
        if let Some(value) = manner.cache_control {
            field(&mut self.brief, "Cache-Control", value.as_bytes());
        }
        if manner.varies {
            field(&mut self.brief, "Vary", b"Accept-Encoding");
        }
        if let Some(coding) = coding {
            field(&mut self.full, "Content-Encoding", coding.name().as_bytes());
        }
        if self.ranges {
            field(&mut self.full, "Accept-Ranges", b"bytes");
        }
        field(&mut self.full, "X-Content-Type-Options", b"nosniff");
        let media = manner.kind.content_type.as_bytes();
        field(&mut self.media, "Content-Type", media);
    }
}

fn field(fields: &mut Vec<u8>, name: &str, value: &[u8]) {
    fields.extend_from_slice(name.as_bytes());
    fields.extend_from_slice(b": ");
    fields.extend_from_slice(value);
    fields.extend_from_slice(b"\r\n");
}

/// The first `len` bytes.
///
/// # Errors
///
/// `UnexpectedEof` when there are fewer: the file was cut meanwhile.
fn read(file: &File, len: u64) -> io::Result<Bytes> {
    let len = usize::try_from(len).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes.into())
}
