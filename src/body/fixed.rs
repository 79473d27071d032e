//! Bodies of a fixed layout: the packed structs of C and C++ peers.

use super::reply::IntoReply;
use super::{Answer, Error, FromBody, Raw};

/// A struct of a fixed number of bytes, field by field, each with its byte
/// order. It is a body and a reply as it is.
///
/// The classic login, `char[56] user · char[40] pass`:
///
/// ```
/// use purlin::prelude::*;
///
/// struct Login { user: String, pass: String }
///
/// impl Fixed for Login {
///     const LEN: usize = 56 + 40;
///
///     fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
///         Ok(Self { user: r.text(56)?, pass: r.text(40)? })
///     }
///
///     fn write(&self, w: &mut Writer<'_>) {
///         w.text(56, &self.user);
///         w.text(40, &self.pass);
///     }
/// }
///
/// let app = App::<()>::new()
///     .on(6, |_, login: Login| format!("hello {}", login.user));
/// let mut body = vec![0; Login::LEN];
/// body[..3].copy_from_slice(b"ann");
/// let mut test = app.test();
/// let ann = test.connect();
/// assert_eq!(test.call(ann, 6, body).unwrap(), "hello ann");
/// assert_eq!(test.call(ann, 6, "short").unwrap_err().code, 400);
/// ```
pub trait Fixed: Sized {
    /// Bytes of the body; another length answers 400.
    const LEN: usize;

    /// Reads the fields in their order.
    ///
    /// # Errors
    ///
    /// 400 with the reason, for the peer.
    fn read(reader: &mut Reader<'_>) -> Result<Self, Error>;

    /// Writes the fields in their order, [`Self::LEN`] bytes in all.
    fn write(&self, writer: &mut Writer<'_>);
}

#[diagnostic::do_not_recommend]
impl<T: Fixed> FromBody for T {
    fn from_body(body: Raw<'_>) -> Result<Self, Error> {
        let bytes = body.bytes();
        if bytes.len() != T::LEN {
            let text = format!("the body has {} bytes, must have {}", bytes.len(), T::LEN);
            return Err(Error::new(400, text));
        }
        T::read(&mut Reader { rest: bytes })
    }
}

#[diagnostic::do_not_recommend]
impl<T: Fixed> IntoReply for T {
    /// # Panics
    ///
    /// When the struct writes another number of bytes than it says: no peer
    /// could read it. The request is answered with error 500.
    fn into_reply(self) -> Answer {
        let mut bytes = Vec::with_capacity(T::LEN);
        self.write(&mut Writer { bytes: &mut bytes });
        assert_eq!(
            bytes.len(),
            T::LEN,
            "a fixed struct wrote another length than its own"
        );
        Answer::body(bytes.into())
    }
}

/// Takes fields from the front of a body.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// Appends fields to a body.
#[derive(Debug)]
pub struct Writer<'a> {
    bytes: &'a mut Vec<u8>,
}

macro_rules! numbers {
    ($($be:ident $le:ident $type:ty;)+) => {
        impl Reader<'_> {
            $(
                #[doc = concat!("The next `", stringify!($type), "`, big-endian.\n\n# Errors\n\nThe body ends before it does.")]
                pub fn $be(&mut self) -> Result<$type, Error> {
                    self.array().map(<$type>::from_be_bytes)
                }

                #[doc = concat!("The next `", stringify!($type), "`, little-endian.\n\n# Errors\n\nThe body ends before it does.")]
                pub fn $le(&mut self) -> Result<$type, Error> {
                    self.array().map(<$type>::from_le_bytes)
                }
            )+
        }

        impl Writer<'_> {
            $(
                #[doc = concat!("Appends a `", stringify!($type), "`, big-endian.")]
                pub fn $be(&mut self, number: $type) {
                    self.bytes(&number.to_be_bytes());
                }

                #[doc = concat!("Appends a `", stringify!($type), "`, little-endian.")]
                pub fn $le(&mut self, number: $type) {
                    self.bytes(&number.to_le_bytes());
                }
            )+
        }
    };
}

