//! Figures, health and the status page, by a process of their own.
//!
//! ```text
//! workers --- words ---> scoreboard --.
//! master ---- words ---> ledger -------+--> admin process --> /metrics /livez /readyz
//! master ---- text ----> facts -------'                       /status.json /
//! ```
//!
//! The master starts it from its own file with a listener, descriptors of what it
//! shows that can only be read, the log and one line, and nothing else: no copy of
//! the master's memory, no end of anybody else's line, no listener of the workers.
//! It serves with the worker's own code, a [`Web`](crate::web::Web) of its own and
//! one business thread.
//!
//! Invariants:
//! - It changes nothing. What it shows is words that anybody may have written: any
//!   value can be read and none is trusted.
//! - It ends with its master, and nobody waits for it: killed, it is started again.

mod by_name;
mod exposition;
mod facts;
mod families;
mod guard;
mod health;
mod offer;
mod process;
mod report;
mod site;
mod view;

pub use facts::{Facts, Listens, Publisher, Reload, Worker};
pub use offer::{Offer, Terms, is_offered};
pub use process::run;
