//! Files of a folder, over HTTP.
//!
//! ```text
//! path --> cache: seen within a second? --> variant: plain, or packed as the
//!            | no: Place, openat2, fstat     |  client likes it
//!            v (on the pool)                 v
//!          Found ------------------------> answer: conditions, ranges --> Response
//! ```
//!
//! Invariants:
//! - Nothing outside of the folder is ever sent: the path has one spelling, and
//!   the kernel walks it below the folder alone.
//! - The event loop opens nothing and packs nothing: what is not in the cache is
//!   looked for on the pool.
//! - What is known of a file is at most a second old.

mod answer;
mod cache;
mod coding;
mod condition;
mod find;
mod listing;
mod media;
mod pack;
mod place;
mod range;
mod variant;
mod wanted;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use media::{is_extension, is_media_type};
pub use range::{Asked, RANGES_MAX};

use self::cache::{Cache, Entry};
use self::coding::{Accepted, Coding};
use self::find::{Found, Now};
use self::media::Types;
use self::place::Place;
use self::variant::Variant;
use self::wanted::Wanted;
use super::location::location;
use crate::body::Error;
use crate::log::{self, Limiter};
use crate::protocol::Lane;
use crate::protocol::http::{Request, Response, Root, Served, in_uri, unescaped};
use crate::scoreboard::{Counter, Row};
use crate::sys::beneath;
use crate::sys::clock::{coarse_millis, wall_seconds};

/// Larger files are not packed on the fly: it would hold a thread for long, and
/// what comes of it is kept in memory.
const PACK_MAX: u64 = 1 << 20;

/// Files that are kept open, by default.
const FILES_MAX: usize = 512;

/// Bytes of small and of packed files that are kept in memory.
const BYTES_MAX: usize = 32 << 20;

/// Lines about files that cannot be read, for each folder.
const REPORTS_PER_SECOND: u32 = 10;

const METHODS: &[u8] = b"GET, HEAD, OPTIONS";

/// The files of a folder, and how they are served. See
/// [`Web::files`](super::Web::files).
///
/// Ranges, conditions and `HEAD` work for every file. Text is packed as gzip for
/// those who take it, or sent as the `.br`, `.zst` or `.gz` that lies beside it
/// and is not older. Names that begin with a dot are not there, but for
/// `/.well-known/`. Symbolic links are followed as long as they are relative and
/// stay in the folder; before Linux 5.6 and in containers that filter `openat2`,
/// of which the log tells, they are not.
///
/// ```
/// use purlin::{prelude::*, web::Files};
///
/// let assets = Files::new("www/assets").cache_control("public, max-age=31536000, immutable");
/// let web = Web::<()>::new()
///     .files("/assets", assets)
///     .files("/downloads", Files::new("/srv/downloads").listing(true));
/// # let _ = web;
/// ```
pub struct Files {
    folder: PathBuf,
    index: Vec<String>,
    listing: bool,
    cache_control: Option<String>,
    pack_max: u64,
    types: Types,
    cache: Cache,
    /// Bounds what the log says of files that cannot be read.
    reports: Limiter,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Files({})", self.folder.display())
    }
}

impl<P: AsRef<Path> + ?Sized> From<&P> for Files {
    fn from(folder: &P) -> Self {
        Self::new(folder)
    }
}

impl From<PathBuf> for Files {
    fn from(folder: PathBuf) -> Self {
        Self::new(folder)
    }
}

impl From<String> for Files {
    fn from(folder: String) -> Self {
        Self::new(folder)
    }
}

