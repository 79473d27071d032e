//! PROXY headers, for every prefix of the stream: once decided, more bytes change
//! nothing, and a header is never longer than what came.
#![no_main]

use libfuzzer_sys::fuzz_target;
use purlin::protocol::proxy::{BINARY_MAX, Header, parse};

fuzz_target!(|input: &[u8]| {
    let whole = parse(input);
    for end in 0..input.len() {
        let found = parse(&input[..end]);
        assert!(found == Ok(Header::Incomplete) || found == whole);
    }
    match whole {
        Ok(Header::Complete { len, .. }) => {
            assert!(len <= input.len());
            assert_eq!(parse(&input[..len - 1]), Ok(Header::Incomplete));
        }
        Ok(Header::Incomplete) => assert!(input.len() < BINARY_MAX),
        Err(_) => {}
    }
});
