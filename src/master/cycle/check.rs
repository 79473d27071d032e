//! What a configuration names and only the system knows: users, groups, folders.
//! Looked up before anything is made; changes nothing but that a log is made.

use std::path::Path;

use super::settings::settings;
use crate::config::{Config, Place};
use crate::log;
use crate::master::exit::{Ending, Exit};
use crate::sys::privileges::{self, Identity, Unknown};
use crate::sys::socket::Address;

/// What `-t` can see of a configuration beyond its values and addresses: who
/// the workers are to be, and where the log goes.
///
/// # Errors
///
/// [`Ending`], as a start or a reload would say it.
pub fn check(config: &Config) -> Result<(), Ending> {
    identity(config)?;
    check_rights(config)?;
    check_body_folder(config)?;
    for (n, listener) in config.listener.iter().enumerate() {
        if let Address::Unix(path) = &listener.address {
            has_folder(config, &format!("listener.{n}.address"), path)?;
        }
    }
    if let Some(path) = &config.pid_file {
        has_folder(config, "pid_file", path)?;
    }
    if let Some(path) = &config.control_socket {
        has_folder(config, "control_socket", path)?;
    }
    log::probe(&settings(config, false)?)
        .map_err(|error| Ending::new(Ending::of(&error), error.to_string()))
}

/// Refuses a file that is to be made where no folder is.
fn has_folder(config: &Config, key: &str, file: &Path) -> Result<(), Ending> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let Some(folder) = folder.filter(|folder| !folder.is_dir()) else {
        return Ok(());
    };
    let (file, folder) = (file.display(), folder.display());
    Err(config
        .refuse(key, &format!("is {file}, and {folder} is no folder"))
        .into())
}

/// A folder that somebody named has to be there, used or not. That of the default
/// may be missing where nobody sends long bodies.
pub(super) fn check_body_folder(config: &Config) -> Result<(), Ending> {
    let (key, folder) = ("http.body_folder", &config.http.body_folder);
    if folder.is_dir() || *config.place(key) == Place::Default {
        return Ok(());
    }
    let why = format!("is {:?}, where no folder is", folder.display().to_string());
    Err(config.refuse(key, &why).into())
}

/// Whether there is everybody whom a Unix socket is to be given to.
pub(super) fn check_rights(config: &Config) -> Result<(), Ending> {
    for (n, listener) in config.listener.iter().enumerate() {
        let refuse = |key: &str, error: std::io::Error| {
            let key = format!("listener.{n}.{key}");
            config.refuse(&key, &format!("cannot be used: {error}"))
        };
        if let Some(user) = &listener.user {
            privileges::user_number(user).map_err(|error| refuse("user", error))?;
        }
        if let Some(group) = &listener.group {
            privileges::group_number(group).map_err(|error| refuse("group", error))?;
        }
    }
    Ok(())
}

/// Whom the workers become.
pub(super) fn identity(config: &Config) -> Result<Option<Identity>, Ending> {
    if !privileges::is_root() {
        return Ok(None);
    }
    let group = config.group.as_deref();
    let identity = Identity::look_up(&config.user, group).map_err(|error| {
        let key = match error {
            Unknown::User(_) => "user",
            Unknown::Group(_) => "group",
        };
        config.refuse(key, &format!("cannot be used: {error}"))
    })?;
    if identity.is_root() && !config.allow_root {
        let error = config.refuse("user", "is root, which needs allow_root = true");
        return Err(Ending::new(Exit::Permission, error.to_string()));
    }
    Ok(Some(identity))
}
