//! What a new master inherits over the exec: the number of each descriptor and
//! what it is for, as JSON in one variable. Read once, before any thread, and
//! removed.
//!
//! Both binaries have to understand it, so fields are only ever added, with a
//! default.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::life_pipe::LifePipe;
use crate::master::cycle::Before;
use crate::master::cycle::socket_file::SocketFile;
use crate::master::supervisor::{Generation, Rows, SlotId};
use crate::scoreboard::Descriptors;
use crate::sys::channel::Channel;
use crate::sys::socket::Address;
use crate::sys::systemd::Inherited;
use crate::sys::{exec, process};

/// The variable.
const NAME: &str = "PURLIN_UPGRADE";

/// Changes when an older binary could not go on with what is written.
const VERSION: u32 = 1;
/// The same, where masters before the old one drain still.
const VERSION_OF_CHAIN: u32 = 2;

/// Masters that live at a time, but for the new one: each has a generation at
/// least, of which there are six at most.
pub(in crate::master) const LIVES_MAX: usize = 8;

/// The inheritance as it is written.
#[derive(Debug, Deserialize, Serialize)]
struct Written {
    version: u32,
    /// The line to the old master.
    line: RawFd,
    pid_file: RawFd,
    control: RawFd,
    /// Whether that has a path; each had, before it could be without.
    #[serde(default = "yes")]
    has_control_file: bool,
    memory: RawFd,
    /// What masters alone write of it; `None` before there was such.
    #[serde(default)]
    ledger: Option<RawFd>,
    /// What workers say to each other; `None` before they could.
    #[serde(default)]
    bus: Option<RawFd>,
    bells: Vec<RawFd>,
    /// The end of the old master's life pipe.
    #[serde(rename = "elders")]
    old_life: RawFd,
    /// Those of the masters before it that drain still.
    #[serde(default)]
    older_lives: Vec<RawFd>,
    /// Both ends of the new master's.
    #[serde(rename = "family")]
    life_pipe: (RawFd, RawFd),
    /// For each worker, or once for all: configured address and socket.
    listeners: Vec<Vec<(String, RawFd)>>,
    /// Unix sockets among them: path, device, inode.
    files: Vec<(PathBuf, u64, u64)>,
    /// The service manager's: name and socket.
    sockets: Vec<(String, RawFd)>,
    /// Rows of the old master's workers.
    taken: Vec<usize>,
    /// The newest worker of each row.
    epochs: Vec<u16>,
    generation: u64,
    /// Keys that only a start can change, as they are in force.
    started_with: Vec<(String, String)>,
    #[serde(rename = "elder")]
    old_master: i32,
    /// Where figures are shown; `None` before they were, and where they are not.
    #[serde(default)]
    admin: Option<RawFd>,
}

impl Inheritance {
    /// Whether an old master has started this program, and offers one.
    #[must_use]
    pub(in crate::master) fn is_offered() -> bool {
        std::env::var_os(NAME).is_some()
    }
}

