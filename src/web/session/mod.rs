//! Sessions over HTTP and frames: the cookie, the guard, the login.
//!
//! A connection that a session opened is in a room of that session's, so that its end
//! reaches it in whatever worker it is; who is told nothing, because the bus may lose,
//! is found by a look once a minute.

mod frames;
mod login;

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Http, Web};
use crate::body::Error;
use crate::dispatch::Hub;
use crate::session::origin::{Said, is_own};
use crate::session::{Device, Found, Sessions, cookie, secret};
use crate::sys::socket::Peer;

/// How long a client is asked to leave a store alone that does not answer.
const RETRY_AFTER: &str = "5";

/// Bytes of the name of a value, and of the value as JSON.
const NAME_MAX: usize = 64;
const VALUE_MAX: usize = 16 << 10;

/// What the rooms of sessions begin with.
const ROOM: &str = "purlin.session/";

/// What is known of the session of a request.
#[derive(Debug, Default)]
pub(super) enum Lookup {
    /// Nobody has asked.
    #[default]
    Open,
    Nobody,
    Found(Box<Found>),
}

/// The room of the connections that a session has opened.
pub(crate) fn room(id: &str, user: &str) -> String {
    format!("{ROOM}{id}/{user}")
}

/// What a client is told of a fault of sessions.
pub(super) fn refusal(error: crate::session::Error) -> Error {
    use crate::session::Error as Fault;
    match error {
        Fault::Down(why) => {
            log::error!("sessions cannot be asked for: {why}");
            Error::new(503, "sessions are away for a moment; nobody is logged out")
        }
        Fault::Busy => Error::new(503, "too many log in at this moment"),
        Fault::Password(why) => Error::new(400, why),
    }
}

fn sessions(hub: &Hub) -> &Sessions {
    hub.data::<Sessions>()
}

/// Closes what sessions of a user have opened, in every worker.
fn close_all(hub: &Hub, user: &str, ids: &[String]) {
    for id in ids {
        hub.room(&room(id, user)).close("the session has ended");
    }
}

/// Forgets sessions that are over, and closes connections whose session is gone.
pub(crate) fn look_after(hub: &Hub) {
    let sessions = sessions(hub);
    let now = sessions.time(hub.clock());
    if let Err(error) = sessions.sweep(now) {
        return log::error!("{error}");
    }
    let mut after: Option<String> = None;
    loop {
        let page = hub.rooms(after.as_deref(), 1000);
        let names = page
            .all
            .iter()
            .filter_map(|one| one.name.strip_prefix(ROOM));
        for (id, user) in names.filter_map(|name| name.split_once('/')) {
            match sessions.list(user, now) {
                Ok(devices) if devices.iter().any(|device| device.id == id) => {}
                Ok(_) => close_all(hub, user, &[id.to_owned()]),
                Err(error) => return log::error!("{error}"),
            }
        }
        after = page.all.last().map(|one| one.name.clone());
        if !page.has_more || after.is_none() {
            return;
        }
    }
}

impl<S: Default + Send + 'static> Web<S> {
    /// Sessions: logins that a cookie carries, kept in `[session]`'s store. A request
    /// that changes something (all but `GET`, `HEAD` and `OPTIONS`) and comes from the
    /// page of another site is refused (403), whether or not anybody is logged in.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let web = Web::<()>::new()
    ///     .sessions()
    ///     .post("/login", |c, name: String| c.session().begin(&name))
    ///     .post("/logout", |c, (): ()| c.session().end())
    ///     .group("/my", |g| g.need_login().get("/name", |c, (): ()| c.session().user()));
    /// let app = App::<()>::new().web(web);
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let mut test = app.test_with(&[("data_folder", folder.path().to_str().unwrap())]);
    /// # assert_eq!(test.http("GET", "/my/name", "").status, 401);
    /// # let login = test.http_with("POST", "/login", &[("Host", "localhost")], "ann");
    /// # let cookie = login.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    /// # let fields = [("Host", "localhost"), ("Cookie", &*cookie)];
    /// # assert_eq!(test.http_with("GET", "/my/name", &fields, "").text(), "ann");
    /// ```
    #[must_use]
    pub fn sessions(mut self) -> Self {
        self.has_sessions = true;
        self.wrap(|http, body, next| {
            let said = Said {
                method: http.method(),
                host: http.header("host"),
                origin: http.header("origin"),
                site: http.header("sec-fetch-site"),
            };
            if !is_own(said, &sessions(http.hub()).trusted) {
                return Err(Error::new(403, "the page of another site may not do this"));
            }
            next.run(http, body)
        })
    }

    /// Nothing of this `Web`, or of this group, is served to who is not logged in: 401.
    /// As [`Self::need`]. A store that does not answer is 503, and the cookie stays.
    #[must_use]
    pub fn need_login(self) -> Self {
        self.wrap(|http, body, next| {
            if http.session().user()?.is_none() {
                return Err(Error::new(401, "log in first"));
            }
            next.run(http, body)
        })
    }
}

