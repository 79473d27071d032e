//! Packing on the fly. May take long: never on the event loop.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Below, the fields that say it cost more than is saved.
pub(super) const WORTH: u64 = 512;

/// `content` as gzip; `None` when that is not shorter.
pub(super) fn gzip(content: &[u8]) -> Option<Vec<u8>> {
    let room = Vec::with_capacity(content.len() / 3);
    let mut encoder = GzEncoder::new(room, Compression::default());
    encoder.write_all(content).ok()?;
    let packed = encoder.finish().ok()?;
    (packed.len() < content.len()).then_some(packed)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_is_packed_can_be_unpacked() {
        let text = "a line of text\n".repeat(1000);
        let packed = gzip(text.as_bytes()).unwrap();
        assert!(packed.len() < text.len() / 10);
        let mut unpacked = String::new();
        flate2::read::GzDecoder::new(&packed[..])
            .read_to_string(&mut unpacked)
            .unwrap();
        assert_eq!(unpacked, text);
    }

    #[test]
    fn what_gets_longer_stays_as_it_is() {
        assert_eq!(gzip(b"abc"), None);
    }
}
