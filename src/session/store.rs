//! Where sessions are kept. All methods block; every time is in seconds since 1970.

use super::Error;
use super::id::Key;
use super::record::{Device, Found, Times};

/// What all stores do. None brings back what was ended: whatever changes a session looks
/// whether it is there, in one step with the change.
pub(super) trait Store: Send + Sync {
    /// A session begins. An error where one of this name is there already: it is never
    /// overwritten.
    fn begin(&self, key: &Key, device: &Device, times: &Times) -> Result<(), Error>;

    /// The session of this name, or of this former name.
    fn find(&self, key: &Key, now: u64) -> Result<Option<Found>, Error>;

    /// It is used.
    fn touch(&self, found: &Found, times: &Times, now: u64) -> Result<(), Error>;

    /// It has the name `to` as well, and its old one for a while. False: it has been
    /// given another one, or has ended.
    fn renew(&self, found: &Found, to: &Key, times: &Times, now: u64) -> Result<bool, Error>;

    /// A value of it.
    fn get(&self, found: &Found, name: &str) -> Result<Option<String>, Error>;

    /// Gives it a value, without a look at its others. False: it has ended.
    fn set(&self, found: &Found, name: &str, value: &str) -> Result<bool, Error>;

    /// It ends.
    fn end(&self, found: &Found) -> Result<(), Error>;

    /// Those of a user that are not over, the latest first.
    fn list(&self, user: &str, times: &Times, now: u64) -> Result<Vec<Device>, Error>;

    /// One of a user ends, or all; gives the ids of those that did.
    fn end_of(&self, user: &str, id: Option<&str>) -> Result<Vec<String>, Error>;

    /// Forgets what is over.
    fn sweep(&self, times: &Times, now: u64) -> Result<(), Error>;

    /// A password was wrong.
    fn failed(&self, origin: &str, account: &str, now: u64) -> Result<(), Error>;

    /// Failures of an origin, and how many origins have failed at an account, of late.
    fn failures(&self, origin: &str, account: &str, now: u64) -> Result<(u64, u64), Error>;
}
