//! The pool against a real server that is killed, halted, slow, or wants another
//! password. How long anything may take is ten times what the pool promises.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use purlin::prelude::*;
use purlin::redis::{Error, FromReply, Options, Redis, Value};
use purlin::scoreboard::Counter;
use purlin::{Server, SpawnError};

use crate::harness::{either, wait_until};
use crate::instance::Over;
use crate::redis_server::RedisServer;

/// Ten times the 100 ms in which a caller hears of a fault.
const SOON: Duration = Duration::from_secs(1);

fn pool(options: &Options, change: impl FnOnce(&mut Options)) -> Redis {
    let mut options = options.clone();
    change(&mut options);
    Redis::new(&options).unwrap()
}

/// A command, and whether its result came soon.
fn soon<T: FromReply>(redis: &Redis, command: &[&str]) -> Result<T, Error> {
    let since = Instant::now();
    let result = redis.call(command);
    assert!(since.elapsed() < SOON, "{command:?}: {:?}", since.elapsed());
    result
}

/// Asks until there is an answer.
fn heals(redis: &Redis) {
    wait_until("it answers again", || {
        redis
            .call::<String>(&["ECHO", "x"])
            .is_ok_and(|text| text == "x")
    });
    assert_eq!(redis.broken(), 0);
}

#[test]
fn connections_are_made_as_they_are_needed_and_shared_by_the_rest() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let redis = pool(&server.options(), |options| {
        options.pool = 3;
        options.wait = Duration::from_secs(30);
        options.timeout = Duration::from_secs(30);
    });
    let operator = server.operator();
    let clients = || {
        let list: String = operator.call(&["CLIENT", "LIST"]).unwrap();
        list.lines().count() - 1
    };
    assert_eq!(
        (redis.size(), clients()),
        (0, 0),
        "none before the first command"
    );
    for _ in 0..10 {
        redis.set("k", "v").unwrap();
    }
    assert_eq!((redis.size(), redis.idle(), clients()), (1, 1, 1));
    let most = AtomicUsize::new(0);
    thread::scope(|scope| {
        for n in 0..8 {
            let (redis, most) = (&redis, &most);
            scope.spawn(move || {
                let list = format!("list {n}");
                let got = redis.call::<Value>(&["BLPOP", &list, "0.2"]);
                assert_eq!(got, Ok(Value::Nil));
                most.fetch_max(redis.size(), Ordering::Relaxed);
            });
        }
        wait_until("five wait", || redis.waiting() == 5);
        assert_eq!(clients(), 3);
    });
    assert_eq!(
        (most.into_inner(), redis.size(), redis.waiting()),
        (3, 3, 0)
    );
}

#[test]
fn who_finds_all_busy_waits_for_a_while_only() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let redis = pool(&server.options(), |options| {
        options.pool = 1;
        options.wait = Duration::from_millis(50);
        options.timeout = Duration::from_secs(30);
    });
    thread::scope(|scope| {
        scope.spawn(|| redis.call::<Value>(&["BLPOP", "held", "30"]).unwrap());
        wait_until("the only one is busy", || {
            redis.size() == 1 && redis.idle() == 0
        });
        let error = soon::<String>(&redis, &["GET", "k"]).unwrap_err();
        assert!(matches!(error, Error::Busy { .. }), "{error}");
        server
            .operator()
            .call::<i64>(&["LPUSH", "held", "x"])
            .unwrap();
    });
    assert_eq!(redis.get::<String>("k"), Ok(None));
    assert_eq!(redis.size(), 1);
}

#[test]
fn replies_are_told_apart() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let redis = server.operator();
    assert_eq!(redis.get::<String>("none"), Ok(None));
    redis.set("k", b"\0\r\n").unwrap();
    assert_eq!(redis.get::<Vec<u8>>("k"), Ok(Some(b"\0\r\n".to_vec())));
    let error = redis.call::<i64>(&["LLEN", "k"]).unwrap_err();
    assert!(
        matches!(&error, Error::Server { code, .. } if &**code == "WRONGTYPE"),
        "{error}"
    );
    let error = redis.call::<String>(&["NONSENSE"]).unwrap_err();
    assert!(
        matches!(&error, Error::Server { code, .. } if &**code == "ERR"),
        "{error}"
    );
    assert!(!error.is_outage());
    let replies = redis.pipeline(&[vec!["INCR", "n"], vec!["LLEN", "k"], vec!["INCR", "n"]]);
    let replies = replies.unwrap();
    assert_eq!((&replies[0], &replies[2]), (&Value::Int(1), &Value::Int(2)));
    assert!(matches!(replies[1], Value::Error(_)));
    // What the server refuses breaks no connection.
    assert_eq!((redis.size(), redis.broken()), (1, 0));
}

