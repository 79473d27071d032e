//! The worker's data: one value of each type.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;

/// Values by type, made once in each worker.
#[derive(Default)]
pub struct Data(HashMap<TypeId, Box<dyn Any + Send + Sync>>);

impl Data {
    /// Puts a value in; a second one of the same type replaces the first.
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        self.0.insert(TypeId::of::<T>(), Box::new(value));
    }

    /// The value of type `T`.
    ///
    /// # Panics
    ///
    /// When no `.data(…)` gave one: the program lacks a part, and the request
    /// that needed it is answered with error 500.
    #[must_use]
    pub fn find<T: Send + Sync + 'static>(&self) -> &T {
        let value = self
            .0
            .get(&TypeId::of::<T>())
            .and_then(|value| value.downcast_ref());
        value.unwrap_or_else(|| panic!("no data of type {}: add it with .data()", type_name::<T>()))
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Data({} values)", self.0.len())
    }
}
