//! The configuration: no text makes it panic, and what it accepts is printed as
//! a text that it reads as the same. Behind the file, after a zero byte each:
//! `KEY=VALUE` as `--set` gives it, or as a variable of the environment when the
//! key begins with `PURLIN_`.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use purlin::config::Config;
use purlin::listener;

fuzz_target!(|input: &[u8]| {
    let mut parts = input.split(|&byte| byte == 0);
    let file = parts.next().unwrap_or_default();
    let pairs = parts.filter_map(|part| std::str::from_utf8(part).ok()?.split_once('='));
    let own = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let (env, flags): (Vec<_>, Vec<_>) = own.partition(|(key, _)| key.starts_with("PURLIN_"));
    match Config::parse(Some((Path::new("fuzz.toml"), file)), env, &flags) {
        Ok(config) => accepted(&config),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

fn accepted(config: &Config) {
    if let Err(error) = listener::protocols(config, listener::Codecs::NONE) {
        assert!(!error.to_string().is_empty());
    }
    let printed = config.effective();
    let file = Some((Path::new("-T"), printed.as_bytes()));
    match Config::parse(file, [], &[]) {
        Ok(again) => assert_eq!(again, *config, "{printed}"),
        Err(error) => panic!("its own text is refused: {error}\n{printed}"),
    }
}
