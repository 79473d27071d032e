//! Frames in the binary messages of a WebSocket: what is around them. Pure.

use super::frames::Frames;
use super::{Owed, unreadable};
use crate::protocol::websocket::client::{self, End, Handshake, Masks, Reading, SocketUrl};
use crate::stress::connection::{Read, Request};
use crate::stress::fault::{Fault, Kind};
use crate::stress::stats::Ledger;

/// Frames, and where they go.
#[derive(Clone, Debug)]
pub(in crate::stress) struct Socket {
    pub(in crate::stress) frames: Frames,
    /// For people.
    pub(in crate::stress) url: String,
    handshake: Handshake,
}

/// What a connection knows of its messages.
#[derive(Debug, Default)]
pub(super) struct Messages {
    reading: Reading,
    masks: Masks,
    /// Frames that are not whole.
    plain: Vec<u8>,
}

impl Socket {
    pub(in crate::stress) fn new(url: &SocketUrl, frames: Frames) -> Self {
        Self {
            frames,
            url: url.to_string(),
            handshake: Handshake::new(url),
        }
    }

    /// What is sent first.
    pub(super) fn greeting(&self) -> &[u8] {
        &self.handshake.request
    }

    /// How many of these bytes are the answer to it, once that is whole.
    pub(super) fn greeted(&self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        self.handshake.read(bytes).map_err(|detail| Fault {
            kind: Kind::Connect,
            detail: format!("{}: {detail}", self.url),
        })
    }

    /// Appends what a connection sends before all other frames, if it does.
    pub(super) fn first(&self, client: u32, out: &mut Vec<u8>) {
        let first = self.frames.first();
        if !first.is_empty() {
            client::write(first, client.to_le_bytes(), out);
        }
    }

    /// Looks for its reply in `bytes`; how many of them are done with, and whether it
    /// has come.
    pub(super) fn first_reply(
        &self,
        owed: &mut Owed,
        bytes: &[u8],
        read: &mut Read,
    ) -> Result<(usize, bool), Fault> {
        let Messages {
            reading,
            masks,
            plain,
        } = &mut owed.messages;
        let came = reading.read(bytes, masks, plain, &mut read.answer);
        let (used, has_come) = self.frames.first_reply(plain)?;
        plain.drain(..used);
        let used = came.map_err(|end| Fault {
            kind: Kind::Lost,
            detail: format!("the reply to --first: {end}"),
        })?;
        Ok((used, has_come))
    }

    pub(super) fn write(
        &self,
        client: u32,
        request: Request,
        spare: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) {
        let begin = out.len();
        self.frames.write(client, request, spare, out);
        spare.clear();
        spare.extend_from_slice(&out[begin..]);
        out.truncate(begin);
        // A load fears nobody who chooses its bodies: any mask will do.
        let mask = request.turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(client);
        let [.., a, b, c, d] = mask.to_le_bytes();
        client::write(spare, [a, b, c, d], out);
    }

    pub(super) fn compare(
        &self,
        client: u32,
        owed: &mut Owed,
        bytes: &[u8],
        read: &mut Read,
        ledger: &mut Ledger<'_>,
    ) -> usize {
        let Owed {
            requests, messages, ..
        } = owed;
        let Messages {
            reading,
            masks,
            plain,
        } = messages;
        let came = reading.read(bytes, masks, plain, &mut read.answer);
        let used = (self.frames).compare(client, requests, plain, read, ledger);
        plain.drain(..used);
        // An idle connection holds no buffer.
        if plain.is_empty() {
            *plain = Vec::new();
        }
        match came {
            Ok(used) => used,
            Err(End::Closed(_)) if requests.is_empty() => {
                read.closes = true;
                bytes.len()
            }
            Err(end) => {
                if read.fatal.is_none() {
                    let mut fault = unreadable(requests, &end.to_string());
                    if let End::Closed(_) = end {
                        fault.kind = Kind::Lost;
                    }
                    read.fatal = Some(fault);
                }
                bytes.len()
            }
        }
    }

    pub(super) fn summary(&self) -> String {
        format!("{} over {}", self.frames.summary(), self.url)
    }

    pub(super) fn hint(&self, kind: Kind) -> Option<String> {
        if kind == Kind::Connect {
            let hint = "does the listener speak HTTP, and has it a WebSocket at that path? Its \
                        `websocket` key, or the program's `Web::websocket`, says";
            return Some(hint.into());
        }
        self.frames.hint(kind)
    }
}
