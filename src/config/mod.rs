//! The configuration: `conf/purlin.toml`, over it the environment, over that
//! the command line. Pure but for [`Config::load`], which reads the file.
//!
//! ```text
//! defaults --> file --> PURLIN__SECTION__KEY --> --set section.key=value
//! ```
//!
//! Invariants:
//! - A [`Config`] was checked as a whole: every value is within its limits, and
//!   those that depend on each other agree.
//! - It knows where each of its values was written, so that whoever finds one
//!   wrong later can still point at it: [`Config::refuse`].
//!
//! A program may have tables of its own (`own`), which are read in the same way.
//!
//! The tables below hold every key once: name, type, default, limits. Their
//! explanation for the operator is in `conf/purlin.toml`; tests compare the
//! two.

mod check;
mod choices;
mod effective;
mod elsewhere;
mod flood;
mod format;
mod hex;
mod hosts;
mod layout;
mod load;
mod media_types;
mod mode;
mod nearest;
mod networks;
mod origins;
mod output;
mod own;
mod place;
mod setting;
mod table;
mod value;
mod workers;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use self::choices::{
    Accept, AccessFormat, Affinity, ClientFrom, CookieSecure, Ipv6Only, LogFormat, Overflow,
    Pinging, Proof, Protocol, ProxyProtocol, SessionStore, Trigger, UnknownId, Yield,
};
pub use self::flood::{Flood, FloodAction};
pub use self::hex::Hex;
pub use self::hosts::HostNames;
pub use self::layout::{
    Checksum, ConstantField, Counts, Covers, CrcField, EchoField, Endian, Field, FrameLayout,
    Framing, LengthField, TrailerFields,
};
pub use self::load::written_control_socket;
pub use self::media_types::MediaTypes;
pub use self::mode::Mode;
pub use self::origins::{Origins, UrlPath};
pub use self::output::Output;
use self::own::Own;
pub use self::own::{Claims, OwnValue, Size, Within};
pub use self::place::{ConfigError, FilePlace, Place};
use self::table::{Table, table};
pub use self::workers::Workers;
use crate::sys::data_folder::DataFolder;
use crate::sys::network::Network;
use crate::sys::socket::Address;

/// Keys that a running master cannot change: those that the shipped file marks
/// `Applied at: start`.
const START_KEYS: &[&str] = &[
    "accept",
    "pid_file",
    "control_socket",
    "bus.ring",
    "bus.names",
    "admin.address",
    "admin.hosts",
    "admin.ids_max",
];

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

table! {
    /// The whole configuration. Two are equal when their values are, wherever
    /// they came from.
    pub struct Config {
        /// Worker processes.
        pub workers: Workers = Workers::Auto, in 1..=64;
        /// How workers share the listeners.
        pub accept: Accept = Accept::Mutex;
        /// How long a graceful stop may take before connections are cut.
        pub shutdown_timeout: Duration = seconds(30), in seconds(1)..=seconds(3600);
        /// Generations of workers that may live at a time.
        pub generations_max: u16 = 4, in 2..=6;
        /// Whether connections go to the workers that stay.
        pub handover: bool = true;
        /// How long an event loop may be in one turn and keep the accept mutex.
        /// `None`: for ever.
        pub watchdog: Option<Duration> = Some(seconds(1)), in millis(100)..=seconds(3600);
        /// How long it may be until its worker is replaced. `None`: for ever.
        pub watchdog_abort: Option<Duration> = Some(seconds(10)), in millis(100)..=seconds(3600);
        /// How long a handler may run unmentioned. `None`: for ever.
        pub slow_handler: Option<Duration> = Some(seconds(1)), in millis(10)..=seconds(3600);
        /// How long a new binary may take to be ready.
        pub upgrade_timeout: Duration = seconds(30), in seconds(1)..=seconds(3600);
        /// What `upgrade` starts; `None`: the file that runs, at its path.
        pub upgrade_binary: Option<PathBuf> = None;
        /// Whom workers become when the master is root.
        pub user: String = "nobody".into();
        /// Their group; `None`: that of the user.
        pub group: Option<String> = None;
        /// Whether `user` may be root.
        pub allow_root: bool = false;
        /// Locked by the master, and names it. `None`: a master in the foreground
        /// goes without.
        pub pid_file: Option<PathBuf> = Some("purlin.pid".into());
        /// Where the command line reaches the master. `None`: nowhere.
        pub control_socket: Option<PathBuf> = Some("purlin.ctl".into());
        /// Where programs keep what outlives them. `None`: that of the service
        /// manager, or else `data`.
        pub data_folder: Option<PathBuf> = None;
    }
    beside {
        /// `[[listener]]`: at least one.
        pub listener: Vec<Listener> = vec![Listener::default()];
        /// `[worker]`.
        pub worker: Worker = Worker::default();
        /// `[heartbeat]`.
        pub heartbeat: Heartbeat = Heartbeat::default();
        /// `[limits]`.
        pub limits: Limits = Limits::default();
        /// `[http]`.
        pub http: Http = Http::default();
        /// `[websocket]`.
        pub websocket: WebSocket = WebSocket::default();
        /// `[bus]`.
        pub bus: Bus = Bus::default();
        /// `[admin]`.
        pub admin: Admin = Admin::default();
        /// `[redis]`.
        pub redis: Redis = Redis::default();
        /// `[session]`.
        pub session: Session = Session::default();
        /// `[log]`.
        pub log: Log = Log::default();
        /// The tables of the program.
        own: Own = Own::default();
        /// Whether the program wants one worker and no more.
        single_worker: bool = false;
        /// Where the values came from.
        sources: Sources = Sources::default();
    }
}

