//! What the API promises, through [`App::test`].

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::*;
use crate::body::Json;
use crate::dispatch::Replier;
use crate::net::ConnId;
use crate::scoreboard::Counter;

const LOGIN: Id = 6;
const SAY: Id = 101;

#[derive(Default)]
struct Player {
    name: Option<String>,
    said: u32,
}

#[derive(Deserialize)]
struct Login {
    user: String,
    pass: String,
}

#[derive(Serialize)]
struct LoginOk {
    uid: u64,
}

struct Users(HashMap<&'static str, u64>);

impl Users {
    fn check(&self, user: &str, pass: &str) -> Result<u64, Error> {
        let uid = self.0.get(user).filter(|_| pass == "secret");
        uid.copied().ok_or_else(|| Error::new(401, "no"))
    }
}

/// The program of the design page.
fn chat() -> App<Player> {
    App::<Player>::new()
        .data(|| Ok::<_, Error>(Users(HashMap::from([("ann", 1), ("bob", 2)]))))
        .on(LOGIN, |c, Json(m): Json<Login>| -> Result<_, Error> {
            let uid = c.data::<Users>().check(&m.user, &m.pass)?;
            c.bind(&m.user);
            c.name = Some(m.user);
            c.join("lobby");
            Ok(Json(LoginOk { uid }))
        })
        .group(100..=199, |g| {
            g.wrap(|c, body, next| {
                if c.name.is_some() {
                    next.run(c, body)
                } else {
                    Err(Error::new(403, "log in first"))
                }
            })
            .on(SAY, |c, text: String| {
                c.said += 1;
                c.hub().room("lobby").send(SAY, text);
            })
        })
        .opened(|c| c.send(SAY, "welcome"))
}

fn login(user: &str) -> Json<HashMap<&'static str, String>> {
    Json(HashMap::from([
        ("user", user.to_owned()),
        ("pass", "secret".to_owned()),
    ]))
}

