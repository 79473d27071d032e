//! Replies, and the types that callers take them as. Pure.

use std::sync::Arc;

use super::error::Error;

/// A reply as the server gave it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing is there.
    Nil,
    /// A number.
    Int(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A word of the server's, such as `OK`.
    Status(String),
    /// Several.
    List(Vec<Value>),
    /// An error of one command of several.
    Error(Error),
}

impl Value {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Int(_) => "a number",
            Self::Bytes(_) => "a string",
            Self::Status(_) => "a status",
            Self::List(_) => "a list",
            Self::Error(_) => "an error",
        }
    }

    /// As the crate gives it.
    pub(super) fn new(value: redis::Value, server: &Arc<str>) -> Self {
        use redis::Value as Theirs;
        let list = |values: Vec<Theirs>| {
            let values = values.into_iter();
            Self::List(values.map(|value| Self::new(value, server)).collect())
        };
        match value {
            Theirs::Int(number) => Self::Int(number),
            Theirs::BulkString(bytes) | Theirs::BigNumber(bytes) => Self::Bytes(bytes),
            Theirs::Array(values) | Theirs::Set(values) => list(values),
            Theirs::SimpleString(text) => Self::Status(text),
            Theirs::Okay => Self::Status("OK".into()),
            Theirs::Double(number) => Self::Bytes(number.to_string().into()),
            Theirs::Boolean(is) => Self::Int(is.into()),
            Theirs::VerbatimString { text, .. } => Self::Bytes(text.into()),
            Theirs::Map(pairs) => list(pairs.into_iter().flat_map(|(k, v)| [k, v]).collect()),
            Theirs::Attribute { data, .. } => Self::new(*data, server),
            Theirs::ServerError(error) => {
                let text = error.details().unwrap_or_default();
                Self::Error(Error::said(server, error.code(), text))
            }
            // No subscription is made, so nothing is pushed.
            Theirs::Nil | Theirs::Push { .. } | _ => Self::Nil,
        }
    }
}

/// A type that a reply can be taken as.
pub trait FromReply: Sized {
    /// Takes it.
    ///
    /// # Errors
    ///
    /// [`Error::Type`] when it is something else, or the error that it is.
    fn from_reply(value: Value) -> Result<Self, Error>;
}

fn mismatch<T>(wanted: &'static str, value: Value) -> Result<T, Error> {
    let found = value.kind();
    Err(match value {
        Value::Error(error) => error,
        Value::Nil | Value::Int(_) | Value::Bytes(_) | Value::Status(_) | Value::List(_) => {
            Error::Type { wanted, found }
        }
    })
}

impl FromReply for Value {
    fn from_reply(value: Value) -> Result<Self, Error> {
        match value {
            Self::Error(error) => Err(error),
            other @ (Self::Nil
            | Self::Int(_)
            | Self::Bytes(_)
            | Self::Status(_)
            | Self::List(_)) => Ok(other),
        }
    }
}

/// `OK` and nothing else.
impl FromReply for () {
    fn from_reply(value: Value) -> Result<Self, Error> {
        if matches!(&value, Value::Status(text) if text == "OK") {
            return Ok(());
        }
        mismatch("OK", value)
    }
}

impl FromReply for i64 {
    fn from_reply(value: Value) -> Result<Self, Error> {
        let number = match &value {
            Value::Int(number) => Some(*number),
            Value::Bytes(bytes) => str::from_utf8(bytes)
                .ok()
                .and_then(|text| text.parse().ok()),
            Value::Nil | Value::Status(_) | Value::List(_) | Value::Error(_) => None,
        };
        number.map_or_else(|| mismatch("a number", value), Ok)
    }
}

impl FromReply for bool {
    fn from_reply(value: Value) -> Result<Self, Error> {
        if let Value::Int(number) = value {
            return Ok(number != 0);
        }
        mismatch("0 or 1", value)
    }
}

impl FromReply for Vec<u8> {
    fn from_reply(value: Value) -> Result<Self, Error> {
        match value {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Status(text) => Ok(text.into()),
            Value::Int(number) => Ok(number.to_string().into()),
            other @ (Value::Nil | Value::List(_) | Value::Error(_)) => mismatch("a string", other),
        }
    }
}

impl FromReply for String {
    fn from_reply(value: Value) -> Result<Self, Error> {
        let bytes = Vec::<u8>::from_reply(value)?;
        Self::from_utf8(bytes).map_err(|_| Error::Type {
            wanted: "a text",
            found: "bytes that are no UTF-8",
        })
    }
}

impl<T: FromReply> FromReply for Option<T> {
    fn from_reply(value: Value) -> Result<Self, Error> {
        if value == Value::Nil {
            return Ok(None);
        }
        T::from_reply(value).map(Some)
    }
}

macro_rules! lists {
    ($($item:ty),*) => { $(
        impl FromReply for Vec<$item> {
            fn from_reply(value: Value) -> Result<Self, Error> {
                if let Value::List(values) = value {
                    return values.into_iter().map(FromReply::from_reply).collect();
                }
                mismatch("a list", value)
            }
        }
    )* };
}

lists!(
    Value,
    i64,
    bool,
    String,
    Vec<u8>,
    Option<String>,
    Option<Vec<u8>>,
    Option<i64>
);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn nil_errors_and_strings_are_told_apart() {
        let error = || Error::Server {
            code: "ERR".into(),
            text: "no".into(),
        };
        let bytes = || Value::Bytes(b"12".to_vec());
        assert_eq!(Option::<String>::from_reply(Value::Nil), Ok(None));
        assert_eq!(Option::<String>::from_reply(bytes()), Ok(Some("12".into())));
        assert_eq!(
            Option::<String>::from_reply(Value::Error(error())),
            Err(error())
        );
        assert!(matches!(
            String::from_reply(Value::Nil),
            Err(Error::Type { found: "nil", .. })
        ));
        assert_eq!(i64::from_reply(bytes()), Ok(12));
        assert_eq!(<()>::from_reply(Value::Status("OK".into())), Ok(()));
        for other in [
            Value::Status("QUEUED".into()),
            Value::Nil,
            Value::Int(1),
            bytes(),
        ] {
            assert!(<()>::from_reply(other).is_err(), "OK alone is success");
        }
        let list = Value::List(vec![bytes(), Value::Nil]);
        let expected = vec![Some("12".to_owned()), None];
        assert_eq!(Vec::<Option<String>>::from_reply(list), Ok(expected));
    }
}