table! {
    /// An address to listen on, and what is spoken there.
    pub struct Listener {
        /// Where to listen. Port 0 lets the kernel choose.
        pub address: Address = Address::Tcp(([127, 0, 0, 1], 7000).into());
        /// What the program knows it by; `None`: nothing.
        pub name: Option<String> = None;
        /// Whether `[::]` leaves IPv4 to others.
        pub ipv6_only: Ipv6Only = Ipv6Only::Auto;
        /// Mode of a Unix socket's file. `None`: as the system makes files.
        pub mode: Option<Mode> = None;
        /// Owner of that file, by name or number. `None`: the master.
        pub user: Option<String> = None;
        /// Its group. `None`: that of the master.
        pub group: Option<String> = None;
        /// What is spoken.
        pub protocol: Protocol = Protocol::Frame;
        /// How frames are laid out.
        pub frame: Framing = Framing::Named("comm".into());
        /// Folder whose files are served over HTTP; `None`: none.
        pub root: Option<PathBuf> = None;
        /// Whether a folder below `root` without an index shows its names.
        pub listing: bool = false;
        /// How long browsers may keep a file of `root` without asking. `None`:
        /// as they think right.
        pub max_age: Option<Duration> = None, in seconds(1)..=seconds(31_536_000);
        /// Path at which connections over HTTP become WebSockets whose messages
        /// have ids.
        pub websocket: UrlPath = UrlPath(None);
        /// Pages of other hosts that may open a WebSocket.
        pub websocket_origins: Origins = Origins::default();
        /// Connections that the kernel queues until they are accepted.
        pub backlog: u16 = 511, in 1..=65_535;
        /// What happens to a message whose id has no handler.
        pub unknown_id: UnknownId = UnknownId::Error;
        /// Id of the frame that announces the end; 0: none is sent.
        pub going_away_id: u32 = 0, in 0..=u32::MAX;
        /// Networks that may connect.
        pub allow: Vec<Network> = Vec::new();
        /// Networks that may not.
        pub deny: Vec<Network> = Vec::new();
        /// Whether a proxy says whom it speaks for.
        pub proxy_protocol: ProxyProtocol = ProxyProtocol::Off;
        /// Whose word is taken for that.
        pub trusted: Vec<Network> = Vec::new();
    }
}

table! {
    /// What one worker process may use.
    pub struct Worker {
        /// Connections that one worker holds at most.
        pub connections_max: u32 = 4096, in 1..=1_048_575;
        /// Connections that have memory from the start; never more than
        /// `connections_max`, to which it is lowered.
        pub connections_initial: u32 = 256, in 0..=1_048_575;
        /// Threads that run handlers.
        pub business_threads: u16 = 4, in 1..=256;
        /// How the kernel tells that a connection can be read.
        pub trigger: Trigger = Trigger::Level;
        /// Whether the event loop yields its core to a thread it has woken.
        pub yield_after_handover: Yield = Yield::Auto;
        /// Messages of one connection that are served before others come first.
        pub turn_messages: u32 = 256, in 1..=65_536;
        /// Time for which one connection is served before others come first.
        pub turn_time: Duration = millis(10), in millis(1)..=seconds(1);
        /// Silence after which a worker that drains closes a connection.
        pub drain_idle: Duration = seconds(1), in seconds(0)..=seconds(60);
        /// Whether each worker keeps to a core of its own.
        pub cpu_affinity: Affinity = Affinity::Off;
    }
}

