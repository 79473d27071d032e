//! Into the background, and the service manager: what the master is to the
//! system that it runs on.

pub(super) mod detach;
pub(super) mod service_manager;