impl<'a, S> Http<'a, S> {
    /// The session of who asks. Its methods block, so not on the event loop; the first
    /// looks for the session, which costs the store nothing where no cookie came.
    pub fn session(&mut self) -> Session<'_, 'a, S> {
        Session(self)
    }

    /// Whether cookies are for TLS alone: `Secure` and `__Host-`. Unless the configuration
    /// says so: this machine is as good; whether a proxy speaks TLS is believed of one
    /// whose word on the client is.
    fn is_secure(&self) -> bool {
        if let Some(secure) = sessions(self.hub()).secure {
            return secure;
        }
        let is_named = matches!(self.peer(), Peer::Tcp(at) if at.port() == 0);
        let by_proxy = is_named && self.header("x-forwarded-proto") == Some("https");
        by_proxy || cookie::is_loopback(self.header("host").unwrap_or_default())
    }

    fn secret(&self) -> Option<&'a str> {
        let name = if self.is_secure() {
            cookie::STRICT
        } else {
            cookie::PLAIN
        };
        self.cookie(name)
    }

    fn session_time(&self) -> u64 {
        sessions(self.hub()).time(self.hub().clock())
    }

    fn address(&self) -> Option<IpAddr> {
        match self.peer() {
            Peer::Tcp(address) => Some(address.ip()),
            Peer::Unix => None,
        }
    }

    /// Answers a fault of sessions.
    fn fault(&mut self, error: crate::session::Error) -> Error {
        let error = refusal(error);
        if error.code == 503 {
            self.set_header("Retry-After", RETRY_AFTER);
        }
        error
    }

    fn look_up(&mut self) -> Result<Option<&Found>, Error> {
        if matches!(self.session, Lookup::Open) {
            let found = self.find().map_err(|error| self.fault(error))?;
            self.session = found.map_or(Lookup::Nobody, |found| Lookup::Found(Box::new(found)));
        }
        Ok(match &self.session {
            Lookup::Found(found) => Some(found),
            Lookup::Open | Lookup::Nobody => None,
        })
    }

    fn find(&mut self) -> Result<Option<Found>, crate::session::Error> {
        let Some(secret) = self.secret() else {
            return Ok(None);
        };
        let (hub, now) = (self.hub(), self.session_time());
        let Some(found) = sessions(hub).find(secret, now)? else {
            return Ok(None);
        };
        // Whom a WebSocket becomes is not told of cookies.
        if !self.request.upgrades
            && let Some(secret) = sessions(hub).renewed(&found, now)?
        {
            self.give_cookie(&secret);
            return sessions(hub).find(&secret, now);
        }
        Ok(Some(found))
    }

    fn give_cookie(&mut self, secret: &str) {
        let age = sessions(self.hub()).cookie_age();
        let field = cookie::set(self.is_secure(), secret, age);
        self.set_header("Set-Cookie", field);
    }
}

/// The session of a request: see [`Http::session`].
pub struct Session<'b, 'a, S>(&'b mut Http<'a, S>);

impl<S> std::fmt::Debug for Session<'_, '_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

impl<S> Session<'_, '_, S> {
    /// Who is logged in; `None`: nobody.
    ///
    /// # Errors
    ///
    /// 503 where the store does not answer: pass it on by `?`.
    pub fn user(&mut self) -> Result<Option<String>, Error> {
        Ok(self.0.look_up()?.map(|found| found.device.user.clone()))
    }

    /// Somebody logs in: a new session begins, and the one before ends, whoever's it was.
    /// Whether he is who he says is asked before: [`Http::log_in`].
    ///
    /// # Errors
    ///
    /// 503 where the store does not answer.
    pub fn begin(&mut self, user: &str) -> Result<(), Error> {
        let before = self.0.look_up()?.cloned();
        let http = &mut *self.0;
        let begun = http
            .begin_session(user)
            .map_err(|error| http.fault(error))?;
        if let Some(before) = before {
            self.end_one(&before)?;
        }
        self.0.session = Lookup::Found(Box::new(begun));
        Ok(())
    }

    /// The value that was set under this name.
    ///
    /// # Errors
    ///
    /// 503 where the store does not answer, 500 where the value is no `T`.
    pub fn get<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Error> {
        let hub = self.0.hub();
        let Some(found) = self.0.look_up()? else {
            return Ok(None);
        };
        let text = sessions(hub).get(found, name);
        let text = text.map_err(|error| self.0.fault(error))?;
        Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
    }

