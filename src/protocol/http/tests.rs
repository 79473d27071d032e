//! What must hold for every request, and for every way to cut the stream. The
//! reference reads the whole stream at once, slowly, by the letter of the RFC.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, in its helper functions too"
)]

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::protocol::{
    Answer, Budget, CloseMode, Cut, Dispatch, Error, Event, Lane, Out, Route, Step, Then, Turn,
    Units,
};

const LIMITS: Limits = Limits {
    line: 100,
    head: 300,
    fields: 5,
    body: 60,
    memory: 60,
};

/// As these, but a body of more than four bytes comes in pieces.
const SPOOLS: Limits = Limits {
    memory: 4,
    ..LIMITS
};

/// Method, target, fields and (with a plus before their names) trailers, body.
type Seen = (String, String, Vec<(String, Vec<u8>)>, Vec<u8>);

/// Records what it is asked; answers as the path says.
#[derive(Default)]
struct Handlers(Vec<Seen>);

impl Dispatch for Handlers {
    fn inline(&self, _: Route) -> bool {
        true
    }

    fn call(&mut self, _: Route, _: Units<'_>, _: &mut Out<'_>, _: &mut Answer) {}

    fn opened(&mut self, _: &mut Out<'_>) {}

    /// Resets the connection, or closes it.
    fn timer(&mut self, token: u64, out: &mut Out<'_>) {
        out.close = match token {
            0 => None,
            1 => Some(CloseMode::Flush),
            _ => Some(CloseMode::Abort),
        };
    }
}

impl Requests for Handlers {
    fn request(&mut self, lane: Lane, request: &Request<'_>, response: &mut Response) -> Served {
        let Head {
            method,
            target,
            fields,
            ..
        } = request.head;
        if lane == Lane::Inline && target == "/pooled" {
            return Served::NotInline;
        }
        let fields = fields
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_vec()));
        let trailers = request.trailers.iter();
        let fields = fields.chain(trailers.map(|(name, value)| (format!("+{name}"), value.into())));
        let mut body = request.body.bytes().to_vec();
        if let Some(taken) = request.taken.and_then(Taken::take) {
            body = *taken.downcast::<Vec<u8>>().unwrap();
        }
        self.0.push((
            method.to_owned(),
            target.to_owned(),
            fields.collect(),
            body.clone(),
        ));
        response.take(match target {
            "/later" => Answer::Later(self.0.len() as u64),
            "/none" => Answer::None,
            "/error" => Answer::Error(Error::new(418, "teapot")),
            _ => Answer::body(body.into()),
        })
    }

    fn receive(&mut self, incoming: &Incoming<'_>, response: &mut Response) -> Wanted {
        match incoming.head.target {
            "/unwanted" => Wanted::refused(&Error::new(403, "no"), response),
            "/large" => Wanted::Whole { max: 1 << 20 },
            _ => Wanted::Whole { max: incoming.max },
        }
    }

    fn spool(&mut self, _: &Spooling) -> Result<Box<dyn Intake>, Error> {
        Ok(Box::new(Kept(Vec::new())))
    }

    fn seconds(&self) -> u64 {
        784_111_777
    }
}

/// Where a long body goes here.
struct Kept(Vec<u8>);

