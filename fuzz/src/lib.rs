//! The slow, obviously correct readings that the fuzz targets compare purlin
//! with. Written from the tables in the manual, byte by byte; nothing of
//! purlin's own code is used.

mod custom;
mod format;
pub mod http;
mod inflate;
mod range;
mod stream;
mod websocket;

pub use custom::{compare_custom, custom};
pub use format::{Format, Number, PRESETS};
pub use inflate::{compare_deflate, compare_inflate};
pub use range::{Ranges, ranges};
pub use stream::{Compared, compare};
pub use websocket::compare_websocket;

/// What the first bytes of a connection are, by the rule in the manual.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Beginning {
    /// Frames.
    Frames,
    /// Perhaps HTTP or TLS: more bytes will tell.
    Open,
    /// HTTP, told by a token of so many bytes.
    Http(usize),
    /// TLS, told by so many bytes.
    Tls(usize),
}

const TOKENS: [&[u8]; 10] = [
    b"CONNECT ",
    b"DELETE ",
    b"GET ",
    b"HEAD ",
    b"OPTIONS ",
    b"PATCH ",
    b"POST ",
    b"PRI * HTTP/2",
    b"PUT ",
    b"TRACE ",
];

/// Looks at the first bytes of a connection.
pub fn beginning(bytes: &[u8]) -> Beginning {
    if let Some(token) = TOKENS.iter().find(|token| bytes.starts_with(token)) {
        return Beginning::Http(token.len());
    }
    // Handshake, 3, 0 to 4, a length below 16,640, client hello, below 64 KiB.
    let hello: [(u8, u8); 7] = [(22, 22), (3, 3), (0, 4), (0, 64), (0, 255), (1, 1), (0, 0)];
    let is_hello = |bytes: &[u8]| {
        let mut pairs = bytes.iter().zip(hello);
        pairs.all(|(byte, (low, high))| (low..=high).contains(byte))
    };
    if bytes.len() >= hello.len() && is_hello(&bytes[..hello.len()]) {
        return Beginning::Tls(hello.len());
    }
    let may_be_token = TOKENS.iter().any(|token| token.starts_with(bytes));
    if may_be_token || (bytes.len() < hello.len() && is_hello(bytes)) {
        return Beginning::Open;
    }
    Beginning::Frames
}

/// CRC-32 as zlib has it, bit by bit; 0 for nothing.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc >>= 1;
            if low == 1 {
                crc ^= 0xEDB8_8320;
            }
        }
    }
    if bytes.is_empty() { 0 } else { !crc }
}
