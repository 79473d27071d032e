//! Registering that the state of a connection can go to another worker.

use super::App;
use crate::dispatch::handover::{Handover, HandoverFns};

impl<S: Default + Send + 'static> App<S> {
    /// Lets connections go on in another worker over a reload or an upgrade,
    /// with their state: see [`Handover`]. Where `S` has no bytes, they do
    /// without.
    ///
    /// ```compile_fail
    /// use purlin::prelude::*;
    ///
    /// let app = App::<String>::new().handover(); // a String could, but does not
    /// ```
    #[must_use]
    pub fn handover(mut self) -> Self
    where
        S: Handover,
    {
        self.hooks.carry = Some(HandoverFns::default());
        self
    }
}