#[test]
fn the_program_of_the_design_works() {
    let mut test = chat().test();
    let (ann, bob) = (test.connect(), test.connect());
    assert_eq!(test.received(ann), [(SAY, Bytes::from("welcome"))]);
    assert_eq!(test.call(ann, SAY, "hi").unwrap_err().code, 403);
    assert_eq!(test.call(ann, LOGIN, "{}").unwrap_err().code, 400);
    assert_eq!(test.call(ann, LOGIN, login("eve")).unwrap_err().code, 401);
    assert_eq!(test.call(ann, LOGIN, login("ann")).unwrap(), r#"{"uid":1}"#);
    assert_eq!(test.call(bob, LOGIN, login("bob")).unwrap(), r#"{"uid":2}"#);
    test.received(bob);
    test.send(ann, SAY, "hello");
    assert_eq!(test.received(bob), [(SAY, Bytes::from("hello"))]);
    test.disconnect(bob);
    test.send(ann, SAY, "anybody?");
    assert!(test.received(bob).is_empty());
}

#[test]
fn middleware_runs_outermost_first_around_otherwise_too() {
    fn mark(
        tag: &'static str,
    ) -> impl Fn(&mut Ctx<'_, String>, Raw<'_>, Next<'_, String>) -> Result<Reply, Error> {
        move |c, body, next| {
            c.push_str(tag);
            next.run(c, body)
        }
    }
    let app = App::<String>::new()
        .group(1..=9, |g| {
            g.on(1, |c, (): ()| std::mem::take(&mut **c))
                .wrap(mark("c"))
                .wrap(mark("d"))
        })
        .otherwise(|c, (): ()| format!("{} {:?}", std::mem::take(&mut **c), c.id()))
        .wrap(mark("a"))
        .wrap(mark("b"));
    let mut test = app.test();
    let conn = test.connect();
    assert_eq!(test.call(conn, 1, ()).unwrap(), "abcd");
    assert_eq!(test.call(conn, 77, ()).unwrap(), "ab Some(77)");
}

#[test]
#[should_panic(expected = "message id 5 has two handlers, at src/app/tests.rs:")]
fn an_id_has_one_handler() {
    let _never = App::<()>::new()
        .on(5, |_, (): ()| ())
        .on_inline(5, |_, (): ()| ());
}

#[test]
#[should_panic(expected = "lies outside of the group 1..=9 at src/app/tests.rs:")]
fn a_group_keeps_to_its_range() {
    let _never = App::<()>::new().group(1..=9, |g| g.on(10, |_, (): ()| ()));
}

#[test]
fn timers_and_jobs_run_when_they_fall_due_and_not_before() {
    let ticks = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&ticks);
    let app = App::<u32>::new()
        .on(1, |c, (): ()| {
            c.after(Duration::from_secs(2), |c| c.send(9, "two"));
            c.after(Duration::from_secs(1), |c| c.send(9, "one"));
        })
        .every(Duration::from_secs(3), move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
    let mut test = app.test();
    let conn = test.connect();
    test.send(conn, 1, ());
    test.advance(Duration::from_millis(999));
    assert!(test.received(conn).is_empty());
    test.advance(Duration::from_millis(1500));
    let bodies =
        |list: Vec<(Id, Bytes)>| list.into_iter().map(|(_, body)| body).collect::<Vec<_>>();
    assert_eq!(bodies(test.received(conn)), ["one", "two"]);
    test.advance(Duration::from_secs(10));
    assert_eq!(ticks.load(Ordering::Relaxed), 4);
}

#[test]
fn a_reply_that_is_never_given_is_an_error_and_counted() {
    struct Explodes;
    impl IntoReply for Explodes {
        fn into_reply(self) -> Answer {
            panic!("while it is encoded")
        }
    }
    let app = App::<()>::new()
        .on(1, |c, (): ()| c.later(drop))
        .on(2, |c, (): ()| {
            c.later(|replier| {
                std::thread::spawn(move || replier.send(Explodes));
            })
        });
    let mut test = app.test();
    let conn = test.connect();
    for id in [1, 2] {
        assert_eq!(test.call(conn, id, ()).unwrap_err().code, 500, "{id}");
    }
    assert_eq!(test.read(Counter::RepliersDropped), 2);
}

#[test]
fn panics_stay_in_their_message_whatever_they_panic_with() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("again")
        }
    }
    let app = App::<u32>::new()
        .on(1, |_, (): ()| -> () { std::panic::panic_any(Bomb) })
        .on(2, |c, (): ()| {
            **c += 1;
            c.to_string()
        });
    let mut test = app.test();
    let conn = test.connect();
    assert_eq!(test.call(conn, 1, ()).unwrap_err().code, 500);
    assert_eq!(test.call(conn, 2, ()).unwrap(), "1");
    assert_eq!(test.read(Counter::Panicked), 1);
    assert_eq!(test.read(Counter::HandlerErrors), 0);
}

#[test]
fn a_push_without_a_body_is_a_message() {
    let app = App::<()>::new().on(1, |c, (): ()| {
        c.send(8, ());
        c.hub().all().send(9, ());
        Reply::with(7, ())
    });
    let mut test = app.test();
    let conn = test.connect();
    assert_eq!(test.call(conn, 1, ()).unwrap(), "");
    let mut ids: Vec<Id> = test.received(conn).into_iter().map(|(id, _)| id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [8, 9]);
}

#[test]
#[should_panic(expected = "start the program: `started` panicked")]
fn a_start_that_panics_is_a_start_that_failed() {
    let _never = App::<()>::new()
        .started(|_| -> () { panic!("no database") })
        .test();
}

#[test]
fn options_and_results_are_replies_or_none() {
    let app = App::<()>::new()
        .on(1, |_, text: String| {
            text.parse::<u8>().map(|n| (n + 1).to_string())
        })
        .on(2, |_, text: String| (!text.is_empty()).then_some(text));
    let mut test = app.test();
    let conn = test.connect();
    assert_eq!(test.call(conn, 1, "41").unwrap(), "42");
    let error = test.call(conn, 1, "x").unwrap_err();
    assert_eq!(
        (error.code, error.cause()),
        (500, Some("invalid digit found in string"))
    );
    assert!(!error.text.contains("digit"), "{error}");
    test.send(conn, 2, "");
    assert!(test.received(conn).is_empty());
    test.send(conn, 2, "yes");
    assert_eq!(test.received(conn), [(2, Bytes::from("yes"))]);
}

