//! Configuration files with a mistake, or with another value, always the same
//! ones; and what has to become of each. Of the tests and of the chaos suite.

use std::net::SocketAddr;
use std::process::Output;

/// Numbers that look random and are the same each time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(0x5851_F42D_4C95_7F2D)
            .wrapping_add(0x1405_7B7E_F767_814F);
        usize::try_from(self.0 >> 33).map_or(0, |number| number % limit)
    }
}

/// Keys that are left alone: those that say where the master is and who the
/// workers are, and those with which a client may rightly go unanswered.
const LEFT_ALONE: [&str; 21] = [
    "control_socket",
    "pid_file",
    "user",
    "allow_root",
    "frame",
    "going_away_id",
    "drain_idle",
    "shutdown_timeout",
    "linger",
    "connections_per_ip",
    "accept_rate_per_ip",
    "accept_burst_per_ip",
    "allow",
    "deny",
    "trusted",
    "proxy_protocol",
    "protocol",
    "counts",
    "ping",
    "idle",
    "flood",
];

const VALUES: [&str; 29] = [
    "0",
    "-1",
    "1",
    "2",
    "3",
    "65536",
    "\"\"",
    "\"1s\"",
    "\"0s\"",
    "\"999h\"",
    "\"64KiB\"",
    "\"8MiB\"",
    "\"1TiB\"",
    "\"auto\"",
    "\"mutex\"",
    "\"reuseport\"",
    "\"never\"",
    "true",
    "[]",
    "{}",
    "[1]",
    "1.5",
    "1979-05-27",
    "\"unfinished",
    "nonsense",
    "\"drop\"",
    "\"json\"",
    "\"debug\"",
    "\"/nowhere/at/all\"",
];

/// Changes one thing in a good file.
fn change(lines: &mut Vec<String>, dice: &mut Dice, taken: &str) {
    let is_key = |line: &String| {
        let name = line.split(" = ").next().unwrap_or_default();
        line.contains(" = ") && !line.starts_with('#') && !LEFT_ALONE.contains(&name)
    };
    let keys: Vec<usize> = (0..lines.len()).filter(|&n| is_key(&lines[n])).collect();
    let at = keys[dice.below(keys.len())];
    let other = keys[dice.below(keys.len())];
    let (key, value) = lines[at].split_once(" = ").unwrap_or_default();
    let (key, value) = (key.to_owned(), value.to_owned());
    match dice.below(12) {
        0 | 8 | 9 => drop(lines.remove(at)),
        1 => lines.insert(at, lines[at].clone()),
        2 => lines.swap(at, other),
        3 => lines[at] = format!("{key}x = {value}"),
        4 => lines[at] = format!("{} = {value}", &key[1..]),
        5 => lines[at] = key,
        6 => lines[at] = format!("[{key}]"),
        7 => lines.push(format!("[[listener]]\naddress = \"{taken}\"")),
        _ => lines[at] = format!("{key} = {}", VALUES[dice.below(VALUES.len())]),
    }
}

/// The shipped file, for a server at `address` that logs into its directory.
pub(crate) fn good(address: SocketAddr) -> String {
    include_str!("../../conf/purlin.toml")
        .replace("127.0.0.1:7000", &address.to_string())
        .replace("workers = \"auto\"", "workers = 4")
        .replace("\nfile = \"\"", "\nfile = \"log\"")
}

/// The good file with one thing changed, in which the server is where it was: else
/// nobody would listen where its clients connect.
pub(crate) fn mutated(address: SocketAddr, dice: &mut Dice, taken: &str) -> String {
    let listens = format!("address = \"{address}\"");
    let good = good(address);
    loop {
        let mut lines: Vec<String> = good.lines().map(str::to_owned).collect();
        change(&mut lines, dice, taken);
        if lines.contains(&listens) {
            return lines.join("\n");
        }
    }
}

/// Whether a reload took the file of which `-t` said `tested`.
///
/// # Errors
///
/// What was said, where they disagree, or where the place is missing.
pub(crate) fn verdict(tested: &Output, reloaded: &Output, taken: &str) -> Result<bool, String> {
    let said = String::from_utf8_lossy(&reloaded.stderr);
    let code = reloaded.status.code();
    let right = match (tested.status.code(), code) {
        (Some(0), Some(0)) => true,
        // A changed key of the start is good, and not for a reload; a master cannot
        // be asked where it has no socket.
        (Some(0), Some(78)) => {
            let keys = [": accept is ", ": pid_file is ", "control_socket is empty"];
            keys.iter().any(|key| said.contains(key))
        }
        // Somebody's now: that is for `-t` to warn of.
        (Some(0), Some(69)) => {
            said.contains(taken) && String::from_utf8_lossy(&tested.stderr).contains(taken)
        }
        // A log that cannot be opened has a path and no line.
        (Some(78), Some(78)) => {
            said.contains("/nowhere/at/all") || said.contains("conf:") && said.contains('^')
        }
        _ => false,
    };
    right
        .then_some(code == Some(0))
        .ok_or_else(|| format!("{tested:?}\n{code:?}: {said}"))
}