impl Written {
    /// What stands in the variable, before any descriptor is touched.
    ///
    /// # Errors
    ///
    /// It is no text of an old master's: another version, or a descriptor that is
    /// named twice, which would have two owners, or is none of its giving.
    fn parse(text: &str) -> io::Result<Self> {
        let written: Self = serde_json::from_str(text)?;
        if ![VERSION, VERSION_OF_CHAIN].contains(&written.version) {
            let version = written.version;
            let text = format!("version {version} of an upgrade, expected {VERSION}");
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let mut numbers = written.numbers();
        numbers.sort_unstable();
        let is_standard = numbers.first().is_some_and(|lowest| *lowest <= 2);
        if is_standard || numbers.windows(2).any(|pair| pair[0] == pair[1]) {
            let text = "descriptors that no old master names";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if written.older_lives.len() >= LIVES_MAX {
            let text = "more masters than generations_max allows";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(written)
    }

    fn numbers(&self) -> Vec<RawFd> {
        let (reader, writer) = self.life_pipe;
        let fixed = [
            self.line,
            self.pid_file,
            self.control,
            self.memory,
            self.old_life,
            reader,
            writer,
        ];
        let mut all = fixed.to_vec();
        all.extend(&self.older_lives);
        all.extend(self.ledger);
        all.extend(self.bus);
        all.extend(self.admin);
        all.extend(&self.bells);
        all.extend(self.listeners.iter().flatten().map(|(_, number)| number));
        all.extend(self.sockets.iter().map(|(_, number)| number));
        all
    }
}

/// Whether a text is one that an old master could have written, without taking
/// anything over.
pub(in crate::master) fn is_inheritance(text: &str) -> bool {
    Written::parse(text).is_ok()
}

const fn yes() -> bool {
    true
}

/// What the old master puts in.
pub(in crate::master) struct Bequest<'a> {
    pub(in crate::master) line: &'a Channel,
    pub(in crate::master) pid_file: BorrowedFd<'a>,
    pub(in crate::master) control: BorrowedFd<'a>,
    pub(in crate::master) has_control_file: bool,
    pub(in crate::master) shared: Descriptors<BorrowedFd<'a>>,
    pub(in crate::master) bus: Option<BorrowedFd<'a>>,
    /// Of this master, then of those before it that drain still.
    pub(in crate::master) lives: Vec<BorrowedFd<'a>>,
    pub(in crate::master) life_pipe: &'a LifePipe,
    pub(in crate::master) listeners: Vec<Vec<(&'a Address, BorrowedFd<'a>)>>,
    pub(in crate::master) files: &'a [SocketFile],
    pub(in crate::master) sockets: Vec<(&'a str, BorrowedFd<'a>)>,
    pub(in crate::master) taken: Rows,
    pub(in crate::master) epochs: &'a [u16],
    pub(in crate::master) generation: Generation,
    pub(in crate::master) started_with: Vec<(String, String)>,
    pub(in crate::master) admin: Option<BorrowedFd<'a>>,
}

impl Bequest<'_> {
    /// The variable that tells of it.
    ///
    /// # Errors
    ///
    /// A path is no text.
    pub(in crate::master) fn variable(&self) -> io::Result<(&'static str, OsString)> {
        let raw = |one: &BorrowedFd<'_>| one.as_raw_fd();
        let (old_life, older_lives) = self.lives.split_first().expect("a master has its own");
        let set = |set: &Vec<(&Address, BorrowedFd<'_>)>| {
            let set = set.iter();
            set.map(|(address, socket)| (address.to_string(), raw(socket)))
                .collect()
        };
        let written = Written {
            version: match older_lives {
                [] => VERSION,
                [..] => VERSION_OF_CHAIN,
            },
            line: self.line.as_fd().as_raw_fd(),
            pid_file: raw(&self.pid_file),
            control: raw(&self.control),
            has_control_file: self.has_control_file,
            memory: raw(&self.shared.memory),
            ledger: Some(raw(&self.shared.ledger)),
            bus: self.bus.as_ref().map(raw),
            bells: self.shared.bells.iter().map(raw).collect(),
            old_life: raw(old_life),
            older_lives: older_lives.iter().map(raw).collect(),
            life_pipe: (
                self.life_pipe.reader.as_raw_fd(),
                self.life_pipe.writer.as_raw_fd(),
            ),
            listeners: self.listeners.iter().map(set).collect(),
            files: self.files.iter().map(SocketFile::parts).collect(),
            sockets: (self.sockets.iter())
                .map(|(name, socket)| ((*name).to_owned(), raw(socket)))
                .collect(),
            taken: self.taken.iter().map(|slot| slot.0).collect(),
            epochs: self.epochs.to_vec(),
            generation: self.generation.0,
            started_with: self.started_with.clone(),
            old_master: crate::sys::process::Pid::own().raw(),
            admin: self.admin.as_ref().map(raw),
        };
        Ok((NAME, serde_json::to_string(&written)?.into()))
    }

    /// Everything that has to stay open.
    pub(in crate::master) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let mut all = vec![
            self.line.as_fd(),
            self.pid_file,
            self.control,
            self.shared.memory,
            self.shared.ledger,
            self.life_pipe.reader.as_fd(),
            self.life_pipe.writer.as_fd(),
        ];
        all.extend(&self.lives);
        all.extend(&self.shared.bells);
        all.extend(self.bus);
        all.extend(self.admin);
        all.extend(self.listeners.iter().flatten().map(|(_, socket)| *socket));
        all.extend(self.sockets.iter().map(|(_, socket)| *socket));
        all
    }
}

