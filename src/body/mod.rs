//! Typed bodies, replies and errors: what server and client share.
//!
//! A handler is `(context, body) -> reply`. [`FromBody`] turns bytes into the
//! body that a handler asks for, [`IntoReply`] turns what it returns into
//! bytes. Pure; any thread.

mod fixed;
mod form;
mod json;
mod message;
mod plain;
mod reply;
mod spooled;

pub use fixed::{Fixed, Reader, Writer};
pub use form::{Form, from_pairs, pairs};
pub use json::Json;
pub use plain::Html;
pub use reply::{IntoReply, Reply};
#[doc(hidden)]
pub use spooled::Spool;
pub use spooled::{Spooled, into_memory};

#[doc(inline)]
pub use crate::protocol::{Answer, Error, Media};

use crate::protocol::Units;

/// Message id.
pub type Id = u32;

/// The bytes of a message, as they arrived.
pub type Raw<'a> = Units<'a>;

/// A type that a handler can take as its body.
///
/// Implemented for `()` (any body, ignored), [`bytes::Bytes`], [`String`],
/// `Vec<u8>`, [`Json<T>`](Json), [`Form<T>`](Form), [`Spooled`] and every [`Fixed`]
/// struct. Implement it for formats of your own:
///
/// ```
/// use purlin::prelude::*;
///
/// struct Point(u8, u8);
///
/// impl FromBody for Point {
///     fn from_body(body: Raw<'_>) -> Result<Self, Error> {
///         match *body.bytes() {
///             [x, y] => Ok(Self(x, y)),
///             _ => Err(Error::new(400, "a point has two bytes")),
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the body of a message",
    label = "take `()`, `Bytes`, `String`, `Vec<u8>`, `Json<T>` or a `Fixed` struct, or implement `FromBody`",
    note = "a struct of your own is `Json<T>`, or `Form<T>` over HTTP, with `#[derive(Deserialize)]`"
)]
pub trait FromBody: Sized {
    /// Whether it asks for the [file](Raw::file) of a body that was too long for
    /// memory. Otherwise such a body is taken into memory first, if
    /// `http.body_max` allows that.
    const TAKES_FILES: bool = false;

    /// Reads the body.
    ///
    /// # Errors
    ///
    /// 400 with the reason, by custom: the peer gets it as an error frame.
    fn from_body(body: Raw<'_>) -> Result<Self, Error>;
}
