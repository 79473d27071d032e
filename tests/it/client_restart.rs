//! The client library over every kind of address, and over a restart.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use purlin::Server;
use purlin::client::{Backoff, Builder, Change, Client, ClientError};
use purlin::prelude::*;

const ECHO: Id = 1;
const NEVER: Id = 2;
const TELL: Id = 3;
const TOLD: Id = 4;
const PATIENCE: Duration = Duration::from_secs(60);

/// `NEVER` is entered, says so on `entered`, and is never answered.
fn app(entered: mpsc::Sender<()>) -> App<()> {
    let entered = Mutex::new((entered, Vec::new()));
    App::<()>::new()
        .on_inline(ECHO, |_, body: Bytes| body)
        .on(NEVER, move |c, (): ()| {
            let mut entered = entered.lock().unwrap();
            entered.0.send(()).unwrap_or(());
            c.later(|replier| entered.1.push(replier))
        })
        .on(TELL, |c, (): ()| c.send(TOLD, "news"))
}

fn serve(address: &str, preset: &str) -> (Server, mpsc::Receiver<()>) {
    let (tell, entered) = mpsc::channel();
    let keys = [
        ("listener.0.address", address),
        ("listener.0.frame", preset),
    ];
    (Server::configured(app(tell), &keys).unwrap(), entered)
}

fn to(server: &Server, preset: &str) -> Builder {
    Client::builder(server.addresses()[0].to_string())
        .preset(preset)
        .connect_timeout(PATIENCE)
        .call_timeout(PATIENCE)
}

#[test]
fn it_speaks_over_ipv4_ipv6_and_unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", folder.path().join("s").display());
    for address in ["127.0.0.79:0", "[::1]:0", &unix] {
        let (server, _) = serve(address, "comm");
        let client = to(&server, "comm").connect().unwrap();
        let reply: String = client.call(ECHO, "over it").unwrap();
        assert_eq!(reply, "over it", "{address}");
    }
}

#[test]
fn an_absent_unix_socket_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = format!("unix:{}", folder.path().join("absent").display());
    let error = Client::builder(path).connect().unwrap_err();
    assert!(matches!(error, ClientError::Refused(_)), "{error}");
}

#[test]
fn a_push_may_close_its_client() {
    let (server, _) = serve("127.0.0.79:0", "rpc");
    let held: Arc<Mutex<Option<Client>>> = Arc::default();
    let (tell, told) = mpsc::channel();
    let inside = Arc::clone(&held);
    let client = to(&server, "rpc").on(TOLD, move |_, text: String| {
        let client = inside.lock().unwrap().take().unwrap();
        client.close();
        tell.send(text).unwrap();
    });
    let mut slot = held.lock().unwrap();
    let client = slot.insert(client.connect().unwrap());
    client.send(TELL, ()).unwrap();
    drop(slot);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "news");
    // The reader has ended: it drops the functions, and with them the channel.
    let ended = told.recv_timeout(PATIENCE).unwrap_err();
    assert_eq!(ended, mpsc::RecvTimeoutError::Disconnected);
}

/// The call is in the server's hands when the server goes away, and says so.
#[test]
fn a_restart_in_mid_call_fails_that_call_alone_and_reconnects() {
    for preset in ["rpc", "comm"] {
        let (server, entered) = serve("127.0.0.79:0", preset);
        let address = server.addresses()[0].to_string();
        let (tell, changes) = mpsc::channel();
        let client = to(&server, preset).reconnect(Backoff {
            first: Duration::from_millis(10),
            max: Duration::from_millis(50),
        });
        let client = client.on_change(move |_, change| tell.send(change.clone()).unwrap_or(()));
        let client = client.connect().unwrap();
        std::thread::scope(|scope| {
            let call = scope.spawn(|| client.call::<_, String>(NEVER, ()));
            entered.recv_timeout(PATIENCE).unwrap();
            server.stop(Duration::ZERO).unwrap();
            match call.join().unwrap() {
                Err(ClientError::Remote(error)) => assert_eq!(error.code, 503, "{error:?}"),
                other => panic!("{other:?}"),
            }
        });

        let (_again, entered) = serve(&address, preset);
        let next = || changes.recv_timeout(PATIENCE).unwrap();
        assert_eq!(next(), Change::Connected);
        assert!(matches!(next(), Change::Disconnected(_)));
        let mut change = next();
        assert!(matches!(change, Change::Retrying(_)), "{change:?}");
        while matches!(change, Change::Retrying(_)) {
            change = next();
        }
        assert_eq!(change, Change::Connected);
        let reply: String = client.call(ECHO, "again").unwrap();
        assert_eq!(reply, "again", "{preset}");
        assert!(
            entered.try_recv().is_err(),
            "the failed call was sent again"
        );
    }
}
