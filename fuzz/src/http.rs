//! Requests over HTTP through purlin's cutter and server in random pieces, and
//! through a reference that reads the whole stream at once, slowly, by the letter
//! of the RFC: both must see the same requests and the same end.

use purlin::prelude::Bytes;
use purlin::protocol::http::{
    Http1, Incoming, Intake, Limits, Received, Request, Requests, Response, Served, Spooling,
    Taken, Wanted,
};
use purlin::protocol::{
    Answer, Budget, Cut, Dispatch, Error, Event, Lane, Out, Protocol, Route, Step, Then, Turn,
    Units,
};
use purlin::scoreboard::Counter;

use crate::stream::piece;

/// Method, target, fields and (with a plus before their names) trailers, body.
type Seen = (String, String, Vec<(String, Vec<u8>)>, Vec<u8>);

/// Small, so that short inputs reach them.
const LIMITS: Limits = Limits {
    line: 100,
    head: 300,
    fields: 5,
    body: 60,
    memory: 60,
};

/// Sends `stream` through both, cut by `seed`, with bodies kept whole and in
/// pieces.
pub fn compare(seed: u64, stream: &[u8]) {
    for memory in [60, 4] {
        let limits = Limits { memory, ..LIMITS };
        let (expected, end) = read(stream, &limits);
        let (seen, status) = serve(seed, stream, limits);
        assert_eq!(seen, expected, "{}, seed {seed}", stream.escape_ascii());
        let found = status.filter(|status| *status != 200);
        let expected = end.filter(|status| *status != 200);
        assert_eq!(found, expected, "{}, seed {seed}", stream.escape_ascii());
        assert_eq!(status.is_some(), end.is_some());
    }
}

/// What purlin sees; and how it ends: 200 for an orderly close, 0 for one
/// without a word.
fn serve(mut seed: u64, stream: &[u8], limits: Limits) -> (Vec<Seen>, Option<u16>) {
    let protocol = Http1::new(limits);
    let (mut cutter, mut server) = (protocol.cutter(), protocol.server());
    let mut handlers = Handlers::default();
    let mut turn = Turn {
        clients: &(),
        lane: Lane::Pool,
        out: Out::new(Vec::new(), &protocol),
        app: &mut handlers,
        budget: &mut Budget::unlimited(),
        room: usize::MAX,
    };
    let (mut at, mut end, mut over) = (0, 0, None);
    while end < stream.len() && over.is_none() {
        end = stream.len().min(end + piece(&mut seed));
        let mut holds = true;
        while holds && over.is_none() {
            let Cut { units, then, .. } = cutter.cut(&stream[at..end]);
            let units = Bytes::copy_from_slice(&stream[at..at + units]);
            at += units.len();
            let mut done = 0;
            while done < units.len() && over.is_none() {
                let (served, step) = server.serve(Units::shared(&units.slice(done..)), &mut turn);
                assert!(served > 0 || step != Step::Next, "nothing was served");
                done += served;
                over = Some(step).filter(|step| *step != Step::Next);
            }
            // Who asks for an upgrade and gets none goes on.
            holds = matches!(then, Then::Hold);
            if let (Then::Refuse(refusal), None) = (then, &over) {
                over = Some(server.event(Event::Refused(refusal), &mut turn));
            }
        }
    }
    let status = over.map(|step| match step {
        // The answer is the last thing that was said.
        Step::Refuse(refusal) => match refusal.counter {
            Counter::SpokeTls | Counter::Truncated => 0,
            _ => {
                let said = String::from_utf8_lossy(&turn.out.bytes);
                let (_, answer) = said.rsplit_once("HTTP/1.1 ").expect("an answer");
                answer[..3].parse().expect("a status")
            }
        },
        _ => 200,
    });
    (handlers.0, status)
}

/// Records what it is asked.
#[derive(Default)]
struct Handlers(Vec<Seen>);

impl Dispatch for Handlers {
    fn inline(&self, _: Route) -> bool {
        true
    }

    fn call(&mut self, _: Route, _: Units<'_>, _: &mut Out<'_>, _: &mut Answer) {}

    fn opened(&mut self, _: &mut Out<'_>) {}

    fn timer(&mut self, _: u64, _: &mut Out<'_>) {}
}

impl Requests for Handlers {
    fn request(&mut self, _: Lane, request: &Request<'_>, response: &mut Response) -> Served {
        let head = &request.head;
        let taken = request.taken.and_then(Taken::take);
        let taken = taken.map(|taken| *taken.downcast::<Vec<u8>>().expect("what was kept"));
        let body = taken.unwrap_or_else(|| request.body.bytes().to_vec());
        let fields = head.fields.iter();
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_vec()));
        let trailers = request.trailers.iter();
        let fields = fields.chain(trailers.map(|(name, value)| (format!("+{name}"), value.into())));
        let (method, target) = (head.method.to_owned(), head.target.to_owned());
        self.0.push((method, target, fields.collect(), body));
        response.take(Answer::None)
    }

