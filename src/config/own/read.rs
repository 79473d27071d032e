//! From a tree of values to the program's own type: what serde asks, answered as
//! strictly as for our own keys, and each refusal with the place of its value.
//! Pure.

use std::cell::RefCell;

use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess};
use serde::de::{Unexpected, VariantAccess, Visitor};

use super::super::value::{one_of, parse_duration};
use super::super::{Place, dotted};
use super::fault::Fault;
use super::node::{Entry, Node, Value};

/// What reading taught.
#[derive(Default)]
pub(super) struct Notes {
    /// Keys whose values are times.
    pub(super) times: RefCell<Vec<String>>,
    /// The fields of the outermost table.
    pub(super) fields: RefCell<Option<&'static [&'static str]>>,
}

/// One value, for serde.
pub(super) struct Reader<'a> {
    pub(super) node: &'a Node,
    /// With its tables: `app.pool.size`.
    pub(super) key: String,
    /// Where the key is, and which others its table has.
    pub(super) key_place: &'a Place,
    pub(super) siblings: &'static [&'static str],
    pub(super) notes: &'a Notes,
}

impl<'a> Reader<'a> {
    /// The whole of a table of the file.
    pub(super) fn of(node: &'a Node, table: &str, notes: &'a Notes) -> Self {
        Self {
            node,
            key: table.to_owned(),
            key_place: &node.place,
            siblings: &[],
            notes,
        }
    }

    /// Reads as `read` does; a bare value that is written as in the file counts as
    /// that.
    fn with<V>(self, read: impl FnOnce(&Self, &Node) -> Result<V, Fault>) -> Result<V, Fault> {
        let parsed = self.node.parsed();
        let node = parsed.as_ref().unwrap_or(self.node);
        read(&self, node).map_err(|fault| fault.of(&self.key, self.node))
    }

    /// The same, as it is.
    fn plainly<V>(self, read: impl FnOnce(&Value) -> Result<V, Fault>) -> Result<V, Fault> {
        read(&self.node.value).map_err(|fault| fault.of(&self.key, self.node))
    }

    fn list<'b>(&'b self, nodes: &'b [Node]) -> Elements<'b> {
        Elements {
            nodes: nodes.iter().enumerate(),
            of: self.key.clone(),
            notes: self.notes,
        }
    }

    fn table<'b>(&'b self, entries: &'b [Entry], fields: &'static [&'static str]) -> Entries<'b> {
        Entries {
            entries: entries.iter(),
            value: None,
            of: self.key.clone(),
            fields,
            notes: self.notes,
        }
    }
}

/// The time as serde's own fields have it.
fn time(value: &Value) -> Result<[u64; 2], Fault> {
    if let Value::Table(entries) = value
        && let [nanos, secs] = &entries[..]
        && (&*nanos.key, &*secs.key) == ("nanos", "secs")
    {
        // As a program shows one; nobody writes it.
        let number = |entry: &Entry| entry.node.value.number()?.try_into().ok();
        if let (Some(secs), Some(nanos)) = (number(secs), number(nanos)) {
            return Ok([secs, nanos]);
        }
    }
    let time = value.text().and_then(parse_duration);
    let time = time.ok_or_else(|| Fault::must_be("a time with its unit, as in \"30s\"".into()))?;
    Ok([time.as_secs(), time.subsec_nanos().into()])
}

macro_rules! integers {
    ($($name:ident $visit:ident $type:ty;)*) => { $(
        fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.plainly(|value| {
                let fits = value.number().and_then(|number| <$type>::try_from(number).ok());
                let (min, max) = (<$type>::MIN, <$type>::MAX);
                let refused = || Fault::must_be(format!("from {min} to {max}"));
                visitor.$visit(fits.ok_or_else(refused)?)
            })
        }
    )* };
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    integers! {
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_i128 visit_i128 i128;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_u128 visit_u128 u128;
    }