    /// Gives this name a value. Others stay as they are, also those that a request beside
    /// this one sets.
    ///
    /// # Errors
    ///
    /// 401 where nobody is logged in, or not any more; 413 for a name of over 64 bytes or
    /// a value of over 16 KiB, as JSON; 503 where the store does not answer.
    pub fn set<T: Serialize>(&mut self, name: &str, value: &T) -> Result<(), Error> {
        let text = serde_json::to_string(value)?;
        if name.len() > NAME_MAX || text.len() > VALUE_MAX {
            return Err(Error::new(413, "the value of a session is too long"));
        }
        let hub = self.0.hub();
        let is_set = match self.0.look_up()? {
            Some(found) => sessions(hub).set(found, name, &text),
            None => Ok(false),
        };
        if is_set.map_err(|error| self.0.fault(error))? {
            return Ok(());
        }
        Err(Error::new(401, "log in first"))
    }

    /// Logs out: the session ends, its cookie goes, and the WebSockets that it has opened
    /// close, in every worker.
    ///
    /// # Errors
    ///
    /// 503 where the store does not answer.
    pub fn end(&mut self) -> Result<(), Error> {
        if let Some(found) = self.0.look_up()?.cloned() {
            self.end_one(&found)?;
        }
        self.forget();
        Ok(())
    }

    /// Ends all sessions of who is logged in, as [`Self::end`].
    ///
    /// # Errors
    ///
    /// 503 where the store does not answer.
    pub fn end_all(&mut self) -> Result<(), Error> {
        if let Some(user) = self.user()? {
            self.end_of(&user, None)?;
        }
        self.forget();
        Ok(())
    }

    /// Ends another session of who is logged in, by the id of its device. False: he has
    /// none of this id.
    ///
    /// # Errors
    ///
    /// 503 where the store does not answer.
    pub fn end_other(&mut self, id: &str) -> Result<bool, Error> {
        match self.user()? {
            Some(user) => self.end_of(&user, Some(id)),
            None => Ok(false),
        }
    }

    /// Where else who is logged in is logged in, this session left out.
    ///
    /// # Errors
    ///
    /// 503 where the store does not answer.
    pub fn others(&mut self) -> Result<Vec<Device>, Error> {
        let (hub, now) = (self.0.hub(), self.0.session_time());
        let Some(own) = self.0.look_up()?.map(|found| found.device.clone()) else {
            return Ok(Vec::new());
        };
        let all = sessions(hub).list(&own.user, now);
        let mut all = all.map_err(|error| self.0.fault(error))?;
        all.retain(|device| device.id != own.id);
        Ok(all)
    }

    fn end_one(&mut self, found: &Found) -> Result<(), Error> {
        let hub = self.0.hub();
        let ended = sessions(hub).end(found);
        ended.map_err(|error| self.0.fault(error))?;
        let Device { id, user, .. } = &found.device;
        close_all(hub, user, std::slice::from_ref(id));
        Ok(())
    }

    fn end_of(&mut self, user: &str, id: Option<&str>) -> Result<bool, Error> {
        let hub = self.0.hub();
        let ended = sessions(hub).end_of(user, id);
        let ended = ended.map_err(|error| self.0.fault(error))?;
        close_all(hub, user, &ended);
        Ok(!ended.is_empty())
    }

    fn forget(&mut self) {
        if self.0.secret().is_some() {
            let field = cookie::remove(self.0.is_secure());
            self.0.set_header("Set-Cookie", field);
        }
        self.0.session = Lookup::Nobody;
    }
}

impl<S> Http<'_, S> {
    fn begin_session(&mut self, user: &str) -> Result<Found, crate::session::Error> {
        let (secret, _) = secret()?;
        let address = self.address().map(|address| address.to_string());
        let from = (
            address.as_deref().unwrap_or("unix"),
            self.header("user-agent").unwrap_or_default(),
        );
        let begun = sessions(self.hub()).begin(&secret, user, from, self.session_time())?;
        self.give_cookie(&secret);
        Ok(begun)
    }

    /// Whose connection this becomes, and the room that its session's end reaches it in.
    pub(super) fn session_room(&self) -> Option<(String, String)> {
        match &self.session {
            Lookup::Found(found) => {
                let device = &found.device;
                Some((device.user.clone(), room(&device.id, &device.user)))
            }
            Lookup::Open | Lookup::Nobody => None,
        }
    }
}

/// Between two looks at connections whose session may be gone.
pub(crate) const LOOK: Duration = Duration::from_secs(60);
