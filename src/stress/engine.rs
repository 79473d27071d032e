//! One run: its threads, the operator's signals, and the sum of it all.

use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use super::StressError;
use super::lane::Lane;
use super::load::Load;
use super::progress::Progress;
use super::report::Report;
use super::shared::{Ended, Shared};
use super::stats::Stats;
use crate::sys::epoll::{Epoll, Events, Interest};
use crate::sys::process::raise_descriptor_limit;
use crate::sys::signal::Signals;

/// How often the progress is shown.
const SHOW: Duration = Duration::from_millis(100);

/// Runs `load` on threads of its own. `signals` end it early.
///
/// # Errors
///
/// [`StressError`] when there was no load.
pub(super) fn run(
    load: &Load,
    signals: Option<&Signals>,
    progress: &Progress,
    with_timeline: bool,
) -> Result<Report, StressError> {
    allow_descriptors(load)?;
    let system = |error| StressError::System("prepare the load", error);
    let shared = Shared::new(load.threads as usize).map_err(system)?;
    let lanes = (0..load.threads)
        .map(|number| Lane::new(number, load, &shared, with_timeline))
        .collect::<std::io::Result<Vec<Lane<'_>>>>()
        .map_err(system)?;
    let results = thread::scope(|scope| {
        let mut threads = Vec::new();
        for lane in lanes {
            let ended = Ended(&shared);
            let lane = move || {
                let _ended = ended;
                lane.run()
            };
            let name = format!("lane-{}", threads.len() + 1);
            // A closure that is not started is dropped, and says that it ended.
            match thread::Builder::new().name(name).spawn_scoped(scope, lane) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    shared.end();
                    return Err(StressError::System("start a thread", error));
                }
            }
        }
        watch(&shared, signals, progress).map_err(|error| {
            shared.end();
            StressError::System("watch the load", error)
        })?;
        let joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
        let results = joined.map(|result| result.unwrap_or_else(|panic| resume_unwind(panic)));
        Ok(results.collect::<Vec<Result<Stats, StressError>>>())
    })?;
    let mut sum = Stats::new(with_timeline);
    for stats in results {
        sum.merge(stats?);
    }
    Ok(Report::new(sum, &shared))
}

/// Raises the limit of open files if the load needs more.
///
/// # Errors
///
/// [`StressError::Descriptors`] when that is not allowed.
pub(super) fn allow_descriptors(load: &Load) -> Result<(), StressError> {
    let needed = load.descriptors();
    let allowed = raise_descriptor_limit(needed)
        .map_err(|error| StressError::System("raise the limit of open files", error))?;
    if allowed < needed {
        return Err(StressError::Descriptors {
            connections: load.connections,
            needed,
            allowed,
        });
    }
    Ok(())
}

/// Shows the progress and obeys signals until every lane has ended.
fn watch(shared: &Shared, signals: Option<&Signals>, progress: &Progress) -> std::io::Result<()> {
    let epoll = Epoll::new()?;
    let mut events = Events::with_capacity(2);
    epoll.add(shared.bell(), Interest::Read, 0)?;
    if let Some(signals) = signals {
        epoll.add(signals, Interest::Read, 1)?;
    }
    while !shared.all_ended() {
        drop(epoll.wait(&mut events, Some(SHOW))?);
        shared.bell().hush();
        if let Some(signals) = signals
            && signals.next()?.is_some()
        {
            shared.end();
        }
        if let Some(start) = shared.started() {
            let (replies, errors) = shared.totals();
            progress.show(start.elapsed(), replies, errors);
        }
    }
    Ok(())
}