    /// Where the type does not say what it wants.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.with(|reader, node| match &node.value {
            Value::Bare(text) | Value::Text(text) => visitor.visit_str(text),
            Value::Integer(number) => match i64::try_from(*number) {
                Ok(number) => visitor.visit_i64(number),
                Err(_) => Err(Fault::must_be(format!("from {} to {}", i64::MIN, i64::MAX))),
            },
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::List(list) => visitor.visit_seq(reader.list(list)),
            Value::Table(entries) => visitor.visit_map(reader.table(entries, &[])),
        })
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.with(|_, node| {
            if let Value::Bool(truth) = node.value {
                visitor.visit_bool(truth)
            } else {
                Err(Fault::must_be("true or false".into()))
            }
        })
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.with(|_, node| match node.value.fraction() {
            Some(number) => visitor.visit_f64(number),
            None => Err(Fault::must_be("a number".into())),
        })
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.plainly(|value| match value.text() {
            Some(text) => visitor.visit_str(text),
            None => Err(Fault::must_be("text in quotes".into())),
        })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if matches!(&self.node.value, Value::Bare(text) if text.is_empty()) {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let (key, node) = (self.key.clone(), self.node);
        // What the type itself has against the value.
        let read = visitor.visit_newtype_struct(self);
        read.map_err(|fault: Fault| fault.of(&key, node))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.with(|reader, node| match node.value.list() {
            Some(list) => visitor.visit_seq(reader.list(list)),
            None => Err(Fault::must_be("a list, as in [1, 2]".into())),
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.with(|reader, node| match node.value.table() {
            Some(entries) => visitor.visit_map(reader.table(entries, &[])),
            None => Err(Fault::must_be("a table".into())),
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if (name, fields) == ("Duration", &["secs", "nanos"]) {
            self.notes.times.borrow_mut().push(self.key.clone());
            return self.plainly(|value| {
                visitor.visit_seq(SeqDeserializer::new(time(value)?.into_iter()))
            });
        }
        self.notes.fields.borrow_mut().get_or_insert(fields);
        self.with(|reader, node| match node.value.table() {
            Some(entries) => visitor.visit_map(reader.table(entries, fields)),
            None => Err(Fault::must_be(format!("a table of {}", fields.join(", ")))),
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.with(|reader, node| {
            let unknown = || Fault::must_be(one_of(variants));
            match node.value.table() {
                Some([entry]) => {
                    if !variants.contains(&&*entry.key) {
                        let key = dotted(&reader.key, &entry.key);
                        return Err(Fault::unknown(&key, variants, &entry.place));
                    }
                    visitor.visit_enum(Variant { reader, entry })
                }
                Some(_) | None => {
                    let text = node.value.text().filter(|text| variants.contains(text));
                    let text: StrDeserializer<'_, Fault> =
                        StrDeserializer::new(text.ok_or_else(unknown)?);
                    visitor.visit_enum(text)
                }
            }
        })
    }

    /// Nobody wants the value: its key is unknown.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
        Err(Fault::unknown(&self.key, self.siblings, self.key_place))
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    serde::forward_to_deserialize_any! { bytes byte_buf unit unit_struct }
}

/// The values of a list.
struct Elements<'a> {
    nodes: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
    of: String,
    notes: &'a Notes,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some((n, node)) = self.nodes.next() else {
            return Ok(None);
        };
        let key = dotted(&self.of, &n.to_string());
        let reader = Reader {
            node,
            key: key.clone(),
            key_place: &node.place,
            siblings: &[],
            notes: self.notes,
        };
        let read = seed.deserialize(reader);
        read.map(Some).map_err(|fault| fault.of(&key, node))
    }
}

/// The keys and values of a table.
struct Entries<'a> {
    entries: std::slice::Iter<'a, Entry>,
    value: Option<&'a Entry>,
    of: String,
    fields: &'static [&'static str],
    notes: &'a Notes,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        self.value = self.entries.next();
        let Some(entry) = self.value else {
            return Ok(None);
        };
        seed.deserialize(StrDeserializer::new(&entry.key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some(entry) = self.value.take() else {
            return Err(Fault::custom("a value was asked for before its key"));
        };
        let key = dotted(&self.of, &entry.key);
        let reader = Reader {
            node: &entry.node,
            key: key.clone(),
            key_place: &entry.place,
            siblings: self.fields,
            notes: self.notes,
        };
        let read = seed.deserialize(reader);
        // What the type of the field has against a value that serde could read.
        read.map_err(|fault| fault.of(&key, &entry.node))
    }
}

/// A choice that has values of its own: `{ name = values }`.
struct Variant<'a> {
    reader: &'a Reader<'a>,
    entry: &'a Entry,
}

impl<'a> Variant<'a> {
    fn content(self) -> Reader<'a> {
        Reader {
            node: &self.entry.node,
            key: dotted(&self.reader.key, &self.entry.key),
            key_place: &self.entry.place,
            siblings: &[],
            notes: self.reader.notes,
        }
    }
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let name: StrDeserializer<'_, Fault> = StrDeserializer::new(&self.entry.key);
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Err(Fault::invalid_type(
            Unexpected::NewtypeVariant,
            &"a name without a value",
        ))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(self.content())
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.content().deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.content().deserialize_struct("", fields, visitor)
    }
}
