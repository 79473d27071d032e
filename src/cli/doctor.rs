//! `doctor`: whether this machine allows what the configuration asks for.
//!
//! ```text
//! sys::limits (facts) + Config --> findings --> text or JSON
//! ```
//!
//! [`examine`] reads nothing and decides everything; a finding says what is, what
//! is needed, what an operator would see otherwise, and the line that mends it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::config::{Config, Workers};
use crate::listener::OPEN_FILES_MAX;
use crate::sys::limits::Limits;

/// Descriptors of a worker beside its connections.
const SPARE: u64 = 64;

/// Bytes of user memory that an idle connection takes, rounded up.
const CONNECTION: u64 = 1024;

/// Bytes of a process before it has served anybody.
const PROCESS: u64 = 8 << 20;

/// One limit, and what it means for this configuration.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Finding {
    name: &'static str,
    /// What it is now; `None`: the machine does not show it.
    is: Option<u64>,
    /// What it has to be.
    needed: Need,
    /// What happens otherwise, in the words that the operator will read.
    otherwise: String,
    /// The line that mends it, and where it belongs.
    line: String,
}

/// When a limit is good.
#[derive(Debug, Eq, PartialEq)]
enum Need {
    AtLeast(u64),
    Not(u64),
}

impl Finding {
    fn is_low(&self) -> bool {
        self.is.is_some_and(|is| match self.needed {
            Need::AtLeast(least) => is < least,
            Need::Not(bad) => is == bad,
        })
    }

    fn state(&self) -> &'static str {
        match (self.is, self.is_low()) {
            (None, _) => "unknown",
            (Some(_), true) => "LOW",
            (Some(_), false) => "ok",
        }
    }

    fn needed(&self) -> String {
        match self.needed {
            Need::AtLeast(least) => format!("at least {least}"),
            Need::Not(bad) => format!("not {bad}"),
        }
    }
}

/// What the configuration asks for, at most.
struct Demand {
    workers: u64,
    /// Connections of a worker.
    each: u64,
    /// Descriptors of a worker.
    descriptors: u64,
    /// The longest backlog of a listener.
    backlog: u64,
    /// Bytes of all workers.
    memory: u64,
}

impl Demand {
    fn of(config: &Config, limits: &Limits) -> Self {
        let workers = match config.workers {
            Workers::Auto => limits.cores.unwrap_or(1).clamp(1, 64),
            Workers::Count(count) => u64::from(count),
        };
        let each = u64::from(config.worker.connections_max);
        let roots = config.listener.iter().filter(|one| one.root.is_some());
        let roots = u64::try_from(roots.count()).unwrap_or(u64::MAX);
        let backlogs = config.listener.iter().map(|listener| listener.backlog);
        let buffered = u64::try_from(config.limits.buffered_max).unwrap_or(u64::MAX);
        let worker = (each * CONNECTION + PROCESS).saturating_add(buffered);
        Self {
            workers,
            each,
            descriptors: each + SPARE + OPEN_FILES_MAX * roots,
            backlog: u64::from(backlogs.max().unwrap_or(0)),
            memory: workers.saturating_mul(worker),
        }
    }
}

/// Compares what the machine allows with what `config` asks for.
pub(super) fn examine(config: &Config, limits: &Limits) -> Vec<Finding> {
    let demand = Demand::of(config, limits);
    let mut findings = files(&demand, limits);
    findings.extend(network(&demand, limits));
    findings.extend(processes(&demand, limits));
    findings
}

fn files(demand: &Demand, limits: &Limits) -> Vec<Finding> {
    let (each, descriptors) = (demand.each, demand.descriptors);
    vec![
        Finding {
            name: "nofile",
            is: limits.nofile,
            needed: Need::AtLeast(descriptors),
            otherwise: format!(
                "a worker holds {} connections instead of {each}; the others wait in the \
                 backlog, and the log says \"Too many open files\"",
                limits
                    .nofile
                    .unwrap_or(0)
                    .saturating_sub(descriptors - each)
            ),
            line: format!(
                "LimitNOFILE={descriptors} in the [Service] of the unit, or \
                 `* hard nofile {descriptors}` in /etc/security/limits.conf"
            ),
        },
        sysctl(
            "fs.nr_open",
            limits.nr_open,
            descriptors,
            "no process can be given the descriptors that it needs, not even root's",
        ),
        sysctl(
            "fs.file-max",
            limits.file_max,
            demand.workers.saturating_mul(descriptors),
            "the whole machine runs out of open files (ENFILE): accepting is tried again \
             every 100 ms, and other programs fail too",
        ),
    ]
}