table! {
    /// When a silent peer is closed.
    pub struct Heartbeat {
        /// Nothing arrived for so long. `None`: never.
        pub timeout: Option<Duration> = Some(seconds(60)), in seconds(1)..=seconds(86_400);
        /// What counts as something.
        pub counts: Proof = Proof::Any;
        /// Who sends heartbeats.
        pub ping: Pinging = Pinging::Client;
        /// How long a peer may be silent before the server sends it one.
        pub ping_interval: Duration = seconds(20), in millis(100)..=seconds(3600);
        /// No whole message arrived so long after the accept. `None`: never.
        pub first_message: Option<Duration> = Some(seconds(10)), in millis(100)..=seconds(3600);
        /// No whole PROXY header arrived so long after the accept.
        pub proxy_header: Duration = seconds(5), in millis(100)..=seconds(60);
    }
}

table! {
    /// What a connection may take of the server.
    pub struct Limits {
        /// Bytes of whole messages that wait for the connection's turn before
        /// it is no longer read.
        pub mailbox_high: usize = 256 * KIB, in 4 * KIB..=GIB;
        /// Bytes that wait to be sent before the connection is no longer read
        /// or served.
        pub outbound_high: usize = 64 * KIB, in 4 * KIB..=GIB;
        /// Bytes that wait to be sent before pushes are refused.
        pub outbound_max: usize = 4 * MIB, in 4 * KIB..=GIB;
        /// What happens to a push over `outbound_max`.
        pub outbound_over: Overflow = Overflow::Drop;
        /// Bytes that all connections of a worker may hold together.
        pub buffered_max: usize = 256 * MIB, in MIB..=1024 * GIB;
        /// How long a closed connection waits for its peer to close as well.
        pub linger: Duration = seconds(5), in seconds(0)..=seconds(300);
        /// Connections of one address, in all workers together; 0: any number.
        pub connections_per_ip: u16 = 0, in 0..=65_535;
        /// Connections of one address a second; 0: any number.
        pub accept_rate_per_ip: u16 = 0, in 0..=1000;
        /// Connections of one address that may come at once all the same.
        pub accept_burst_per_ip: u16 = 20, in 1..=65_535;
        /// No message went either way for so long. `None`: never.
        pub idle: Option<Duration> = None, in millis(100)..=seconds(604_800);
        /// Bytes a second at which a started message must arrive; 0: any.
        pub receive_rate: usize = 256, in 0..=GIB;
        /// How long a started message may be slower than that.
        pub receive_grace: Duration = seconds(20), in millis(100)..=seconds(3600);
        /// Bytes a second that a peer must take of what waits for it; 0: any.
        pub send_rate: usize = 256, in 0..=GIB;
        /// How long a peer may be slower than that. `None`: for ever.
        pub send_stall: Option<Duration> = Some(seconds(60)), in millis(100)..=seconds(3600);
        /// How long a reply that was put off may be owed. `None`: for ever.
        pub reply_max: Option<Duration> = Some(seconds(60)), in millis(100)..=seconds(86_400);
        /// How long a peer may keep the server waiting while others wait for
        /// its place. `None`: for ever.
        pub make_room: Option<Duration> = Some(millis(500)), in millis(1)..=seconds(3600);
        /// When a connection sends too many messages, and what follows.
        pub flood: Flood = Flood::Bucket {
            rate: 4_000_000,
            burst: 4_000_000,
            action: FloodAction::Delay,
        };
    }
}