numbers! {
    u16_be u16_le u16;
    u32_be u32_le u32;
    u64_be u64_le u64;
    i16_be i16_le i16;
    i32_be i32_le i32;
    i64_be i64_le i64;
    f32_be f32_le f32;
    f64_be f64_le f64;
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (field, rest) = self.rest.split_first_chunk().ok_or_else(ends_early)?;
        self.rest = rest;
        Ok(*field)
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    ///
    /// The body ends before they do.
    pub fn bytes(&mut self, len: usize) -> Result<&[u8], Error> {
        let (field, rest) = self.rest.split_at_checked(len).ok_or_else(ends_early)?;
        self.rest = rest;
        Ok(field)
    }

    /// One byte.
    ///
    /// # Errors
    ///
    /// The body ends before it.
    pub fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(|[byte]| byte)
    }

    /// A C string in `len` bytes: up to the first zero; the last byte counts as
    /// zero whatever it is, as the classic servers read it.
    ///
    /// # Errors
    ///
    /// 400 when it is no UTF-8 or the body ends early.
    pub fn text(&mut self, len: usize) -> Result<String, Error> {
        let field = self.bytes(len)?;
        let room = &field[..len.saturating_sub(1)];
        let end = room
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(room.len());
        match std::str::from_utf8(&room[..end]) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(Error::new(
                400,
                format!("a text of {len} bytes is no UTF-8"),
            )),
        }
    }
}

fn ends_early() -> Error {
    Error::new(400, "the body ends in the middle of a field")
}

impl Writer<'_> {
    /// Appends bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends one byte.
    pub fn u8(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// Appends a C string in `len` bytes, cut at a character if it is longer
    /// than `len - 1`, and filled with zeroes.
    pub fn text(&mut self, len: usize, text: &str) {
        let end = text.floor_char_boundary(len.saturating_sub(1));
        let start = self.bytes.len();
        self.bytes(&text.as_bytes()[..end]);
        self.bytes.resize(start + len, 0);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Register {
        kind: i32,
        user: String,
        big: u16,
        little: u64,
    }

    impl Fixed for Register {
        const LEN: usize = 4 + 8 + 2 + 8;

        fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
            Ok(Self {
                kind: r.i32_be()?,
                user: r.text(8)?,
                big: r.u16_be()?,
                little: r.u64_le()?,
            })
        }

        fn write(&self, w: &mut Writer<'_>) {
            w.i32_be(self.kind);
            w.text(8, &self.user);
            w.u16_be(self.big);
            w.u64_le(self.little);
        }
    }

    const BYTES: &[u8] = b"\xff\xff\xff\xfeann\0\0\0\0\0\x01\x02\x03\0\0\0\0\0\0\0";

    #[test]
    fn fields_are_where_they_belong() {
        let register = Register {
            kind: -2,
            user: "ann".into(),
            big: 0x102,
            little: 3,
        };
        let read = Register::from_body(Raw::borrowed(BYTES)).unwrap();
        assert_eq!(read, register);
        let Answer::Reply { body, .. } = register.into_reply() else {
            panic!("a body")
        };
        assert_eq!(body, BYTES);
    }

    #[test]
    fn another_length_is_refused() {
        for bytes in [&BYTES[1..], b""] {
            let error = Register::from_body(Raw::borrowed(bytes)).unwrap_err();
            assert_eq!(error.code, 400);
            assert!(error.text.contains("22"), "{error}");
        }
    }

    #[test]
    fn the_last_byte_of_a_text_is_always_zero() {
        let mut reader = Reader { rest: b"abcdefgh" };
        assert_eq!(reader.text(8).unwrap(), "abcdefg");
        let mut bytes = Vec::new();
        Writer { bytes: &mut bytes }.text(4, "aéé");
        assert_eq!(bytes, b"a\xc3\xa9\0");
    }
}
