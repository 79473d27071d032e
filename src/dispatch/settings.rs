//! The values of the program's own tables, of one generation.

use std::any::{Any, type_name};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::sys::data_folder::DataFolder;

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
        self.find().unwrap_or_else(|| {
            let name = type_name::<T>();
            panic!("no settings of type {name}: claim their table with .settings()")
        })
    }

    /// Where the program keeps its files: `data_folder` of the configuration, or what
    /// stands for it.
    #[must_use]
    pub fn data_folder(&self) -> &Path {
        self.find::<DataFolder>()
            .map_or(Path::new(""), DataFolder::path)
    }

    /// As [`Self::get`], where there may be none.
    pub(crate) fn find<T: Send + Sync + 'static>(&self) -> Option<&T> {
        let mut found = self.0.iter().filter_map(|value| value.downcast_ref());
        found.next()
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
