//! The control protocol: a request in any pieces is understood as in one, and an
//! answer leaves in any pieces as it was given. The first byte is the size of
//! the pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use purlin::master::control::{Command, Exchange, Progress, REQUEST_MAX, Response};

fuzz_target!(|input: &[u8]| {
    let [size, request @ ..] = input else { return };
    let size = 1 + usize::from(*size);
    let (whole, _) = receive(request, request.len().max(1));
    let (progress, mut exchange) = receive(request, size);
    assert_eq!(whole, progress, "cut into pieces of {size}");
    match progress {
        Progress::Read => assert_eq!(exchange.receive(b""), Progress::Done),
        Progress::Asked(command) => {
            let response = Response::new(code(command), String::from_utf8_lossy(request));
            assert_eq!(exchange.answer(&response), Progress::Write);
            assert_eq!(send(exchange, size), response);
        }
        Progress::Write => assert_eq!(send(exchange, size).code, 64),
        Progress::Done => panic!("done before anything was answered"),
    }
    if let Some(name) = plain(request) {
        let asked = COMMANDS.iter().find(|(known, _)| *known == name);
        let expected = asked.map_or(Progress::Write, |(_, command)| Progress::Asked(*command));
        assert_eq!(progress, expected, "{name}");
    }
});

/// Those that need no value.
const COMMANDS: [(&str, Command); 8] = [
    ("stop", Command::Stop),
    ("quit", Command::Quit),
    ("reload", Command::Reload),
    ("reopen", Command::Reopen),
    ("status", Command::Status),
    ("upgrade", Command::Upgrade),
    ("drain", Command::Drain),
    ("connections", Command::Connections),
];

/// Any code will do; one that differs tells the answers apart.
fn code(command: Command) -> u8 {
    let at = COMMANDS.iter().position(|(_, known)| *known == command);
    [0, 64, 69, 75, 78, 70, 77, 1, 2][at.unwrap_or(COMMANDS.len())]
}

/// How the request is understood when it comes in pieces of `size`.
fn receive(request: &[u8], size: usize) -> (Progress, Exchange) {
    let mut exchange = Exchange::default();
    let mut progress = Progress::Read;
    for piece in request.chunks(size) {
        progress = exchange.receive(piece);
        if progress != Progress::Read {
            break;
        }
    }
    (progress, exchange)
}

/// What a request in its plainest form asks for; others may be refused or not.
fn plain(request: &[u8]) -> Option<&str> {
    let line = request.split(|&byte| byte == b'\n').next()?;
    let name = line
        .strip_prefix(b"{\"command\":\"")?
        .strip_suffix(b"\"}")?;
    let is_plain = name.iter().all(u8::is_ascii_lowercase);
    let is_whole = line.len() < request.len() && line.len() <= REQUEST_MAX;
    std::str::from_utf8(name)
        .ok()
        .filter(|_| is_plain && is_whole)
}

fn send(mut exchange: Exchange, size: usize) -> Response {
    let mut wire = Vec::new();
    while !exchange.unsent().is_empty() {
        let count = size.min(exchange.unsent().len());
        wire.extend_from_slice(&exchange.unsent()[..count]);
        let progress = exchange.sent(count);
        assert_eq!(progress == Progress::Done, exchange.unsent().is_empty());
    }
    let line = wire.strip_suffix(b"\n").expect("one line");
    assert!(!line.contains(&b'\n'));
    serde_json::from_slice(line).expect("an answer")
}
