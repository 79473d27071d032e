//! The tables of a program, and whatever can be wrong in them.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use serde::Deserialize;

use super::*;

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Mood {
    Calm,
    Wild,
    Of { rounds: u8 },
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
struct Name(String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.as_str() {
            "panic" => panic!("as asked"),
            "root" => Err("that name is taken".into()),
            "" => Err("must be a name".into()),
            _ => Ok(Self(name)),
        }
    }
}

impl From<Name> for String {
    fn from(Name(name): Name) -> Self {
        name
    }
}

impl Clone for Name {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
struct Pool {
    size: Within<1, 64>,
    wait: Duration,
}

impl Default for Pool {
    fn default() -> Self {
        let (size, wait) = (Within::new(8), Duration::from_millis(1500));
        Self { size, wait }
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
struct Lobby {
    motd: String,
    owner: Name,
    seats: u16,
    rate: f64,
    open: bool,
    tries: Option<NonZeroU16>,
    every: Duration,
    pauses: Vec<Duration>,
    upload: Size,
    mood: Mood,
    rooms: Vec<String>,
    limits: BTreeMap<String, u32>,
    pool: Pool,
}

impl Default for Lobby {
    fn default() -> Self {
        Self {
            motd: "hello \"all\"".into(),
            owner: Name("ann".into()),
            seats: 8,
            rate: 0.5,
            open: true,
            tries: None,
            every: Duration::from_secs(30),
            pauses: vec![Duration::from_secs(1)],
            upload: Size::new(64 << 10),
            mood: Mood::Calm,
            rooms: vec!["one".into()],
            limits: BTreeMap::new(),
            pool: Pool::default(),
        }
    }
}

fn claims() -> Claims {
    let mut claims = Claims::default();
    claims.add::<Lobby>("lobby");
    claims
}

fn parse(file: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, String> {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let flags: Vec<_> = flags.iter().map(own).collect();
    let file = Some(("f.toml".as_ref(), file.as_bytes()));
    Config::parse_for(&claims(), file, env.iter().map(own), &flags)
        .map_err(|error| error.to_string())
}

fn lobby(config: &Config) -> Lobby {
    let values = config.own_values();
    values[0].downcast_ref::<Lobby>().unwrap().clone()
}

fn read(table: &str) -> Result<Lobby, String> {
    parse(&format!("[lobby]\n{table}"), &[], &[]).map(|config| lobby(&config))
}

#[test]
fn without_the_table_the_defaults_hold() {
    let config = parse("", &[], &[]).unwrap();
    assert_eq!(lobby(&config), Lobby::default());
    assert_eq!(read("").unwrap(), Lobby::default());
}

#[test]
fn every_kind_of_value_is_read_from_the_file() {
    let table = r#"
        motd = "hi"
        owner = "bob"
        seats = 0x10
        rate = 2
        open = false
        tries = 3
        every = "1m 30s"
        pauses = ["1s", "250ms"]
        upload = "5MB"
        mood = { of = { rounds = 3 } }
        rooms = ["a", "b"]
        limits = { ann = 1, "b c" = 2 }
        [lobby.pool]
        size = 64
    "#;
    let read = read(table).unwrap();
    assert_eq!((&*read.motd, &*read.owner.0, read.seats), ("hi", "bob", 16));
    assert_eq!((read.rate, read.open), (2.0, false));
    assert_eq!(read.tries, NonZeroU16::new(3));
    assert_eq!(read.every, Duration::from_secs(90));
    assert_eq!(read.pauses[1], Duration::from_millis(250));
    assert_eq!(read.upload.get(), 5_000_000);
    assert_eq!(read.mood, Mood::Of { rounds: 3 });
    assert_eq!(read.rooms, ["a", "b"]);
    assert_eq!(read.limits["b c"], 2);
    let pool = Pool::default();
    assert_eq!(read.pool.size.get(), 64);
    assert_eq!(read.pool.wait, pool.wait);
}

#[test]
fn refusals_name_place_key_value_and_range() {
    for (line, expected) in [
        (
            "seats = 65536",
            "2:9: lobby.seats is 65536, must be from 0 to 65535",
        ),
        (
            "seats = \"8\"",
            "2:9: lobby.seats is \"8\", must be from 0 to 65535",
        ),
        (
            "seats = 1.5",
            "2:9: lobby.seats is 1.5, must be from 0 to 65535",
        ),
        ("motd = 5", "2:8: lobby.motd is 5, must be text in quotes"),
        (
            "open = \"yes\"",
            "2:8: lobby.open is \"yes\", must be true or false",
        ),
        ("rate = \"x\"", "2:8: lobby.rate is \"x\", must be a number"),
        ("tries = 0", "2:9: lobby.tries is 0, must be a nonzero u16"),
        (
            "every = 30",
            "2:9: lobby.every is 30, must be a time with its unit, as in \"30s\"",
        ),
        (
            "pauses = [\"1s\", \"x\"]",
            "2:17: lobby.pauses.1 is \"x\", must be a time",
        ),
        (
            "upload = 5",
            "2:10: lobby.upload is 5, must be a size with its unit",
        ),
        (
            "mood = \"sad\"",
            "2:8: lobby.mood is \"sad\", must be one of calm, wild, of",
        ),
        (
            "mood = { sad = 1 }",
            "2:10: unknown key `lobby.mood.sad`; lobby.mood has calm,",
        ),
        (
            "owner = \"root\"",
            "2:9: lobby.owner is \"root\": that name is taken",
        ),
        ("owner = \"\"", "2:9: lobby.owner is \"\", must be a name"),
        ("rooms = \"a\"", "2:9: lobby.rooms is \"a\", must be a list"),
        (
            "rooms = [\"a\", 5]",
            "2:15: lobby.rooms.1 is 5, must be text in quotes",
        ),
        (
            "pool = 5",
            "2:8: lobby.pool is 5, must be a table of size, wait",
        ),
        (
            "[lobby.pool]\nsize = 65",
            "3:8: lobby.pool.size is 65, must be from 1 to 64",
        ),
        ("owner = \"panic\"", "1:2: lobby: reading a "),
    ] {
        let error = read(line).unwrap_err();
        assert!(error.starts_with(&format!("f.toml:{expected}")), "{error}");
        assert!(error.contains('^'), "{error}");
    }
}

#[test]
fn a_key_that_is_no_field_is_refused_with_the_nearest() {
    for (line, expected) in [
        (
            "[lobby]\nmot = \"x\"",
            "2:1: unknown key `lobby.mot`; the nearest known one is `lobby.motd`",
        ),
        (
            "[lobby]\nx = 1",
            "2:1: unknown key `lobby.x`; lobby has motd, owner, seats, ",
        ),
        (
            "[lobby.pool]\nsise = 1",
            "2:1: unknown key `lobby.pool.sise`; the nearest known one is `lobby.pool.size`",
        ),
        (
            "[loby]\nmotd = 1",
            "1:2: unknown key `loby`; the nearest known one is `lobby`",
        ),
        (
            "motd = 1",
            "1:1: unknown key `motd`; the nearest known one is `lobby.motd`",
        ),
        (
            "lobby = 1",
            "1:1: lobby is a table and must be written as `[lobby]`",
        ),
        (
            "[[lobby]]",
            "1:3: lobby is a table and must be written as `[lobby]`",
        ),
    ] {
        let error = parse(line, &[], &[]).unwrap_err();
        assert!(error.starts_with(&format!("f.toml:{expected}")), "{error}");
    }
}

#[test]
fn environment_and_command_line_win_and_need_no_quotes() {
    let file = "[lobby]\nmotd = \"file\"\nseats = 1\nrooms = [\"a\"]\n[lobby.pool]\nsize = 1\n";
    let env = [
        ("PURLIN__LOBBY__MOTD", "7"),
        ("PURLIN__LOBBY__SEATS", "2"),
        ("PURLIN__LOBBY__POOL__WAIT", "2s"),
        ("PURLIN__LOBBY__OPEN", "false"),
        ("PURLIN__LOBBY__ROOMS__1", "b"),
    ];
    let flags = [
        ("lobby.seats", "3"),
        ("lobby.mood", "wild"),
        ("lobby.pauses", "[\"1s\"]"),
        ("lobby.limits.ann", "4"),
        ("lobby.tries", ""),
        ("lobby.rate", "0.25"),
    ];
    let config = parse(file, &env, &flags).unwrap();
    let read = lobby(&config);
    assert_eq!((&*read.motd, read.seats, read.open), ("7", 3, false));
    assert_eq!((read.pool.size.get(), read.pool.wait.as_secs()), (1, 2));
    assert_eq!((read.mood, read.rate, read.tries), (Mood::Wild, 0.25, None));
    assert_eq!(read.rooms, ["a", "b"]);
    assert_eq!(read.limits["ann"], 4);
    for (env, flags, expected) in [
        (
            &[("PURLIN__LOBBY__SEATS", "x")][..],
            &[][..],
            "PURLIN__LOBBY__SEATS: lobby.seats is x, must be from 0 to 65535",
        ),
        (
            &[],
            &[("lobby.sets", "1")],
            "--set lobby.sets=1: unknown key `lobby.sets`; the nearest known one is \
             `lobby.seats`",
        ),
        (
            &[],
            &[("lobby", "1")],
            "--set lobby=1: lobby is a table and must be written as `[lobby]`",
        ),
        (
            &[],
            &[("lobby.rooms", "a")],
            "--set lobby.rooms=a: lobby.rooms is a, must be a list",
        ),
        (
            &[("PURLIN__LOBBY__POOL__SIZE", "0")],
            &[],
            "PURLIN__LOBBY__POOL__SIZE: lobby.pool.size is 0, must be from 1 to 64",
        ),
    ] {
        let error = parse(file, env, flags).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn what_is_printed_is_read_back_and_says_where_it_came_from() {
    let file = "[lobby]\nseats = 3\nlimits = { \"b c\" = 2 }\npauses = [\"1s\", \"2s\"]\n\
                mood = { of = { rounds = 3 } }\n[lobby.pool]\nwait = \"90s\"\n";
    let config = parse(file, &[], &[("lobby.motd", "hi # there")]).unwrap();
    let printed = config.effective();
    assert_eq!(parse(&printed, &[], &[]).unwrap(), config, "{printed}");
    for expected in [
        "motd = \"hi # there\" # --set",
        "every = \"30s\" # default",
        "seats = 3 # f.toml:2",
        "limits.\"b c\" = 2 # f.toml:3",
        "pauses = [\"1s\", \"2s\"] # f.toml:4",
        "mood.of.rounds = 3 # f.toml:5",
        "pool.wait = \"90s\" # f.toml:7",
        "pool.size = 8 # default",
        "upload = \"64KiB\" # default",
    ] {
        let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut lines = printed.lines().map(squeezed);
        assert!(lines.any(|line| line == expected), "{expected}: {printed}");
    }
    let other = parse(file, &[], &[("lobby.motd", "another")]).unwrap();
    assert_ne!(config, other);
}

#[test]
fn a_key_without_a_default_is_missed_by_its_name() {
    #[derive(Debug, Deserialize, Serialize)]
    struct Store {
        file: String,
    }
    let mut claims = Claims::default();
    claims.add::<Store>("store");
    let parse = |text: &str| {
        let file = Some(("f.toml".as_ref(), text.as_bytes()));
        let config = Config::parse_for(&claims, file, [], &[]);
        config.map(|_| ()).map_err(|error| error.to_string())
    };
    let missing = "store.file is missing, and has no default";
    assert_eq!(parse(""), Err(missing.to_owned()));
    let error = parse("\n[store]\n").unwrap_err();
    assert!(
        error.starts_with(&format!("f.toml:2:2: {missing}")),
        "{error}"
    );
    assert_eq!(parse("store.file = \"x\""), Ok(()));
}

#[test]
fn a_rule_between_keys_is_shown_at_the_table() {
    #[derive(Deserialize)]
    struct Written {
        low: u16,
        high: u16,
    }
    #[derive(Clone, Deserialize, Serialize)]
    #[serde(try_from = "Written")]
    struct Range {
        low: u16,
        high: u16,
    }
    impl TryFrom<Written> for Range {
        type Error = &'static str;

        fn try_from(Written { low, high }: Written) -> Result<Self, &'static str> {
            let range = (low <= high).then_some(Self { low, high });
            range.ok_or("low is above high")
        }
    }
    let mut claims = Claims::default();
    claims.add::<Range>("range");
    let text = b"workers = 2\n[range]\nlow = 2\nhigh = 1\n";
    let config = Config::parse_for(&claims, Some(("f".as_ref(), text)), [], &[]);
    let error = config.unwrap_err().to_string();
    assert!(
        error.starts_with("f:2:2: range: low is above high\n"),
        "{error}"
    );
}

#[test]
fn a_table_that_is_ours_or_claimed_cannot_be_claimed() {
    for (table, expected) in [
        ("worker", "a table or a key of purlin's own"),
        ("workers", "a table or a key of purlin's own"),
        ("listener", "a table or a key of purlin's own"),
        ("App", "cannot be called"),
        ("a__b", "cannot be called"),
        ("", "cannot be called"),
        ("lobby", "is claimed twice"),
        ("other", "is the type of [lobby] and of [other]"),
    ] {
        let claim = || {
            let mut claims = claims();
            claims.add::<Lobby>(table);
        };
        let why = std::panic::catch_unwind(claim).unwrap_err();
        let why = why.downcast_ref::<String>().unwrap();
        assert!(why.contains(expected), "{table}: {why}");
    }
}

#[test]
fn a_listener_that_the_program_has_functions_for_must_be_there() {
    let mut claims = Claims::default();
    claims.listener("internal");
    let parse = |text: &str| {
        let file = Some(("f.toml".as_ref(), text.as_bytes()));
        let config = Config::parse_for(&claims, file, [], &[]);
        config.map(|_| ()).map_err(|error| error.to_string())
    };
    let second = "address = \"127.0.0.1:1\"";
    for (text, expected) in [
        (
            "workers = 1".to_owned(),
            "default: listener has none with name = \"internal\", for which the program has",
        ),
        (
            "\n[[listener]]\nname = \"public\"".to_owned(),
            "f.toml:2:3: listener has none with name = \"internal\"",
        ),
        (
            format!("[[listener]]\n[[listener]]\n{second}\nname = \"internl\""),
            "f.toml:4:8: listener.1.name is \"internl\", but the program has functions for",
        ),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
    let both =
        format!("[[listener]]\nname = \"internal\"\n[[listener]]\n{second}\nname = \"internal\"");
    assert_eq!(parse(&both), Ok(()));
}