#[test]
fn a_test_opens_and_closes_as_a_worker_does() {
    let closed = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&closed);
    let app = App::<()>::new()
        .on(1, |c, name: String| c.bind(&name))
        .opened(|c| match c.conn().slot() {
            1 => panic!("as asked"),
            _ => c.join("all"),
        })
        .closed(move |c| {
            assert_eq!(
                (c.user().as_deref(), c.rooms()),
                (Some("ann"), vec!["all".into()])
            );
            assert_eq!(
                c.close_reason(),
                Some(crate::dispatch::CloseReason::PeerClosed)
            );
            assert_eq!(
                (c.hub().room("all").count(), c.hub().user("ann").count()),
                (0, 0)
            );
            count.fetch_add(1, Ordering::SeqCst);
        });
    let mut test = app.test();
    let (ann, half_made) = (test.connect(), test.connect());
    test.send(ann, 1, "ann");
    assert!(test.is_open(ann) && !test.is_open(half_made));
    test.disconnect(half_made);
    assert_eq!(closed.load(Ordering::SeqCst), 0);
    test.disconnect(ann);
    assert_eq!(closed.load(Ordering::SeqCst), 1);
    assert_eq!(test.read(Counter::Panicked), 1);
}

#[test]
fn a_timer_that_is_cancelled_does_not_run_and_a_named_one_is_one() {
    let app = App::<Option<crate::dispatch::TimerHandle>>::new()
        .timer("named", |c| c.send(9, "named"))
        .opened(|c| c.after(Duration::from_secs(1), |c| c.send(9, "opened")))
        .on(1, |c, ()| {
            **c = Some(c.after(Duration::from_secs(2), |c| c.send(9, "after")))
        })
        .on(2, |c, ()| {
            c.take().is_some_and(|timer| c.cancel(timer)).to_string()
        })
        .on(3, |c, seconds: String| -> Result<(), Error> {
            c.timer("named", Duration::from_secs(seconds.parse()?));
            Ok(())
        })
        .on(4, |c, ()| c.timer("unknown", Duration::ZERO));
    let mut test = app.test();
    let ann = test.connect();
    test.send(ann, 1, ());
    assert_eq!(test.call(ann, 2, ()).unwrap(), "true");
    assert_eq!(test.call(ann, 2, ()).unwrap(), "false");
    test.send(ann, 3, "5");
    test.send(ann, 3, "7");
    test.advance(Duration::from_secs(6));
    assert_eq!(test.received(ann), [(9, Bytes::from("opened"))]);
    test.advance(Duration::from_secs(60));
    assert_eq!(test.received(ann), [(9, Bytes::from("named"))]);
    assert_eq!(test.call(ann, 4, ()).unwrap_err().code, 500);
}

#[test]
fn a_connection_is_made_a_member_and_a_user_by_others() {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = Mutex::new(tell);
    let app = App::<()>::new()
        .on(1, |c, other: String| {
            let conn = ConnId::from_word(other.parse().expect("a name"));
            let other = c.hub().conn(conn);
            let did = [other.join("a"), other.join("a"), other.join("b")];
            let more = [other.leave("b"), other.bind("ann"), other.bind("bob")];
            let room = c.hub().room("a");
            let found = [room.count(), room.send(9, "a"), c.hub().user("bob").count()];
            let left = [c.hub().room("b").count(), c.hub().user("ann").count()];
            format!("{did:?} {more:?} {found:?} {left:?}")
        })
        .on(2, |c, (): ()| format!("{:?} {:?}", c.user(), c.rooms()))
        .on(3, |c, (): ()| {
            let did = c.hub().user("bob").unbind();
            format!("{did} {}", c.hub().user("bob").count())
        })
        .closed(move |c| {
            let was = (c.user(), c.rooms());
            tell.lock().expect("a lock").send(was).expect("a receiver");
        });
    let mut test = app.test();
    let (ann, bob) = (test.connect(), test.connect());
    let name = bob.word().to_string();
    let done = test.call(ann, 1, name.clone()).expect("a reply");
    assert_eq!(done, "[1, 1, 1] [1, 1, 1] [1, 1, 1] [0, 0]");
    assert_eq!(test.received(bob), [(9, Bytes::from("a"))]);
    assert_eq!(
        test.call(bob, 2, ()).expect("a reply"),
        r#"Some("bob") ["a"]"#
    );
    assert_eq!(test.call(ann, 3, ()).expect("a reply"), "1 0");
    test.disconnect(bob);
    assert_eq!(told.recv(), Ok((None, vec!["a".to_owned()])));
    let done = test.call(ann, 1, name).expect("a reply");
    assert_eq!(
        done, "[0, 0, 0] [0, 0, 0] [0, 0, 0] [0, 0]",
        "nobody is there"
    );
}

