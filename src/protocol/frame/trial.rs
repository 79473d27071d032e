//! The cut test: a format must find the same frames however its stream is cut.
//! Run on every format of this crate, and there for those of programs.

use std::borrow::Cow;

use super::any::AnyFormat;
use super::codec::Message;
use super::format::Format;
use crate::protocol::frame::cutter::FrameCutter;
use crate::protocol::{Cutter, Refusal, Then};

/// What a stream says, in whatever pieces it comes.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The messages.
    pub messages: Vec<Message<'static>>,
    /// Why the rest was refused, if it was.
    pub refused: Option<Refusal>,
}

/// Streams up to so long are tried in all three pieces that there are; longer
/// ones in all two.
const THREE: usize = 100;

/// Sends `stream` through a format in one piece, byte by byte, and in every two
/// and three pieces; then writes each message that it found again. For the
/// tests of a [`Codec`](super::Codec):
///
/// ```
/// use purlin::codec::{AnyFormat, every_cut};
///
/// let format = AnyFormat::preset("len16").expect("a preset");
/// let heard = every_cut(&format, b"\x00\x02hi\x00\x00\x00");
/// assert_eq!(heard.messages.len(), 2);
/// assert!(heard.refused.is_none(), "one byte of the third is there");
/// ```
///
/// # Panics
///
/// When a cut makes a difference, or a message that was written again is read as
/// another. What [`Codec::write`](super::Codec::write) refuses is not written.
#[must_use]
pub fn every_cut(format: &AnyFormat, stream: &[u8]) -> Heard {
    let (end, refused) = in_all_pieces(format, stream);
    let mut messages = Vec::new();
    let mut at = 0;
    while at < end {
        let (total, message) = match format.read(&stream[at..end]) {
            Ok(found) => found.expect("a cutter finds whole frames"),
            // As a server does it: nothing behind a frame that says nothing.
            Err(refusal) => {
                let refused = Some(refusal);
                return Heard { messages, refused };
            }
        };
        let body = Cow::Owned(message.body.into_owned());
        messages.push(Message { body, ..message });
        at += total;
    }
    messages.iter().for_each(|message| again(format, message));
    Heard { messages, refused }
}

/// Writes a message and reads it.
fn again(format: &AnyFormat, message: &Message<'_>) {
    let mut written = Vec::new();
    if format.write(message, &mut written).is_err() {
        assert!(written.is_empty(), "what was not written is there");
        return;
    }
    match format.read(&written) {
        // What a reply repeats may be counted on.
        Ok(Some((total, same))) => assert_eq!(
            (total, same.id, same.sequence, &same.body),
            (written.len(), message.id, message.sequence, &message.body),
        ),
        other => panic!("{message:?} was written as {written:02x?} and read as {other:?}"),
    }
}

fn in_all_pieces(format: &AnyFormat, stream: &[u8]) -> (usize, Option<Refusal>) {
    match format {
        AnyFormat::Plain(layout) => tried(layout, stream),
        AnyFormat::Coded(codec) => tried(codec, stream),
    }
}

fn tried<F: Format + Clone>(format: &F, stream: &[u8]) -> (usize, Option<Refusal>) {
    let expected = cut(format, &[stream]);
    let same = |parts: &[&[u8]]| {
        let found = cut(format, parts);
        let reason = |refused: &Option<Refusal>| refused.as_ref().map(|one| one.counter);
        let ends: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        assert_eq!(
            (found.0, reason(&found.1)),
            (expected.0, reason(&expected.1)),
            "bytes of whole frames, and what was refused: in pieces of {ends:?}, and in one"
        );
    };
    same(&stream.chunks(1).collect::<Vec<_>>());
    for first in 0..=stream.len() {
        same(&[&stream[..first], &stream[first..]]);
        if stream.len() <= THREE {
            for second in first..=stream.len() {
                same(&[&stream[..first], &stream[first..second], &stream[second..]]);
            }
        }
    }
    expected
}

/// As the reactor does it: the bytes of whole frames, and the refusal.
fn cut<F: Format + Clone>(format: &F, parts: &[&[u8]]) -> (usize, Option<Refusal>) {
    let mut cutter = FrameCutter::new(std::sync::Arc::new(format.clone()));
    let (mut kept, mut end) = (Vec::new(), 0);
    for part in parts {
        kept.extend_from_slice(part);
        let found = cutter.cut(&kept);
        assert!(found.units <= kept.len(), "found more than there is");
        assert_eq!(cutter.first(&kept, found.messages), found.units);
        kept.drain(..found.units);
        end += found.units;
        if let Then::Refuse(refusal) = found.then {
            return (end, Some(refusal));
        }
    }
    (end, None)
}
