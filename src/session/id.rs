//! Names of sessions: the secret one that a client has, and what the store knows of it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::Error;

/// Random bytes of a name that nobody guesses.
const SECRET: usize = 32;

/// Of one that only tells sessions apart.
const PUBLIC: usize = 12;

/// What the store knows a session by: SHA-256 of its secret. Whoever reads the store
/// can be nobody.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Key(pub(super) [u8; 32]);

impl Key {
    /// Of the text that a client sent; `None`: no session has such a name.
    pub(crate) fn of(secret: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(secret).ok()?;
        (bytes.len() == SECRET).then(|| Self(Sha256::digest(secret.as_bytes()).into()))
    }

    /// For a store of texts.
    pub(super) fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What [`Self::text`] gave.
    #[cfg(feature = "redis")]
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

fn random<const N: usize>() -> Result<String, Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::Down(format!("random bytes: {error}")))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// A new secret, and its key.
pub(crate) fn secret() -> Result<(String, Key), Error> {
    let secret = random::<SECRET>()?;
    let key = Key::of(&secret).expect("that many bytes were encoded");
    Ok((secret, key))
}

/// A new name that is no secret.
pub(crate) fn public() -> Result<String, Error> {
    random::<PUBLIC>()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_its_secret_and_what_is_none_has_no_key() {
        let (secret, key) = secret().unwrap();
        assert_eq!(secret.len(), 43);
        assert_eq!(Key::of(&secret), Some(key));
        assert!(!key.text().contains(&secret));
        for none in [
            "",
            "abc",
            &secret[1..],
            "planted",
            &format!("{secret}A"),
            "ü",
        ] {
            assert_eq!(Key::of(none), None, "{none}");
        }
        assert_ne!(self::secret().unwrap().1, key);
    }
}
