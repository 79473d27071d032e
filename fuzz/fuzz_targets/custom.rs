//! A layout of the input's own, with constants, echoes, masks, trailers and every
//! kind of end, against the slow reference.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reference::{compare_custom, custom};

fuzz_target!(|input: &[u8]| {
    let Some((head, stream)) = input.split_first_chunk::<24>() else {
        return;
    };
    let custom = custom(head);
    if custom.check().is_ok() {
        compare_custom(&custom, u64::from(head[23]), stream);
    }
});
