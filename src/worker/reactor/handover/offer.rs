//! Offers: the datagrams with connections, and how what only some of them have was
//! added to them, release by release. Pure.
//!
//! ```text
//! o  records
//! t  o without its kind, the timers of each
//! u  o or t, what is unsent of each
//! k  any of these, what the server of each has kept
//! n  any of these, the name of each and whether it is followed
//! ```

use std::borrow::Cow;

use super::output::{FILES, Output};
use super::record::{CONNECTIONS, FORM, OFFER, RECORD, Reader, Record, number, text};
use crate::net::ConnId;
use crate::sys::channel::DESCRIPTORS_MAX;

/// Bytes of a name beside its record.
const NAME: usize = 17;

/// An offer that is being written.
#[derive(Debug)]
pub(super) struct Offer {
    bytes: Vec<u8>,
    /// Names and times of the timers, for each record.
    timers: Vec<Vec<(String, u64)>>,
    /// What is unsent, for each record; empty: nothing.
    outputs: Vec<Vec<u8>>,
    /// What the server of each has kept; empty: nothing.
    kept: Vec<Vec<u8>>,
    /// The name of each record, and whether it is followed.
    names: Vec<(Option<ConnId>, bool, u64)>,
    /// Bytes that these take.
    beside: usize,
    /// Descriptors that come along.
    descriptors: usize,
    pub(super) count: usize,
}

impl Default for Offer {
    fn default() -> Self {
        let bytes = vec![FORM, b'o'];
        Self {
            bytes,
            timers: Vec::new(),
            outputs: Vec::new(),
            kept: Vec::new(),
            names: Vec::new(),
            beside: 0,
            descriptors: 0,
            count: 0,
        }
    }
}

impl Offer {
    /// Appends `record`. False: it is too large to go anywhere.
    pub(super) fn push(&mut self, record: &Record) -> bool {
        let before = self.bytes.len();
        record.write(&mut self.bytes);
        let timers = &record.luggage.timers;
        let timed: usize = timers.iter().map(|(name, _)| name.len() + 12).sum();
        let mut output = Vec::new();
        if let Some(unsent) = &record.output {
            unsent.write(&mut output);
        }
        let unsent = output.len() + record.kept.len();
        if self.bytes.len() - before + timed + unsent > RECORD {
            self.bytes.truncate(before);
            return false;
        }
        self.beside += timed + unsent + 2 * size_of::<u32>() + NAME;
        self.kept.push(record.kept.clone());
        let ticket = record.luggage.ticket;
        self.names.push((record.name, record.is_followed, ticket));
        self.descriptors += record.descriptors();
        self.outputs.push(output);
        self.timers.push(timers.clone());
        self.count += 1;
        true
    }

    pub(super) fn is_full(&self) -> bool {
        self.count >= CONNECTIONS
            || self.bytes.len() + self.beside >= OFFER
            || self.descriptors + 1 + FILES > DESCRIPTORS_MAX
    }

    pub(super) fn datagram(&self) -> Cow<'_, [u8]> {
        let bare = self.remembering();
        if self.names.iter().all(|name| *name == (None, false, 0)) {
            return bare;
        }
        let mut to = vec![FORM, b'n'];
        text(&mut to, &bare[1..]);
        for (name, is_followed, ticket) in &self.names {
            let flags = [name.is_some(), *is_followed, *ticket > 0];
            let bits = (0..).zip(flags).map(|(at, flag)| u8::from(flag) << at);
            to.push(bits.sum());
            to.extend_from_slice(&name.map_or(0, ConnId::word).to_le_bytes());
            if *ticket > 0 {
                to.extend_from_slice(&ticket.to_le_bytes());
            }
        }
        Cow::Owned(to)
    }

    /// Without the names.
    fn remembering(&self) -> Cow<'_, [u8]> {
        let bare = self.whole();
        if self.kept.iter().all(Vec::is_empty) {
            return bare;
        }
        let mut to = vec![FORM, b'k'];
        text(&mut to, &bare[1..]);
        self.kept.iter().for_each(|kept| text(&mut to, kept));
        Cow::Owned(to)
    }

    /// Without what servers have kept.
    fn whole(&self) -> Cow<'_, [u8]> {
        let bare = self.timed();
        if self.outputs.iter().all(Vec::is_empty) {
            return bare;
        }
        let mut to = vec![FORM, b'u'];
        text(&mut to, &bare[1..]);
        self.outputs.iter().for_each(|output| text(&mut to, output));
        Cow::Owned(to)
    }

    /// Without what is unsent.
    fn timed(&self) -> Cow<'_, [u8]> {
        if self.timers.iter().all(Vec::is_empty) {
            return Cow::Borrowed(&self.bytes);
        }
        let mut to = vec![FORM, b't'];
        text(&mut to, &self.bytes[2..]);
        for timers in &self.timers {
            number(&mut to, timers.len());
            for (name, at) in timers {
                text(&mut to, name.as_bytes());
                to.extend_from_slice(&at.to_le_bytes());
            }
        }
        Cow::Owned(to)
    }
}

/// The records of an offer of this kind; `None`: no worker writes that.
pub(super) fn parse(kind: u8, mut from: Reader<'_>) -> Option<Vec<Record>> {
    if kind == b'o' {
        return from.all(Record::read);
    }
    let bare = from.text()?;
    let mut records = match (kind, bare.split_first()) {
        (b't', _) => Reader(bare).all(Record::read)?,
        (_, Some((within, rest))) if is_within(*within, kind) => parse(*within, Reader(rest))?,
        (_, _) => return None,
    };
    for record in &mut records {
        match kind {
            b't' => record.luggage.timers = from.timers()?,
            b'u' => {
                let mut output = Reader(from.text()?);
                if !output.0.is_empty() {
                    record.output = Some(Output::read(&mut output)?);
                    output.0.is_empty().then_some(())?;
                }
            }
            b'k' => record.kept = from.text()?.to_vec(),
            _ => {
                let ([flags], word) = (from.array()?, from.array()?);
                let name = ConnId::from_word(u64::from_le_bytes(word));
                record.name = (flags & 1 != 0).then_some(name);
                record.is_followed = flags & 2 != 0;
                if flags & 4 != 0 {
                    record.luggage.ticket = u64::from_le_bytes(from.array()?);
                }
            }
        }
    }
    from.0.is_empty().then_some(records)
}

/// Whether an offer of the first kind may stand in one of the second.
fn is_within(inner: u8, outer: u8) -> bool {
    const KINDS: &[u8] = b"otukn";
    let place = |kind| KINDS.iter().position(|known| *known == kind);
    place(inner).is_some_and(|inner| Some(inner) < place(outer))
}
