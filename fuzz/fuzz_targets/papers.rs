//! The papers of an upgrade: any text is refused or taken, none makes the new
//! master panic, and none names a descriptor twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use purlin::master::untrusted;

fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    if untrusted::papers(&text) {
        let twice = text.replacen("\"control\":", "\"pid_file\":9,\"pid_file\":", 1);
        assert!(
            twice == text || !untrusted::papers(&twice),
            "a field is missing"
        );
    }
});
