//! What a store does, asked of the one in a file; `tests/it/sessions.rs` has both in
//! workers that serve.

use super::*;

fn options() -> Options {
    Options {
        idle: Duration::from_secs(7200),
        max: Duration::from_secs(14 * 86_400),
        renew: Duration::from_secs(86_400),
        hashers: 1,
        trusted: Vec::new(),
        secure: None,
    }
}

struct Fixture {
    sessions: Sessions,
    _folder: tempfile::TempDir,
}

fn in_file() -> Fixture {
    let folder = tempfile::tempdir().expect("a folder");
    let sessions =
        Sessions::in_file(&folder.path().join("s.db"), options(), Duration::ZERO).expect("a file");
    Fixture {
        sessions,
        _folder: folder,
    }
}

const FROM: (&str, &str) = ("192.0.2.1", "test");

fn login(sessions: &Sessions, user: &str, now: u64) -> String {
    let (secret, _) = secret().expect("random bytes");
    let begun = sessions.begin(&secret, user, FROM, now);
    begun.expect("a new name");
    secret
}

#[test]
fn a_session_is_found_by_its_secret_until_it_is_over() {
    let Fixture { sessions, _folder } = in_file();
    let now = 1_000_000;
    let secret = login(&sessions, "ann", now);
    let found = |at| {
        sessions
            .find(&secret, at)
            .unwrap()
            .map(|found| found.device.user)
    };
    assert_eq!(found(now), Some("ann".to_owned()));
    assert_eq!(found(now + 7199), Some("ann".to_owned()), "touched now");
    assert_eq!(found(now + 7199 + 7199), Some("ann".to_owned()));
    assert_eq!(found(now + 3 * 7200), None, "unused for two hours");
    assert_eq!(sessions.find("planted", now).unwrap(), None);
    let (other, _) = super::secret().unwrap();
    assert_eq!(sessions.find(&other, now).unwrap(), None);
    // However much it is used.
    let secret = login(&sessions, "ann", now);
    let mut at = now;
    while sessions.find(&secret, at).unwrap().is_some() {
        at += 3600;
    }
    assert_eq!(at, now + 14 * 86_400);
}

#[test]
fn a_use_is_written_once_a_minute() {
    let Fixture { sessions, _folder } = in_file();
    let now = 1_000_000;
    let secret = login(&sessions, "ann", now);
    let seen = |at| {
        sessions.find(&secret, at).unwrap();
        sessions.list("ann", at).unwrap()[0].seen
    };
    assert_eq!(
        [seen(now + 59), seen(now + 60), seen(now + 119)],
        [now, now + 60, now + 60]
    );
}

#[test]
fn a_name_is_never_overwritten() {
    let Fixture { sessions, _folder } = in_file();
    let secret = login(&sessions, "ann", 1_000_000);
    assert!(sessions.begin(&secret, "eve", FROM, 1_000_000).is_err());
    let found = sessions.find(&secret, 1_000_000).unwrap().unwrap();
    assert_eq!(found.device.user, "ann");
}

#[test]
fn values_stand_beside_each_other_and_go_with_their_session() {
    let Fixture { sessions, _folder } = in_file();
    let secret = login(&sessions, "ann", 1_000_000);
    let found = sessions.find(&secret, 1_000_000).unwrap().unwrap();
    let again = found.clone();
    assert!(sessions.set(&found, "a", "1").unwrap());
    assert!(sessions.set(&again, "b", "2").unwrap());
    assert!(sessions.set(&again, "b", "3").unwrap());
    let value = |name| sessions.get(&found, name).unwrap();
    assert_eq!(
        [value("a"), value("b"), value("c")],
        [Some("1".into()), Some("3".into()), None]
    );
    sessions.end(&found).unwrap();
    // A request that was on its way brings nothing back.
    assert!(!sessions.set(&found, "a", "4").unwrap());
    sessions
        .store
        .touch(&found, &sessions.times, 1_000_100)
        .unwrap();
    assert!(sessions.find(&secret, 1_000_000).unwrap().is_none());
    assert_eq!(sessions.get(&found, "a").unwrap(), None);
    assert!(sessions.list("ann", 1_000_000).unwrap().is_empty());
}

