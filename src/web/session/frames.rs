//! Sessions of connections that speak frames: by a token, which is what a cookie is to
//! others.

use super::{refusal, room, sessions};
use crate::body::Error;
use crate::dispatch::Ctx;
use crate::session::secret;
use crate::sys::socket::Peer;

impl<S> Ctx<'_, S> {
    /// This connection is the session's whose token (the value of its cookie) this is,
    /// from now on: bound to its user, who is given back, and closed when it ends. `None`:
    /// there is no such session. Blocks, so not on the event loop.
    ///
    /// # Errors
    ///
    /// 503 where the store does not answer.
    pub fn enter_session(&mut self, token: &str) -> Result<Option<String>, Error> {
        let hub = self.hub();
        let sessions = sessions(hub);
        let found = sessions.find(token, sessions.time(hub.clock()));
        let Some(found) = found.map_err(refusal)? else {
            return Ok(None);
        };
        let device = found.device;
        self.bind(&device.user);
        self.join(&room(&device.id, &device.user));
        Ok(Some(device.user))
    }

    /// A session of `user` begins, and this connection is its; gives the token that
    /// others enter it by. Blocks, so not on the event loop.
    ///
    /// # Errors
    ///
    /// 503 where the store does not answer.
    pub fn begin_session(&mut self, user: &str) -> Result<String, Error> {
        let hub = self.hub();
        let sessions = sessions(hub);
        let (token, _) = secret().map_err(refusal)?;
        let address = match self.peer() {
            Peer::Tcp(address) => address.ip().to_string(),
            Peer::Unix => "unix".to_owned(),
        };
        let now = sessions.time(hub.clock());
        let begun = sessions.begin(&token, user, (&address, ""), now);
        begun.map_err(refusal)?;
        self.enter_session(&token)?;
        Ok(token)
    }
}
