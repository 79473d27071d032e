//! WebSocket frames against the slow reference. The first two bytes choose how the
//! stream is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [high, low, stream @ ..] = input else {
        return;
    };
    reference::compare_websocket(u64::from_be_bytes([0, 0, 0, 0, 0, 0, *high, *low]), stream);
});
