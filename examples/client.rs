//! The client library: a call, a push, and a server that goes away and returns.
//!
//! ```text
//! CHAT "hello" -> "you are number 1", and HEARD "hello" for everybody
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
const PATIENCE: Duration = Duration::from_secs(10);

fn chat(c: &mut Ctx<u32>, text: String) -> String {
    **c += 1;
    c.hub().all().send(HEARD, text);
    format!("you are number {}", **c)
}

fn serve(address: &str) -> Result<Server, Box<dyn std::error::Error>> {
    let app = App::<u32>::new().on(CHAT, chat);
    let keys = [("listener.0.address", address), ("listener.0.frame", "rpc")];
    Ok(Server::configured(app, &keys)?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = serve("127.0.0.1:0")?;
    let address = server.addresses()[0].to_string();

    // Pushes are heard on the client's own thread, which reads nothing
    // meanwhile; changes on the thread that sees them. Both only pass them on.
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
        .on(HEARD, move |text: String| hears.send(text).unwrap_or(()))
        .on_change(move |change| sees.send(change.clone()).unwrap_or(()))
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