#[test]
fn what_a_connection_did_not_come_to_run_is_undone_and_counted() {
    struct Noted(Arc<AtomicUsize>);
    impl Drop for Noted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let held = Arc::clone(&dropped);
    let app = App::<()>::new()
        .on(1, move |c, other: String| {
            let conn = ConnId::from_word(other.parse().expect("a name"));
            let other = c.hub().conn(conn);
            let noted = Arc::new(Noted(Arc::clone(&held)));
            let runs = other.run(move |_: &mut Ctx<'_, ()>| {
                panic!("it has ended: {}", noted.0.load(Ordering::SeqCst))
            });
            let did = [
                other.join("a"),
                other.bind("ann"),
                runs,
                other.close("as asked"),
            ];
            let after = [other.join("b"), other.run(|_: &mut Ctx<'_, ()>| {})];
            format!("{did:?} {after:?}")
        })
        .on(2, |c, (): ()| {
            format!(
                "{} {}",
                c.hub().room("a").count(),
                c.hub().user("ann").count()
            )
        });
    let mut test = app.test();
    let (ann, bob) = (test.connect(), test.connect());
    let done = test.call(ann, 1, bob.word().to_string()).expect("a reply");
    assert_eq!(done, "[1, 1, 1, 1] [0, 0]");
    assert!(!test.is_open(bob));
    assert_eq!(test.call(ann, 2, ()).expect("a reply"), "0 0");
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert_eq!(test.read(Counter::Stale), 5);
    assert_eq!(test.read(Counter::Panicked), 0);
}

#[test]
fn to_run_with_another_state_than_the_programs_is_a_fault_of_the_program() {
    let app = App::<u32>::new().on(1, |c, (): ()| {
        c.hub()
            .all()
            .run(|c: &mut Ctx<'_, u64>| **c += 1)
            .to_string()
    });
    let mut test = app.test();
    let ann = test.connect();
    assert_eq!(test.call(ann, 1, ()).expect_err("a panic").code, 500);
}

#[test]
fn a_reply_that_another_connection_gives_is_received() {
    let app = App::<()>::new()
        .data(|| Ok::<_, Infallible>(Mutex::new(None::<Replier>)))
        .on(1, |c, (): ()| {
            let waiting = c.data::<Mutex<Option<Replier>>>();
            c.later(|replier| *waiting.lock().unwrap() = Some(replier))
        })
        .on(2, |c, text: String| {
            let waiting = c.data::<Mutex<Option<Replier>>>().lock().unwrap().take();
            waiting.map(|replier| replier.send(text).to_string())
        })
        .on(3, |c, (): ()| {
            c.later(|replier| {
                std::thread::spawn(move || replier.send(Err::<(), _>(Error::new(409, "late"))));
            })
        });
    let mut test = app.test();
    let (ann, bob) = (test.connect(), test.connect());
    test.send(ann, 1, ());
    assert!(test.received(ann).is_empty());
    assert_eq!(test.call(bob, 2, "hello").unwrap(), "true");
    assert_eq!(test.received(ann), [(1, Bytes::from("hello"))]);
    // From another thread, whenever it comes.
    test.send(ann, 3, ());
    assert_eq!(test.wait(ann), [(3, Bytes::from("late"))]);
}

#[test]
fn the_end_of_a_worker_can_be_tested() {
    let said = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let said = Arc::clone(&said);
        move || said.lock().unwrap().push(what.to_owned())
    };
    let (stopping, reasons) = (note("stopping"), Arc::clone(&said));
    let app = App::<()>::new()
        .draining(|hub| _ = hub.all().send(9, "we go"))
        .closed(move |c| {
            let reason = format!("{:?}", c.close_reason().unwrap());
            reasons.lock().unwrap().push(reason);
        })
        .stopping(move |_| stopping());
    let mut test = app.test();
    let ann = test.connect();
    test.drain();
    assert_eq!(test.received(ann), [(9, Bytes::from("we go"))]);
    assert!(test.is_open(ann));
    test.stop();
    assert_eq!(*said.lock().unwrap(), ["GoingAway", "stopping"]);
}
