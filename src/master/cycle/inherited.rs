//! Sockets that a service manager bound before the master was started. They are
//! kept for as long as the master lives: a reload may want them again, and
//! nobody else can bind their addresses. The master's thread alone uses them.

use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use crate::config::Config;
use crate::master::exit::{Ending, Exit};
use crate::sys::socket::Address;
use crate::sys::systemd::Inherited;

/// All of them; copies are the same sockets.
#[derive(Clone, Debug, Default)]
pub(in crate::master) struct Sockets(Rc<[Inherited]>);

impl Sockets {
    pub(in crate::master) fn new(sockets: Vec<Inherited>) -> Self {
        Self(sockets.into())
    }

    /// The one that listens there.
    pub(in crate::master) fn at(&self, address: &Address) -> Option<&Inherited> {
        self.0.iter().find(|one| same(&one.address, address))
    }

    /// All of them, by what the manager calls them.
    pub(in crate::master) fn all(&self) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
        self.0.iter().map(|one| (&*one.name, one.socket.as_fd()))
    }

    /// Checks that `config` has a listener for each.
    ///
    /// # Errors
    ///
    /// [`Ending`] names the one that would listen for nobody: its clients would
    /// wait for ever.
    pub(in crate::master) fn check(&self, config: &Config) -> Result<(), Ending> {
        let unused = |one: &&Inherited| {
            let mut listeners = config.listener.iter();
            !listeners.any(|listener| same(&one.address, &listener.address))
        };
        let Some(Inherited { name, address, .. }) = self.0.iter().find(unused) else {
            return Ok(());
        };
        let wanted: Vec<String> = (config.listener.iter())
            .map(|listener| listener.address.to_string())
            .collect();
        let wanted = wanted.join(", ");
        let text = format!(
            "the service manager's socket `{name}` listens on {address}, and no [[listener]] does \
             (they have {wanted}); give one this address, or take it out of the .socket unit"
        );
        Err(Ending::new(Exit::Config, text))
    }
}

/// Relative paths are relative to the same directory in both.
fn same(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Unix(one), Address::Unix(other)) => {
            let absolute = |path| std::path::absolute(path).ok();
            absolute(one) == absolute(other)
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::listen;

    fn config(address: &str) -> Config {
        let flags = [("listener.0.address".to_owned(), address.to_owned())];
        Config::parse(None, [], &flags).unwrap()
    }

    fn sockets(address: &Address) -> Sockets {
        let socket = listen(address, 8, false).unwrap();
        Sockets::new(vec![Inherited {
            name: "web".into(),
            address: crate::sys::socket::local_address(&socket).unwrap(),
            socket,
        }])
    }

    #[test]
    fn a_socket_belongs_to_the_listener_of_its_address() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("front");
        let tcp = sockets(&"127.0.0.77:0".parse().unwrap());
        let unix = sockets(&Address::Unix(path));
        for sockets in [tcp, unix] {
            let address = sockets.0[0].address.clone();
            sockets.check(&config(&address.to_string())).unwrap();
            assert!(sockets.at(&address).is_some());
        }
    }

    #[test]
    fn one_without_a_listener_is_named_with_both_addresses() {
        let sockets = sockets(&"127.0.0.77:0".parse().unwrap());
        let Ending { exit, text } = sockets.check(&config("127.0.0.77:1")).unwrap_err();
        assert_eq!(exit, Exit::Config);
        let address = sockets.0[0].address.to_string();
        for part in ["`web`", &*address, "127.0.0.77:1"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(sockets.at(&"127.0.0.77:1".parse().unwrap()).is_none());
    }

    #[test]
    fn a_relative_path_is_the_absolute_one() {
        let here = std::env::current_dir().unwrap();
        let absolute = Address::Unix(here.join("a/b.sock"));
        assert!(same(&absolute, &Address::Unix("a/b.sock".into())));
        assert!(!same(&absolute, &Address::Unix("b.sock".into())));
    }
}
