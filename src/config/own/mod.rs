//! Tables of the file that belong to the program: which there are, and their
//! values, of the program's own types. Pure.
//!
//! ```text
//! file, environment, command line --> Node: values, places --> serde --> T
//!                                                                |
//!                                     -T <-- rows: key, value <--+
//! ```
//!
//! The type says what is right: its fields are the keys, their types the ranges.
//! A key that is no field is refused, whether the type asks for that or not.

mod fault;
mod node;
mod read;
mod types;

use std::any::{Any, TypeId, type_name};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::de::DeTable;

use self::fault::Fault;
use self::node::{Node, bare};
use self::read::{Notes, Reader};
pub use self::types::{Size, Within};
use super::nearest::nearest;
use super::setting::{Setting, Source};
use super::table::Table as _;
use super::value::{duration_text, quoted};
use super::{Config, ConfigError, Place, TABLES, Workers, dotted};

/// A value of the program's, whatever type it has.
pub type OwnValue = Arc<dyn Any + Send + Sync>;

/// Keys with their tables, but for the outermost, and their values as in the file.
type Rows = Vec<(String, String)>;

/// A value, and how it is shown.
type Read = Result<(OwnValue, Rows), Fault>;

/// The tables that a program claims.
#[derive(Clone, Default)]
pub struct Claims {
    tables: Vec<Claim>,
    /// Names that listeners must have.
    listeners: Vec<String>,
    /// There is no second worker.
    single_worker: bool,
}

#[derive(Clone)]
struct Claim {
    table: String,
    of: TypeId,
    type_name: &'static str,
    read: fn(&Node, &str) -> Read,
    fields: fn() -> &'static [&'static str],
}

/// They are equal when they are of the same tables.
impl PartialEq for Claims {
    fn eq(&self, other: &Self) -> bool {
        let names = |claims: &Self| -> Vec<_> {
            let names = claims
                .tables
                .iter()
                .map(|claim| (claim.table.clone(), claim.of));
            names.collect()
        };
        names(self) == names(other)
    }
}