    fn receive(&mut self, incoming: &Incoming<'_>, _: &mut Response) -> Wanted {
        Wanted::Whole { max: incoming.max }
    }

    fn spool(&mut self, _: &Spooling) -> Result<Box<dyn Intake>, Error> {
        Ok(Box::new(Kept(Vec::new())))
    }
}

/// Where a long body goes here.
struct Kept(Vec<u8>);

impl Intake for Kept {
    fn piece(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Received {
        Received::Made(Box::new(self.0))
    }
}

/// Without spaces and tabs at both ends.
fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let from = value.iter().position(|byte| !is_space(byte));
    let to = value.iter().rposition(|byte| !is_space(byte));
    from.zip(to).map_or(&[], |(from, to)| &value[from..=to])
}

/// The requests of a stream, and the status of the refusal behind them; 0
/// closes without one, `None` waits for more.
fn read(stream: &[u8], limits: &Limits) -> (Vec<Seen>, Option<u16>) {
    let mut seen = Vec::new();
    let mut rest = stream;
    loop {
        match request(&mut rest, limits) {
            Ok((request, keeps)) => {
                // That one is for the server itself.
                if request.1 != "*" {
                    seen.push(request);
                }
                if !keeps {
                    return (seen, Some(200));
                }
            }
            Err(end) => return (seen, end),
        }
    }
}

type Found<T> = Result<T, Option<u16>>;

/// Takes a line of which at most `max` bytes are seen, or says `over`.
fn line(rest: &mut &[u8], max: usize, over: u16) -> Found<Vec<u8>> {
    let mut line = Vec::new();
    for (at, &byte) in rest.iter().enumerate() {
        if at == max {
            return Err(Some(over));
        }
        line.push(byte);
        if byte == b'\n' {
            *rest = &rest[at + 1..];
            if !line.ends_with(b"\r\n") {
                return Err(Some(400));
            }
            line.truncate(line.len() - 2);
            return Ok(line);
        }
    }
    Err(None)
}

fn first(rest: &[u8]) -> Found<()> {
    match rest {
        [] | [b'\r'] | [b'\r', b'\n', ..] => Ok(()),
        [0x16, ..] => Err(Some(0)),
        [b'\r', ..] => Err(Some(400)),
        [byte, ..] if token(&[*byte]) => Ok(()),
        _ => Err(Some(400)),
    }
}

fn token(text: &[u8]) -> bool {
    let marks = b"!#$%&'*+-.^_`|~";
    !text.is_empty()
        && text
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || marks.contains(byte))
}