table! {
    /// What a request over HTTP may be.
    pub struct Http {
        /// Bytes of the request line.
        pub line_max: usize = 8 * KIB, in 128..=MIB;
        /// Bytes of the head, request line included.
        pub head_max: usize = 16 * KIB, in 256..=MIB;
        /// Fields of the head.
        pub fields_max: u16 = 100, in 1..=128;
        /// Which field names the client that a trusted proxy asks for.
        pub client_from: ClientFrom = ClientFrom::Off;
        /// How long a client may be silent between two requests.
        pub keep_alive: Duration = seconds(75), in seconds(1)..=seconds(3600);
        /// Whether slashes behind a slash in a path are nothing.
        pub merge_slashes: bool = true;
        /// Bytes of the body, unless its route says otherwise.
        pub body_max: usize = MIB, in 0..=GIB;
        /// Bytes of a body that is held in memory until it is whole.
        pub body_memory_max: usize = 64 * KIB, in 0..=MIB;
        /// Where longer bodies are kept.
        pub body_folder: PathBuf = "/var/tmp".into();
        /// Media types of files below a `root`, before those that are known.
        pub types: MediaTypes = MediaTypes::default();
        /// That of a file whose name says nothing; `None`: its content tells.
        pub default_type: Option<String> = None;
        /// Where each answer gets a line; `None`: nowhere.
        pub access_log: Option<Output> = None;
        /// How such a line looks.
        pub access_log_format: AccessFormat = AccessFormat::Combined;
        /// Whether a WebSocket gets another one when it ends.
        pub access_log_ends: bool = false;
    }
}

table! {
    /// What a peer may send over WebSocket, and what it is sent.
    pub struct WebSocket {
        /// Bytes of a message, in however many frames, and once it is not compressed.
        pub message_max: usize = MIB, in KIB..=GIB;
        /// Whether messages are compressed for clients that offer it.
        pub compression: bool = false;
        /// Bytes from which a message is.
        pub compression_min: usize = 512, in 0..=MIB;
    }
}

table! {
    /// What workers say to each other's connections.
    pub struct Bus {
        /// Bytes of each ring between two workers; a power of two.
        pub ring: usize = 512 * KIB, in 16 * KIB..=16 * MIB;
        /// Names that each worker has places for; a power of two.
        pub names: u32 = 65_536, in 1024..=1 << 24;
        /// Bytes that may wait in a worker for others that read slowly.
        pub backlog: usize = 8 * MIB, in 64 * KIB..=GIB;
    }
}

table! {
    /// Where figures, health and the status page are shown.
    pub struct Admin {
        /// Where to listen; `None`: nowhere.
        pub address: Option<Address> = Some(Address::Tcp(([127, 0, 0, 1], 7090).into()));
        /// Names by which it may be asked, beside addresses and localhost.
        pub hosts: HostNames = HostNames::default();
        /// Message ids that have figures of their own; the rest is `other`.
        pub ids_max: u16 = 50, in 1..=1000;
    }
}

table! {
    /// The Redis server of programs that have one.
    pub struct Redis {
        /// Where it is; `None`: there is none.
        pub url: Option<String> = None;
        /// A file with the password. `None`: that of the URL.
        pub password_file: Option<PathBuf> = None;
        /// Connections of a worker at most.
        pub pool: u16 = 8, in 1..=1024;
        /// How long a command waits for a free connection.
        pub wait: Duration = millis(500), in millis(1)..=seconds(60);
        /// How long a connection may take to be made.
        pub connect: Duration = seconds(1), in millis(1)..=seconds(60);
        /// How long a command may take.
        pub timeout: Duration = seconds(1), in millis(1)..=seconds(60);
        /// Unused for so long, a connection is closed.
        pub idle: Duration = seconds(600), in seconds(1)..=seconds(86_400);
        /// Open for so long, it is closed as well.
        pub max_lifetime: Duration = seconds(1800), in seconds(1)..=seconds(86_400);
        /// The longest delay between two attempts to mend.
        pub backoff_max: Duration = seconds(1024), in seconds(2)..=seconds(1024);
    }
}

table! {
    /// Who is logged in, and for how long.
    pub struct Session {
        /// Where sessions are kept.
        pub store: SessionStore = SessionStore::Sqlite;
        /// How long one lives unused.
        pub idle: Duration = seconds(7200), in seconds(60)..=seconds(31_536_000);
        /// How long it lives at most.
        pub max: Duration = seconds(1_209_600), in seconds(60)..=seconds(31_536_000);
        /// How long its cookie is the same.
        pub renew: Duration = seconds(86_400), in seconds(60)..=seconds(31_536_000);
        /// Whether its cookie is for TLS alone.
        pub secure: CookieSecure = CookieSecure::Auto;
        /// Other sites whose pages may change something.
        pub trusted_origins: Origins = Origins::default();
    }
}

