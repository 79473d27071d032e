//! A small Redis: `redis-cli -p 7000 set a b`, or `printf 'GET a\r\n' | nc -q1
//! 127.0.0.1 7000`. Run it with `--set listener.0.frame=resp`.

mod codec;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Mutex;

use codec::{Resp, arguments, bulk, id};
use purlin::prelude::*;

/// What was set, in this worker: run it with `--set workers=1`.
type Table = Mutex<HashMap<Vec<u8>, Vec<u8>>>;

fn wrong(count: usize) -> Error {
    Error::new(400, format!("wrong number of arguments ({count})"))
}

fn main() -> ExitCode {
    App::<()>::new()
        .codec("resp", Resp)
        .data(|| Ok::<_, Infallible>(Table::default()))
        .on(id(b"PING"), |_, _: Bytes| Bytes::from_static(b"+PONG\r\n"))
        .on(id(b"ECHO"), |_, body: Bytes| match arguments(&body)[..] {
            [_, text] => Ok(bulk(Some(text))),
            ref all => Err(wrong(all.len())),
        })
        .on(id(b"GET"), |c, body: Bytes| match arguments(&body)[..] {
            [_, key] => {
                let table = c.data::<Table>().lock().expect("no handler panics with it");
                Ok(bulk(table.get(key).map(Vec::as_slice)))
            }
            ref all => Err(wrong(all.len())),
        })
        .on(id(b"SET"), |c, body: Bytes| match arguments(&body)[..] {
            [_, key, value] => {
                let mut table = c.data::<Table>().lock().expect("no handler panics with it");
                table.insert(key.to_vec(), value.to_vec());
                Ok(Bytes::from_static(b"+OK\r\n"))
            }
            ref all => Err(wrong(all.len())),
        })
        .otherwise(|_, body: Bytes| -> Result<(), Error> {
            let name = arguments(&body)
                .first()
                .map(|name| String::from_utf8_lossy(name).into_owned());
            Err(Error::new(
                404,
                format!("unknown command '{}'", name.unwrap_or_default()),
            ))
        })
        .main()
}