fn head(rest: &mut &[u8], limits: &Limits) -> Found<(Vec<u8>, Vec<Vec<u8>>)> {
    let all = rest.len();
    let room = |rest: &[u8]| limits.head - (all - rest.len());
    let start = loop {
        let left = room(rest);
        let (max, over) = if limits.line <= left {
            (limits.line, 414)
        } else {
            (left, 431)
        };
        first(rest)?;
        let line = line(rest, max, over)?;
        if !line.is_empty() {
            break line;
        }
    };
    let version = start.len().checked_sub(8).map(|at| &start[at..]);
    match version {
        Some([b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9']) => {}
        Some([b'H', b'T', b'T', b'P', b'/', a, b'.', b])
            if a.is_ascii_digit() && b.is_ascii_digit() =>
        {
            return Err(Some(505));
        }
        _ => return Err(Some(400)),
    }
    let old = start.ends_with(b"0");
    let mut fields = Vec::new();
    let (mut lengths, mut codings) = (0, 0);
    loop {
        let left = room(rest);
        let line = line(rest, left, 431)?;
        if line.is_empty() {
            break;
        }
        fields.push(line.clone());
        if fields.len() > limits.fields {
            return Err(Some(431));
        }
        if line[0] == b' ' || line[0] == b'\t' {
            return Err(Some(400));
        }
        let text = String::from_utf8_lossy(&line).to_ascii_lowercase();
        if let Some(value) = text.strip_prefix("content-length:") {
            let value = value.trim_matches([' ', '\t']);
            lengths += 1;
            if lengths > 1 || value.is_empty() || value.bytes().any(|b| !b.is_ascii_digit()) {
                return Err(Some(400));
            }
        }
        if let Some(value) = text.strip_prefix("expect:") {
            let value = value.trim_matches([' ', '\t']);
            if !old && !value.is_empty() && value != "100-continue" {
                return Err(Some(417));
            }
        }
        if let Some(value) = text.strip_prefix("transfer-encoding:") {
            codings += 1;
            if codings > 1 || old {
                return Err(Some(400));
            }
            let codings = value.split(',').map(|one| one.trim_matches([' ', '\t']));
            let codings: Vec<&str> = codings.collect();
            let chunked = codings.iter().filter(|one| **one == "chunked").count();
            if chunked != 1 || codings.last() != Some(&"chunked") {
                return Err(Some(400));
            }
            if codings.len() > 1 {
                return Err(Some(501));
            }
        }
    }
    if lengths + codings > 1 {
        return Err(Some(400));
    }
    let needs = [&b"POST "[..], b"PUT ", b"PATCH "];
    if old && lengths == 0 && needs.iter().any(|method| start.starts_with(method)) {
        return Err(Some(411));
    }
    Ok((start, fields))
}

/// Fields that mean something in a head alone.
const OF_HEADS: [&str; 18] = [
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "proxy-authorization",
    "range",
    "te",
    "trailer",
];

/// A body, and its trailers.
type Body = (Vec<u8>, Vec<(String, Vec<u8>)>);

fn chunked(rest: &mut &[u8], limits: &Limits) -> Found<Body> {
    let (mut body, mut extensions) = (Vec::new(), 0);
    loop {
        let line = line(rest, 256, 400)?;
        let digits: Vec<u8> = line
            .iter()
            .copied()
            .take_while(u8::is_ascii_hexdigit)
            .collect();
        let behind = &line[digits.len()..];
        let odd = |byte: &u8| *byte < b' ' && *byte != b'\t';
        if digits.is_empty()
            || digits.len() > 16
            || !(behind.is_empty() || behind.starts_with(b";"))
            || behind.iter().any(odd)
        {
            return Err(Some(400));
        }
        let size = u128::from_str_radix(std::str::from_utf8(&digits).expect("checked before"), 16)
            .expect("checked before");
        extensions += behind.len();
        if extensions > limits.head {
            return Err(Some(413));
        }
        if size + body.len() as u128 > limits.body as u128 {
            return Err(Some(413));
        }
        let size = usize::try_from(size).expect("checked before");
        if size == 0 {
            break;
        }
        if rest.len() < size + 2 {
            return Err(None);
        }
        body.extend_from_slice(&rest[..size]);
        if &rest[size..size + 2] != b"\r\n" {
            return Err(Some(400));
        }
        *rest = &rest[size + 2..];
    }
    let (all, mut trailers, mut count) = (rest.len(), Vec::new(), 0);
    loop {
        let line = line(rest, limits.head - (all - rest.len()), 431)?;
        if line.is_empty() {
            return Ok((body, trailers));
        }
        count += 1;
        if count > limits.fields {
            return Err(Some(431));
        }
        let colon = line
            .iter()
            .position(|byte| *byte == b':')
            .ok_or(Some(400))?;
        let odd = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
        if !token(&line[..colon]) || line.iter().any(odd) {
            return Err(Some(400));
        }
        let name = String::from_utf8(line[..colon].to_vec()).expect("checked before");
        match &*name.to_ascii_lowercase() {
            "content-length" | "transfer-encoding" | "host" => return Err(Some(400)),
            of_heads if OF_HEADS.contains(&of_heads) => {}
            _ => trailers.push((format!("+{name}"), trim(&line[colon + 1..]).to_vec())),
        }
    }
}

fn request(rest: &mut &[u8], limits: &Limits) -> Found<(Seen, bool)> {
    let (start, lines) = head(rest, limits)?;
    let strict = strict(&start, &lines);
    let find = |name: &str| {
        let line = lines
            .iter()
            .map(|line| String::from_utf8_lossy(line).to_ascii_lowercase());
        let mut values = line.filter_map(|line| {
            let value = line.strip_prefix(name)?.strip_prefix(':')?;
            Some(value.trim_matches([' ', '\t']).to_owned())
        });
        values.next()
    };
    let fixed = find("content-length").map(|value| value.parse().unwrap_or(usize::MAX));
    let chunks = find("transfer-encoding").is_some();
    let body = if chunks {
        chunked(rest, limits)
    } else if fixed.is_some_and(|length| length > limits.body) {
        Err(Some(413))
    } else {
        let length = fixed.unwrap_or(0);
        if rest.len() >= length {
            let (body, behind) = rest.split_at(length);
            *rest = behind;
            Ok((body.to_vec(), Vec::new()))
        } else {
            Err(None)
        }
    };
    let body = match (body, &strict) {
        // The head was served before the body was seen.
        (Err(_), Err(bad)) => return Err(*bad),
        (_, Ok((method, ..))) if ["TRACE", "CONNECT"].contains(&&**method) => {
            return Err(Some(405));
        }
        (body, _) => body?,
    };
    let (body, trailers) = body;
    let (method, target, mut fields) = strict?;
    let named = fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("connection"));
    let values = named.map(|(_, value)| String::from_utf8_lossy(value).to_ascii_lowercase());
    let values: Vec<String> = values.collect();
    let options = || values.iter().flat_map(|value| value.split(','));
    let says = |what: &str| options().any(|one| one.trim_matches([' ', '\t']) == what);
    let keeps = !says("close") && (!start.ends_with(b"0") || says("keep-alive"));
    fields.extend(trailers);
    Ok(((method, target, fields, body), keeps))
}

/// Whether a request of this method may have this target (RFC 9112, 3.2).
fn is_target(method: &[u8], target: &str) -> bool {
    if method == b"CONNECT" {
        let parts = target.rsplit_once(':');
        return parts.is_some_and(|(host, port)| {
            !host.is_empty() && !port.is_empty() && is_host(target.as_bytes())
        });
    }
    if target == "*" {
        return method == b"OPTIONS";
    }
    let lower = target.to_ascii_lowercase();
    let local = if target.starts_with('/') {
        target
    } else {
        let scheme = ["http://", "https://"]
            .into_iter()
            .find(|scheme| lower.starts_with(scheme));
        let Some(scheme) = scheme else { return false };
        let rest = &target[scheme.len()..];
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, local) = rest.split_at(end);
        if host.is_empty() || host.starts_with(':') || !is_host(host.as_bytes()) {
            return false;
        }
        local
    };
    let path = local.split('?').next().unwrap_or_default();
    let mut depth = 0_usize;
    for segment in path.split('/').skip(1) {
        let Some(segment) = unescaped(segment.as_bytes()) else {
            return false;
        };
        match &segment[..] {
            b"" | b"." => {}
            b".." if depth == 0 => return false,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    !local.contains('#')
}

/// `None`: an escape is none, or of a NUL.
fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let mut rest = text;
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte != b'%' {
            plain.push(*byte);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let byte = u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
        rest = &rest[2..];
        match byte {
            0 => return None,
            b'/' => plain.extend(b"%2F"),
            byte => plain.push(byte),
        }
    }
    Some(plain)
}

/// Host and port (RFC 9112, 3.2).
fn is_host(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else {
        return false;
    };
    let (host, port) = match text.rfind(':') {
        Some(at) if !text[at..].contains(']') => (&text[..at], Some(&text[at + 1..])),
        _ => (text, None),
    };
    let is_digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let is_port = |port: &str| is_digits(port) && port.parse().unwrap_or(0_u128) <= 65_535;
    if !port.is_none_or(is_port) || port.is_some_and(|port| port.len() > 9) {
        return false;
    }
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']');
        let is_later = |one: &str| {
            let later = one
                .strip_prefix(['v', 'V'])
                .and_then(|one| one.split_once('.'));
            later.is_some_and(|(version, rest)| {
                let marks = b"-._~!$&'()*+,;=:";
                let is_part = |byte: u8| byte.is_ascii_alphanumeric() || marks.contains(&byte);
                !version.is_empty()
                    && version.bytes().all(|byte| byte.is_ascii_hexdigit())
                    && !rest.is_empty()
                    && rest.bytes().all(is_part)
            })
        };
        let is_one = |one: &str| one.parse::<std::net::Ipv6Addr>().is_ok() || is_later(one);
        return address.is_some_and(is_one);
    }
    let mut escapes = host.bytes().enumerate().filter(|(_, byte)| *byte == b'%');
    escapes.all(|(at, _)| {
        unescaped(&value[at..value.len().min(at + 3)]).is_some() || value[at..].starts_with(b"%00")
    }) && host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte))
}