table! {
    /// What is logged, how and where.
    pub struct Log {
        /// Lines below this level are not written.
        pub level: log::LevelFilter = log::LevelFilter::Info;
        /// How a line looks.
        pub format: LogFormat = LogFormat::Human;
        /// Written beside stderr; `None`: stderr alone.
        pub file: Option<Output> = None;
        /// Which syslog is written to as well; `None`: none.
        pub syslog: Option<String> = None;
    }
}

/// The tables that stand once in the file. `[[listener]]` may be repeated.
const TABLES: &[&str] = &[
    "worker",
    "heartbeat",
    "limits",
    "http",
    "websocket",
    "bus",
    "admin",
    "redis",
    "session",
    "log",
];

impl Config {
    /// The table at `path`: `""` for the keys above all tables, `"worker"`,
    /// `"listener.0"`.
    fn table_mut(&mut self, path: &str) -> Option<&mut dyn Table> {
        Some(match path {
            "" => self,
            "worker" => &mut self.worker,
            "heartbeat" => &mut self.heartbeat,
            "limits" => &mut self.limits,
            "http" => &mut self.http,
            "websocket" => &mut self.websocket,
            "bus" => &mut self.bus,
            "admin" => &mut self.admin,
            "redis" => &mut self.redis,
            "session" => &mut self.session,
            "log" => &mut self.log,
            listener => {
                let mut indices = 0..self.listener.len();
                let index = indices.find(|index| listener == listener_path(*index))?;
                &mut self.listener[index]
            }
        })
    }

    /// All tables with their paths, in the order of the file.
    fn tables(&self) -> Vec<(String, &dyn Table)> {
        let top: (String, &dyn Table) = (String::new(), self);
        let listeners = self.listener.iter().enumerate();
        let listeners = listeners.map(|(index, table)| (listener_path(index), table as &dyn Table));
        let named: [&dyn Table; TABLES.len()] = [
            &self.worker,
            &self.heartbeat,
            &self.limits,
            &self.http,
            &self.websocket,
            &self.bus,
            &self.admin,
            &self.redis,
            &self.session,
            &self.log,
        ];
        let named = TABLES.iter().map(|name| (*name).to_owned()).zip(named);
        std::iter::once(top).chain(listeners).chain(named).collect()
    }

    /// The values of the program's own tables, each of its own type, and what else its
    /// workers are told.
    #[must_use]
    pub fn own_values(&self) -> Vec<OwnValue> {
        let mut values = self.own.values();
        values.push(Arc::new(DataFolder::new(self.data_folder.as_deref())));
        values.push(Arc::new(self.redis.clone()));
        values.push(Arc::new(self.session.clone()));
        values
    }

    /// Whether the program wants one worker and no more.
    #[must_use]
    pub const fn is_single_worker(&self) -> bool {
        self.single_worker
    }

    /// Where the value of `key` was written.
    #[must_use]
    pub fn place(&self, key: &str) -> &Place {
        self.sources.0.get(key).unwrap_or(&Place::Default)
    }

    /// The refusal of a value that only its user can judge, such as a layout
    /// whose fields overlap: `KEY MESSAGE`, with the place where `key` (as in
    /// `listener.0.frame`) was written.
    #[must_use]
    pub fn refuse(&self, key: &str, message: &str) -> ConfigError {
        ConfigError::Refused {
            place: self.place(key).clone(),
            message: format!("{key} {message}"),
        }
    }
}

fn listener_path(index: usize) -> String {
    format!("listener.{index}")
}

/// `worker` and `connections_max` as `worker.connections_max`.
fn dotted(table: &str, key: &str) -> String {
    if table.is_empty() {
        key.to_owned()
    } else {
        format!("{table}.{key}")
    }
}

/// Where each key that somebody wrote was written.
#[derive(Clone, Debug, Default)]
struct Sources(BTreeMap<String, Place>);

/// Always equal: a configuration is the same wherever it was written.
impl PartialEq for Sources {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../conf/purlin.toml");

    /// Key, with its table as in `worker.turn_time`, and the line above it.
    fn shipped_keys() -> Vec<(String, &'static str)> {
        let mut table = String::new();
        let mut keys = Vec::new();
        let mut above = "";
        for line in SHIPPED.lines() {
            if let Some(name) = line.strip_prefix("[[") {
                table = format!("{}.0", name.trim_end_matches(']'));
            } else if let Some(name) = line.strip_prefix('[') {
                table = name.trim_end_matches(']').to_owned();
            } else if let Some((key, _)) = line.split_once(" = ")
                && !line.starts_with('#')
            {
                keys.push((dotted(&table, key), above));
            }
            above = line;
        }
        keys
    }

