//! When the requests of an open loop are due. Pure, in whole nanoseconds.
//!
//! Request `k` of the run is due `k / rate` seconds after the start and belongs
//! to client `k % clients`, so the clients take turns and no two of them ask at
//! the same moment. Nothing is added up, so nothing drifts.

use std::time::Duration;

const NANOS: u128 = 1_000_000_000;

/// The times of one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// Requests a second, of all clients.
    pub(super) rate: u64,
    pub(super) clients: u64,
    /// Requests of the run.
    pub(super) total: u64,
}

impl Schedule {
    /// Requests that are due before `time` is over.
    pub(super) fn within(rate: u64, time: Duration) -> u64 {
        let due = (time.as_nanos() * u128::from(rate)).div_ceil(NANOS);
        u64::try_from(due).unwrap_or(u64::MAX)
    }

    /// When request `turn` of `client` is due, from the start.
    pub(super) fn due(&self, client: u32, turn: u64) -> Duration {
        let number = u128::from(turn) * u128::from(self.clients) + u128::from(client);
        let nanos = number * NANOS / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Requests of `client` that are due when `elapsed` has passed.
    pub(super) fn due_by(&self, client: u32, elapsed: Duration) -> u64 {
        let now = elapsed + Duration::from_nanos(1);
        let all = Self::within(self.rate, now).min(self.total);
        share(all, self.clients, u64::from(client))
    }
}

/// How many of the numbers below `all` are `client`'s, when clients take turns.
pub(super) fn share(all: u64, clients: u64, client: u64) -> u64 {
    all / clients + u64::from(client < all % clients)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: u64, clients: u64, seconds: f64) -> Schedule {
        let total = Schedule::within(rate, Duration::from_secs_f64(seconds));
        Schedule {
            rate,
            clients,
            total,
        }
    }

    #[test]
    fn a_run_has_exactly_its_rate_times_its_seconds() {
        for (rate, seconds, expected) in [
            (60_000, 10.0, 600_000),
            (1, 1.0, 1),
            (3, 0.5, 2),
            (1, 0.001, 1),
            (7, 1.0, 7),
        ] {
            assert_eq!(schedule(rate, 1, seconds).total, expected, "{rate}");
        }
    }

    #[test]
    fn the_clients_take_turns_and_their_times_are_those_of_the_run() {
        let schedule = schedule(30, 7, 2.0);
        let mut times: Vec<(u128, u32)> = (0..7)
            .flat_map(|client| {
                let turns = share(schedule.total, 7, client.into());
                (0..turns).map(move |turn| (schedule.due(client, turn).as_nanos(), client))
            })
            .collect();
        times.sort_unstable();
        let expected: Vec<(u128, u32)> = (0..60_u32)
            .map(|k| (u128::from(k) * NANOS / 30, k % 7))
            .collect();
        assert_eq!(times, expected);
    }

    #[test]
    fn a_request_is_due_at_its_time_and_not_a_nanosecond_before() {
        for rate in [1, 3, 1000, 7001, 60_000, 999_999_937] {
            let schedule = schedule(rate, 3, 1000.0);
            for client in 0..3 {
                for turn in [0, 1, 2, 9, 100, 4321] {
                    if turn >= share(schedule.total, 3, client.into()) {
                        continue;
                    }
                    let at = schedule.due(client, turn);
                    assert!(schedule.due_by(client, at) > turn, "{rate} {client} {turn}");
                    let Some(before) = at.checked_sub(Duration::from_nanos(1)) else {
                        continue;
                    };
                    assert!(schedule.due_by(client, before) <= turn, "{rate} {turn}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_due_beyond_the_end() {
        let schedule = schedule(1000, 10, 1.0);
        let due: u64 = (0..10)
            .map(|client| schedule.due_by(client, Duration::from_secs(99)))
            .sum();
        assert_eq!(due, 1000);
    }
}