#[test]
fn a_name_is_changed_daily_and_the_old_one_good_for_half_a_minute() {
    let Fixture { sessions, _folder } = in_file();
    let begun = 1_000_000;
    let old = login(&sessions, "ann", begun);
    let mut now = begun;
    // Used all day.
    while now < begun + 86_400 {
        let found = sessions.find(&old, now).unwrap().unwrap();
        assert_eq!(sessions.renewed(&found, now).unwrap(), None);
        now += 3600;
    }
    let found = sessions.find(&old, now).unwrap().unwrap();
    let again = found.clone();
    let new = sessions.renewed(&found, now).unwrap().expect("a new name");
    assert_eq!(
        sessions.renewed(&again, now).unwrap(),
        None,
        "one request brings it"
    );
    let by_new = sessions.find(&new, now).unwrap().unwrap();
    assert!(sessions.set(&by_new, "a", "1").unwrap());
    let by_old = sessions.find(&old, now + 29).unwrap().unwrap();
    assert!(by_old.by_old_name && by_old.device.id == by_new.device.id);
    assert_eq!(sessions.get(&by_old, "a").unwrap(), Some("1".into()));
    assert!(sessions.find(&old, now + 30).unwrap().is_none());
    assert!(sessions.find(&new, now + 30).unwrap().is_some());
    assert_eq!(sessions.list("ann", now).unwrap().len(), 1);
}

#[test]
fn a_user_has_devices_which_end_one_by_one_or_all() {
    let Fixture { sessions, _folder } = in_file();
    let now = 1_000_000;
    let secrets: Vec<String> = (0..3).map(|n| login(&sessions, "ann", now + n)).collect();
    let bob = login(&sessions, "bob", now);
    let devices = sessions.list("ann", now + 3).unwrap();
    let since: Vec<u64> = devices.iter().map(|device| device.since - now).collect();
    assert_eq!(since, [2, 1, 0], "the latest first");
    let second = &devices[1].id;
    assert_eq!(
        sessions.end_of("bob", Some(second)).unwrap(),
        [""; 0],
        "it is ann's"
    );
    let ended = sessions.end_of("ann", Some(second)).unwrap();
    assert_eq!(ended, std::slice::from_ref(second));
    assert!(sessions.find(&secrets[1], now + 3).unwrap().is_none());
    assert_eq!(sessions.end_of("ann", None).unwrap().len(), 2);
    assert!(sessions.list("ann", now + 3).unwrap().is_empty());
    assert!(sessions.find(&bob, now + 3).unwrap().is_some());
}

#[test]
fn nothing_stays_of_ten_thousand_sessions_that_are_over() {
    let Fixture { sessions, _folder } = in_file();
    for n in 0..10_000 {
        let (secret, key) = secret().unwrap();
        drop(secret);
        let device = Device {
            id: n.to_string(),
            user: format!("user {}", n % 100),
            since: n,
            seen: n,
            address: String::new(),
            agent: String::new(),
        };
        sessions
            .store
            .begin(&key, &device, &sessions.times)
            .unwrap();
    }
    sessions.failed(None, "ann", 0).unwrap();
    sessions.sweep(9_999 + 7_200).unwrap();
    let database = Database::open(_folder.path().join("s.db"), MIGRATIONS).unwrap();
    for table in ["sessions", "names", "session_values", "failures"] {
        let count = format!("select count(*) from {table}");
        let left = database.read(|r| r.query_row(&count, [], |row| row.get::<_, i64>(0)));
        assert_eq!(left.unwrap(), 0, "{table}");
    }
}

#[test]
fn ten_failures_in_three_minutes_are_too_many() {
    let Fixture { sessions, _folder } = in_file();
    let (now, own) = (1_000_000, "192.0.2.1".parse().ok());
    for n in 0..10 {
        assert_eq!(
            sessions.may_try(own, "ann", now + n).unwrap(),
            Some(Duration::ZERO)
        );
        sessions
            .failed(own, if n % 2 == 0 { "ann" } else { "nobody" }, now + n)
            .unwrap();
    }
    assert_eq!(sessions.may_try(own, "bob", now + 10).unwrap(), None);
    // Others may, and are slowed down by how many have failed.
    let other = "192.0.2.2".parse().ok();
    assert_eq!(
        sessions.may_try(other, "ann", now + 10).unwrap(),
        Some(Duration::ZERO)
    );
    sessions.failed(other, "ann", now + 10).unwrap();
    let third = "192.0.2.3".parse().ok();
    assert_eq!(
        sessions.may_try(third, "ann", now + 10).unwrap(),
        Some(Duration::from_millis(100))
    );
    assert_eq!(
        sessions.may_try(own, "ann", now + 180).unwrap(),
        Some(Duration::from_millis(100))
    );
}
