//! Which code runs for a message: id → handler, with its context.
//!
//! ```text
//!   message --> Dispatcher (one connection's state) --> Router: id -> handler
//!                 |                                        |
//!                 +--> Ctx: send, close, after, later <----+
//!                 +--> Hub: connections, users, rooms, everybody
//! ```
//!
//! A dispatcher is used by one thread at a time, so the state needs no lock.
//! What user code does wrong stays in its message: panics are caught here,
//! counted, logged with the message id and answered with error 500.

mod arrivals;
mod ask;
mod catch_panic;
mod close_reason;
mod core;
mod ctx;
mod data;
mod directory;
mod dispatcher;
mod failure;
mod figures;
#[doc(hidden)]
pub mod handover;
mod hear;
mod hub;
mod later;
mod listen;
mod lists;
mod log_fields;
mod moves;
mod news;
mod own_turn;
mod program;
mod questions;
mod record;
mod request_id;
mod requests;
mod router;
#[doc(hidden)]
pub mod sample;
mod seed;
#[doc(hidden)]
pub mod service;
mod session;
mod settings;
mod sink;
mod site;
mod supplant;
mod target;
mod task;
mod told;
mod unclaimed;
mod waker;

#[doc(hidden)]
pub use self::core::{Core, Handlers, Hooks, Periodic};
pub use close_reason::CloseReason;
pub use ctx::{Ctx, TimerHandle};
pub use data::Data;
pub(crate) use directory::Heard;
#[doc(inline)]
pub use figures::{OwnCounter, OwnGauge, OwnHistogram};
pub use handover::Handover;
pub use hub::Hub;
pub use later::{Later, Replier};
pub(crate) use listen::Listening;
#[doc(hidden)]
pub use lists::{Group, Member, Page};
pub use log_fields::{log_fields, name_request};
#[doc(hidden)]
pub use request_id::request_id;
#[doc(hidden)]
pub use router::Router;
pub use router::{Handler, Middleware, Next};
pub(crate) use router::{needs, wrapped};
pub use settings::Settings;
#[doc(hidden)]
pub use site::{Site, Visit};
pub use target::{Count, Target};
pub use waker::Waker;
