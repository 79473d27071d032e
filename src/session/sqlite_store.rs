//! Sessions in a file.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::Error;
use super::id::Key;
use super::limits::WINDOW;
use super::record::{Device, Found, OVERLAP, Times};
use super::store::Store;
use crate::sqlite::Database;

pub(super) const MIGRATIONS: &[&str] = &["
    create table sessions (
        id text primary key, user text not null, since integer not null,
        seen integer not null, renewed integer not null, address text not null,
        agent text not null
    ) without rowid;
    create index sessions_user on sessions (user);
    create index sessions_seen on sessions (seen);
    create table names (
        key blob primary key, id text not null references sessions on delete cascade,
        until integer
    ) without rowid;
    create index names_id on names (id);
    create table session_values (
        id text references sessions on delete cascade, name text, value text not null,
        primary key (id, name)
    ) without rowid;
    create table failures (origin text not null, account text not null, at integer not null);
    create index failures_origin on failures (origin, at);
    create index failures_account on failures (account, at);
    create index failures_at on failures (at);
"];

const COLUMNS: &str = "s.id, s.user, s.since, s.seen, s.address, s.agent";

pub(super) struct SqliteStore(pub(super) Database);

fn device(row: &Row<'_>) -> rusqlite::Result<Device> {
    Ok(Device {
        id: row.get(0)?,
        user: row.get(1)?,
        since: row.get(2)?,
        seen: row.get(3)?,
        address: row.get(4)?,
        agent: row.get(5)?,
    })
}

impl From<crate::sqlite::Error> for Error {
    fn from(error: crate::sqlite::Error) -> Self {
        Self::Down(error.to_string())
    }
}

impl SqliteStore {
    /// Rows that a statement changes.
    fn change(
        &self,
        sql: &'static str,
        values: impl rusqlite::Params + Send + 'static,
    ) -> Result<usize, Error> {
        let run = move |t: &Connection| t.prepare_cached(sql)?.execute(values);
        Ok(self.0.write(run)?)
    }
}

impl Store for SqliteStore {
    fn begin(&self, key: &Key, device: &Device, _: &Times) -> Result<(), Error> {
        let (key, device) = (*key, device.clone());
        self.0.write(move |t| {
            let Device {
                id,
                user,
                since,
                seen,
                address,
                agent,
            } = device;
            let insert = "insert into sessions values (?1, ?2, ?3, ?4, ?3, ?5, ?6)";
            t.prepare_cached(insert)?
                .execute(params![id, user, since, seen, address, agent])?;
            let insert = "insert into names values (?1, ?2, null)";
            t.prepare_cached(insert)?.execute(params![key.0, id])
        })?;
        Ok(())
    }

    fn find(&self, key: &Key, now: u64) -> Result<Option<Found>, Error> {
        let select = format!(
            "select {COLUMNS}, s.renewed, n.until, (select key from names where id = s.id and until is \
             null) from names n join sessions s on s.id = n.id where n.key = ?1 and \
             coalesce(n.until > ?2, true)"
        );
        let found = self.0.read(|r| {
            let mut select = r.prepare_cached(&select)?;
            let found = |row: &Row<'_>| {
                Ok(Found {
                    device: device(row)?,
                    renewed: row.get(6)?,
                    by_old_name: row.get::<_, Option<u64>>(7)?.is_some(),
                    key: Key(row.get(8)?),
                })
            };
            select.query_row(params![key.0, now], found).optional()
        });
        Ok(found?)
    }

    fn touch(&self, found: &Found, _: &Times, now: u64) -> Result<(), Error> {
        let update = "update sessions set seen = max(seen, ?2) where id = ?1";
        self.change(update, (found.device.id.clone(), now))?;
        Ok(())
    }

    fn renew(&self, found: &Found, to: &Key, _: &Times, now: u64) -> Result<bool, Error> {
        let (from, to, id) = (found.key, *to, found.device.id.clone());
        Ok(self.0.write(move |t| {
            // Of two requests that would rename it one does.
            let update = "update names set until = ?2 where key = ?1 and until is null";
            let renamed = t
                .prepare_cached(update)?
                .execute(params![from.0, now + OVERLAP])?;
            if renamed == 0 {
                return Ok(false);
            }
            let insert = "insert into names values (?1, ?2, null)";
            t.prepare_cached(insert)?.execute(params![to.0, id])?;
            let update = "update sessions set renewed = ?2 where id = ?1";
            t.prepare_cached(update)?.execute(params![id, now])?;
            Ok(true)
        })?)
    }

    fn get(&self, found: &Found, name: &str) -> Result<Option<String>, Error> {
        let select = "select value from session_values where id = ?1 and name = ?2";
        let value = self.0.read(|r| {
            let mut select = r.prepare_cached(select)?;
            select
                .query_row([&found.device.id, name], |row| row.get(0))
                .optional()
        });
        Ok(value?)
    }

    fn set(&self, found: &Found, name: &str, value: &str) -> Result<bool, Error> {
        let insert =
            "insert or replace into session_values select id, ?2, ?3 from sessions where id = ?1";
        let values = (found.device.id.clone(), name.to_owned(), value.to_owned());
        Ok(self.change(insert, values)? > 0)
    }

    fn end(&self, found: &Found) -> Result<(), Error> {
        self.end_of(&found.device.user, Some(&found.device.id))?;
        Ok(())
    }

    fn list(&self, user: &str, times: &Times, now: u64) -> Result<Vec<Device>, Error> {
        let select =
            format!("select {COLUMNS} from sessions s where user = ?1 order by seen desc, id");
        let all = self.0.read(|r| {
            let mut select = r.prepare_cached(&select)?;
            let devices = select.query_map([user], device)?;
            devices.collect::<rusqlite::Result<Vec<_>>>()
        });
        let all = all?.into_iter();
        Ok(all.filter(|device| !times.is_over(device, now)).collect())
    }

    fn end_of(&self, user: &str, id: Option<&str>) -> Result<Vec<String>, Error> {
        let (user, id) = (user.to_owned(), id.map(str::to_owned));
        Ok(self.0.write(move |t| {
            let delete =
                "delete from sessions where user = ?1 and coalesce(id = ?2, true) returning id";
            let mut delete = t.prepare_cached(delete)?;
            let ids = delete.query_map(params![user, id], |row| row.get(0))?;
            ids.collect()
        })?)
    }

    fn sweep(&self, times: &Times, now: u64) -> Result<(), Error> {
        let (seen, since) = (
            now.saturating_sub(times.idle),
            now.saturating_sub(times.max),
        );
        self.0.write(move |t| {
            t.execute(
                "delete from sessions where seen <= ?1 or since <= ?2",
                params![seen, since],
            )?;
            t.execute("delete from names where until <= ?1", params![now])?;
            let before = now.saturating_sub(WINDOW);
            t.execute("delete from failures where at <= ?1", params![before])
        })?;
        Ok(())
    }

    fn failed(&self, origin: &str, account: &str, now: u64) -> Result<(), Error> {
        let insert = "insert into failures values (?1, ?2, ?3)";
        self.change(insert, (origin.to_owned(), account.to_owned(), now))?;
        Ok(())
    }

    fn failures(&self, origin: &str, account: &str, now: u64) -> Result<(u64, u64), Error> {
        let select = "select (select count(*) from failures where origin = ?1 and at > ?3), (select \
                      count(distinct origin) from failures where account = ?2 and at > ?3)";
        let since = now.saturating_sub(WINDOW);
        let counts = self.0.read(|r| {
            let mut select = r.prepare_cached(select)?;
            select.query_row(params![origin, account, since], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
        });
        Ok(counts?)
    }
}
