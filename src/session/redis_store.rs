//! Sessions in Redis.
//!
//! ```text
//! purlin:s:{KEY}   hash, TTL    id user since seen renewed address agent =NAME...  (next)
//! purlin:u:{USER}  sorted set   keys of the user's sessions, by when they end; TTL
//! purlin:f:{ORIGIN}             failures of an address; TTL
//! purlin:a:{USER}  sorted set   addresses that failed at an account, by when; TTL
//! ```
//!
//! Each command and each script touches keys of one hash tag, as a cluster wants it. The
//! index of a user is trimmed at every write and dies with its longest session.

use super::Error;
use super::id::Key;
use super::limits::WINDOW;
use super::record::{Device, Found, OVERLAP, Times};
use super::store::Store;
use crate::redis::{FromReply as _, Redis, Value};

pub(super) struct RedisStore(pub(super) Redis);

/// Makes a hash that is not there yet: `KEYS[1]`, its TTL, its fields and values.
const BEGIN: &str = "if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end \
    redis.call('HSET', KEYS[1], unpack(ARGV, 2)) redis.call('EXPIRE', KEYS[1], ARGV[1]) return 1";

/// Changes fields of a hash that is still there, and its TTL unless that is 0.
const CHANGE: &str = "if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end \
    redis.call('HSET', KEYS[1], unpack(ARGV, 2)) \
    if ARGV[1] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[1]) end return 1";

/// Gives a hash its successor, unless it has one.
const SUCCEED: &str = "if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end \
    if redis.call('HSETNX', KEYS[1], 'next', ARGV[2]) == 0 then return 0 end \
    redis.call('EXPIRE', KEYS[1], ARGV[1]) return 1";

impl From<crate::redis::Error> for Error {
    fn from(error: crate::redis::Error) -> Self {
        Self::Down(error.to_string())
    }
}

fn session(key: &str) -> String {
    format!("purlin:s:{{{key}}}")
}

fn index(user: &str) -> String {
    format!("purlin:u:{{{user}}}")
}

impl RedisStore {
    /// Runs a script on one key; whether it did something.
    fn script(&self, script: &str, key: &str, ttl: u64, values: &[&str]) -> Result<bool, Error> {
        let ttl = ttl.to_string();
        let head = ["EVAL", script, "1", key, &ttl];
        Ok(self.0.call(&[&head, values].concat())?)
    }

    /// Several commands, of which none may fail.
    fn all(&self, commands: &[Vec<&str>]) -> Result<Vec<Value>, Error> {
        let replies = self.0.pipeline(commands)?.into_iter();
        Ok(replies.map(Value::from_reply).collect::<Result<_, _>>()?)
    }

    /// Names a session in its user's index, without those that are over, until it ends.
    fn enter(
        &self,
        user: &str,
        key: &str,
        times: &Times,
        ends: u64,
        now: u64,
    ) -> Result<(), Error> {
        let (index, ends, now) = (index(user), ends.to_string(), now.to_string());
        let ttl = times.max.to_string();
        let commands = [
            vec!["ZREMRANGEBYSCORE", &index, "-inf", &now],
            vec!["ZADD", &index, &ends, key],
            vec!["EXPIRE", &index, &ttl],
        ];
        self.all(&commands)?;
        Ok(())
    }

    /// The fields of a session.
    fn fields(&self, key: &str) -> Result<Vec<(String, String)>, Error> {
        let all: Vec<String> = self.0.call(&["HGETALL", &session(key)])?;
        let pairs = all.chunks_exact(2);
        Ok(pairs
            .map(|pair| (pair[0].clone(), pair[1].clone()))
            .collect())
    }

    /// Keys of a user's sessions.
    fn keys(&self, user: &str) -> Result<Vec<String>, Error> {
        Ok(self.0.call(&["ZRANGE", &index(user), "0", "-1"])?)
    }
}

/// A session of its fields; `None`: something is missing.
fn read(fields: &[(String, String)]) -> Option<(Device, u64)> {
    let text = |name: &str| {
        let field = fields.iter().find(|(field, _)| field == name)?;
        Some(field.1.clone())
    };
    let number = |name: &str| text(name)?.parse().ok();
    let device = Device {
        id: text("id")?,
        user: text("user")?,
        since: number("since")?,
        seen: number("seen")?,
        address: text("address")?,
        agent: text("agent")?,
    };
    Some((device, number("renewed")?))
}

impl Store for RedisStore {
    fn begin(&self, key: &Key, device: &Device, times: &Times) -> Result<(), Error> {
        let (since, seen) = (device.since.to_string(), device.seen.to_string());
        let fields = [
            "id",
            &device.id,
            "user",
            &device.user,
            "since",
            &since,
            "seen",
            &seen,
            "renewed",
            &since,
            "address",
            &device.address,
            "agent",
            &device.agent,
        ];
        let (text, ends) = (key.text(), times.expires(device));
        // First the index: what it names and is not there is trimmed.
        self.enter(&device.user, &text, times, ends, device.since)?;
        let ttl = ends.saturating_sub(device.seen);
        if self.script(BEGIN, &session(&text), ttl, &fields)? {
            return Ok(());
        }
        Err(Error::Down(
            "a new session has the name of another one".to_owned(),
        ))
    }