impl Eq for Claims {}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Claims {
    /// None.
    pub const NONE: &'static Self = &Self::new();

    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            tables: Vec::new(),
            listeners: Vec::new(),
            single_worker: false,
        }
    }

    /// Table `[table]` has the fields of `T`.
    ///
    /// # Panics
    ///
    /// When the name is one of ours or has other characters than small letters,
    /// digits and `_`, or the table or the type is claimed already: the program is
    /// wrong, and no run of it could be right.
    pub fn add<T: Serialize + DeserializeOwned + Send + Sync + 'static>(&mut self, table: &str) {
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(
            !table.is_empty() && table.chars().all(is_word) && !table.contains("__"),
            "a table cannot be called {table:?}: small letters, digits and _ make a name, as in \
             `app`"
        );
        let keys = Config::default();
        let is_ours =
            TABLES.contains(&table) || table == "listener" || keys.keys().contains(&table);
        assert!(
            !is_ours,
            "[{table}] is a table or a key of purlin's own; `app` never will be"
        );
        let of = TypeId::of::<T>();
        for other in &self.tables {
            assert!(other.table != table, "table [{table}] is claimed twice");
            let (name, first) = (type_name::<T>(), &other.table);
            assert!(
                other.of != of,
                "{name} is the type of [{first}] and of [{table}]"
            );
        }
        self.tables.push(Claim {
            table: table.to_owned(),
            of,
            type_name: type_name::<T>(),
            read: read::<T>,
            fields: fields::<T>,
        });
    }

    /// A listener must be called `name`.
    pub fn listener(&mut self, name: &str) {
        self.listeners.push(name.to_owned());
    }

    /// What listeners must be called.
    #[must_use]
    pub fn listeners(&self) -> &[String] {
        &self.listeners
    }

    /// There must be no more than one worker.
    pub const fn single_worker(&mut self) {
        self.single_worker = true;
    }

    /// Refuses more workers than the program wants.
    pub(super) fn settle(&self, config: &mut Config) -> Result<(), ConfigError> {
        if !self.single_worker {
            return Ok(());
        }
        config.single_worker = true;
        match config.workers {
            Workers::Auto => config.workers = Workers::Count(1),
            Workers::Count(1) => {}
            Workers::Count(count) => {
                return Err(config.refuse(
                    "workers",
                    &format!(
                        "is {count}, must be 1 or auto: the program keeps what it knows in one \
                         worker (App::single_worker)"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Refuses a configuration that lacks a listener of a name.
    pub(super) fn check(&self, config: &Config) -> Result<(), ConfigError> {
        let names = || config.listener.iter().enumerate();
        let is_missing =
            |name: &&String| !names().any(|(_, listener)| listener.name.as_ref() == Some(*name));
        let Some(missing) = self.listeners.iter().find(is_missing) else {
            return Ok(());
        };
        // One that is nearly called so is what was meant.
        let named = names().filter_map(|(n, listener)| Some((n, listener.name.as_deref()?)));
        let near = nearest(missing, named.clone().map(|(_, name)| name));
        let found = near.and_then(|near| named.clone().find(|(_, name)| *name == near));
        Err(match found {
            Some((n, name)) => config.refuse(
                &format!("listener.{n}.name"),
                &format!("is \"{name}\", but the program has functions for \"{missing}\""),
            ),
            None => config.refuse(
                "listener",
                &format!("has none with name = \"{missing}\", for which the program has functions"),
            ),
        })
    }

    /// The names of the tables.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tables.iter().map(|claim| &*claim.table)
    }

    /// The keys of each table that are known beforehand.
    pub(super) fn keys(&self) -> impl Iterator<Item = String> {
        let keys = |claim: &Claim| {
            let table = claim.table.clone();
            let fields = (claim.fields)().iter();
            fields.map(move |field| dotted(&table, field))
        };
        self.tables.iter().flat_map(keys)
    }

    /// Whether one of the tables is what `key` begins with.
    pub(super) fn claim(&self, key: &str) -> bool {
        let table = key.split('.').next().unwrap_or(key);
        self.names().any(|name| name == table)
    }
}

/// What was written for the program's tables.
#[derive(Default)]
pub(super) struct Written(Vec<(String, Node)>);

impl Written {
    /// A table of the file.
    pub(super) fn table(
        &mut self,
        source: &Source<'_>,
        name: &str,
        at: Place,
        table: &DeTable<'_>,
    ) {
        let node = Node::table(source, at, table);
        self.0.push((name.to_owned(), node));
    }

    /// A value of the environment or the command line.
    ///
    /// # Errors
    ///
    /// The key is that of the whole table.
    pub(super) fn set(&mut self, setting: &Setting<'_>, text: &str) -> Result<(), ConfigError> {
        let mut path: Vec<&str> = setting.key.split('.').collect();
        let table = path.remove(0);
        if path.is_empty() {
            return Err(must_be_table(table, &setting.key_place));
        }
        if !self.0.iter().any(|(name, _)| name == table) {
            self.0.push((table.to_owned(), Node::nothing()));
        }
        let node = Node::bare(text, &setting.shown, &setting.place);
        for (_, root) in self.0.iter_mut().filter(|(name, _)| name == table) {
            root.put(&path, node.clone());
        }
        Ok(())
    }

    /// The values of all that `claims` has, and where they came from.
    ///
    /// # Errors
    ///
    /// The first that its type refuses.
    pub(super) fn read(self, claims: &Claims) -> Result<(Own, Vec<(String, Place)>), ConfigError> {
        let (mut own, mut places) = (Own::default(), Vec::new());
        for claim in &claims.tables {
            let written = self.0.iter().find(|(name, _)| *name == claim.table);
            let nothing = Node::nothing();
            let node = written.map_or(&nothing, |(_, node)| node);
            let table = &*claim.table;
            // The master, too, runs this: it must not die of it.
            let read = catch_unwind(AssertUnwindSafe(|| (claim.read)(node, table)));
            let panicked = |_| {
                let text = format!("reading a {} panicked", claim.type_name);
                Err(serde::de::Error::custom(text))
            };
            let (value, rows) = read
                .unwrap_or_else(panicked)
                .map_err(|fault| fault.into_error(table, node))?;
            node.places(table, &mut places);
            own.0.push(OwnTable {
                name: table.to_owned(),
                value,
                rows,
            });
        }
        Ok((own, places))
    }
}

pub(super) fn must_be_table(table: &str, place: &Place) -> ConfigError {
    ConfigError::Refused {
        place: place.clone(),
        message: format!("{table} is a table and must be written as `[{table}]`"),
    }
}

/// The program's tables. Two are equal when they show the same.
#[derive(Clone, Default)]
pub(super) struct Own(Vec<OwnTable>);

#[derive(Clone)]
struct OwnTable {
    name: String,
    value: OwnValue,
    rows: Rows,
}

impl PartialEq for Own {
    fn eq(&self, other: &Self) -> bool {
        let rows = |own: &Self| -> Vec<_> {
            let rows = own
                .0
                .iter()
                .map(|table| (table.name.clone(), table.rows.clone()));
            rows.collect()
        };
        rows(self) == rows(other)
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.0.iter().map(|table| (&table.name, &table.rows));
        f.debug_map().entries(rows).finish()
    }
}

impl Own {
    pub(super) fn values(&self) -> Vec<OwnValue> {
        self.0
            .iter()
            .map(|table| Arc::clone(&table.value))
            .collect()
    }

    /// Each table with its rows, for `-T`.
    pub(super) fn tables(&self) -> impl Iterator<Item = (&str, &[(String, String)])> {
        self.0.iter().map(|table| (&*table.name, &table.rows[..]))
    }
}

fn read<T>(node: &Node, table: &str) -> Read
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let value = T::deserialize(Reader::of(node, table, &Notes::default()))?;
    let rows = rows(&value)?;
    Ok((Arc::new(value), rows))
}

/// The fields of `T`, as far as they can be known without a value of it.
fn fields<T: DeserializeOwned>() -> &'static [&'static str] {
    let (notes, nothing) = (Notes::default(), Node::nothing());
    let reader = || T::deserialize(Reader::of(&nothing, "", &notes));
    let _what_is_missing = catch_unwind(AssertUnwindSafe(reader));
    notes.fields.into_inner().unwrap_or_default()
}

/// A value as the file would have it.
fn rows<T: Serialize + DeserializeOwned>(value: &T) -> Result<Rows, Fault> {
    let shown = toml::Value::try_from(value);
    let shown = shown.map_err(|error| {
        let text = format!("the value cannot be written as a table: {error}");
        <Fault as serde::de::Error>::custom(text)
    })?;
    // Who reads it again learns which of its numbers are times.
    let (notes, nowhere) = (Notes::default(), Place::Default);
    let node = Node::from_toml(&shown, &nowhere, "");
    let _the_same = T::deserialize(Reader::of(&node, "", &notes));
    let mut rows = Rows::new();
    flatten("", &shown, &notes.times.into_inner(), &mut rows);
    Ok(rows)
}

fn flatten(key: &str, value: &toml::Value, times: &[String], rows: &mut Rows) {
    let table = value.as_table();
    let table = table.filter(|table| key.is_empty() || !table.is_empty());
    match (as_time(key, value, times), table) {
        (Some(time), _) => rows.push((key.to_owned(), quoted(&time))),
        (None, Some(table)) => {
            for (name, value) in table {
                flatten(&dotted(key, &bare(name)), value, times, rows);
            }
        }
        (None, None) => rows.push((key.to_owned(), with_times(key, value, times).to_string())),
    }
}

/// The time that this is, if it is one.
fn as_time(key: &str, value: &toml::Value, times: &[String]) -> Option<String> {
    let part = |name| value.get(name)?.as_integer()?.try_into().ok();
    let is_time = times.iter().any(|time| time == key);
    let (secs, nanos): (u64, u64) = (part("secs")?, part("nanos")?);
    let nanos = u32::try_from(nanos).ok().filter(|_| is_time)?;
    Some(duration_text(std::time::Duration::new(secs, nanos)))
}

/// The same within lists.
fn with_times(key: &str, value: &toml::Value, times: &[String]) -> toml::Value {
    if let Some(time) = as_time(key, value, times) {
        return time.into();
    }
    if let Some(list) = value.as_array() {
        let one = |(n, value): (usize, _)| with_times(&dotted(key, &n.to_string()), value, times);
        return list.iter().enumerate().map(one).collect::<Vec<_>>().into();
    }
    let Some(table) = value.as_table() else {
        return value.clone();
    };
    let one =
        |(name, value): (&String, _)| (name.clone(), with_times(&dotted(key, name), value, times));
    toml::Value::Table(table.iter().map(one).collect())
}

#[cfg(test)]
mod tests;
