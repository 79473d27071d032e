//! What a program needs: `use purlin::prelude::*;`.

pub use std::process::ExitCode;
pub use std::time::Duration;

pub use ::log;
pub use bytes::Bytes;
pub use serde::{Deserialize, Serialize};

pub use crate::app::App;
pub use crate::body::{
    Error, Fixed, Form, FromBody, Html, Id, IntoReply, Json, Raw, Reader, Reply, Spooled, Writer,
};
pub use crate::dispatch::{CloseReason, Ctx, Handover, Hub, Later, Next, Replier};
pub use crate::net::ConnId;
pub use crate::web::{Event, EventSender, Http, Message, Stream, Web};