    fn find(&self, key: &Key, _: u64) -> Result<Option<Found>, Error> {
        let mut key = *key;
        let mut fields = self.fields(&key.text())?;
        let next = fields
            .iter()
            .find(|(name, _)| name == "next")
            .map(|(_, next)| next.clone());
        let by_old_name = next.is_some();
        if let Some(next) = next {
            let Some(successor) = Key::parse(&next) else {
                return Ok(None);
            };
            key = successor;
            fields = self.fields(&next)?;
        }
        Ok(read(&fields).map(|(device, renewed)| Found {
            device,
            key,
            renewed,
            by_old_name,
        }))
    }

    fn touch(&self, found: &Found, times: &Times, now: u64) -> Result<(), Error> {
        let mut device = found.device.clone();
        device.seen = device.seen.max(now);
        let (key, ends) = (found.key.text(), times.expires(&device));
        let values = ["seen", &device.seen.to_string()];
        if self.script(
            CHANGE,
            &session(&key),
            ends.saturating_sub(now).max(1),
            &values,
        )? {
            self.enter(&device.user, &key, times, ends, now)?;
        }
        Ok(())
    }

    fn renew(&self, found: &Found, to: &Key, times: &Times, now: u64) -> Result<bool, Error> {
        let (from, to) = (found.key.text(), to.text());
        let ends = times.expires(&found.device);
        let mut fields = self.fields(&from)?;
        if read(&fields).is_none() {
            return Ok(false);
        }
        for (name, value) in &mut fields {
            if name == "renewed" {
                *value = now.to_string();
            }
        }
        let pairs = fields.iter().flat_map(|(name, value)| [&**name, &**value]);
        let pairs: Vec<&str> = pairs.collect();
        let ttl = ends.saturating_sub(now).max(1);
        self.script(BEGIN, &session(&to), ttl, &pairs)?;
        if !self.script(SUCCEED, &session(&from), OVERLAP, &[&to])? {
            // Another request was quicker, or it has ended.
            let _removed: i64 = self.0.call(&["DEL", &session(&to)])?;
            return Ok(false);
        }
        self.enter(&found.device.user, &to, times, ends, now)?;
        let _removed: i64 = self.0.call(&["ZREM", &index(&found.device.user), &from])?;
        Ok(true)
    }

    fn get(&self, found: &Found, name: &str) -> Result<Option<String>, Error> {
        let field = format!("={name}");
        Ok(self
            .0
            .call(&["HGET", &session(&found.key.text()), &field])?)
    }

    fn set(&self, found: &Found, name: &str, value: &str) -> Result<bool, Error> {
        let field = format!("={name}");
        self.script(CHANGE, &session(&found.key.text()), 0, &[&field, value])
    }

    fn end(&self, found: &Found) -> Result<(), Error> {
        let key = found.key.text();
        let _removed: i64 = self.0.call(&["DEL", &session(&key)])?;
        let _removed: i64 = self.0.call(&["ZREM", &index(&found.device.user), &key])?;
        Ok(())
    }

    fn list(&self, user: &str, times: &Times, now: u64) -> Result<Vec<Device>, Error> {
        let mut devices = Vec::new();
        for key in self.keys(user)? {
            devices.extend(read(&self.fields(&key)?).map(|(device, _)| device));
        }
        devices.retain(|device| !times.is_over(device, now));
        devices.sort_by(|a, b| b.seen.cmp(&a.seen).then_with(|| a.id.cmp(&b.id)));
        Ok(devices)
    }

    fn end_of(&self, user: &str, id: Option<&str>) -> Result<Vec<String>, Error> {
        let mut ended = Vec::new();
        for key in self.keys(user)? {
            let found = read(&self.fields(&key)?).map(|(device, _)| device.id);
            if id.is_some() && found.as_deref() != id {
                continue;
            }
            let _removed: i64 = self.0.call(&["DEL", &session(&key)])?;
            let _removed: i64 = self.0.call(&["ZREM", &index(user), &key])?;
            ended.extend(found);
        }
        Ok(ended)
    }

    /// The server does it.
    fn sweep(&self, _: &Times, _: u64) -> Result<(), Error> {
        Ok(())
    }

    fn failed(&self, origin: &str, account: &str, now: u64) -> Result<(), Error> {
        let (by, at) = (
            format!("purlin:f:{{{origin}}}"),
            format!("purlin:a:{{{account}}}"),
        );
        let (now, window) = (now.to_string(), WINDOW.to_string());
        let one = super::id::public()?;
        self.all(&[
            vec!["ZADD", &by, &now, &one],
            vec!["EXPIRE", &by, &window],
            vec!["ZADD", &at, &now, origin],
            vec!["EXPIRE", &at, &window],
        ])?;
        Ok(())
    }

    fn failures(&self, origin: &str, account: &str, now: u64) -> Result<(u64, u64), Error> {
        let (by, at) = (
            format!("purlin:f:{{{origin}}}"),
            format!("purlin:a:{{{account}}}"),
        );
        let since = format!("({}", now.saturating_sub(WINDOW));
        let counts = self.all(&[
            vec!["ZCOUNT", &by, &since, "+inf"],
            vec!["ZCOUNT", &at, &since, "+inf"],
        ])?;
        let count = |value: &Value| match value {
            Value::Int(count) => u64::try_from(*count).unwrap_or_default(),
            Value::Nil | Value::Bytes(_) | Value::Status(_) | Value::List(_) | Value::Error(_) => 0,
        };
        Ok((
            counts.first().map_or(0, count),
            counts.get(1).map_or(0, count),
        ))
    }
}
