//! What a master is to run, as the command line says it, and what follows from
//! it for every start.

use std::path;
use std::sync::Arc;

use super::cycle::{Basis, Cycle};
use super::exit::Ending;
use super::supervisor::PLACES_MIN;
use crate::config::{Config, ConfigError};
use crate::log;
use crate::sys::exec::Program;
use crate::worker::Application;

/// What is to run.
#[derive(Clone)]
pub struct Plan<'a> {
    /// The program's name, for titles.
    pub program: String,
    /// Reads the configuration, at the start and for each reload.
    pub load: Arc<dyn Fn() -> Result<Config, ConfigError> + 'a>,
    /// What works and should be otherwise, a sentence each.
    pub suspicions: fn(&Config) -> Vec<String>,
    /// The program itself, for upgrades.
    pub program_file: Program,
    /// What the workers serve.
    pub application: &'a dyn Application,
    /// Whether to go into the background.
    pub is_daemon: bool,
    /// The working directory at the start: what relative paths are meant from.
    /// `None`: there was none any more.
    pub folder: Option<path::PathBuf>,
    /// The file of the configuration, absolute; `None`: there is none.
    pub file: Option<path::PathBuf>,
    /// What stands over the file for this run: `KEY=VALUE`.
    pub overrides: Vec<String>,
}

impl Plan<'_> {
    /// Goes to the folder that has the name of the working directory now, which
    /// may be another one than at the start: releases are put in each other's
    /// place.
    pub(super) fn go_to_folder(&self) {
        let Some(folder) = &self.folder else { return };
        if let Err(error) = std::env::set_current_dir(folder) {
            let folder = folder.display();
            log::warn!("working directory {folder}: {error}; relative paths lead to the old one");
        }
    }

    /// What each cycle is made of, beside its configuration.
    pub(super) fn basis(&self) -> Basis<'_> {
        Basis {
            codecs: self.application.codecs(),
            is_daemon: self.is_daemon,
        }
    }
}

/// Rows for six generations, as many as `generations_max` allows.
/// Not all 255 at once: each has a bell, which is a descriptor of every worker,
/// and whoever accepts looks at each of them.
pub(super) fn slots(cycle: &Cycle) -> usize {
    (cycle.workers * 6).clamp(PLACES_MIN, 255)
}

pub(super) fn absolute(file: &path::Path) -> Result<path::PathBuf, Ending> {
    path::absolute(file).map_err(|error| Ending::internal("find the working directory", &error))
}