impl Intake for Kept {
    fn piece(&mut self, bytes: &[u8]) -> Result<(), Error> {
        assert!(!bytes.is_empty(), "a piece has bytes");
        if bytes.contains(&b'!') {
            return Err(Error::new(422, "no"));
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Received {
        Received::Made(Box::new(self.0))
    }
}

/// What a connection came to.
#[derive(Debug, Default, PartialEq)]
struct Came {
    seen: Vec<Seen>,
    /// Everything that was answered, without `100 Continue`.
    answered: String,
    over: bool,
}

/// Serves a stream that comes in `parts`, as a worker does.
fn serve(parts: &[&[u8]], limits: Limits) -> Came {
    let protocol = Http1::new(limits);
    let (mut cutter, mut server) = protocol.open();
    let mut handlers = Handlers::default();
    let mut turn = Turn {
        lane: Lane::Pool,
        clients: &(),
        out: Out::new(Vec::new(), &protocol),
        app: &mut handlers,
        budget: &mut Budget::unlimited(),
        room: usize::MAX,
    };
    let (mut kept, mut over) = (Vec::new(), None);
    'parts: for part in parts {
        kept.extend_from_slice(part);
        let Cut { units, then, .. } = cutter.cut(&kept);
        let units: Vec<u8> = kept.drain(..units).collect();
        let units = Bytes::from(units);
        let mut done = 0;
        while done < units.len() {
            let (served, step) = server.serve(Units::shared(&units.slice(done..)), &mut turn);
            done += served;
            match step {
                Step::Next => {}
                step @ (Step::NotInline
                | Step::AwaitReply
                | Step::AwaitWritable
                | Step::AwaitEvent
                | Step::Become(_)
                | Step::Close(_)
                | Step::Refuse(_)) => {
                    over = Some(step);
                    break 'parts;
                }
            }
        }
        if let Then::Refuse(refusal) = then {
            over = Some(server.event(Event::Refused(refusal), &mut turn));
            break;
        }
    }
    let answered = String::from_utf8_lossy(&turn.out.bytes).into_owned();
    if let Some(Step::Refuse(refusal)) = &over {
        assert_eq!(refusal.answer, b"", "the server has answered");
    }
    Came {
        seen: handlers.0,
        answered: answered.replace("HTTP/1.1 100 Continue\r\n\r\n", ""),
        over: over.is_some(),
    }
}

/// The statuses of all answers.
fn statuses(came: &Came) -> Vec<u16> {
    let answers = came.answered.split("HTTP/1.1 ").skip(1);
    answers.map(|answer| answer[..3].parse().unwrap()).collect()
}

mod reference {
    //! Reads a whole stream, one byte after the other.

    use super::{Limits, Seen};

    /// The requests of a stream, and the status of the refusal behind them; 0
    /// closes without one, `None` waits for more.
    pub(super) fn read(stream: &[u8], limits: &Limits) -> (Vec<Seen>, Option<u16>) {
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
            let size = u128::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap();
            extensions += behind.len();
            if extensions > limits.head {
                return Err(Some(413));
            }
            if size + body.len() as u128 > limits.body as u128 {
                return Err(Some(413));
            }
            let size = usize::try_from(size).unwrap();
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
            let name = String::from_utf8(line[..colon].to_vec()).unwrap();
            match &*name.to_ascii_lowercase() {
                "content-length" | "transfer-encoding" | "host" => return Err(Some(400)),
                "trailer" | "cookie" | "connection" | "expect" => {}
                _ => {
                    let value = super::super::scan::trim(&line[colon + 1..]);
                    trailers.push((format!("+{name}"), value.to_vec()));
                }
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
            unescaped(&value[at..value.len().min(at + 3)]).is_some()
                || value[at..].starts_with(b"%00")
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
            let name = String::from_utf8(name.to_vec()).unwrap();
            fields.push((name, super::super::scan::trim(value).to_vec()));
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
        let method = String::from_utf8(method.to_vec()).unwrap();
        Ok((method, target, fields))
    }
}

/// Lines of which requests are made, good and bad.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"GET / HTTP/1.1\r\n",
        b"GET /a?b=c HTTP/1.0\r\n",
        b"POST /p HTTP/1.1\r\n",
        b"PUT /p HTTP/1.0\r\n",
        b"HEAD /none HTTP/1.1\r\n",
        b"GET / HTTP/1.2\r\n",
        b"GET //a/./%62/../c HTTP/1.1\r\n",
        b"GET /../a HTTP/1.1\r\n",
        b"GET http://h/a?b HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"Host: a b\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"Host: x\r\n",
        b"host:y\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"content-length: +5\r\n",
        b"Content-Length : 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"transfer-encoding: gzip, chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"expect: 100-Continue, x\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b" folded\r\n",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"hello",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\nTrailer: x\r\n\r\n",
        b"0\r\nX-Sum:\t7 \r\nY:\r\n\r\n",
        b"0\r\nX-Sum: 7\r\n",
        b"A;ext=1\r\n0123456789\r\n",
        b"fffffffffffffffff\r\n",
        b"\x16\x03\x01",
        b"X: \x00\r\n",
        b"no colon\r\n",
    ];
    let random = prop::collection::vec(any::<u8>(), 0..20);
    let long = (1..400_usize).prop_map(|len| [b"Long: ", &vec![b'l'; len][..], b"\r\n"].concat());
    prop_oneof![20 => select(pieces).prop_map(<[u8]>::to_vec), 1 => random, 1 => long]
}

