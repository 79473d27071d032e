//! Bodies that may be too long for memory: from the pieces that arrive to the
//! reader that a handler asks for.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use super::{Error, FromBody, Raw};
use crate::protocol::BodyFile;
use crate::protocol::http::{Intake, Received, Spooling};
use crate::sys::unnamed::unnamed;

/// A body of any length: in memory if it is short, otherwise in a file without a
/// name, which is gone when this is dropped. Read it, from its beginning, as any
/// [`Read`].
///
/// ```
/// use purlin::{body::Spooled, prelude::*};
///
/// let web = Web::<()>::new().post("/sum", |_, mut body: Spooled| {
///     let mut sum = 0_u64;
///     let mut part = [0; 4096];
///     loop {
///         match std::io::Read::read(&mut body, &mut part)? {
///             0 => return Ok::<_, Error>(sum.to_string()),
///             n => sum += part[..n].iter().map(|&byte| u64::from(byte)).sum::<u64>(),
///         }
///     }
/// });
/// let mut test = App::<()>::new().web(web).test();
/// assert_eq!(test.http("POST", "/sum", [1, 2, 3]).text(), "6");
/// ```
pub struct Spooled {
    kept: Kept,
    /// How far it was read.
    at: u64,
}

enum Kept {
    Memory(Bytes),
    File(BodyFile),
}

impl Spooled {
    /// Bytes of the body, however far it was read.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.kept {
            Kept::Memory(bytes) => bytes.len() as u64,
            Kept::File(file) => file.len,
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The file that holds the body and nothing else, if it was too long for
    /// memory. Its position is not that of this reader.
    #[must_use]
    pub fn file(&self) -> Option<&File> {
        match &self.kept {
            Kept::Memory(_) => None,
            Kept::File(file) => Some(&file.file),
        }
    }

    /// Writes what is left of the body to `to`, such as a file that stays.
    ///
    /// # Errors
    ///
    /// What the disk says, for either of the two.
    pub fn copy_to(&mut self, to: &mut (impl Write + ?Sized)) -> io::Result<u64> {
        io::copy(self, to)
    }
}

impl Read for Spooled {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = match &self.kept {
            Kept::Memory(bytes) => {
                let at = usize::try_from(self.at).unwrap_or(usize::MAX);
                (&bytes[at.min(bytes.len())..]).read(to)?
            }
            Kept::File(file) => file.file.read_at(to, self.at)?,
        };
        self.at += read as u64;
        Ok(read)
    }
}

impl FromBody for Spooled {
    const TAKES_FILES: bool = true;

    fn from_body(body: Raw<'_>) -> Result<Self, Error> {
        let kept = match body.file() {
            Some(file) => Kept::File(file.clone()),
            None => Kept::Memory(body.to_bytes()),
        };
        Ok(Self { kept, at: 0 })
    }
}

impl fmt::Debug for Spooled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spooled({} bytes)", self.len())
    }
}

/// Takes a body in memory out of its file, for handlers that know no files.
///
/// # Errors
///
/// 413 when it is longer than a handler may take into memory; 500 when the disk
/// fails.
pub fn into_memory(body: &BodyFile) -> Result<Bytes, Error> {
    let len = usize::try_from(body.len).unwrap_or(usize::MAX);
    if len > body.memory_max {
        let text = format!(
            "a body of {len} bytes is too long for a handler that takes it into memory, which \
             http.body_max allows up to {} bytes",
            body.memory_max
        );
        return Err(Error::new(413, text));
    }
    let mut bytes = vec![0; len];
    body.file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes.into())
}

/// Writes a body into a file without a name, as it comes.
#[derive(Debug)]
pub struct Spool {
    file: File,
    len: u64,
    spooling: Spooling,
}

impl Spool {
    /// Makes the file.
    ///
    /// # Errors
    ///
    /// 507 when there can be none; the log says why.
    pub fn new(spooling: &Spooling) -> Result<Self, Error> {
        match unnamed(&spooling.folder) {
            Ok(file) => Ok(Self {
                file,
                len: 0,
                spooling: spooling.clone(),
            }),
            Err(error) => Err(no_room(spooling, &error)),
        }
    }
}

impl Intake for Spool {
    fn piece(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file
            .write_all_at(bytes, self.len)
            .map_err(|error| no_room(&self.spooling, &error))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Received {
        Received::File(BodyFile {
            file: Arc::new(self.file),
            len: self.len,
            memory_max: self.spooling.memory_max,
        })
    }
}

/// The peer learns that it is our disk's fault; which disk is the operator's to
/// know.
fn no_room(spooling: &Spooling, error: &io::Error) -> Error {
    let folder = spooling.folder.display();
    ::log::error!("keep a long body in a file of {folder}: {error}; answered 507");
    Error::new(507, "there is no room for a body of this length")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn spooling() -> Spooling {
        Spooling {
            folder: std::env::temp_dir(),
            memory_max: 10,
        }
    }

    fn filed(pieces: &[&[u8]]) -> BodyFile {
        let mut spool = Box::new(Spool::new(&spooling()).expect("a folder for files"));
        pieces
            .iter()
            .for_each(|piece| spool.piece(piece).expect("room for a few bytes"));
        match spool.finish() {
            Received::File(file) => file,
            Received::Made(_) => panic!("a file"),
        }
    }

    #[test]
    fn a_body_reads_the_same_wherever_it_is_kept() {
        let file = filed(&[b"hel", b"lo"]);
        for body in [Raw::borrowed(b"hello"), Raw::filed(&file)] {
            let mut spooled = Spooled::from_body(body).unwrap();
            assert_eq!((spooled.len(), spooled.is_empty()), (5, false));
            let mut first = [0; 2];
            spooled.read_exact(&mut first).unwrap();
            let mut rest = Vec::new();
            assert_eq!(spooled.copy_to(&mut rest).unwrap(), 3);
            assert_eq!((&first, &rest[..]), (b"he", &b"llo"[..]));
            assert_eq!(spooled.read(&mut first).unwrap(), 0);
        }
    }

    #[test]
    fn only_what_fits_is_taken_into_memory() {
        assert_eq!(into_memory(&filed(&[b"0123456789"])).unwrap(), "0123456789");
        let error = into_memory(&filed(&[b"0123456789a"])).unwrap_err();
        assert_eq!(error.code, 413);
        assert!(error.text.contains("11 bytes"), "{error}");
    }

    #[test]
    fn a_folder_that_is_missing_is_a_full_disk_to_the_peer() {
        let spooling = Spooling {
            folder: "/nowhere/at/all".into(),
            ..spooling()
        };
        assert_eq!(Spool::new(&spooling).unwrap_err().code, 507);
    }
}