#[test]
fn a_connection_that_is_killed_costs_one_command_or_none() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let redis = pool(&server.options(), |options| options.pool = 2);
    let operator = server.operator();
    let kill = || operator.call::<i64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    redis.set("k", "v").unwrap();
    for _ in 0..5 {
        assert_eq!(kill(), Ok(1));
        assert_eq!(
            soon(&redis, &["GET", "k"]),
            Ok("v".to_owned()),
            "sent once more"
        );
        assert_eq!(kill(), Ok(1));
        let error = soon::<i64>(&redis, &["INCR", "n"]).unwrap_err();
        assert!(
            matches!(error, Error::Broken { .. }) && error.may_have_run(),
            "{error}"
        );
        assert_eq!(redis.broken(), 1);
        assert!(soon::<i64>(&redis, &["INCR", "n"]).is_ok());
        assert_eq!((redis.broken(), redis.size()), (0, 1));
    }
    assert_eq!(redis.get::<i64>("n"), Ok(Some(5)), "none was sent twice");
}

#[test]
fn a_server_that_is_gone_is_told_at_once_and_found_again() {
    let Some(mut server) = RedisServer::start(&[]) else {
        return;
    };
    let redis = pool(&server.options(), |options| options.pool = 4);
    heals(&redis);
    server.kill();
    for _ in 0..200 {
        let error = soon::<String>(&redis, &["GET", "k"]).unwrap_err();
        assert!(error.is_outage(), "{error}");
        let text = error.to_string();
        assert!(text.contains("refused") || text.contains("ended"), "{text}");
    }
    assert!(redis.broken() > 0);
    server.resume();
    heals(&redis);
    // Without a command as well: by the thread that mends.
    server.kill();
    assert!(redis.get::<String>("k").is_err());
    server.resume();
    wait_until("it was mended", || redis.broken() == 0);
    assert_eq!(redis.size(), 1);
    assert_eq!(soon(&redis, &["ECHO", "x"]), Ok("x".to_owned()));
}

#[test]
fn who_waits_is_woken_by_a_connection_that_was_mended() {
    let Some(mut server) = RedisServer::start(&[]) else {
        return;
    };
    let redis = pool(&server.options(), |options| {
        options.pool = 1;
        options.wait = Duration::from_secs(50);
        options.timeout = Duration::from_secs(50);
    });
    thread::scope(|scope| {
        let held = scope.spawn(|| redis.call::<Value>(&["BLPOP", "held", "50"]));
        wait_until("the only one is busy", || {
            redis.size() == 1 && redis.idle() == 0
        });
        let waits = scope.spawn(|| redis.call::<String>(&["ECHO", "x"]));
        wait_until("another waits", || redis.waiting() == 1);
        let since = Instant::now();
        server
            .operator()
            .call::<i64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
            .unwrap();
        assert!(held.join().unwrap().is_err());
        assert_eq!(waits.join().unwrap(), Ok("x".to_owned()));
        assert!(
            since.elapsed() < Duration::from_secs(40),
            "not by the end of its wait"
        );
    });
    server.kill();
}

