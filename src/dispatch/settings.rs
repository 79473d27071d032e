//! The values of the program's own tables, of one generation.

use std::any::{Any, type_name};
use std::fmt;
use std::sync::Arc;

/// The program's settings: what [`App::settings`](crate::App::settings) claimed,
/// each value found by its type. They never change: a reload starts new workers,
/// with new ones.
#[derive(Clone, Default)]
pub struct Settings(Vec<Arc<dyn Any + Send + Sync>>);

impl Settings {
    /// Those of type `T`.
    ///
    /// # Panics
    ///
    /// When no table has this type: the program lacks an
    /// [`App::settings`](crate::App::settings).
    #[must_use]
    pub fn get<T: Send + Sync + 'static>(&self) -> &T {
        let mut found = self.0.iter().filter_map(|value| value.downcast_ref());
        found.next().unwrap_or_else(|| {
            let name = type_name::<T>();
            panic!("no settings of type {name}: claim their table with .settings()")
        })
    }
}

impl From<Vec<Arc<dyn Any + Send + Sync>>> for Settings {
    fn from(values: Vec<Arc<dyn Any + Send + Sync>>) -> Self {
        Self(values)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({} tables)", self.0.len())
    }
}
