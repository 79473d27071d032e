//! A ring of the bus with arbitrary words: messages, and rings that are given up,
//! but never a fault. The first eight bytes are where the writer claims to be.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((head, ring)) = input.split_first_chunk::<8>() else {
        return;
    };
    let (words, _) = ring.as_chunks::<8>();
    let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    // Mostly where a writer may be.
    let head = u64::from_le_bytes(*head);
    let head = if head % 4 == 0 { head } else { head % 2100 };
    let _counted = purlin::bus::arbitrary(&words, head);
});
