//! The classifier of first bytes against a plain list of beginnings, for every
//! prefix: once it has decided, more bytes change nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use purlin::protocol::first_bytes::{Guess, guess};
use purlin::scoreboard::Counter;
use reference::{Beginning, beginning};

fuzz_target!(|input: &[u8]| {
    let mut decided = None;
    for end in 0..=input.len().min(32) {
        let expected = beginning(&input[..end]);
        let guess = guess(&input[..end]);
        let found = match &guess {
            Guess::Frames => Beginning::Frames,
            Guess::NotYet => Beginning::Open,
            Guess::Foreign(refusal, len) if refusal.counter == Counter::SpokeTls => {
                Beginning::Tls(*len)
            }
            Guess::Foreign(_, len) => Beginning::Http(*len),
        };
        assert_eq!(found, expected);
        if let Some(earlier) = &decided {
            assert_eq!(*earlier, guess);
        } else if guess != Guess::NotYet {
            decided = Some(guess);
        }
    }
});
