//! What a user gives the client library to run: greetings, and functions for
//! pushes, errors and changes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use purlin::Server;
use purlin::client::{Backoff, Builder, Change, Client, ClientError, Why};
use purlin::prelude::*;

use crate::harness::{PATIENCE, address, serve_with, wait_until};

const ECHO: Id = 1;
const LOGIN: Id = 2;
const WHO: Id = 3;
const PUSH: Id = 4;
const PUSHED: Id = 5;
const FAIL: Id = 6;
const NOBODYS: Id = 7;
const QUICK: Backoff = Backoff {
    first: Duration::from_millis(10),
    max: Duration::from_millis(50),
};

/// Who has not logged in is nobody.
fn app(lets_in: &Arc<AtomicBool>) -> App<String> {
    let lets_in = Arc::clone(lets_in);
    App::<String>::new()
        .on_inline(ECHO, |_, body: Bytes| body)
        .on(LOGIN, move |c, name: String| {
            if !lets_in.load(Ordering::SeqCst) {
                return Err(Error::new(401, "wrong password"));
            }
            **c = name;
            Ok("welcome")
        })
        .on(WHO, |c, (): ()| (**c).clone())
        .on(PUSH, |c, (): ()| {
            c.send(PUSHED, "news");
            "done"
        })
        .on(FAIL, |_, (): ()| {
            Err::<String, _>(Error::new(418, "teapot"))
        })
}

struct Login {
    server: Server,
    lets_in: Arc<AtomicBool>,
}

impl Login {
    fn new(preset: &str) -> Self {
        let lets_in = Arc::new(AtomicBool::new(true));
        let server = serve_with(app(&lets_in), &[("listener.0.frame", preset)]);
        Self { server, lets_in }
    }

    /// Ends it, and serves anew on the same port.
    fn restart(self, preset: &str) -> Self {
        let address = address(&self.server).to_string();
        self.server.stop(Duration::ZERO).unwrap();
        let keys = [
            ("listener.0.address", &*address),
            ("listener.0.frame", preset),
        ];
        let server = serve_with(app(&self.lets_in), &keys);
        Self {
            server,
            lets_in: self.lets_in,
        }
    }

    fn client(&self, preset: &str) -> Builder {
        Client::builder(address(&self.server).to_string())
            .preset(preset)
            .connect_timeout(PATIENCE)
            .call_timeout(PATIENCE)
    }
}

fn log_in(client: &Client) -> Result<(), ClientError> {
    let welcome: String = client.call(LOGIN, "ann")?;
    assert_eq!(welcome, "welcome");
    Ok(())
}

#[test]
fn each_connection_is_greeted_before_anybody_else_can_use_it() {
    for preset in ["rpc", "comm"] {
        let mut login = Login::new(preset);
        let client = login.client(preset).reconnect(QUICK).greeting(log_in);
        let client = client.connect().unwrap();
        let over = AtomicBool::new(false);
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..4 {
                let (client, tell, over) = (client.clone(), tell.clone(), &over);
                scope.spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        match client.call::<_, String>(WHO, ()) {
                            Ok(who) => tell.send(who).unwrap(),
                            Err(ClientError::Disconnected) => thread::yield_now(),
                            Err(ClientError::Lost(_)) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                });
            }
            for restarts in [true, true, false] {
                // Of those that were asked before the restart, and of later ones.
                let replies = told.try_iter().count();
                for _ in 0..replies.max(10) {
                    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "ann", "{preset}");
                }
                if restarts {
                    login = login.restart(preset);
                }
            }
            over.store(true, Ordering::SeqCst);
        });
        assert!(told.try_iter().all(|who| who == "ann"), "{preset}");
    }
}