impl Files {
    /// The files of `folder`; a relative path is meant from the working
    /// directory now. It is looked up anew for each file, so that a symbolic
    /// link can be pointed at a new release.
    #[must_use]
    pub fn new(folder: impl AsRef<Path>) -> Self {
        let folder = folder.as_ref();
        Self {
            folder: std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()),
            index: vec!["index.html".into()],
            listing: false,
            cache_control: None,
            pack_max: PACK_MAX,
            types: Types::default(),
            cache: Cache::new(FILES_MAX, BYTES_MAX),
            reports: Limiter::new(1, REPORTS_PER_SECOND),
        }
    }

    /// What is served for a folder: the first of these that is in it. Default:
    /// `index.html`.
    #[must_use]
    pub fn index(mut self, names: &[&str]) -> Self {
        self.index = names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// Whether a folder without an index is shown as a page of its names. Default:
    /// it is not there.
    #[must_use]
    pub const fn listing(mut self, on: bool) -> Self {
        self.listing = on;
        self
    }

    /// The value of `Cache-Control`, such as `no-cache` or `public,
    /// max-age=31536000, immutable`. Default: none, and browsers ask again when
    /// they think it right.
    ///
    /// # Panics
    ///
    /// When it cannot be sent, because of a line break for example.
    #[must_use]
    pub fn cache_control(mut self, value: &str) -> Self {
        let is_sent = Response::default().field("Cache-Control", value.as_bytes());
        assert!(
            is_sent,
            "the value {value:?} of Cache-Control cannot be sent"
        );
        self.cache_control = Some(value.to_owned());
        self
    }

    /// The value of `Content-Type` for names that end so, behind a dot and in small
    /// or large letters. Text without a character set is said to be UTF-8.
    ///
    /// ```
    /// # use purlin::web::Files;
    /// let files = Files::new("www").media_type("ts", "text/x-typescript");
    /// # let _ = files;
    /// ```
    ///
    /// # Panics
    ///
    /// When `extension` has a dot, or `media_type` is none.
    #[must_use]
    pub fn media_type(mut self, extension: &str, media_type: &str) -> Self {
        assert!(
            is_extension(extension) && is_media_type(media_type),
            "the media type {media_type:?} of .{extension} is none"
        );
        self.types.set(extension, media_type);
        self
    }

    /// The value of `Content-Type` for names whose end says nothing. Default: text
    /// if the first bytes are, `application/octet-stream` otherwise.
    ///
    /// # Panics
    ///
    /// When `media_type` is none.
    #[must_use]
    pub fn default_type(mut self, media_type: &str) -> Self {
        assert!(
            is_media_type(media_type),
            "the media type {media_type:?} of other files is none"
        );
        self.types.set_default(media_type);
        self
    }

    /// The largest file that is packed on the fly, in bytes; 0: none is. Default:
    /// 1 MiB. Only types that are worth it are.
    #[must_use]
    pub const fn pack_max(mut self, bytes: u64) -> Self {
        self.pack_max = bytes;
        self
    }

    /// How many files each worker keeps open. Default: 512.
    #[must_use]
    pub const fn open_max(mut self, files: usize) -> Self {
        self.cache.files_max = files;
        self
    }

    /// Says in the log what is to be known before anything is served.
    pub(crate) fn announce(&self) {
        if let Some(errno) = beneath::without_openat2() {
            let folder = self.folder.display();
            log::warn!(
                "open files of {folder} by openat2: {errno}; opened name by name, and no symbolic link is followed"
            );
        }
    }

    /// Serves what is at `below`, the path behind the folder's; `None`: nothing
    /// is there.
    pub(super) fn serve(
        &self,
        lane: Lane,
        request: &Request<'_>,
        below: &str,
        row: &Row,
        response: &mut Response,
    ) -> Option<Served> {
        let now = Now {
            millis: coarse_millis(),
            wall: wall_seconds(),
        };
        let path = request.head.path;
        if below.is_empty() && !path.ends_with('/') {
            return Some(to_slash(request, response));
        }
        let key = unescaped(below)?;
        let asking = Asking {
            request,
            key: &key,
            lane,
            now,
        };
        if let Some(entry) = self.cache.fresh(&key, now.millis) {
            row.count(Counter::FilesCached);
            return Some(self.send(&entry, &asking, response));
        }
        if lane == Lane::Inline {
            return Some(Served::NotInline);
        }
        let place = Place::read(&key)?;
        row.count(Counter::FilesLookedUp);
        match self.look_up(path, &key, place, now) {
            Found::Nothing => return None,
            Found::File(entry) => return Some(self.send(&entry, &asking, response)),
            Found::Folder => return Some(to_slash(request, response)),
            Found::Listing(page) => {
                if is_get(request, response).is_some() {
                    let wanted = Wanted::read(request.head.fields.iter());
                    answer::list(page, &wanted, now.wall, response);
                }
            }
            Found::Refused(error) => response.error(&error),
        }
        Some(Served::Done)
    }

    /// What is at `place`, of which the cache takes note under `key`.
    fn look_up(&self, path: &str, key: &[u8], place: Place<'_>, now: Now) -> Found {
        let old = self.cache.known(key);
        let found = self.find(path, place, old.as_deref(), now);
        let entry = match &found {
            Found::File(entry) => Some(entry),
            Found::Folder | Found::Listing(_) | Found::Nothing | Found::Refused(_) => None,
        };
        if old.is_some() || entry.is_some() {
            self.cache.keep(key, entry, now.millis);
        }
        found
    }

    fn send(&self, entry: &Arc<Entry>, asking: &Asking<'_>, response: &mut Response) -> Served {
        let Some(is_get) = is_get(asking.request, response) else {
            return Served::Done;
        };
        let wanted = Wanted::read(asking.request.head.fields.iter());
        let Some(variant) = self.choose(entry, &wanted, is_get, asking) else {
            return Served::NotInline;
        };
        answer::send(variant, &wanted, is_get, asking.now.wall, response);
        Served::Done
    }

    /// The variant that the client likes best; `None`: it takes time to make.
    fn choose<'a>(
        &self,
        entry: &'a Arc<Entry>,
        wanted: &Wanted<'_>,
        is_get: bool,
        asking: &Asking<'_>,
    ) -> Option<&'a Variant> {
        let plain = &entry.plain;
        if !plain.kind.packs || wanted.accept_encoding.is_empty() {
            return Some(plain);
        }
        // Parts are of what is the same each time.
        let packs = wanted.range.is_none() && (pack::WORTH..=self.pack_max).contains(&plain.len);
        let has = |coding| entry.packed_as(coding).is_some() || (packs && coding == Coding::Gzip);
        let Some(coding) = Accepted::read(&wanted.accept_encoding).choose(has) else {
            return Some(plain);
        };
        if let Some(packed) = entry.packed_as(coding) {
            return Some(packed);
        }
        let packed = match plain.packed_before() {
            Some(packed) => packed,
            // Nothing of it would be sent: it is told what the file is, as nginx
            // does, unless somebody has packed it already.
            None if !is_get => None,
            None if asking.lane == Lane::Inline => return None,
            None => {
                let packed = plain.packed(self.manner(&plain.kind, asking.now));
                self.cache.grew(asking.key, entry);
                packed
            }
        };
        Some(packed.unwrap_or(plain))
    }
}

