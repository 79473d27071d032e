//! Every preset's cutter and decoder against the slow reference. The first byte
//! chooses the preset, the next two how the stream is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use purlin::protocol::frame::Layout;
use reference::{PRESETS, compare};

fuzz_target!(|input: &[u8]| {
    let [preset, high, low, stream @ ..] = input else {
        return;
    };
    let (name, format) = PRESETS[usize::from(*preset) % PRESETS.len()];
    let layout = Layout::preset(name).expect("a preset of this name");
    compare(
        &layout,
        &format,
        u64::from_be_bytes([0, 0, 0, 0, 0, 0, *high, *low]),
        stream,
    );
});