/// What the new master has in its hands.
#[derive(Debug)]
pub(in crate::master) struct Inheritance {
    pub(in crate::master) line: Rc<Channel>,
    pub(in crate::master) pid_file: OwnedFd,
    pub(in crate::master) control: OwnedFd,
    pub(in crate::master) has_control_file: bool,
    /// `None`: the old binary has no ledger, so its words mean something else.
    pub(in crate::master) shared: Option<Descriptors<OwnedFd>>,
    /// `None`: the old binary has none.
    pub(in crate::master) bus: Option<OwnedFd>,
    pub(in crate::master) lives: Vec<OwnedFd>,
    pub(in crate::master) life_pipe: LifePipe,
    pub(in crate::master) listeners: Vec<Vec<(Address, OwnedFd)>>,
    pub(in crate::master) files: Vec<SocketFile>,
    pub(in crate::master) sockets: Vec<Inherited>,
    pub(in crate::master) taken: Rows,
    pub(in crate::master) epochs: Vec<u16>,
    pub(in crate::master) generation: Generation,
    pub(in crate::master) started_with: Vec<(String, String)>,
    pub(in crate::master) old_master: i32,
    pub(in crate::master) admin: Option<OwnedFd>,
}

impl Inheritance {
    /// Takes them, if there are any.
    ///
    /// # Errors
    ///
    /// What stands in the variable is not what an old master writes.
    pub(in crate::master) fn take() -> io::Result<Option<Self>> {
        let Some(text) = exec::take_variable(NAME)? else {
            return Ok(None);
        };
        process::rejoin_group();
        let text = text.to_string_lossy();
        Self::read(&text)
            .map(Some)
            .map_err(|error| io::Error::new(error.kind(), format!("the variable {NAME}: {error}")))
    }

