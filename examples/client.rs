//! The client library: a greeting, a call, a push, and a server that goes away
//! and returns.
//!
//! ```text
//! NAME "ann"   -> nothing: who says its name may chat
//! CHAT "hello" -> "you are number 1", and HEARD "ann: hello" for everybody
//! ```
//!
//! ```text
//! cargo run --example client
//! ```
//!
//! The server is in this program only so that it can be restarted; a client of
//! yours needs nothing but the address and the preset.

#![allow(clippy::print_stdout, reason = "it shows what happens")]

use std::sync::mpsc;
use std::time::Duration;

use purlin::client::{Backoff, Change, Client, ClientError};
use purlin::{Server, prelude::*};

const CHAT: Id = 1;
const HEARD: Id = 2;
const NAME: Id = 3;
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Guest {
    name: String,
    messages: u32,
}

fn chat(c: &mut Ctx<Guest>, text: String) -> Result<String, Error> {
    if c.name.is_empty() {
        return Err(Error::new(401, "who are you?"));
    }
    c.messages += 1;
    let line = format!("{}: {text}", c.name);
    c.hub().all().send(HEARD, line);
    Ok(format!("you are number {}", c.messages))
}

fn serve(address: &str) -> Result<Server, Box<dyn std::error::Error>> {
    let app = App::<Guest>::new()
        .on(NAME, |c, name: String| c.name = name)
        .on(CHAT, chat);
    let keys = [("listener.0.address", address), ("listener.0.frame", "rpc")];
    Ok(Server::configured(app, &keys)?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = serve("127.0.0.1:0")?;
    let address = server.addresses()[0].to_string();

    // Functions run on a thread of the client's, in order; a call in them works.
    let (hears, heard) = mpsc::channel();
    let (sees, seen) = mpsc::channel();
    let client = Client::builder(&address)
        .preset("rpc")
        .call_timeout(PATIENCE)
        // `Backoff::default()` waits from 1 s to 60 s, as a program should.
        .reconnect(Backoff {
            first: Duration::from_millis(100),
            max: Duration::from_secs(1),
        })
        // A server that hangs is noticed as one that is gone.
        .heartbeat(Duration::from_secs(5))
        // On each connection, before anybody else can use it.
        .greeting(|client| client.send(NAME, "ann"))
        .on(HEARD, move |_, text: String| hears.send(text).unwrap_or(()))
        .on_error(|_, id, error| println!("message {id} failed: {}", error.text))
        .on_change(move |_, change| sees.send(change.clone()).unwrap_or(()))
        .connect()?;

    let reply: String = client.call(CHAT, "hello")?;
    println!("the reply is `{reply}`, the push `{}`", heard.recv()?);

    drop(server);
    let _again = serve(&address)?;
    let mut connections = 0;
    while connections < 2 {
        let change = seen.recv_timeout(PATIENCE)?;
        println!("{change:?}");
        connections += usize::from(change == Change::Connected);
    }

    // Every error says whether the server may have acted. A lost request is not
    // sent again: only this program knows whether twice would be harmless.
    match client.call::<_, String>(CHAT, "hello again") {
        Ok(reply) => println!("the new server says `{reply}`"),
        Err(ClientError::Disconnected) => println!("nothing was sent: try later"),
        Err(ClientError::Lost(why)) => println!("it may have been served: {why}"),
        Err(error) => return Err(error.into()),
    }
    client.close();
    Ok(())
}