fn network(demand: &Demand, limits: &Limits) -> Vec<Finding> {
    let all = demand.workers.saturating_mul(demand.each);
    vec![
        sysctl(
            "net.core.somaxconn",
            limits.somaxconn,
            demand.backlog,
            "the kernel cuts the listeners' backlog to it without a word: in a burst, \
             handshakes are dropped, and clients connect a second late",
        ),
        sysctl(
            "net.ipv4.tcp_max_syn_backlog",
            limits.syn_backlog,
            demand.backlog,
            "in a burst of new clients the kernel answers with SYN cookies, or not at all",
        ),
        sysctl(
            "net.ipv4.ip_local_port_range",
            limits.ports,
            all.min(28_232),
            "programs on this machine that connect to one address, such as `purlin stress` \
             or a proxy, run out of ports (\"Cannot assign requested address\")",
        )
        .with_line("net.ipv4.ip_local_port_range = 10000 65535"),
        Finding {
            name: "net.ipv4.tcp_tw_reuse",
            is: limits.tw_reuse,
            needed: Need::Not(0),
            otherwise: "each short connection that a program on this machine makes holds its \
                        port for a minute: load tests and proxies stop at about 470 a second"
                .into(),
            line: sysctl_line("net.ipv4.tcp_tw_reuse = 2"),
        },
    ]
}

fn processes(demand: &Demand, limits: &Limits) -> Vec<Finding> {
    let (workers, memory) = (demand.workers, demand.memory);
    vec![
        Finding {
            name: "cpu.max",
            is: limits.cores,
            needed: Need::AtLeast(workers),
            otherwise: format!(
                "{workers} workers share the cores of {}: they wait for each other, and a \
                 quota stops all of them at once for the rest of its period",
                limits.cores.unwrap_or(1)
            ),
            line: format!(
                "workers = \"auto\" in the configuration, or CPUQuota={}% in the unit",
                workers * 100
            ),
        },
        Finding {
            name: "memory.max",
            is: limits.memory,
            needed: Need::AtLeast(memory),
            otherwise: "with every connection open and limits.buffered_max used, the kernel \
                        kills a worker (\"killed by signal 9\" in `status`)"
                .into(),
            line: format!("MemoryMax={memory} in the unit, or a lower limits.buffered_max"),
        },
        Finding {
            name: "vm.overcommit_memory",
            is: limits.overcommit,
            needed: Need::Not(2),
            otherwise: "memory that is only reserved counts as used: a fork or a worker's \
                        start fails with \"Cannot allocate memory\" while much is free"
                .into(),
            line: sysctl_line("vm.overcommit_memory = 0"),
        },
    ]
}

impl Finding {
    fn with_line(self, line: &str) -> Self {
        Self {
            line: sysctl_line(line),
            ..self
        }
    }
}

fn sysctl(name: &'static str, is: Option<u64>, least: u64, otherwise: &str) -> Finding {
    Finding {
        name,
        is,
        needed: Need::AtLeast(least),
        otherwise: otherwise.into(),
        line: sysctl_line(&format!("{name} = {least}")),
    }
}

fn sysctl_line(line: &str) -> String {
    format!("{line} in /etc/sysctl.d/90-purlin.conf, then `sysctl --system`")
}

/// Whether anything is too low.
pub(super) fn any_low(findings: &[Finding]) -> bool {
    findings.iter().any(Finding::is_low)
}

/// For people: a line for each limit, and below a low one what to do; at most
/// 80 columns. In colour if asked.
pub(super) fn text(findings: &[Finding], in_colour: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        let (on, off) = match (in_colour, finding.is_low()) {
            (true, true) => ("\x1b[31m", "\x1b[0m"),
            (true, false) => ("\x1b[32m", "\x1b[0m"),
            (false, _) => ("", ""),
        };
        let is = finding.is.map_or("?".into(), |is| is.to_string());
        let (state, needed) = (finding.state(), finding.needed());
        let name = finding.name;
        let _never_fails = writeln!(text, "{on}{state:<8}{off}{name:<30}{is:>20}  {needed}");
        if finding.is_low() {
            paragraph(&mut text, "otherwise ", &finding.otherwise);
            paragraph(&mut text, "set       ", &finding.line);
        }
    }
    let low = findings.iter().filter(|finding| finding.is_low()).count();
    let verdict = match low {
        0 => "This machine allows what the configuration asks for.".to_owned(),
        1 => "One limit is too low for this configuration.".to_owned(),
        low => format!("{low} limits are too low for this configuration."),
    };
    text + "\n" + &verdict
}