/// A request for a file.
#[derive(Clone, Copy, Debug)]
struct Asking<'a> {
    request: &'a Request<'a>,
    /// Its path below the folder, escapes undone.
    key: &'a [u8],
    lane: Lane,
    now: Now,
}

/// The root of a listener.
impl Root for Files {
    fn serve(
        &self,
        lane: Lane,
        request: &Request<'_>,
        row: &Row,
        response: &mut Response,
    ) -> Option<Served> {
        let below = request.head.path.strip_prefix('/')?;
        Self::serve(self, lane, request, below, row, response)
    }
}

/// Whether the content is to be sent; answers what is neither `GET` nor `HEAD`.
fn is_get(request: &Request<'_>, response: &mut Response) -> Option<bool> {
    match request.head.method {
        "GET" => Some(true),
        "HEAD" => Some(false),
        method => {
            response.field("Allow", METHODS);
            if method != "OPTIONS" {
                let text = format!("{method} is not allowed here");
                response.error(&Error::new(405, text));
            }
            None
        }
    }
}

/// A folder is asked for with a slash at its end: the links of its page are
/// relative to it. Other methods are answered as at a file: behind a 301, clients
/// would ask by `GET` instead (RFC 9110, 15.4.2).
fn to_slash(request: &Request<'_>, response: &mut Response) -> Served {
    if is_get(request, response).is_none() {
        return Served::Done;
    }
    // A path never begins with two slashes, which would be the name of a host.
    let (path, query) = (in_uri(request.head.path), request.head.query);
    let mark = if query.is_empty() { "" } else { "?" };
    let to = format!("{path}/{mark}{query}");
    response.status = Some(301);
    if !response.field("Location", location(&to).as_bytes()) {
        response.error(&Error::new(404, "there is nothing here"));
    }
    Served::Done
}
