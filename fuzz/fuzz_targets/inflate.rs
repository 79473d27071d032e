//! Compressed messages against a slow reading of RFC 1951. The first byte chooses
//! whether what follows is read as one, or compressed for which window.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    match input {
        [mode @ 9..=15, payload @ ..] if payload.len() <= 5000 => {
            reference::compare_deflate(*mode, payload);
        }
        [_, packed @ ..] if packed.len() <= 5000 => reference::compare_inflate(packed),
        _ => {}
    }
});
