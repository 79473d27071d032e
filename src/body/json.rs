//! Bodies in JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::reply::IntoReply;
use super::{Answer, Error, FromBody, Raw};
use crate::protocol::Media;

/// A body in JSON: `Json(login): Json<Login>` as an argument, `Json(ok)` as a
/// reply. A body that is no such JSON answers 400 with the place.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromBody for Json<T> {
    fn from_body(body: Raw<'_>) -> Result<Self, Error> {
        match serde_json::from_slice(body.bytes()) {
            Ok(value) => Ok(Self(value)),
            Err(error) => Err(Error::new(
                400,
                format!("the JSON is not as expected: {error}"),
            )),
        }
    }
}

impl<T: Serialize> IntoReply for Json<T> {
    fn into_reply(self) -> Answer {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => Answer::media(bytes.into(), Media::Json),
            Err(error) => Answer::Error(Error::internal(format_args!("write JSON: {error}"))),
        }
    }
}
