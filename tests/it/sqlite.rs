//! Databases: what was answered is there whoever dies, groups are worth it, and the log
//! stays short.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use purlin::sqlite::{Database, Error, Options, Synchronous};

use crate::harness::{either, wait_until};
use crate::instance::{Instance, Over, signal};
use crate::visitor::Visitor;

const TABLE: &[&str] = &["create table rows (id integer primary key, text text not null)"];

/// On the disk that the target folder is on.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn count(database: &Database) -> i64 {
    let count = |r: &purlin::sqlite::Connection| {
        r.query_row("select count(*) from rows", [], |row| row.get(0))
    };
    database.read(count).unwrap()
}

fn insert(
    text: String,
) -> impl FnOnce(&purlin::sqlite::Connection) -> Result<i64, purlin::sqlite::rusqlite::Error> {
    move |t| {
        t.prepare_cached("insert into rows (text) values (?1)")?
            .execute([text])?;
        Ok(t.last_insert_rowid())
    }
}

#[test]
fn what_fails_leaves_nothing_and_others_of_its_group_stay() {
    let folder = folder();
    let database = Database::open(folder.path().join("a/b.db"), TABLE).unwrap();
    // The writer waits in the first, so the others are one group.
    let (go, may_go) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let begun = database.clone();
    begun.write_then(
        move |_| {
            let _until_told = may_go.recv();
            Ok(())
        },
        |_| {},
    );
    for n in 0..6 {
        let tell = tell.clone();
        let write = move |t: &purlin::sqlite::Connection| {
            insert(format!("row {n}"))(t)?;
            match n {
                1 => panic!("on purpose"),
                2 => t.execute("insert into nowhere values (1)", []).map(drop),
                3 => t
                    .execute("insert into rows values (null, null)", [])
                    .map(drop),
                _ => Ok(()),
            }
        };
        database.write_then(write, move |result| tell.send((n, result)).unwrap());
    }
    drop((go, tell));
    let results: Vec<_> = told.iter().collect();
    for (n, result) in &results {
        assert_eq!(result.is_ok(), ![1, 2, 3].contains(n), "{n}: {result:?}");
    }
    assert!(matches!(results[1].1, Err(Error::Panicked)));
    assert!(results[3].1.as_ref().unwrap_err().is_constraint());
    assert_eq!(count(&database), 3);
    // Who ends what others share is told so, and the next are served.
    let ended = database.write(|t| t.execute_batch("commit"));
    assert!(matches!(ended, Err(Error::Ended)), "{ended:?}");
    assert!(database.write(insert("on".into())).is_ok());
    assert_eq!(count(&database), 4);
}

#[test]
fn readers_write_nothing_and_read_for_a_while_only() {
    let folder = folder();
    let options = Options {
        read_max: Duration::from_millis(100),
        ..Options::default()
    };
    let database = Database::open_with(folder.path().join("r.db"), TABLE, options).unwrap();
    let written = database.read(|r| r.execute("insert into rows (text) values ('x')", []));
    assert!(written.is_err());
    let endless =
        "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n";
    let read = database.read(|r| r.query_row(endless, [], |row| row.get::<_, i64>(0)));
    assert!(read.unwrap_err().to_string().contains("interrupted"));
    // The same connection is as good as before.
    assert_eq!(count(&database), 0);
}

#[test]
fn migrations_run_once_and_a_newer_file_is_refused() {
    let folder = folder();
    let path = folder.path().join("m.db");
    let more = [TABLE[0], "alter table rows add column at integer"];
    // Of many who open it at once, one migrates.
    std::thread::scope(|scope| {
        let open = || scope.spawn(|| Database::open(&path, &more).map(drop));
        let opened: Vec<_> = (0..8).map(|_| open()).collect();
        for one in opened {
            one.join().unwrap().unwrap();
        }
    });
    let error = Database::open(&path, TABLE).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Newer {
                file: 2,
                program: 1
            }
        ),
        "{error}"
    );
    let broken = [more[0], more[1], "create table x (id)", "nonsense"];
    assert!(Database::open(&path, &broken).is_err());
    let database = Database::open(&path, &more).unwrap();
    let tables = "select count(*) from sqlite_master where name = 'x'";
    let left = database.read(|r| r.query_row(tables, [], |row| row.get::<_, i64>(0)));
    assert_eq!(left.unwrap(), 0, "all of a migration or nothing");
}

/// Rows a second, in groups of so many.
fn rate(folder: &Path, synchronous: Synchronous, group: usize, rows: usize) -> f64 {
    let name = format!("{synchronous:?}-{group}.db");
    let options = Options {
        synchronous,
        group,
        ..Options::default()
    };
    let database = Database::open_with(folder.join(name), TABLE, options).unwrap();
    let (tell, told) = mpsc::channel();
    let since = Instant::now();
    for n in 0..rows {
        let tell = tell.clone();
        let then = move |result: Result<i64, Error>| tell.send(result.unwrap()).unwrap();
        database.write_then(insert(format!("row {n}")), then);
    }
    drop(tell);
    assert_eq!(told.iter().count(), rows);
    rows as f64 / since.elapsed().as_secs_f64()
}