    /// What listens already.
    pub(in crate::master) fn as_before(&self) -> Before<'_> {
        let mut listeners = Vec::new();
        for set in &self.listeners {
            let set = set.iter();
            listeners.push(
                set.map(|(address, socket)| (address, socket.as_fd()))
                    .collect(),
            );
        }
        Before {
            listeners,
            files: &self.files,
        }
    }

    fn read(text: &str) -> io::Result<Self> {
        let written = Written::parse(text)?;
        let memory = exec::adopt(written.memory)?;
        let bells = written.bells.into_iter().map(exec::adopt);
        let bells = bells.collect::<io::Result<_>>()?;
        let ledger = written.ledger.map(exec::adopt).transpose()?;
        let shared = ledger.map(|ledger| Descriptors {
            memory,
            ledger,
            bells,
        });
        let socket = |(address, number): (String, RawFd)| {
            let parsed: Result<Address, _> = address.parse();
            let address = parsed.map_err(|_| io::Error::other(format!("address {address}")))?;
            Ok((address, exec::adopt(number)?))
        };
        let set = |set: Vec<_>| set.into_iter().map(socket).collect::<io::Result<_>>();
        let (reader, writer) = written.life_pipe;
        let lives = [written.old_life].into_iter().chain(written.older_lives);
        Ok(Self {
            line: Rc::new(exec::adopt(written.line)?.into()),
            pid_file: exec::adopt(written.pid_file)?,
            control: exec::adopt(written.control)?,
            has_control_file: written.has_control_file,
            shared,
            bus: written.bus.map(exec::adopt).transpose()?,
            lives: lives.map(exec::adopt).collect::<io::Result<_>>()?,
            life_pipe: LifePipe {
                reader: exec::adopt(reader)?,
                writer: exec::adopt(writer)?,
            },
            listeners: written
                .listeners
                .into_iter()
                .map(set)
                .collect::<io::Result<_>>()?,
            files: written
                .files
                .into_iter()
                .map(SocketFile::from_parts)
                .collect(),
            sockets: (written.sockets.into_iter())
                .map(|(name, number)| Inherited::new(name, exec::adopt(number)?))
                .collect::<io::Result<_>>()?,
            taken: written
                .taken
                .into_iter()
                .filter(|row| *row < 256)
                .map(SlotId)
                .collect(),
            epochs: written.epochs,
            generation: Generation(written.generation),
            started_with: written.started_with,
            old_master: written.old_master,
            admin: written.admin.map(exec::adopt).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::TcpListener;
    use std::os::fd::IntoRawFd;

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    use super::*;

    #[test]
    fn an_inheritance_of_another_version_or_none_at_all_is_refused() {
        for text in ["", "{}", "{\"version\":1}"] {
            assert!(Inheritance::read(text).is_err(), "{text}");
        }
    }

    /// Binaries of other days read and write these words: whatever the fields are
    /// called here, they stay.
    #[test]
    fn a_text_of_the_first_version_is_read() {
        // As the new program has them: open over the exec.
        let passed = |file: OwnedFd| {
            fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
            file.into_raw_fd()
        };
        let open = || passed(File::open("/dev/null").unwrap().into());
        let (_ours, theirs) = Channel::pair().unwrap();
        let line = passed(theirs.into());
        let listener = passed(TcpListener::bind("127.0.0.1:0").unwrap().into());
        let text = serde_json::json!({
            "version": 1, "line": line, "pid_file": open(), "control": open(),
            "memory": open(), "bells": [open(), open()], "elders": open(),
            "family": [open(), open()], "listeners": [[["127.0.0.1:7000", listener]]],
            "files": [], "sockets": [], "taken": [0, 1], "epochs": [1, 1],
            "generation": 1, "started_with": [["accept", "\"mutex\""]], "elder": 77,
        });
        let read = Inheritance::read(&text.to_string()).unwrap();
        assert_eq!((read.old_master, read.generation), (77, Generation(1)));
        assert_eq!(read.lives.len(), 1);
        assert_eq!(read.listeners[0].len(), 1);
    }

    #[test]
    fn what_the_old_master_writes_names_every_descriptor_that_stays_open() {
        let (line, other) = Channel::pair().unwrap();
        let life_pipe = LifePipe::new().unwrap();
        let address: Address = "127.0.0.1:0".parse().unwrap();
        let file = other.as_fd();
        let bequest = Bequest {
            line: &line,
            pid_file: file,
            control: file,
            has_control_file: true,
            shared: Descriptors {
                memory: file,
                ledger: file,
                bells: vec![file, file],
            },
            bus: Some(file),
            lives: vec![file, file],
            life_pipe: &life_pipe,
            listeners: vec![vec![(&address, file)]],
            files: &[],
            sockets: vec![("web", file)],
            taken: [SlotId(3)].into_iter().collect(),
            epochs: &[1, 2],
            generation: Generation(4),
            started_with: vec![("accept".into(), "\"mutex\"".into())],
            admin: None,
        };
        let (_, text) = bequest.variable().unwrap();
        let written: Written = serde_json::from_str(text.to_str().unwrap()).unwrap();
        assert_eq!(bequest.descriptors().len(), 7 + 2 + 2 + 1 + 1 + 1);
        assert_eq!(written.older_lives, [file.as_raw_fd()]);
        assert_eq!(written.version, VERSION_OF_CHAIN);
        assert_eq!(written.line, line.as_fd().as_raw_fd());
        assert_eq!(written.listeners[0][0].0, "127.0.0.1:0");
        assert_eq!((written.taken, written.generation), (vec![3], 4));
    }
}