#[test]
fn a_greeting_that_the_server_refuses_is_the_error_of_connecting() {
    for reconnect in [false, true] {
        let login = Login::new("comm");
        login.lets_in.store(false, Ordering::SeqCst);
        let client = login.client("comm").greeting(log_in);
        let client = if reconnect {
            client.reconnect(QUICK)
        } else {
            client
        };
        match client.connect() {
            Err(ClientError::Remote(error)) => {
                assert_eq!(error, Error::new(401, "wrong password"));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_greeting_that_panics_is_an_error() {
    let login = Login::new("comm");
    let client = login.client("comm");
    let client = client.greeting(|_| panic!("a test panics in a greeting"));
    let error = client.connect().unwrap_err();
    assert!(
        matches!(error, ClientError::Lost(Why::Greeting(_))),
        "{error}"
    );
}

#[test]
fn a_greeting_that_fails_later_is_told_and_tried_again() {
    let login = Login::new("comm");
    let (tell, changes) = mpsc::channel();
    let client = login.client("comm").reconnect(QUICK).greeting(log_in);
    let client = client.on_change(move |_, change| tell.send(change.clone()).unwrap_or(()));
    let client = client.connect().unwrap();
    let next = || changes.recv_timeout(PATIENCE).unwrap();
    assert_eq!(next(), Change::Connected);
    login.lets_in.store(false, Ordering::SeqCst);
    let login = login.restart("comm");
    let mut refused = 0;
    while refused < 3 {
        match next() {
            Change::Disconnected(Why::Greeting(why)) => {
                assert!(why.contains("wrong password"), "{why}");
                refused += 1;
            }
            Change::Disconnected(_) | Change::Retrying(_) => {}
            Change::Connected => panic!("nobody is let in"),
        }
        let outside = client.call::<_, String>(WHO, ());
        assert!(outside.is_err(), "{outside:?}");
    }
    login.lets_in.store(true, Ordering::SeqCst);
    while next() != Change::Connected {}
    assert_eq!(client.call::<_, String>(WHO, ()).unwrap(), "ann");
}

#[test]
fn functions_can_call() {
    let login = Login::new("rpc");
    let (tell, told) = mpsc::channel();
    let changed = tell.clone();
    let client = login.client("rpc");
    let client = client.on(PUSHED, move |client, text: String| {
        let reply = client.call::<_, String>(ECHO, format!("{text} in a push"));
        tell.send(reply.unwrap()).unwrap();
    });
    let client = client.on_change(move |client, change| {
        if *change == Change::Connected {
            let reply = client.call::<_, String>(ECHO, "in a change");
            changed.send(reply.unwrap()).unwrap();
        }
    });
    let client = client.connect().unwrap();
    assert_eq!(client.call::<_, String>(PUSH, ()).unwrap(), "done");
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "in a change");
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "news in a push");
}

#[test]
fn a_function_that_takes_its_time_holds_no_reply_up() {
    let login = Login::new("comm");
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let (tell, told) = mpsc::channel();
    let client = login.client("comm").on(PUSHED, move |_, text: String| {
        tell.send(text).unwrap();
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
    });
    let client = client.connect().unwrap();
    assert_eq!(client.call::<_, String>(PUSH, ()).unwrap(), "done");
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "news");
    assert_eq!(client.call::<_, String>(ECHO, "x").unwrap(), "x");
    go.send(()).unwrap();
}

#[test]
fn an_error_that_answers_what_was_sent_is_heard() {
    for preset in ["rpc", "comm"] {
        let login = Login::new(preset);
        let (tell, told) = mpsc::channel();
        let client = login.client(preset).on_error(move |client, id, error| {
            let usable = client.call::<_, String>(ECHO, "x").is_ok();
            tell.send((id, error.clone(), usable)).unwrap();
        });
        let client = client.connect().unwrap();
        client.send(FAIL, ()).unwrap();
        let (id, error, usable) = told.recv_timeout(PATIENCE).unwrap();
        assert_eq!((id, error), (FAIL, Error::new(418, "teapot")), "{preset}");
        assert!(usable);
        client.send(NOBODYS, ()).unwrap();
        let (id, error, _) = told.recv_timeout(PATIENCE).unwrap();
        assert_eq!((id, error.code), (NOBODYS, 404), "{preset}");
        // That of a call is the call's alone.
        let failed = client.call::<_, String>(FAIL, ()).unwrap_err();
        assert!(matches!(failed, ClientError::Remote(_)), "{failed}");
        assert!(told.try_recv().is_err());
    }
}

#[test]
fn clones_are_one_client_that_lives_as_long_as_one_of_them() {
    let login = Login::new("comm");
    let (tell, told) = mpsc::channel::<()>();
    let client = login.client("comm").on(PUSHED, move |_, _: String| {
        let _never = &tell;
    });
    let client = client.connect().unwrap();
    let clone = client.clone();
    drop(client);
    assert_eq!(clone.call::<_, String>(ECHO, "x").unwrap(), "x");
    let last = clone.clone();
    clone.close();
    let closed = last.call::<_, String>(ECHO, "x").unwrap_err();
    assert!(matches!(closed, ClientError::Closed), "{closed}");
    drop(last);
    // Its threads have ended: they dropped the function, and the channel.
    wait_until("nothing of it is left", || {
        told.try_recv() == Err(mpsc::TryRecvError::Disconnected)
    });
}

/// Whoever sends and leaves at once has said it.
#[test]
fn what_was_sent_before_the_last_clone_went_arrives() {
    const TIMES: usize = 200;
    for preset in ["comm", "rpc"] {
        let (tell, told) = mpsc::channel();
        let app = App::<()>::new().on(ECHO, move |_, body: Bytes| {
            let _listens = tell.send(body.len());
        });
        let server = serve_with(app, &[("listener.0.frame", preset)]);
        for _ in 0..TIMES {
            let client = Client::builder(address(&server).to_string()).preset(preset);
            let client = client.connect().unwrap();
            client.send(ECHO, vec![7; 10_000]).unwrap();
            drop(client);
        }
        for n in 0..TIMES {
            let heard = told.recv_timeout(PATIENCE);
            assert_eq!(heard, Ok(10_000), "{preset}: {n} of {TIMES} came");
        }
    }
}
