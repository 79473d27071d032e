//! From a file and what a request wants of it to the response. Pure.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::condition::{Validators, Verdict};
use super::range::Asked;
use super::variant::{Stored, Variant};
use super::wanted::Wanted;
use crate::body::Error;
use crate::protocol::Media;
use crate::protocol::http::{Content, Piece, Response};

/// Answers a `GET` or `HEAD`; `now` is in seconds since 1970.
pub(super) fn send(
    variant: &Variant,
    wanted: &Wanted<'_>,
    is_get: bool,
    now: u64,
    response: &mut Response,
) {
    let validators = variant.validators(now);
    match validators.judge(wanted) {
        Verdict::NotModified => {
            response.status = Some(304);
            response.encoded(&[&variant.brief], false);
        }
        Verdict::Failed => failed(response),
        Verdict::Send => {
            let range = wanted.range.filter(|_| is_get && variant.ranges);
            let range = range.filter(|_| validators.range_holds(wanted.if_range));
            let asked = range.map_or(Asked::Whole, |field| Asked::read(field, variant.len));
            content(variant, asked, response);
        }
    }
}

/// Answers a `GET` or `HEAD` of the page that lists a folder. It is made anew
/// each time, so that nothing tells its states apart; it is there all the same.
pub(super) fn list(page: String, wanted: &Wanted<'_>, now: u64, response: &mut Response) {
    let validators = Validators {
        etag: None,
        modified: None,
        now,
    };
    match validators.judge(wanted) {
        Verdict::NotModified => response.status = Some(304),
        Verdict::Failed => failed(response),
        Verdict::Send => {
            let policy = b"default-src 'none'; style-src 'unsafe-inline'";
            response.field("Content-Security-Policy", policy);
            response.field("X-Content-Type-Options", b"nosniff");
            response.content = Content::Bytes(page.into(), Media::Html);
        }
    }
}

fn failed(response: &mut Response) {
    response.error(&Error::new(412, "what is there is another one"));
}

fn content(variant: &Variant, asked: Asked, response: &mut Response) {
    let Variant {
        brief, full, media, ..
    } = variant;
    let len = variant.len;
    match asked {
        Asked::Whole => {
            response.encoded(&[brief, full, media], true);
            response.content = whole(variant, 0..len);
        }
        Asked::One(range) => {
            response.status = Some(206);
            response.encoded(&[brief, full, media], true);
            response.field("Content-Range", place(&range, len).as_bytes());
            response.content = whole(variant, range);
        }
        Asked::Many(ranges) => {
            response.status = Some(206);
            response.encoded(&[brief, full], false);
            let boundary = boundary(variant);
            let kind = format!("multipart/byteranges; boundary={boundary}");
            response.field("Content-Type", kind.as_bytes());
            response.content = Content::Pieces(pieces(variant, ranges, &boundary));
        }
        Asked::Nothing => {
            response.field("Content-Range", format!("bytes */{len}").as_bytes());
            let text = format!("the file has {len} bytes, none of which is in the range");
            response.error(&Error::new(416, text));
        }
    }
}

/// The value of `Content-Range`; `range` is not empty.
fn place(range: &Range<u64>, len: u64) -> String {
    format!("bytes {}-{}/{len}", range.start, range.end - 1)
}

fn whole(variant: &Variant, range: Range<u64>) -> Content {
    match part(variant, range) {
        Piece::Bytes(bytes) => Content::Bytes(bytes, Media::Bytes),
        Piece::File { file, range } => Content::File { file, range },
    }
}

fn part(variant: &Variant, range: Range<u64>) -> Piece {
    match &variant.content {
        Stored::Memory(bytes) => {
            let at = |at| usize::try_from(at).expect("what is in memory can be counted");
            Piece::Bytes(bytes.slice(at(range.start)..at(range.end)))
        }
        Stored::Disk(file) => Piece::File {
            file: Arc::clone(file),
            range,
        },
    }
}

/// The parts of a `multipart/byteranges` (RFC 9110, 14.6). The empty line before
/// the first boundary, a preamble of nothing (RFC 2046, 5.1.1), is there because
/// clients such as zsync 0.6 look for a boundary with its line break in front.
fn pieces(variant: &Variant, ranges: Vec<Range<u64>>, boundary: &str) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(2 * ranges.len() + 1);
    for range in ranges {
        let place = place(&range, variant.len);
        let mut head = format!("\r\n--{boundary}\r\n").into_bytes();
        head.extend_from_slice(&variant.media);
        head.extend_from_slice(format!("Content-Range: {place}\r\n\r\n").as_bytes());
        pieces.push(Piece::Bytes(head.into()));
        pieces.push(part(variant, range));
    }
    pieces.push(Piece::Bytes(Bytes::from(format!("\r\n--{boundary}--\r\n"))));
    pieces
}

/// What ends the parts. Nobody who writes a file can know it, so that none
/// contains it.
fn boundary(variant: &Variant) -> String {
    let random = || {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write(&variant.brief);
        hasher.finish()
    };
    format!("{:016x}{:016x}", random(), random())
}
