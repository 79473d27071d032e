//! What works, and gives a worker or a stranger more than it needs. Reads the
//! rights of folders and the directory of users; changes nothing.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::config::{Config, Output, Protocol};
use crate::sys::privileges::{self, Identity};

/// Users that programs of all kinds are run as: whoever finds a hole in another one
/// has the rights of these workers as well.
const SHARED: &[&str] = &["nobody", "daemon", "www-data", "http", "apache"];

/// What to warn of, one sentence each.
pub(super) fn suspicions(config: &Config) -> Vec<String> {
    let mut all = Vec::new();
    if privileges::is_root() {
        all.extend(of_user(config));
        all.extend(of_logs(config));
    }
    let speaks_http = |listener: &crate::config::Listener| listener.protocol != Protocol::Frame;
    let folder = &config.http.body_folder;
    if config.listener.iter().any(speaks_http) && !folder.is_dir() {
        let folder = folder.display();
        all.push(format!(
            "http.body_folder is {folder}, where no folder is: bodies over http.body_memory_max \
             fail"
        ));
    }
    all
}

fn of_user(config: &Config) -> Option<String> {
    let user = &config.user;
    SHARED.contains(&&**user).then(|| {
        format!(
            "user is {user}, which other services use as well: one that is broken into has the \
             workers' rights; give them a user of their own (`make install` makes one)"
        )
    })
}

/// The master opens logs as root: in a folder that a worker may write to, a worker
/// could put a link to any file there.
fn of_logs(config: &Config) -> Vec<String> {
    let Ok(identity) = Identity::look_up(&config.user, config.group.as_deref()) else {
        return Vec::new();
    };
    if identity.is_root() {
        return Vec::new();
    }
    let logs = [
        ("log.file", &config.log.file),
        ("http.access_log", &config.http.access_log),
    ];
    let writable = logs.iter().filter_map(|(key, output)| {
        let Some(Output::File(path)) = output else {
            return None;
        };
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let folder = std::fs::canonicalize(folder).ok()?;
        let open = folder.ancestors().find(|at| may_write(at, &identity))?;
        let (open, user) = (open.display(), &config.user);
        Some(format!(
            "{key} is in {open}, which {user}, the workers' user, may write to: a worker could \
             have root write to any file by a link there; use a folder of root's"
        ))
    });
    writable.collect()
}

/// Whether it may put another file in the place of one that is there. In a folder
/// with the sticky bit, such as `/tmp`, it can make the one that is missing.
fn may_write(folder: &Path, identity: &Identity) -> bool {
    let Ok(found) = std::fs::metadata(folder) else {
        return false;
    };
    let (user, group) = identity.numbers();
    let bits = if found.uid() == user {
        found.mode() >> 6
    } else if found.gid() == group {
        found.mode() >> 3
    } else {
        found.mode()
    };
    bits & 0o3 == 0o3
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown};

    fn config(keys: &[(&str, &str)]) -> Config {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let flags: Vec<_> = keys.iter().map(own).collect();
        Config::parse(None, [], &flags).unwrap()
    }

    #[test]
    fn a_folder_of_bodies_that_is_missing_is_told_where_http_is_spoken() {
        let keys = [
            ("http.body_folder", "/nonexistent"),
            ("listener.0.protocol", "http"),
        ];
        let told = suspicions(&config(&keys));
        assert!(
            told.iter().any(|line| line.contains("http.body_folder")),
            "{told:?}"
        );
        let told = suspicions(&config(&keys[..1]));
        assert!(
            !told.iter().any(|line| line.contains("http.body_folder")),
            "{told:?}"
        );
    }

    #[test]
    fn root_is_told_of_shared_users_and_of_logs_that_workers_could_replace() {
        if !privileges::is_root() {
            return;
        }
        let top = tempfile::tempdir_in("/var").unwrap();
        let folder = top.path().join("log");
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(top.path(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
        let log = folder.join("log").display().to_string();
        let told = |user: &str, key: &str| {
            suspicions(&config(&[
                ("user", user),
                ("group", "3999999998"),
                (key, &log),
            ]))
        };
        assert_eq!(told("3999999999", "log.file"), [""; 0]);
        assert!(told("nobody", "log.file")[0].contains("user is nobody"));
        for (uid, gid, mode) in [
            (3_999_999_999, 0, 0o755),
            (0, 3_999_999_998, 0o775),
            (0, 0, 0o777),
            (0, 0, 0o1777),
        ] {
            chown(&folder, Some(uid), Some(gid)).unwrap();
            std::fs::set_permissions(&folder, PermissionsExt::from_mode(mode)).unwrap();
            for key in ["log.file", "http.access_log"] {
                let told = told("3999999999", key);
                assert_eq!(told.len(), 1, "{uid} {gid} {mode:o}");
                assert!(told[0].contains("a folder of root's"), "{told:?}");
            }
        }
    }
}
