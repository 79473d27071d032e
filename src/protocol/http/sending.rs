//! An answer on its way, until its line of the access log can be written. Pure.
//!
//! It outlives its request, and goes along where the connection goes on in
//! another worker: as fields of a length and as many bytes.

use std::fmt::{self, Display};
use std::net::IpAddr;
use std::time::Duration;

use super::access::{Access, AccessFormat, Shown};

/// An answer whose content is on its way: its line is written when that is out,
/// or its connection over, and says what was really sent.
pub struct Sending {
    format: AccessFormat,
    request: Option<Kept>,
    /// Whom a proxy asked for.
    client: Option<IpAddr>,
    pub(in crate::protocol) status: u16,
    /// Bytes behind the head of the answer, as far as they are written.
    pub(in crate::protocol) bytes: u64,
    /// When the request was looked at first, in microseconds.
    since: u64,
    id: Box<str>,
}

/// A [`Shown`] that outlives its request.
struct Kept {
    method: Box<[u8]>,
    target: Box<[u8]>,
    protocol: Box<[u8]>,
    referrer: Option<Box<[u8]>>,
    agent: Option<Box<[u8]>>,
}

impl From<Shown<'_>> for Kept {
    fn from(shown: Shown<'_>) -> Self {
        Self {
            method: shown.method.into(),
            target: shown.target.into(),
            protocol: shown.protocol.into(),
            referrer: shown.referrer.map(Into::into),
            agent: shown.agent.map(Into::into),
        }
    }
}

impl Kept {
    fn shown(&self) -> Shown<'_> {
        Shown {
            method: &self.method,
            target: &self.target,
            protocol: &self.protocol,
            referrer: self.referrer.as_deref(),
            agent: self.agent.as_deref(),
        }
    }
}

impl Sending {
    /// `since`: when the request was looked at first, in microseconds.
    pub(super) fn new(access: &Access<'_>, format: AccessFormat, since: u64) -> Self {
        Self {
            format,
            request: access.shown.map(Kept::from),
            client: access.client,
            status: access.status,
            bytes: access.bytes,
            since,
            id: access.id.into(),
        }
    }

    /// Whom a proxy asked for; `None`: the peer asked for itself.
    #[must_use]
    pub const fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// Appends the line of an answer of which `unsent` bytes were not sent when
    /// it was over: now, in microseconds of the clock of `since`, and in seconds
    /// since 1970.
    pub fn write(
        &self,
        unsent: u64,
        (micros, seconds): (u64, u64),
        peer: &dyn Display,
        line: &mut Vec<u8>,
    ) {
        let access = Access {
            shown: self.request.as_ref().map(Kept::shown),
            client: self.client,
            status: self.status,
            bytes: self.bytes.saturating_sub(unsent),
            taken: Duration::from_micros(micros.saturating_sub(self.since)),
            id: &self.id,
        };
        access.write(self.format, peer, seconds, line);
    }
}

impl Sending {
    /// What another worker needs to write the line.
    #[must_use]
    pub fn pack(&self) -> Vec<u8> {
        self.pack_with(self.bytes)
    }

    /// The same, with another count of bytes.
    pub(in crate::protocol) fn pack_with(&self, bytes: u64) -> Vec<u8> {
        let format = [u8::from(self.format == AccessFormat::Json)];
        let client = self.client.map(|client| client.to_string());
        let (status, bytes) = (self.status.to_le_bytes(), bytes.to_le_bytes());
        let since = self.since.to_le_bytes();
        let kept = self.request.as_ref();
        let fields: [Option<&[u8]>; FIELDS] = [
            Some(&format),
            client.as_deref().map(str::as_bytes),
            Some(&status),
            Some(&bytes),
            Some(&since),
            Some(self.id.as_bytes()),
            kept.map(|kept| &*kept.method),
            kept.map(|kept| &*kept.target),
            kept.map(|kept| &*kept.protocol),
            kept.and_then(|kept| kept.referrer.as_deref()),
            kept.and_then(|kept| kept.agent.as_deref()),
        ];
        let mut packed = Vec::new();
        for field in fields {
            let len = field.map_or(ABSENT, |field| u32::try_from(field.len()).unwrap_or(ABSENT));
            packed.extend_from_slice(&len.to_le_bytes());
            packed.extend_from_slice(field.unwrap_or_default());
        }
        packed
    }

    /// What [`pack`](Self::pack) made. `None`: it was something else.
    #[must_use]
    pub fn unpack(packed: &[u8]) -> Option<Self> {
        let mut fields = [None; FIELDS];
        let mut rest = packed;
        for field in &mut fields {
            let (len, behind) = rest.split_first_chunk()?;
            rest = behind;
            let len = u32::from_le_bytes(*len);
            if len != ABSENT {
                let (own, behind) = rest.split_at_checked(usize::try_from(len).ok()?)?;
                (*field, rest) = (Some(own), behind);
            }
        }
        let [
            format,
            client,
            status,
            bytes,
            since,
            id,
            method,
            target,
            protocol,
            referrer,
            agent,
        ] = fields;
        let client = client.map(|client| std::str::from_utf8(client).ok()?.parse().ok());
        let client = client.map_or(Some(None), |client: Option<IpAddr>| client.map(Some));
        let kept = |method: &[u8]| {
            Some(Kept {
                method: method.into(),
                target: target?.into(),
                protocol: protocol?.into(),
                referrer: referrer.map(Into::into),
                agent: agent.map(Into::into),
            })
        };
        Some(Self {
            format: match format? {
                [0] => AccessFormat::Combined,
                [1] => AccessFormat::Json,
                _ => return None,
            },
            request: match method {
                None => None,
                Some(method) => Some(kept(method)?),
            },
            client: client?,
            status: u16::from_le_bytes(status?.try_into().ok()?),
            bytes: u64::from_le_bytes(bytes?.try_into().ok()?),
            since: u64::from_le_bytes(since?.try_into().ok()?),
            id: std::str::from_utf8(id?).ok()?.into(),
        })
    }
}

/// Fields of what is packed.
const FIELDS: usize = 11;

/// The length of a field that is not there.
const ABSENT: u32 = u32::MAX;

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sending({} bytes)", self.bytes)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn sending(shown: Option<Shown<'_>>, client: Option<IpAddr>) -> Sending {
        let access = Access {
            shown,
            client,
            status: 206,
            bytes: 1 << 40,
            taken: Duration::ZERO,
            id: "0af1",
        };
        Sending::new(&access, AccessFormat::Json, 7)
    }

    fn line(sending: &Sending) -> Vec<u8> {
        let mut line = Vec::new();
        sending.write(5, (9, 1_000_000_000), &"192.0.2.1", &mut line);
        line
    }

    #[test]
    fn a_line_is_the_same_wherever_its_answer_ends() {
        let shown = Shown {
            method: b"GET",
            target: b"/\xff",
            protocol: b"HTTP/1.1",
            referrer: None,
            agent: Some(b""),
        };
        let client = "2001:db8::1".parse().ok();
        for sent in [sending(Some(shown), client), sending(None, None)] {
            let packed = sent.pack();
            let came = Sending::unpack(&packed).expect("it was packed");
            assert_eq!(line(&came), line(&sent));
            assert_eq!(came.client(), sent.client());
            for len in 0..packed.len() {
                assert!(Sending::unpack(&packed[..len]).is_none(), "cut at {len}");
            }
        }
    }
}