    #[test]
    fn the_shipped_file_says_what_holds_without_it() {
        let file = Some(("conf/purlin.toml".as_ref(), SHIPPED.as_bytes()));
        let config = Config::parse(file, [], &[]).unwrap();
        // The daemon has a page to show; a program of one's own may want to
        // speak first, which cannot be done where the client decides.
        let mut expected = Config::default();
        expected.listener[0].protocol = Protocol::Auto;
        expected.listener[0].websocket = UrlPath(Some("/ws".into()));
        assert_eq!(config, expected);
    }

    #[test]
    fn the_shipped_file_has_every_key_in_the_order_of_the_tables() {
        let config = Config::default();
        let tables = config.tables();
        let known = tables.iter().flat_map(|(path, table)| {
            let keys = table.keys().iter();
            keys.map(move |key| dotted(path, key))
        });
        let shipped: Vec<String> = shipped_keys().into_iter().map(|(key, _)| key).collect();
        assert_eq!(known.collect::<Vec<_>>(), shipped);
    }

    #[test]
    fn every_key_of_the_shipped_file_is_explained() {
        for (key, above) in shipped_keys() {
            let (_, rest) = above
                .split_once("# Unit: ")
                .unwrap_or_else(|| panic!("no unit above `{key}`"));
            let (_, rest) = rest.split_once(". Range: ").expect(&key);
            let (_, applied) = rest.rsplit_once(". Applied at: ").expect(&key);
            let expected = if START_KEYS.contains(&key.as_str()) {
                "start."
            } else {
                "reload."
            };
            assert_eq!(applied, expected, "{key}");
        }
    }

    #[test]
    fn the_ranges_in_the_shipped_file_are_those_of_the_code() {
        let config = Config::default();
        let tables: BTreeMap<_, _> = config.tables().into_iter().collect();
        for (key, above) in shipped_keys() {
            let (table, leaf) = key.rsplit_once('.').unwrap_or(("", &key));
            let limits = tables[table].limits(leaf).unwrap();
            let limits = limits.trim_start_matches("from ");
            let limits = limits.trim_start_matches("one of ");
            assert!(
                above.contains(&format!(". Range: {limits}. ")),
                "{key}: {limits}"
            );
        }
    }

    #[test]
    fn the_layout_that_the_shipped_file_shows_is_one() {
        let shown = SHIPPED.lines().filter(|line| line.starts_with("#   "));
        let shown: Vec<&str> = shown.map(|line| line.trim_start_matches('#')).collect();
        let text = format!("[[listener]]\n{}", shown.join("\n"));
        let config = Config::parse(Some(("f".as_ref(), text.as_bytes())), [], &[]).unwrap();
        let Framing::Custom(layout) = &config.listener[0].frame else {
            panic!("no table in {text}");
        };
        assert_eq!((layout.header, layout.max), (Some(16), Some(MIB)));
    }

    #[test]
    fn a_changed_key_of_the_start_is_named_and_others_are_free() {
        let parse = |text: &str| Config::parse(Some(("f".as_ref(), text.as_bytes())), [], &[]);
        let running = Config::default();
        let free = "workers = 3\nuser = \"daemon\"\n[log]\nlevel = \"warn\"\n";
        assert!(running.can_become(&parse(free).unwrap()).is_ok());
        let next = parse("workers = 3\npid_file = \"x\"\n").unwrap();
        let error = running.can_become(&next).unwrap_err().to_string();
        assert!(
            error.starts_with("f:2:12: pid_file is \"purlin.pid\""),
            "{error}"
        );
    }

    #[test]
    fn every_table_is_found_by_its_path() {
        let mut config = Config::default();
        let paths: Vec<String> = config.tables().into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths.len(), TABLES.len() + 2);
        for path in paths {
            let expected = config.tables().into_iter().find(|(p, _)| *p == path);
            let expected = expected.unwrap().1.keys();
            assert_eq!(config.table_mut(&path).unwrap().keys(), expected, "{path}");
        }
        for path in ["listener", "listener.1", "listener.00", "listener.+0", "x"] {
            assert!(config.table_mut(path).is_none(), "{path}");
        }
    }
}