/// Streams that are often good for a while.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let good: Vec<&[u8]> = vec![
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x\r\nabc\r\n0\r\n\r\n",
        b"POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n0\r\nA: b\r\n\r\n",
        b"GET /k HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    ];
    let part = prop_oneof![2 => select(good).prop_map(<[u8]>::to_vec), 3 => piece()];
    let flaw = (any::<prop::sample::Index>(), any::<u8>(), 0..12_u8);
    (prop::collection::vec(part, 0..12), flaw).prop_map(|(parts, (at, byte, kind))| {
        let mut stream = parts.concat();
        if !stream.is_empty() {
            let at = at.index(stream.len());
            match kind {
                0 => stream[at] = byte,
                1 => stream.insert(at, byte),
                2 => drop(stream.remove(at)),
                _ => {}
            }
        }
        // The handlers here would refuse it, which is not the reference's affair.
        stream
            .iter_mut()
            .filter(|byte| **byte == b'!')
            .for_each(|byte| *byte = b'?');
        stream
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn every_stream_is_read_as_the_reference_reads_it(
        stream in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let parts: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        for limits in [LIMITS, SPOOLS] {
            let came = serve(&parts, limits);
            let (seen, end) = reference::read(&stream, &limits);
            prop_assert_eq!(&came.seen, &seen, "{}", stream.escape_ascii());
            prop_assert_eq!(came.over, end.is_some(), "{} {:?}", stream.escape_ascii(), end);
            if let Some(status) = end.filter(|status| *status > 200) {
                prop_assert_eq!(statuses(&came).last().copied(), Some(status), "{}", stream.escape_ascii());
            }
            let bytewise: Vec<&[u8]> = stream.chunks(1).collect();
            prop_assert_eq!(serve(&bytewise, limits), came, "{}", stream.escape_ascii());
        }
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let get = "GET / HTTP/1.1\r\nHost: x\r\n";
    let post = "POST / HTTP/1.1\r\nHost: x\r\n";
    let te = "Transfer-Encoding: chunked\r\n";
    for (text, status) in [
        (
            format!("{post}Content-Length: 1\r\nContent-Length: 1\r\n\r\na"),
            400,
        ),
        (format!("{post}Content-Length: 1, 1\r\n\r\na"), 400),
        (format!("{post}Content-Length: -1\r\n\r\na"), 400),
        (format!("{post}Content-Length: 0x1\r\n\r\na"), 400),
        (format!("{post}Content-Length:\r\n\r\na"), 400),
        (format!("{post}Content-Length: 1\r\n{te}\r\n0\r\n\r\n"), 400),
        (format!("{post}{te}Content-Length: 1\r\n\r\n0\r\n\r\n"), 400),
        (format!("{post}{te}{te}\r\n0\r\n\r\n"), 400),
        (format!("{post}Expect: a pony\r\n"), 417),
        (format!("{post}Transfer-Encoding: identity\r\n\r\n"), 400),
        (format!("{post}Transfer-Encoding:\r\n\r\n"), 400),
        (
            format!("{post}Transfer-Encoding: chunked, chunked\r\n\r\n"),
            400,
        ),
        (
            format!("{post}Transfer-Encoding: chunked, gzip\r\n\r\n"),
            400,
        ),
        (format!("{post}Transfer-Encoding: chunked;q=1\r\n\r\n"), 400),
        (
            format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n"),
            501,
        ),
        ("TRACE / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 405),
        ("CONNECT h:1 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 405),
        // What the head alone decides does not wait for the body.
        (
            "GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n".to_owned(),
            400,
        ),
        (
            format!(
                "{post}{te}\r\n1;{}\r\na\r\n1;{}\r\n",
                "x".repeat(200),
                "x".repeat(200)
            ),
            413,
        ),
        (
            format!("{post}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (format!("{post}{te}\r\n0x0\r\n\r\n"), 400),
        (format!("{post}{te}\r\n 0\r\n\r\n"), 400),
        (format!("{post}{te}\r\n-1\r\n\r\n"), 400),
        (format!("{post}{te}\r\n1\r\nab\r\n0\r\n\r\n"), 400),
        (format!("{post}{te}\r\n1\na\r\n0\r\n\r\n"), 400),
        (format!("{post}{te}\r\n0\r\n bad: x\r\n\r\n"), 400),
        (format!("{get}X: a\r\n b\r\n\r\n"), 400),
        (format!("{get}X : a\r\n\r\n"), 400),
        (format!("{get}X: a\rb\r\n\r\n"), 400),
        (format!("{get}X: a\n\r\n"), 400),
        (format!("{get}: a\r\n\r\n"), 400),
        (format!("{get}Host: y\r\n\r\n"), 400),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\nHost: x\n\n".to_owned(), 400),
        ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400),
        ("GET /\r\n\r\n".to_owned(), 400),
        (" GET / HTTP/1.1\r\n".to_owned(), 400),
        ("GET a.txt HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400),
        ("GET /a#f HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400),
        (
            "GET *://h/dir/x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
            400,
        ),
        (
            "GET x:y://h/dir/x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
            400,
        ),
        ("GET ://h/dir/x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        (
            "GET http://u@h/x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
            400,
        ),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.0\r\nHost: a/b\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: u@h\r\n\r\n".to_owned(), 400),
        ("POST / HTTP/1.0\r\n\r\n".to_owned(), 411),
        (format!("{post}Content-Length: 61\r\n\r\n"), 413),
        (format!("{post}{te}\r\n3d\r\n"), 413),
        (format!("GET /{} HTTP/1.1\r\n", "a".repeat(100)), 414),
        (format!("{get}X: {}\r\n", "a".repeat(300)), 431),
        (format!("{get}{}\r\n", "A: b\r\n".repeat(5)), 431),
        ("GET / HTTP/3.0\r\n".to_owned(), 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505),
    ] {
        let came = serve(&[text.as_bytes()], LIMITS);
        assert_eq!(statuses(&came), [status], "{text:?}");
        assert!(came.over && came.seen.is_empty(), "{text:?}");
        for field in ["Connection: close", "Date: Sun, 06 Nov 1994 08:49:37 GMT"] {
            let field = format!("{field}\r\n");
            assert_eq!(came.answered.matches(&field).count(), 1, "{text:?}");
        }
        assert_eq!(came.answered.contains("Allow: "), status == 405, "{text:?}");
        assert!(!came.answered.ends_with("\r\n\r\n"), "{text:?}");
        if let Some(rest) = text.strip_prefix("GET ") {
            let head = format!("HEAD {rest}");
            let came = serve(&[head.as_bytes()], LIMITS);
            assert_eq!(statuses(&came), [status], "{head:?}");
            assert!(came.answered.ends_with("\r\n\r\n"), "{head:?}");
        }
    }
}

#[test]
fn the_server_itself_has_options() {
    let text = "OPTIONS * HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na";
    for cut in 0..text.len() {
        let (head, tail) = text.as_bytes().split_at(cut);
        let came = serve(&[head, tail], LIMITS);
        assert_eq!((statuses(&came), came.over), (vec![200], false));
        for field in [
            "Allow: GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS\r\n",
            "Content-Length: 0\r\n",
        ] {
            assert!(came.answered.contains(field), "{}", came.answered);
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_order_in_one_piece() {
    let text = "GET /none HTTP/1.1\r\nHost: x\r\n\r\n\
                POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi\
                \r\n\r\nGET /error HTTP/1.1\r\nHost: x\r\n\r\n\
                HEAD /error HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n\
                GET /unseen HTTP/1.1\r\nHost: x\r\n\r\n";
    let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let came = serve(&[text.as_bytes()], LIMITS);
    let plain = "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 7\r\n";
    let expected = format!(
        "HTTP/1.1 204 No Content\r\n{date}\r\n\
         HTTP/1.1 200 OK\r\n{date}Content-Type: application/octet-stream\r\nContent-Length: 2\r\n\r\nhi\
         HTTP/1.1 418 Client Error\r\n{date}{plain}\r\nteapot\n\
         HTTP/1.1 418 Client Error\r\n{date}{plain}Connection: close\r\n\r\n"
    );
    assert_eq!(came.answered, expected);
    assert_eq!(came.seen.len(), 4);
    assert!(came.over);
}

/// One turn over `units` and then `events`; gives what was written, how far it
/// came, why it stopped.
fn turn(lane: Lane, units: &[&str], events: Vec<Event>) -> (String, Vec<usize>, Vec<Step>) {
    let protocol = Http1::new(LIMITS);
    let (_, mut server) = protocol.open();
    let mut handlers = Handlers::default();
    let mut turn = Turn {
        lane,
        clients: &(),
        out: Out::new(Vec::new(), &protocol),
        app: &mut handlers,
        budget: &mut Budget::unlimited(),
        room: usize::MAX,
    };
    let (mut done, mut steps) = (Vec::new(), Vec::new());
    for unit in units {
        let (served, step) = server.serve(Units::borrowed(unit.as_bytes()), &mut turn);
        done.push(served);
        steps.push(step);
    }
    for event in events {
        steps.push(server.event(event, &mut turn));
    }
    (String::from_utf8(turn.out.bytes).unwrap(), done, steps)
}

#[test]
fn who_waits_for_a_word_is_told_to_go_on() {
    let head = "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let (said, done, _) = turn(Lane::Pool, &[head], Vec::new());
    assert_eq!(
        (said.as_bytes(), &done[..]),
        (&b"HTTP/1.1 100 Continue\r\n\r\n"[..], &[head.len()][..])
    );
    let (said, _, _) = turn(Lane::Pool, &[head, "hi"], Vec::new());
    assert!(
        said.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"),
        "{said}"
    );
    assert!(said.ends_with("\r\n\r\nhi"), "{said}");
    let (said, _, _) = turn(Lane::Pool, &[&format!("{head}hi")], Vec::new());
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
}

#[test]
fn a_handler_that_may_block_leaves_its_request_to_the_pool() {
    let quick = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let text = format!("{quick}GET /pooled HTTP/1.1\r\nHost: x\r\n\r\n");
    let (said, done, steps) = turn(Lane::Inline, &[&text], Vec::new());
    assert_eq!((done, steps), (vec![quick.len()], vec![Step::NotInline]));
    assert_eq!(said.matches("200 OK").count(), 1);
}

#[test]
fn an_answer_that_comes_later_holds_everything_behind_it() {
    let later = "GET /later HTTP/1.1\r\nHost: x\r\n\r\n";
    let text = format!("{later}GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = Answer::body(Bytes::from_static(b"now"));
    let events = vec![
        Event::Reply(9, Answer::None),
        Event::Eof,
        Event::Reply(1, answer),
    ];
    let (said, done, steps) = turn(Lane::Pool, &[&text], events);
    assert_eq!(done, [later.len()]);
    let close = Step::Close(CloseMode::Flush);
    assert_eq!(
        steps,
        [Step::AwaitReply, Step::AwaitReply, Step::AwaitReply, close]
    );
    assert!(said.ends_with("\r\n\r\nnow"), "{said}");
}

#[test]
fn a_timer_closes_behind_the_answer_that_is_owed_or_resets_at_once() {
    let later = "GET /later HTTP/1.1\r\nHost: x\r\n\r\n";
    let (flush, abort) = (
        || Step::Close(CloseMode::Flush),
        || Step::Close(CloseMode::Abort),
    );
    for (token, idle, owing) in [
        (0, Step::Next, Step::AwaitReply),
        (1, flush(), Step::AwaitReply),
        (2, abort(), abort()),
    ] {
        let (_, _, steps) = turn(Lane::Pool, &[], vec![Event::Timer(token)]);
        assert_eq!(steps, [idle]);
        let events = vec![Event::Timer(token)];
        let (_, _, steps) = turn(Lane::Pool, &[later], events);
        assert_eq!(steps, [Step::AwaitReply, owing]);
    }
    let answer = Event::Reply(1, Answer::None);
    let (said, _, steps) = turn(Lane::Pool, &[later], vec![Event::Timer(1), answer]);
    assert_eq!(steps[2], flush());
    assert!(said.starts_with("HTTP/1.1 204 "), "{said}");
}

#[test]
fn a_later_version_of_http_1_is_served_as_1_1() {
    let get = "\r\nGET /a?b HTTP/1.2\r\nHost: x\r\n\r\n";
    let post =
        "POST /p HTTP/1.9\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
    let came = serve(&[get.as_bytes(), post.as_bytes()], LIMITS);
    assert_eq!((statuses(&came), came.over), (vec![200, 200], false));
    assert_eq!((&*came.seen[0].1, &came.seen[1].3[..]), ("/a?b", &b"a"[..]));
    let came = serve(&[b"GET / HTTP/1.2\r\n\r\n"], LIMITS);
    assert_eq!(statuses(&came), [400], "Host is missing");
}

#[test]
fn http_1_0_closes_unless_it_is_asked_not_to() {
    for (fields, keeps) in [
        ("", false),
        ("Connection: keep-alive\r\n", true),
        ("Connection: close\r\nConnection: keep-alive\r\n", false),
    ] {
        let text = format!("GET / HTTP/1.0\r\n{fields}\r\n");
        let came = serve(&[text.as_bytes()], LIMITS);
        assert_eq!(came.over, !keeps);
        let said = if keeps { "keep-alive" } else { "close" };
        assert!(came.answered.contains(&format!("Connection: {said}\r\n")));
    }
}

#[test]
fn a_drain_is_told_with_the_next_response() {
    let protocol = Http1::new(LIMITS);
    let (_, mut server) = protocol.open();
    let mut handlers = Handlers::default();
    let mut turn = Turn {
        lane: Lane::Pool,
        clients: &(),
        out: Out::new(Vec::new(), &protocol),
        app: &mut handlers,
        budget: &mut Budget::unlimited(),
        room: usize::MAX,
    };
    assert_eq!(server.event(Event::Draining, &mut turn), Step::Next);
    let units = Units::borrowed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let (_, step) = server.serve(units, &mut turn);
    assert_eq!(step, Step::Close(CloseMode::Flush));
    let said = String::from_utf8_lossy(&turn.out.bytes).into_owned();
    assert!(said.contains("Connection: close\r\n"), "{said}");
}

#[test]
fn a_long_body_comes_in_pieces_and_its_handler_sees_all_of_it() {
    let post = "POST / HTTP/1.1\r\nHost: x\r\n";
    let next = "GET /none HTTP/1.1\r\nHost: x\r\n\r\n";
    for body in [
        "Content-Length: 12\r\n\r\nhello, world".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7;x\r\n, world\r\n0\r\nA: b\r\n\r\n"
            .to_owned(),
        "Expect: 100-continue\r\nContent-Length: 12\r\n\r\nhello, world".to_owned(),
    ] {
        let stream = format!("{post}{body}{next}");
        for cut in 0..stream.len() {
            let (first, second) = stream.as_bytes().split_at(cut);
            let came = serve(&[first, second], SPOOLS);
            let bodies: Vec<&[u8]> = came.seen.iter().map(|seen| &seen.3[..]).collect();
            assert_eq!(bodies, [&b"hello, world"[..], b""], "{cut} of {stream:?}");
            assert_eq!((statuses(&came), came.over), (vec![200, 204], false));
        }
    }
}

#[test]
fn a_body_that_nobody_wants_is_refused_before_it_comes() {
    for (target, fields, body, status) in [
        ("/unwanted", "Content-Length: 50", "", 403),
        ("/unwanted", "Transfer-Encoding: chunked", "32\r\n", 403),
        ("/", "Content-Length: 61", "", 413),
        ("/", "Content-Length: 61\r\nExpect: 100-continue", "", 413),
        ("/", "Transfer-Encoding: chunked", "3d\r\n", 413),
        ("/large", "Content-Length: 1048577", "", 413),
        ("/", "Content-Length: 50", "hello!", 422),
        ("/", "Transfer-Encoding: chunked", "32\r\nhello!", 422),
    ] {
        let text = format!("POST {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n{body}");
        let came = serve(&[text.as_bytes()], SPOOLS);
        assert_eq!(statuses(&came), [status], "{text:?}");
        assert!(came.over && came.seen.is_empty(), "{text:?}");
        assert!(came.answered.contains("Connection: close\r\n"), "{text:?}");
        let (said, ..) = turn(Lane::Pool, &[&text], Vec::new());
        assert!(!said.contains("100 Continue"), "{text:?}");
    }
}

#[test]
fn a_route_may_allow_more_than_most() {
    let body = "a".repeat(1000);
    let text = format!("POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{body}");
    let whole = serve(&[text.as_bytes()], LIMITS);
    assert_eq!((statuses(&whole), whole.seen[0].3.len()), (vec![200], 1000));
    let parts: Vec<&[u8]> = text.as_bytes().chunks(7).collect();
    assert_eq!(serve(&parts, LIMITS), whole);
}

#[test]
fn a_body_in_pieces_is_the_pools() {
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n";
    let (said, done, steps) = turn(Lane::Inline, &[head], Vec::new());
    assert_eq!(
        (&said[..], done, steps),
        ("", vec![0], vec![Step::NotInline])
    );
}

#[test]
fn a_peer_that_leaves_within_a_body_is_counted() {
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nhello";
    let (_, _, steps) = turn(Lane::Pool, &[head], vec![Event::Eof]);
    let Step::Refuse(refusal) = &steps[1] else {
        panic!("{steps:?}")
    };
    assert_eq!(refusal.counter, crate::scoreboard::Counter::Truncated);
}

#[test]
fn a_method_that_nobody_knows_is_named() {
    let refusal = super::refusal::unknown_method("BREW");
    assert!(refusal.detail.contains("`BREW`"), "{}", refusal.detail);
    assert!(refusal.answer.starts_with(b"HTTP/1.1 501 "));
}

/// Messages that the cutter counts in a stream that comes in these parts, and
/// those that the server says it served.
fn counted(parts: &[&[u8]]) -> (usize, usize) {
    let protocol = Http1::new(SPOOLS);
    let (mut cutter, mut server) = protocol.open();
    let mut handlers = Handlers::default();
    let (mut budget, mut received) = (Budget::unlimited(), 0);
    let mut turn = Turn {
        lane: Lane::Pool,
        clients: &(),
        out: Out::new(Vec::new(), &protocol),
        app: &mut handlers,
        budget: &mut budget,
        room: usize::MAX,
    };
    let mut kept = Vec::new();
    for part in parts {
        kept.extend_from_slice(part);
        let cut = cutter.cut(&kept);
        received += cut.messages;
        let units: Vec<u8> = kept.drain(..cut.units).collect();
        let mut done = 0;
        while done < units.len() {
            let (served, step) = server.serve(Units::borrowed(&units[done..]), &mut turn);
            done += served;
            if step == Step::AwaitReply {
                server.event(Event::Reply(1, Answer::None), &mut turn);
            }
        }
    }
    assert_eq!(kept, b"");
    (received, budget.messages())
}

#[test]
fn a_request_counts_once_where_it_arrives_and_once_where_it_is_served() {
    let post = "POST / HTTP/1.1\r\nHost: x\r\n";
    let next = "GET /none HTTP/1.1\r\nHost: x\r\n\r\n";
    for (first, messages) in [
        (next.to_owned(), 2),
        (format!("{next}{next}"), 3),
        (next.replace("none", "later"), 2),
        (format!("{post}Content-Length: 2\r\n\r\nhi"), 2),
        (format!("{post}Content-Length: 12\r\n\r\nhello, world"), 2),
        (
            format!("{post}Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"),
            2,
        ),
        (
            format!("{post}Expect: 100-continue\r\nContent-Length: 12\r\n\r\nhello, world"),
            2,
        ),
        (
            format!("{post}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
            2,
        ),
        (
            format!(
                "{post}Transfer-Encoding: chunked\r\n\r\n\
                 5\r\nhello\r\n7;x\r\n, world\r\n0\r\nA: b\r\n\r\n"
            ),
            2,
        ),
        (
            format!(
                "{post}Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2\r\nhi\r\n0\r\n\r\n"
            ),
            2,
        ),
        (
            format!(
                "{post}Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n\
                 5\r\nhello\r\n7;x\r\n, world\r\n0\r\n\r\n"
            ),
            2,
        ),
    ] {
        let stream = format!("{first}{next}");
        for cut in 0..stream.len() {
            let (first, second) = stream.as_bytes().split_at(cut);
            let counts = counted(&[first, second]);
            assert_eq!(counts, (messages, messages), "{cut} of {stream:?}");
        }
        let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        assert_eq!(counted(&bytes), (messages, messages), "{stream:?}");
    }
}

#[test]
fn what_is_not_answered_is_not_served_and_an_error_is_an_answer() {
    for (text, messages) in [
        ("GET / HTTP/1.1\r\n\r\n", 0),
        (
            "BREW / HTTP/1.1\r\nHost: x\r\nContent-Length: 61\r\n\r\n",
            0,
        ),
        ("GET /error HTTP/1.1\r\nHost: x\r\n\r\n", 1),
        (
            "POST /unwanted HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n",
            1,
        ),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nhello",
            0,
        ),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nhello!",
            1,
        ),
    ] {
        let protocol = Http1::new(SPOOLS);
        let (mut handlers, mut budget) = (Handlers::default(), Budget::unlimited());
        let mut turn = Turn {
            lane: Lane::Pool,
            clients: &(),
            out: Out::new(Vec::new(), &protocol),
            app: &mut handlers,
            budget: &mut budget,
            room: usize::MAX,
        };
        let (_, mut server) = protocol.open();
        let (mut done, mut step) = (0, Step::Next);
        while done < text.len() && step == Step::Next {
            let served;
            (served, step) = server.serve(Units::borrowed(&text.as_bytes()[done..]), &mut turn);
            done += served;
        }
        assert_eq!(budget.messages(), messages, "{text:?}");
    }
}