/// Words in lines of at most 80 columns, indented.
fn paragraph(text: &mut String, title: &str, words: &str) {
    const WIDTH: usize = 80;
    const INDENT: usize = 18;
    let mut line = format!("        {title}");
    let mut is_first = true;
    for word in words.split_whitespace() {
        if !is_first && line.len() + 1 + word.len() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = " ".repeat(INDENT);
            is_first = true;
        }
        if !is_first {
            line.push(' ');
        }
        line.push_str(word);
        is_first = false;
    }
    text.push_str(&line);
    text.push('\n');
}

/// For programs.
pub(super) fn object(findings: &[Finding]) -> Value {
    let each = |finding: &Finding| {
        json!({
            "name": finding.name,
            "state": finding.state().to_lowercase(),
            "is": finding.is,
            "needed": finding.needed(),
            "otherwise": finding.otherwise,
            "set": finding.line,
        })
    };
    json!({
        "ok": !any_low(findings),
        "limits": findings.iter().map(each).collect::<Vec<_>>(),
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    type Place = fn(&mut Limits) -> &mut Option<u64>;

    fn generous() -> Limits {
        let much = Some(1 << 40);
        Limits {
            nofile: much,
            nr_open: much,
            file_max: much,
            somaxconn: much,
            syn_backlog: much,
            ports: much,
            tw_reuse: Some(2),
            cores: Some(4),
            memory: much,
            overcommit: Some(0),
        }
    }

    fn low(config: &Config, limits: &Limits) -> Vec<&'static str> {
        let findings = examine(config, limits);
        let low = findings.iter().filter(|finding| finding.is_low());
        low.map(|finding| finding.name).collect()
    }

    #[test]
    fn each_limit_is_low_just_below_what_is_needed() {
        let mut config = Config::default();
        config.workers = Workers::Count(4);
        config.worker.connections_max = 1000;
        let backlog = u64::from(config.listener[0].backlog);
        assert_eq!(low(&config, &generous()), [""; 0]);
        let cases: [(&str, Place, u64, u64); 9] = [
            ("nofile", |l| &mut l.nofile, 1064, 1063),
            ("fs.nr_open", |l| &mut l.nr_open, 1064, 1063),
            ("fs.file-max", |l| &mut l.file_max, 4256, 4255),
            (
                "net.core.somaxconn",
                |l| &mut l.somaxconn,
                backlog,
                backlog - 1,
            ),
            (
                "net.ipv4.tcp_max_syn_backlog",
                |l| &mut l.syn_backlog,
                backlog,
                backlog - 1,
            ),
            ("net.ipv4.ip_local_port_range", |l| &mut l.ports, 4000, 3999),
            ("net.ipv4.tcp_tw_reuse", |l| &mut l.tw_reuse, 1, 0),
            ("cpu.max", |l| &mut l.cores, 4, 3),
            ("vm.overcommit_memory", |l| &mut l.overcommit, 1, 2),
        ];
        for (name, place, good, bad) in cases {
            let mut limits = generous();
            *place(&mut limits) = Some(good);
            assert_eq!(low(&config, &limits), [""; 0], "{name} = {good}");
            *place(&mut limits) = Some(bad);
            assert_eq!(low(&config, &limits), [name], "{name} = {bad}");
            *place(&mut limits) = None;
            assert_eq!(low(&config, &limits), [""; 0], "{name} unknown");
        }
    }

    #[test]
    fn memory_counts_connections_and_buffers_of_every_worker() {
        let mut config = Config::default();
        config.workers = Workers::Count(2);
        config.worker.connections_max = 1000;
        config.limits.buffered_max = 100 << 20;
        let need = 2 * (1000 * CONNECTION + (100 << 20) + PROCESS);
        let mut limits = generous();
        limits.memory = Some(need);
        assert_eq!(low(&config, &limits), [""; 0]);
        limits.memory = Some(need - 1);
        assert_eq!(low(&config, &limits), ["memory.max"]);
    }

    #[test]
    fn a_low_limit_is_explained_within_eighty_columns() {
        let mut limits = generous();
        limits.somaxconn = Some(128);
        limits.memory = Some(1 << 20);
        limits.file_max = None;
        let findings = examine(&Config::default(), &limits);
        let text = text(&findings, false);
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert!(text.contains("net.core.somaxconn = 511"), "{text}");
        assert!(text.contains("unknown fs.file-max"), "{text}");
        assert!(text.ends_with("2 limits are too low for this configuration."));
        let object = object(&findings);
        assert_eq!(object["ok"], false);
        assert_eq!(object["limits"][3]["state"], "low");
        assert_eq!(object["limits"][3]["is"], 128);
    }
}
