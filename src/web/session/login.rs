//! Logins with a password: who may try, and the answer when the hash is there.

use serde::Serialize;

use super::{refusal, sessions};
use crate::body::{Error, IntoReply};
use crate::dispatch::Later;
use crate::session::{Hasher, check, cookie, is_current, secret};
use crate::web::Http;
use crate::web::session::close_all;

/// For how long somebody is asked to try no more passwords, in seconds.
const WAIT: &str = "180";

/// What is answered to a login.
#[derive(Serialize)]
struct Welcome<'a> {
    user: &'a str,
}

fn too_many() -> Error {
    Error::new(429, "too many wrong passwords; try again later")
}

impl<S> Http<'_, S> {
    /// Logs `user` in if `password` is the one of `stored`, its hash from the program's
    /// own table (`None`: there is no such user, which takes the same time to say). The
    /// answer comes later, `{"user": …}` and a new session's cookie, and holds no
    /// business thread: 401 for a wrong password, 429 after ten wrong ones of an address
    /// within three minutes, in all workers, 503 while too many wait. An account at which
    /// several addresses fail is slowed down, and never locked.
    ///
    /// `renewed` gets a new hash where `stored` was made with other costs than are good
    /// today; it runs on the thread that hashes.
    ///
    /// # Errors
    ///
    /// Those that are known at once: pass them on by `?`.
    pub fn log_in(
        &mut self,
        user: &str,
        password: &str,
        stored: Option<String>,
        renewed: impl FnOnce(String) + Send + 'static,
    ) -> Result<Later, Error> {
        check(password).map_err(refusal)?;
        let (hub, address, now) = (self.hub().clone(), self.address(), self.session_time());
        let may_try = sessions(&hub).may_try(address, user, now);
        let Some(delay) = may_try.map_err(|error| self.fault(error))? else {
            self.set_header("Retry-After", WAIT);
            return Err(too_many());
        };
        let before = self.look_up()?.cloned();
        let (secret, _) = secret().map_err(|error| self.fault(error))?;
        let field = cookie::set(self.is_secure(), &secret, sessions(&hub).cookie_age());
        self.response.on_success("Set-Cookie", &field);
        let agent = self.header("user-agent").unwrap_or_default().to_owned();
        let (user, password) = (user.to_owned(), password.to_owned());
        let kept = hub.clone();
        let log_in = move |hasher: Result<&mut Hasher, crate::session::Error>| {
            let sessions = sessions(&kept);
            let hasher = hasher.map_err(refusal)?;
            // Others of the same address may have failed while this one waited.
            let now = sessions.time(kept.clock());
            let may_try = sessions.may_try(address, &user, now).map_err(refusal)?;
            if may_try.is_none() {
                return Err(too_many());
            }
            if !hasher
                .verify(&password, stored.as_deref())
                .map_err(refusal)?
            {
                sessions.failed(address, &user, now).map_err(refusal)?;
                return Err(Error::new(401, "the name or the password is wrong"));
            }
            if !stored.is_some_and(|stored| is_current(&stored)) {
                renewed(hasher.hash(&password).map_err(refusal)?);
            }
            let from = address.map_or_else(|| "unix".to_owned(), |address| address.to_string());
            let begun = sessions.begin(&secret, &user, (&from, &agent), now);
            begun.map_err(refusal)?;
            if let Some(before) = before {
                sessions.end(&before).map_err(refusal)?;
                close_all(&kept, &before.device.user, &[before.device.id]);
            }
            Ok(crate::body::Json(Welcome { user: &user }).into_reply())
        };
        Ok(self.later(move |replier| {
            let work = move |hasher: Result<&mut Hasher, crate::session::Error>| {
                replier.send(log_in(hasher));
            };
            sessions(&hub).hash(address, delay, Box::new(work));
        }))
    }

    /// Hashes a password, for a registration. `then` gets its PHC string, on the thread
    /// that hashes, and what it returns is the reply, which comes later.
    ///
    /// # Errors
    ///
    /// 400 where the password is too short or too long: pass it on by `?`.
    pub fn hash_password<R: IntoReply>(
        &mut self,
        password: &str,
        then: impl FnOnce(String) -> R + Send + 'static,
    ) -> Result<Later, Error> {
        check(password).map_err(refusal)?;
        let (hub, password) = (self.hub().clone(), password.to_owned());
        let address = self.address();
        Ok(self.later(move |replier| {
            let work = move |hasher: Result<&mut Hasher, crate::session::Error>| {
                let hash = hasher.and_then(|hasher| hasher.hash(&password));
                match hash {
                    Ok(hash) => replier.send(then(hash)),
                    Err(error) => replier.send(refusal(error)),
                };
            };
            sessions(&hub).hash(address, std::time::Duration::ZERO, Box::new(work));
        }))
    }
}
