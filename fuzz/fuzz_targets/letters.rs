//! What a worker says to its master: any words in the ring are letters of a worker
//! of ours or nonsense, and any text is a list of connections or none. The first
//! byte says which; the ring's two counters come in small numbers and in large.
#![no_main]

use libfuzzer_sys::fuzz_target;
use purlin::master::untrusted;

/// Words of the ring before the first letter, and of each letter.
const LETTER: usize = 512;

fuzz_target!(|input: &[u8]| {
    let [kind, rest @ ..] = input else { return };
    if kind % 2 == 1 {
        let _any = untrusted::list(rest);
        return;
    }
    let mut ring = vec![0; 9 * LETTER];
    ring[0] = u64::from(kind / 2);
    for (n, letter) in rest.split(|byte| *byte == 0).take(8).enumerate() {
        let at = LETTER * (1 + n);
        ring[at] = letter.len() as u64;
        let words = letter.chunks(8).take(LETTER - 1);
        for (word, bytes) in ring[at + 1..].iter_mut().zip(words) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(whole);
        }
    }
    let said = untrusted::letters(&ring).expect("memory");
    assert!(said <= 8);
    // As they come, too.
    let words = rest
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().expect("8")));
    untrusted::letters(&words.collect::<Vec<_>>()).expect("memory");
});
