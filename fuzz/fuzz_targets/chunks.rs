//! Chunked bodies against the slow reference. The first two bytes choose how the
//! stream is cut; the rest follows the head of a chunked request.
#![no_main]

use libfuzzer_sys::fuzz_target;

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";

fuzz_target!(|input: &[u8]| {
    let [high, low, body @ ..] = input else {
        return;
    };
    let stream = [HEAD, body].concat();
    reference::http::compare(u64::from_be_bytes([0, 0, 0, 0, 0, 0, *high, *low]), &stream);
});