type Strict = (String, String, Vec<(String, Vec<u8>)>);

/// A head that is HTTP to the letter.
fn strict(start: &[u8], lines: &[Vec<u8>]) -> Found<Strict> {
    let bad = Err(Some(400));
    let words: Vec<&[u8]> = start.split(|byte| *byte == b' ').collect();
    let [method, target, &[_, _, _, _, _, _, _, _]] = words[..] else {
        return bad;
    };
    let visible = |byte: &u8| *byte > b' ' && *byte != 0x7f;
    if !token(method) || target.is_empty() || !target.iter().all(visible) {
        return bad;
    }
    let Ok(target) = String::from_utf8(target.to_vec()) else {
        return bad;
    };
    if !is_target(method, &target) {
        return bad;
    }
    let mut fields = Vec::new();
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return bad;
        };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let odd = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
        if !token(name) || value.iter().any(odd) {
            return bad;
        }
        let name = String::from_utf8(name.to_vec()).expect("checked before");
        fields.push((name, trim(value).to_vec()));
    }
    let hosts = fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("host"));
    if !hosts.clone().all(|(_, value)| is_host(value)) {
        return bad;
    }
    match (hosts.count(), !start.ends_with(b"0")) {
        (1, _) | (0, false) => {}
        _ => return bad,
    }
    let method = String::from_utf8(method.to_vec()).expect("checked before");
    Ok((method, target, fields))
}
