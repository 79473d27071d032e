//! The codecs of the examples: no stream panics, and each is cut alike in all
//! pieces and read back from what it is written as. The first byte chooses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use purlin::protocol::frame::{AnyFormat, Codec, Coded, every_cut};

#[path = "../../examples/jt808/codec.rs"]
#[allow(dead_code, reason = "an example has more than a fuzz target uses")]
mod jt808;
#[path = "../../examples/resp/codec.rs"]
#[allow(dead_code, reason = "an example has more than a fuzz target uses")]
mod resp;

/// Longer streams say nothing new, and there are many ways to cut them.
const LONGEST: usize = 60;

fuzz_target!(|input: &[u8]| {
    let Some((choice, stream)) = input.split_first() else {
        return;
    };
    let stream = &stream[..stream.len().min(LONGEST)];
    let format = if choice & 1 == 0 {
        coded(resp::Resp)
    } else {
        coded(jt808::Jt808)
    };
    let _nobody_panicked = every_cut(&format, stream);
});

fn coded(codec: impl Codec) -> AnyFormat {
    Coded::new("fuzzed", codec).into()
}
