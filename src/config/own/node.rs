//! What somebody wrote for the program's own keys: a tree of values, each with
//! its place. Pure.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::place::printable;
use super::super::setting::Source;
use super::super::value::quoted;
use super::super::{Place, dotted};

/// One value.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Of a table: where its name is.
    pub(super) place: Place,
    /// As it was written; empty for a table.
    pub(super) shown: String,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// From the environment or the command line, where text has no quotes: who
    /// reads it says what it is.
    Bare(String),
    Text(String),
    Integer(i128),
    Float(f64),
    Bool(bool),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

impl Value {
    pub(super) fn table(&self) -> Option<&[Entry]> {
        if let Self::Table(entries) = self {
            Some(entries)
        } else {
            None
        }
    }

    pub(super) fn list(&self) -> Option<&[Node]> {
        if let Self::List(list) = self {
            Some(list)
        } else {
            None
        }
    }

    /// What is text, if it may be.
    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) | Self::Bare(text) = self {
            Some(text)
        } else {
            None
        }
    }

    /// The whole number, if it is one.
    pub(super) fn number(&self) -> Option<i128> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Bare(text) => text.parse().ok(),
            Self::Text(_) | Self::Float(_) | Self::Bool(_) | Self::List(_) | Self::Table(_) => None,
        }
    }

    /// The number, whole or not.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a whole number as a fraction is what the program asks for"
    )]
    pub(super) fn fraction(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            Self::Integer(number) => Some(*number as f64),
            Self::Bare(_) | Self::Text(_) | Self::Bool(_) | Self::List(_) | Self::Table(_) => None,
        }
    }
}

/// A key of a table, and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

impl Node {
    /// A table that nobody wrote.
    pub(super) const fn nothing() -> Self {
        Self {
            place: Place::Default,
            shown: String::new(),
            value: Value::Table(Vec::new()),
        }
    }

    /// A value of the environment or the command line.
    pub(super) fn bare(text: &str, shown: &str, place: &Place) -> Self {
        Self {
            place: place.clone(),
            shown: shown.to_owned(),
            value: Value::Bare(text.to_owned()),
        }
    }

    /// A table of the file, its keys from top to bottom.
    pub(super) fn table(source: &Source<'_>, place: Place, table: &DeTable<'_>) -> Self {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let key: (&std::borrow::Cow<'_, str>, Place) =
                (key.get_ref(), source.place(key.span()));
            Entry {
                key: key.0.clone().into_owned(),
                node: Self::of(source, &key.1, value),
                place: key.1,
            }
        };
        Self {
            place,
            shown: String::new(),
            value: Value::Table(entries.into_iter().map(entry).collect()),
        }
    }

    fn of(source: &Source<'_>, name: &Place, value: &Spanned<DeValue<'_>>) -> Self {
        let place = source.place(value.span());
        let value_of = |value: &DeValue<'_>| match value {
            DeValue::String(text) => Value::Text(text.clone().into_owned()),
            DeValue::Integer(number) => {
                let number = i128::from_str_radix(number.as_str(), number.radix());
                Value::Integer(number.unwrap_or(i128::MAX))
            }
            DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(truth) => Value::Bool(*truth),
            DeValue::Datetime(time) => Value::Text(time.to_string()),
            DeValue::Array(list) => Value::List(
                list.iter()
                    .map(|one| Self::of(source, &place, one))
                    .collect(),
            ),
            DeValue::Table(_) => unreachable!("tables go their own way, above"),
        };
        if let DeValue::Table(table) = value.get_ref() {
            return Self::table(source, name.clone(), table);
        }
        let written = source.text.get(value.span()).unwrap_or_default();
        Self {
            shown: printable(written),
            value: value_of(value.get_ref()),
            place: place.clone(),
        }
    }

    /// The same, of a bare value that is written as in the file; `None`: it is not.
    pub(super) fn parsed(&self) -> Option<Self> {
        let Value::Bare(text) = &self.value else {
            return None;
        };
        let text = format!("x = {text}");
        let table = toml::from_str::<toml::Table>(&text).ok()?;
        let value = table.get("x").filter(|_| table.len() == 1)?;
        Some(Self::from_toml(value, &self.place, &self.shown))
    }

    /// What a program would write, all at one place.
    pub(super) fn from_toml(value: &toml::Value, place: &Place, shown: &str) -> Self {
        let value = match value {
            toml::Value::String(text) => Value::Text(text.clone()),
            toml::Value::Integer(number) => Value::Integer((*number).into()),
            toml::Value::Float(number) => Value::Float(*number),
            toml::Value::Boolean(truth) => Value::Bool(*truth),
            toml::Value::Datetime(time) => Value::Text(time.to_string()),
            toml::Value::Array(list) => {
                let one = |value| Self::from_toml(value, place, shown);
                Value::List(list.iter().map(one).collect())
            }
            toml::Value::Table(table) => {
                let entry = |(key, value): (&String, _)| Entry {
                    key: key.clone(),
                    place: place.clone(),
                    node: Self::from_toml(value, place, shown),
                };
                Value::Table(table.iter().map(entry).collect())
            }
        };
        Self {
            place: place.clone(),
            shown: shown.to_owned(),
            value,
        }
    }

    /// Puts `node` where `path` leads, instead of what was there. A number leads
    /// into a list, at most one behind its end.
    pub(super) fn put(&mut self, path: &[&str], node: Self) {
        let Some((first, rest)) = path.split_first() else {
            *self = node;
            return;
        };
        if let Value::List(list) = &mut self.value
            && let Some(at) = first.parse().ok().filter(|at: &usize| *at <= list.len())
        {
            if at == list.len() {
                let place = node.place.clone();
                list.push(Self {
                    place,
                    ..Self::nothing()
                });
            }
            return list[at].put(rest, node);
        }
        if !matches!(self.value, Value::Table(_)) {
            self.value = Value::Table(Vec::new());
        }
        let Value::Table(entries) = &mut self.value else {
            return;
        };
        let at = entries.iter().position(|entry| entry.key == *first);
        let at = at.unwrap_or_else(|| {
            let place = node.place.clone();
            entries.push(Entry {
                key: (*first).to_owned(),
                place: place.clone(),
                node: Self {
                    place,
                    ..Self::nothing()
                },
            });
            entries.len() - 1
        });
        if rest.is_empty() {
            entries[at].place = node.place.clone();
        }
        entries[at].node.put(rest, node);
    }

    /// The places of everything below that is no table, by dotted keys.
    pub(super) fn places(&self, key: &str, found: &mut Vec<(String, Place)>) {
        match &self.value {
            Value::Table(entries) => {
                for entry in entries {
                    entry.node.places(&dotted(key, &bare(&entry.key)), found);
                }
            }
            Value::Bare(_)
            | Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::List(_) => found.push((key.to_owned(), self.place.clone())),
        }
    }
}

/// A key as it stands in the file.
pub(super) fn bare(key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !key.is_empty() && key.chars().all(is_bare) {
        key.to_owned()
    } else {
        quoted(key)
    }
}