/// Ratios of the same disk and the same moment; half of what a quiet machine shows is
/// asked for.
#[test]
fn a_group_is_worth_many_transactions() {
    let folder = folder();
    for (synchronous, singles, floor) in [
        (Synchronous::Full, 100, 20.0),
        (Synchronous::Normal, 2000, 1.5),
    ] {
        let ratio = || {
            let single = rate(folder.path(), synchronous, 1, singles);
            rate(folder.path(), synchronous, 256, 20_000) / single
        };
        let mut ratios: Vec<f64> = (0..3).map(|_| ratio()).collect();
        ratios.sort_by(f64::total_cmp);
        println!("{synchronous:?}: {ratios:.1?} times as many rows a second in groups");
        assert!(ratios[2] > floor, "{synchronous:?}: {ratios:?}");
    }
}

#[test]
fn the_log_stays_short_beside_a_reader_that_stays() {
    const MAX: u64 = 1 << 20;
    let folder = folder();
    let path = folder.path().join("w.db");
    let options = Options {
        log_max: MAX,
        ..Options::default()
    };
    let database = Database::open_with(&path, TABLE, options).unwrap();
    let len = || {
        std::fs::metadata(folder.path().join("w.db-wal"))
            .unwrap()
            .len()
    };
    database.write(insert("first".into())).unwrap();
    let (tell, begun) = mpsc::channel();
    let (leave, may_leave) = mpsc::channel::<()>();
    let stays = database.clone();
    let reader = std::thread::spawn(move || {
        stays.read(|r| {
            let mut rows = r.prepare("select text from rows")?;
            let mut rows = rows.query([])?;
            rows.next()?.expect("a row");
            tell.send(()).unwrap();
            // It neither steps nor leaves: no deadline reaches it.
            let _until_told = may_leave.recv();
            Ok(())
        })
    });
    begun.recv().unwrap();
    let row = "x".repeat(10_000);
    let mut written = 0;
    let refused = loop {
        match database.write(insert(row.clone())) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 10_000, "never refused");
    };
    assert!(matches!(refused, Error::LogFull), "{refused}");
    assert!(written > 100, "{written} rows is less than the log takes");
    assert!(len() <= 2 * MAX + (1 << 19), "{}", len());
    leave.send(()).unwrap();
    reader.join().unwrap().unwrap();
    for _ in 0..500 {
        database.write(insert(row.clone())).unwrap();
    }
    assert!(len() <= MAX + (1 << 19), "{}", len());
    assert_eq!(count(&database), 1 + written + 500);
}

/// Four workers write into one file; some of them are killed at every moment.
#[test]
fn what_was_answered_outlives_whoever_is_killed() {
    let instance = Instance::example("notes", "");
    instance.write(&format!(
        "workers = 4\nuser = \"root\"\nallow_root = true\n[log]\nfile = \"log\"\n[[listener]]\n\
         address = \"{}\"\nprotocol = \"http\"\n",
        instance.address
    ));
    instance.must("start");
    let over = AtomicBool::new(false);
    let (kept, kills) = std::thread::scope(|scope| {
        let write = |client: usize| {
            let (over, mut visitor) = (&over, Visitor::new(instance.address));
            scope.spawn(move || {
                let mut kept = Vec::new();
                for n in 0.. {
                    let note = format!("note {n} of {client}");
                    let answered = visitor.ask("POST", "/notes", &[], &note);
                    if answered.is_ok_and(|answered| answered.status == 200) {
                        kept.push(note);
                    }
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                }
                kept
            })
        };
        let writers: Vec<_> = (0..8).map(write).collect();
        let end = Over(&over);
        let until = Instant::now() + either(Duration::from_secs(4), Duration::from_secs(60));
        let mut kills: usize = 0;
        while Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(70 + 13 * (kills as u64 % 7)));
            let workers = instance.workers();
            if let Some(&worker) = workers.get(kills % workers.len().max(1)) {
                signal(worker, Signal::SIGKILL);
                kills += 1;
            }
        }
        drop(end);
        let kept = writers.into_iter().flat_map(|one| one.join().unwrap());
        (kept.collect::<Vec<_>>(), kills)
    });
    assert!(
        kills > 10 && kept.len() > 100,
        "{kills} kills, {} notes",
        kept.len()
    );
    wait_until("somebody serves again", || {
        let answered = Visitor::new(instance.address).ask("GET", "/notes", &[], "");
        answered.is_ok_and(|answered| answered.status == 200)
    });
    let database = Database::open(instance.path("data/notes.db"), &[""; 2]).unwrap();
    let all = database.read(|r| {
        let mut select = r.prepare("select text from notes")?;
        let texts = select.query_map([], |row| row.get(0))?;
        texts.collect::<Result<Vec<String>, _>>()
    });
    let all = all.unwrap();
    let found: BTreeSet<&str> = all.iter().map(|text| &**text).collect();
    assert_eq!(found.len(), all.len(), "something is there twice");
    let lost: Vec<_> = kept
        .iter()
        .filter(|note| !found.contains(&***note))
        .collect();
    assert!(
        lost.is_empty(),
        "{kills} kills, lost of {}: {lost:?}",
        kept.len()
    );
}

#[test]
fn a_result_that_nobody_can_take_ends_no_writer() {
    let folder = folder();
    let path = folder.path().join("b.db");
    let database = Database::open(&path, TABLE).unwrap();
    database.write_then(insert("one".into()), |_| panic!("on purpose"));
    let (own, (tell, told)) = (database.clone(), mpsc::channel());
    let within = move |t: &purlin::sqlite::Connection| {
        let nested = own.write(insert("within".into()));
        tell.send(matches!(nested, Err(Error::Within))).unwrap();
        insert("two".into())(t)
    };
    database.write(within).unwrap();
    assert!(told.recv().unwrap(), "it would wait for itself");
    assert_eq!(count(&database), 2);
    let mode = std::fs::metadata(&path).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600, "its owner's alone");
}