/// A server that takes everything and says nothing.
#[test]
fn a_halted_server_keeps_nobody_waiting_and_shifts_no_reply() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let redis = pool(&server.options(), |options| {
        options.timeout = Duration::from_millis(100);
        options.connect = Duration::from_millis(100);
    });
    for round in 0..3 {
        heals(&redis);
        server.halt(true);
        let error = soon::<String>(&redis, &["ECHO", "late"]).unwrap_err();
        assert!(
            matches!(error, Error::Timeout { .. } | Error::Unavailable { .. }),
            "{error}"
        );
        let since = Instant::now();
        let mut asked = 0;
        while since.elapsed() < Duration::from_millis(500) {
            assert!(soon::<String>(&redis, &["ECHO", "none"]).is_err());
            asked += 1;
        }
        assert!(asked > 100, "the circuit is open: {asked}");
        server.halt(false);
        heals(&redis);
        for n in 0..100 {
            let text = format!("{round}.{n}");
            assert_eq!(soon(&redis, &["ECHO", &text]), Ok(text));
        }
    }
}

#[test]
fn a_slow_command_fails_and_the_next_gets_its_own_reply() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let redis = pool(&server.options(), |options| {
        options.timeout = Duration::from_millis(100)
    });
    let error = soon::<()>(&redis, &["DEBUG", "SLEEP", "0.5"]).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(
        error.to_string().contains("did not answer within 100ms"),
        "{error}"
    );
    heals(&redis);
    for n in 0..100 {
        let text = n.to_string();
        assert_eq!(soon(&redis, &["ECHO", &text]), Ok(text));
    }
}

/// A server that says a byte now and then: its time is over all the same.
#[test]
fn a_reply_that_drips_is_late_as_a_whole() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.78:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut peer, _) = listener.accept().unwrap();
            let mut asked = [0; 1024];
            let _ping = peer.read(&mut asked);
            peer.write_all(b"+PONG\r\n").unwrap();
            let _get = peer.read(&mut asked);
            let _begun = peer.write_all(b"$1000\r\n");
            while !over.load(Ordering::Relaxed) && peer.write_all(b"x").is_ok() {
                thread::park_timeout(Duration::from_millis(20));
            }
        });
        let end = Over(&over);
        let redis = pool(&Options::new(&url), |options| {
            options.timeout = Duration::from_millis(100)
        });
        let error = soon::<String>(&redis, &["GET", "k"]).unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        drop(end);
    });
}

#[test]
fn passwords_and_ports_that_are_wrong_are_told_apart() {
    let Some(server) = RedisServer::start(&["--requirepass", "secret"]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let by_file = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let with_file = |options: &mut Options| options.password_file = Some(file.clone());
        pool(&server.options(), with_file).call::<String>(&["ECHO", "x"])
    };
    assert_eq!(by_file("secret\n"), Ok("x".to_owned()));
    for error in [
        by_file("wrong\n").unwrap_err(),
        server
            .operator()
            .call::<String>(&["ECHO", "x"])
            .unwrap_err(),
    ] {
        assert!(matches!(error, Error::Denied { .. }), "{error}");
        assert!(error.to_string().contains("lets nobody in"), "{error}");
    }
    let url = format!("redis://:secret@{}", server.address);
    assert_eq!(
        pool(&Options::new(&url), |_| {}).call(&["ECHO", "x"]),
        Ok("x".to_owned())
    );
    let error = pool(&Options::new("redis://127.0.0.1:1"), |_| {})
        .get::<String>("k")
        .unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("127.0.0.1:1: Connection refused"),
        "{error}"
    );
    for url in ["rediss://h", "nonsense", "http://h"] {
        let error = Redis::new(&Options::new(url)).unwrap_err();
        assert!(error.to_string().starts_with("redis.url "), "{error}");
    }
}

/// Of a node that has half of the slots, and knows of nobody who has the others.
#[test]
fn a_cluster_is_told_in_words() {
    let Some(server) = RedisServer::start(&[
        "--cluster-enabled",
        "yes",
        "--cluster-require-full-coverage",
        "no",
        "--cluster-port",
        &free_port(),
    ]) else {
        return;
    };
    let redis = server.operator();
    let add = ["CLUSTER", "ADDSLOTSRANGE", "0", "8191"];
    redis.call::<()>(&add).unwrap();
    let mut errors = Vec::new();
    wait_until("the node serves its own half", || {
        let results = (0..50).map(|n| redis.set(&format!("key {n}"), "v"));
        errors = results.filter_map(Result::err).collect();
        errors.len() < 50
    });
    assert!(!errors.is_empty());
    for error in errors {
        assert!(matches!(error, Error::Cluster(_)), "{error}");
        assert!(
            error
                .to_string()
                .contains("name one server that has all keys"),
            "{error}"
        );
    }
    assert_eq!(redis.broken(), 0);
}

