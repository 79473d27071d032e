//! A request to become a WebSocket (RFC 6455, 4.2), and the answer. Pure.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha1_smol::Sha1;

use super::response::Response;
use super::scan::trim;
use super::{Head, Request};
use crate::protocol::{Agreement, Chosen, Error, Successors};
use crate::scoreboard::Counter;

/// What is hashed behind the client's key.
const KEY: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether the value of a field `Upgrade` asks for this. What the cutter and the
/// server both look at: a connection that becomes one was not cut behind it.
pub(super) fn is_wanted(value: &[u8]) -> bool {
    options(value).any(|option| option.eq_ignore_ascii_case(b"websocket"))
}

fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim)
}

/// Why a request does not become a WebSocket.
#[derive(Debug)]
pub struct NoUpgrade {
    /// What its client is told.
    pub error: Error,
    /// Counted under this name, if it is more than a mistake.
    pub counter: Option<Counter>,
}

impl NoUpgrade {
    fn new(code: u16, text: &str) -> Self {
        Self {
            error: Error::new(code, text),
            counter: None,
        }
    }
}

/// A request that may become a WebSocket.
#[derive(Clone, Copy, Debug)]
pub struct Upgrade<'a> {
    head: Head<'a>,
    successors: &'a dyn Successors,
    key: &'a [u8],
}

impl<'a> Upgrade<'a> {
    /// What `request` asks for; fields that its refusal needs go to `response`.
    ///
    /// # Errors
    ///
    /// [`NoUpgrade`]: it asks for something else, or for it in a wrong way, or from
    /// a page that may not.
    pub fn read(request: &Request<'a>, response: &mut Response) -> Result<Self, NoUpgrade> {
        let head = request.head;
        let asks = request.upgrades && head.method == "GET";
        let Some(successors) = request.successors.filter(|_| asks) else {
            response.field("Connection", b"Upgrade");
            response.field("Upgrade", b"websocket");
            return Err(NoUpgrade::new(426, "a WebSocket is to be opened here"));
        };
        let names = head.fields.all("connection");
        let is_named = names
            .flat_map(options)
            .any(|name| name.eq_ignore_ascii_case(b"upgrade"));
        if !is_named {
            return Err(NoUpgrade::new(
                400,
                "an upgrade that Connection does not name",
            ));
        }
        let mut versions = head.fields.all("sec-websocket-version");
        if versions.next() != Some(b"13") || versions.next().is_some() {
            response.field("Sec-WebSocket-Version", b"13");
            return Err(NoUpgrade::new(426, "a version of WebSocket other than 13"));
        }
        let mut keys = head.fields.all("sec-websocket-key");
        let key = keys.next().filter(|_| keys.next().is_none());
        let key = key.filter(|key| is_key(key));
        let key = key.ok_or_else(|| NoUpgrade::new(400, "an upgrade without a proper key"))?;
        let origin = head.fields.find("origin");
        if !successors.admits(origin, head.fields.find("host")) {
            return Err(NoUpgrade {
                counter: Some(Counter::WsOrigin),
                ..NoUpgrade::new(403, "a page of this origin may not connect")
            });
        }
        Ok(Self {
            head,
            successors,
            key,
        })
    }

    /// Says in `response` that the connection has messages without ids behind it, for
    /// whatever the program has at the route `path`.
    pub fn accept_raw(&self, path: &str, response: &mut Response) {
        let agreed = self.agreed();
        let window = agreed.as_ref().map(|agreed| agreed.window);
        let protocol = self.successors.raw(path, window);
        self.accept((protocol, None), agreed, response);
    }

    /// The same for messages with ids; false: the listener has none.
    #[must_use]
    pub fn accept_by_id(&self, response: &mut Response) -> bool {
        let agreed = self.agreed();
        let window = agreed.as_ref().map(|agreed| agreed.window);
        // Those that it likes best come first.
        let fields = self.head.fields.all("sec-websocket-protocol");
        let mut offered = fields.flat_map(options);
        let Some(chosen) = self.successors.by_id(&mut offered, window) else {
            return false;
        };
        self.accept(chosen, agreed, response);
        true
    }

    /// How messages are compressed, if they are.
    fn agreed(&self) -> Option<Agreement> {
        let fields = &self.head.fields;
        let mut offers = fields.all("sec-websocket-extensions");
        self.successors
            .agree(&mut offers, fields.find("user-agent"))
    }

    fn accept(
        &self,
        (protocol, subprotocol): Chosen<'_>,
        agreed: Option<Agreement>,
        response: &mut Response,
    ) {
        let accept = accepted(self.key);
        response.status = Some(101);
        response.field("Connection", b"Upgrade");
        response.field("Upgrade", b"websocket");
        response.field("Sec-WebSocket-Accept", accept.as_bytes());
        if let Some(name) = subprotocol {
            response.field("Sec-WebSocket-Protocol", name.as_bytes());
        }
        if let Some(agreed) = agreed {
            response.field("Sec-WebSocket-Extensions", agreed.answer.as_bytes());
        }
        response.becomes = Some(protocol.into());
    }
}

/// What accepts a request with this key.
pub(in crate::protocol) fn accepted(key: &[u8]) -> String {
    let mut hash = Sha1::from(key);
    hash.update(KEY);
    BASE64_STANDARD.encode(hash.digest().bytes())
}

/// Sixteen bytes in base64.
fn is_key(value: &[u8]) -> bool {
    let mut room = [0; 18];
    value.len() == 24 && BASE64_STANDARD.decode_slice(value, &mut room) == Ok(16)
}
