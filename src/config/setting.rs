//! What somebody wrote, value by value and with its place, whether it was in the
//! file, in an environment variable or on the command line. Pure.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::place::printable;
use super::value::Given;
use super::{FilePlace, Place, TABLES, dotted, listener_path};

/// Environment variables that begin like this are keys.
pub(super) const VARIABLE_PREFIX: &str = "PURLIN__";

/// One value that somebody wrote.
pub(super) struct Setting<'a> {
    /// With its table: `worker.turn_time`.
    pub(super) key: String,
    pub(super) given: Given<'a>,
    /// The value as it was written.
    pub(super) shown: String,
    /// Where the key is: for complaints about the key.
    pub(super) key_place: Place,
    /// Where the value is: for complaints about the value.
    pub(super) place: Place,
}

/// The file, for finding places in it.
pub(super) struct Source<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

impl<'a> Source<'a> {
    pub(super) fn place(&self, span: std::ops::Range<usize>) -> Place {
        Place::File(FilePlace::new(self.file, self.text, span))
    }

    /// The values of the document, from top to bottom, so that the first mistake
    /// is the one that is reported.
    pub(super) fn settings(&self, document: &'a DeTable<'a>) -> Vec<Setting<'a>> {
        let mut found = Vec::new();
        for (key, value) in document {
            let name = key.get_ref().as_ref();
            let listeners = value.get_ref().as_array();
            let listeners =
                listeners.filter(|list| name == "listener" && list.iter().all(is_table));
            let table = value.get_ref().as_table();
            if let Some(table) = table.filter(|_| TABLES.contains(&name)) {
                found.extend(table.iter().map(|entry| (name.to_owned(), entry)));
            } else if let Some(listeners) = listeners {
                let tables = listeners
                    .iter()
                    .filter_map(|table| table.get_ref().as_table());
                for (index, table) in tables.enumerate() {
                    found.extend(table.iter().map(|entry| (listener_path(index), entry)));
                }
            } else {
                // A key without a table, or one that will be refused.
                found.push((String::new(), (key, value)));
            }
        }
        found.sort_by_key(|(_, (key, _))| key.span().start);
        found
            .into_iter()
            .map(|(table, (key, value))| self.setting(&table, key, value))
            .collect()
    }

    fn setting(
        &self,
        table: &str,
        key: &Spanned<std::borrow::Cow<'a, str>>,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Setting<'a> {
        let written = self.text.get(value.span()).unwrap_or_default();
        Setting {
            key: dotted(table, key.get_ref()),
            given: Given::Toml(value),
            shown: printable(written),
            key_place: self.place(key.span()),
            place: self.place(value.span()),
        }
    }
}

fn is_table(value: &Spanned<DeValue<'_>>) -> bool {
    value.get_ref().is_table()
}

/// The settings among the environment variables, in the order of their keys:
/// listeners by number, because each adds to those before it.
pub(super) fn variables(env: impl IntoIterator<Item = (String, String)>) -> Vec<Setting<'static>> {
    let mut settings: Vec<_> = env
        .into_iter()
        .filter_map(|(name, value)| {
            let key = name.strip_prefix(VARIABLE_PREFIX)?;
            let key = key.to_ascii_lowercase().replace("__", ".");
            Some(Setting::from_text(key, value, Place::Variable(name)))
        })
        .collect();
    settings.sort_by_cached_key(|setting| {
        let parts = setting.key.split('.');
        let by_number = parts.map(|part| (part.len(), part.to_owned()));
        by_number.collect::<Vec<_>>()
    });
    settings
}

/// The settings of the command line, in its order: the last one wins.
pub(super) fn flags(overrides: &[(String, String)]) -> Vec<Setting<'static>> {
    let flag = |(key, value): &(String, String)| {
        let place = Place::Flag(format!("{key}={value}"));
        Setting::from_text(key.clone(), value.clone(), place)
    };
    overrides.iter().map(flag).collect()
}

impl Setting<'static> {
    fn from_text(key: String, value: String, place: Place) -> Self {
        Self {
            key,
            shown: if value.is_empty() {
                "empty".into()
            } else {
                printable(&value)
            },
            given: Given::Text(value),
            key_place: place.clone(),
            place,
        }
    }
}
