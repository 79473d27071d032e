//! One request over HTTP/1.1, again and again, and what counts as its reply:
//! one that is whole, in its turn, and has a status that was wanted. Pure.

use super::{CLOSED, Owed, unreadable};
use crate::stress::connection::Read;
use crate::stress::fault::{Fault, Kind};
use crate::stress::stats::Ledger;

/// What is asked for.
#[derive(Clone, Debug)]
pub(in crate::stress) struct Request {
    pub(in crate::stress) method: String,
    /// Path and query.
    pub(in crate::stress) target: String,
    pub(in crate::stress) host: String,
    /// Name and value of each further field.
    pub(in crate::stress) fields: Vec<(String, String)>,
    pub(in crate::stress) body: Vec<u8>,
    /// Statuses of a right reply; without any, 200 to 299.
    pub(in crate::stress) statuses: Vec<u16>,
}

/// The request as bytes, and the judge of its replies.
#[derive(Clone, Debug)]
pub(in crate::stress) struct Http {
    pub(in crate::stress) method: String,
    /// For people; nobody connects to it.
    pub(in crate::stress) url: String,
    /// Bytes of the body.
    pub(in crate::stress) size: usize,
    statuses: Vec<u16>,
    request: Vec<u8>,
    /// The same with `Connection: close`.
    last: Vec<u8>,
}

impl Http {
    /// The bytes of `request`.
    pub(in crate::stress) fn new(request: Request) -> Self {
        let url = format!("http://{}{}", request.host, request.target);
        Self {
            request: request.bytes(false),
            last: request.bytes(true),
            url,
            size: request.body.len(),
            method: request.method,
            statuses: request.statuses,
        }
    }

    pub(super) fn write(&self, last: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(if last { &self.last } else { &self.request });
    }

    /// Reads the replies of `bytes`; returns how many bytes are done with.
    pub(super) fn compare(
        &self,
        owed: &mut Owed,
        bytes: &[u8],
        read: &mut Read,
        ledger: &mut Ledger<'_>,
    ) -> usize {
        let mut used = 0;
        // What is behind the last reply of a connection is of no meaning.
        while used < bytes.len() && !read.closes {
            if owed.requests.is_empty() {
                read.fatal = Some(Fault {
                    kind: Kind::Wrong,
                    detail: format!("{} bytes that nobody asked for", bytes.len() - used),
                });
                return used;
            }
            match owed.reply.read(&bytes[used..], self.method == "HEAD") {
                Ok((count, whole)) => {
                    used += count;
                    if !whole {
                        return used;
                    }
                    self.judge(owed, read, ledger);
                }
                Err(detail) => {
                    read.fatal = Some(unreadable(&mut owed.requests, &detail));
                    return used;
                }
            }
        }
        used
    }

    /// The end of a connection is the end of a reply, or comes too early.
    pub(super) fn end(
        &self,
        owed: &mut Owed,
        partial: &[u8],
        ledger: &mut Ledger<'_>,
    ) -> Result<Read, String> {
        if owed.reply.ends_here() {
            let mut read = Read::default();
            self.judge(owed, &mut read, ledger);
            return Ok(read);
        }
        Err(match owed.reply.body() {
            Some(bytes) => format!("the server closed behind {bytes} bytes of a longer body"),
            None if partial.is_empty() => CLOSED.to_owned(),
            None => "the server closed in the middle of a head".to_owned(),
        })
    }

    /// The reply to the oldest request is whole.
    fn judge(&self, owed: &mut Owed, read: &mut Read, ledger: &mut Ledger<'_>) {
        let whole = owed.reply.take();
        let Some(request) = owed.requests.pop_front() else {
            return;
        };
        ledger.status(whole.status);
        read.closes = whole.closes;
        if self.is_wanted(whole.status) {
            read.answered += 1;
            ledger.right(request.since);
        } else {
            read.errors.push(Fault {
                kind: Kind::Status,
                detail: format!("request {}: status {}", request.turn, whole.status),
            });
        }
    }

    fn is_wanted(&self, status: u16) -> bool {
        if self.statuses.is_empty() {
            (200..300).contains(&status)
        } else {
            self.statuses.contains(&status)
        }
    }

    pub(super) fn summary(&self) -> String {
        let mut text = format!("{} {}", self.method, self.url);
        if self.size > 0 {
            text += &format!(
                ", {}",
                crate::stress::report::many(self.size as u64, "byte")
            );
        }
        text
    }

    pub(super) fn hint(&self, kind: Kind) -> Option<String> {
        match kind {
            Kind::Unreadable | Kind::Lost => Some(
                "does the listener speak HTTP? Its `protocol` key says: \"http\" or \"auto\""
                    .into(),
            ),
            Kind::Status => Some("name the statuses that are right by --status".into()),
            Kind::Connect | Kind::Wrong | Kind::ErrorFrame | Kind::Timeout | Kind::Unsent => None,
        }
    }
}

impl Request {
    fn bytes(&self, last: bool) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let mut field = |name: &str, value: &str| head += &format!("{name}: {value}\r\n");
        let given = |name: &str| {
            let mut names = self.fields.iter();
            names.any(|(given, _)| given.eq_ignore_ascii_case(name))
        };
        if !given("host") {
            field("Host", &self.host);
        }
        for (name, value) in &self.fields {
            field(name, value);
        }
        // A length is expected of those, even if it is none.
        let has_body = ["POST", "PUT", "PATCH"].contains(&&*self.method);
        if has_body || !self.body.is_empty() {
            field("Content-Length", &self.body.len().to_string());
        }
        if last && !given("connection") {
            field("Connection", "close");
        }
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            method: "GET".into(),
            target: "/a?b=c".into(),
            host: "x:1".into(),
            fields: Vec::new(),
            body: Vec::new(),
            statuses: Vec::new(),
        }
    }

    #[test]
    fn a_request_has_a_host_and_a_length_and_ends_its_connection_if_it_is_the_last() {
        let text = |request: &Request, last| String::from_utf8(request.bytes(last)).unwrap();
        let get = request();
        assert_eq!(
            text(&get, false),
            "GET /a?b=c HTTP/1.1\r\nHost: x:1\r\n\r\n"
        );
        let post = Request {
            method: "POST".into(),
            fields: vec![("host".into(), "y".into()), ("A".into(), "b".into())],
            body: b"hello".to_vec(),
            ..request()
        };
        assert_eq!(
            text(&post, true),
            "POST /a?b=c HTTP/1.1\r\nhost: y\r\nA: b\r\nContent-Length: 5\r\n\
             Connection: close\r\n\r\nhello"
        );
    }

    #[test]
    fn two_hundreds_are_right_unless_others_are_named() {
        let judge = |statuses: &[u16], status| {
            let statuses = statuses.to_vec();
            Http::new(Request {
                statuses,
                ..request()
            })
            .is_wanted(status)
        };
        for (statuses, status, right) in [
            (&[][..], 200, true),
            (&[], 204, true),
            (&[], 301, false),
            (&[], 404, false),
            (&[404, 410], 410, true),
            (&[404], 200, false),
        ] {
            assert_eq!(judge(statuses, status), right, "{statuses:?} {status}");
        }
    }
}