fn free_port() -> String {
    let free = std::net::TcpListener::bind("127.0.0.78:0").unwrap();
    free.local_addr().unwrap().port().to_string()
}

/// What one thread saw of its own counter: the last value that it was given, and how
/// many commands since may have run or not.
struct Seen {
    value: i64,
    unknown: i64,
    answered: usize,
    failed: usize,
}

fn count(redis: &Redis, thread: usize, over: &AtomicBool) -> Seen {
    let mut seen = Seen {
        value: 0,
        unknown: 0,
        answered: 0,
        failed: 0,
    };
    let key = format!("counter {thread}");
    for n in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let text = format!("{thread}.{n}");
        match soon::<String>(redis, &["ECHO", &text]) {
            Ok(echo) => assert_eq!(echo, text, "the reply of another command"),
            Err(error) => assert!(error.is_outage(), "{error}"),
        }
        match soon::<i64>(redis, &["INCR", &key]) {
            Ok(value) => {
                let more = value - seen.value;
                assert!(
                    (1..=1 + seen.unknown).contains(&more),
                    "{key}: {more} at once"
                );
                (seen.value, seen.unknown) = (value, 0);
                seen.answered += 1;
            }
            Err(error) => {
                assert!(error.is_outage(), "{error}");
                seen.unknown += i64::from(error.may_have_run());
                seen.failed += 1;
                // Nobody asks in vain as fast as he can.
                thread::park_timeout(Duration::from_millis(1));
            }
        }
    }
    seen
}

#[test]
fn each_command_is_answered_or_fails_soon_while_the_server_comes_and_goes() {
    let durable = ["--appendonly", "yes", "--appendfsync", "always"];
    let Some(mut server) = RedisServer::start(&durable) else {
        return;
    };
    let redis = pool(&server.options(), |options| options.pool = 4);
    let over = AtomicBool::new(false);
    let (answered, failed) = thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|n| {
                let (redis, over) = (&redis, &over);
                scope.spawn(move || count(redis, n, over))
            })
            .collect();
        let end = Over(&over);
        for round in 0..either(3, 20) {
            thread::park_timeout(Duration::from_millis(300 + 37 * round));
            server.kill();
            thread::park_timeout(Duration::from_millis(50 * (round % 4)));
            server.resume();
            heals(&redis);
        }
        drop(end);
        let seen: Vec<Seen> = threads.into_iter().map(|one| one.join().unwrap()).collect();
        let sum = |of: fn(&Seen) -> usize| seen.iter().map(of).sum::<usize>();
        (sum(|one| one.answered), sum(|one| one.failed))
    });
    println!("{answered} answered, {failed} failed");
    assert!(
        answered > 100 && failed > 3,
        "{answered} answered, {failed} failed"
    );
    heals(&redis);
}

#[test]
fn a_program_finds_its_server_in_the_configuration() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let app = || {
        App::<()>::new().redis().on(1, |c, key: String| {
            c.data::<Redis>()
                .call::<i64>(&["INCR", &key])
                .map(|n| n.to_string())
        })
    };
    let mut test = app().test_with(&[("redis.url", &server.url())]);
    let ann = test.connect();
    assert_eq!(test.call(ann, 1, "n").unwrap(), "1");
    let running = Server::configured(app(), &[("redis.url", &server.url())]).unwrap();
    assert_eq!(running.read(Counter::RedisIdle), 0);
    let mut client = crate::harness::Client::to(&running);
    assert_eq!(client.call(1, b"n"), (1, b"2".to_vec()));
    assert_eq!(running.read(Counter::RedisIdle), 1);
    assert_eq!(running.read(Counter::RedisBusy), 0);
    let Err(SpawnError::Worker(failure)) = Server::spawn(app()) else {
        panic!("a server without a redis.url");
    };
    assert!(
        failure.to_string().contains("redis.url is empty"),
        "{failure}"
    );
}
