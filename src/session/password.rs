//! Passwords as PHC strings of argon2id: `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`.
//! Takes as long as it takes: for a thread of its own.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::Error;

/// Shorter ones are guessed.
const LEN_MIN: usize = 8;

/// Longer ones only cost.
const LEN_MAX: usize = 1024;

/// KiB, rounds and lanes of new hashes: what OWASP recommends.
const OWN: Cost = Cost {
    memory: 19_456,
    rounds: 2,
    lanes: 1,
};

/// What a stored hash may cost at most: it comes from a database.
const MOST: Cost = Cost {
    memory: 65_536,
    rounds: 8,
    lanes: 4,
};

const SALT: usize = 16;
const HASH: usize = 32;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Cost {
    memory: u32,
    rounds: u32,
    lanes: u32,
}

/// Whether a password may be hashed at all; asked before it costs anything.
///
/// # Errors
///
/// [`Error::Password`], with what is wrong, for its owner.
pub(crate) fn check(password: &str) -> Result<(), Error> {
    match password.len() {
        ..LEN_MIN => Err(Error::Password("a password has at least 8 characters")),
        LEN_MIN..=LEN_MAX => Ok(()),
        _ => Err(Error::Password("a password has at most 1024 bytes")),
    }
}

/// The memory that hashing needs, kept from one to the next: half of the time of a hash
/// would go into fresh pages.
#[derive(Default)]
pub(crate) struct Hasher(Vec<Block>);

impl Hasher {
    /// A new PHC string.
    pub(crate) fn hash(&mut self, password: &str) -> Result<String, Error> {
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt)
            .map_err(|error| Error::Down(format!("random bytes: {error}")))?;
        let hash = self.run(password, &salt, OWN)?;
        let Cost {
            memory,
            rounds,
            lanes,
        } = OWN;
        let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
        Ok(format!(
            "$argon2id$v=19$m={memory},t={rounds},p={lanes}${salt}${hash}"
        ))
    }

    /// Whether `password` is the one of `stored`. Where nothing is stored it takes the
    /// same time to say no.
    pub(crate) fn verify(&mut self, password: &str, stored: Option<&str>) -> Result<bool, Error> {
        let Some(stored) = stored else {
            let _as_long = self.run(password, &[0; SALT], OWN)?;
            return Ok(false);
        };
        let stored = Stored::parse(stored)
            .ok_or_else(|| Error::Down("what is stored is no hash of a password".to_owned()))?;
        let hash = self.run(password, &stored.salt, stored.cost)?;
        // In the same time wherever they differ.
        let differs = hash
            .iter()
            .zip(stored.hash)
            .fold(0, |all, (a, b)| all | (a ^ b));
        Ok(differs == 0)
    }

    fn run(&mut self, password: &str, salt: &[u8], cost: Cost) -> Result<[u8; HASH], Error> {
        let failed = |error: argon2::Error| Error::Down(format!("hash a password: {error}"));
        let params =
            Params::new(cost.memory, cost.rounds, cost.lanes, Some(HASH)).map_err(failed)?;
        let blocks = params.block_count();
        if self.0.len() < blocks {
            self.0.resize(blocks, Block::default());
        }
        let mut hash = [0; HASH];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let memory = &mut self.0[..blocks];
        argon2
            .hash_password_into_with_memory(password.as_bytes(), salt, &mut hash, memory)
            .map_err(failed)?;
        Ok(hash)
    }
}

/// Whether a hash is made as new ones are; if not, it is made anew at the next login.
pub(crate) fn is_current(stored: &str) -> bool {
    Stored::parse(stored).is_some_and(|stored| stored.cost == OWN)
}

struct Stored {
    cost: Cost,
    salt: Vec<u8>,
    hash: [u8; HASH],
}

impl Stored {
    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("$argon2id$v=19$")?;
        let mut parts = rest.split('$');
        let (costs, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
        let mut numbers = ["m=", "t=", "p="].into_iter().zip(costs.split(','));
        let mut next = |most: u32| {
            let (name, text) = numbers.next()?;
            let number: u32 = text.strip_prefix(name)?.parse().ok()?;
            (1..=most).contains(&number).then_some(number)
        };
        let cost = Cost {
            memory: next(MOST.memory)?,
            rounds: next(MOST.rounds)?,
            lanes: next(MOST.lanes)?,
        };
        Some(Self {
            cost,
            salt: STANDARD_NO_PAD.decode(salt).ok()?,
            hash: STANDARD_NO_PAD.decode(hash).ok()?.try_into().ok()?,
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_salted_and_found_again() {
        let mut hasher = Hasher::default();
        let [one, two] = [(); 2].map(|()| hasher.hash("correct horse").unwrap());
        assert_ne!(one, two, "the same password, two salts");
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
        assert!(hasher.verify("correct horse", Some(&one)).unwrap());
        assert!(!hasher.verify("wrong horse", Some(&one)).unwrap());
        assert!(!hasher.verify("correct horse", None).unwrap());
        assert_eq!(
            hasher.0.len() * 1024,
            19_456 << 10,
            "one block is used again"
        );
    }

    #[test]
    fn costs_from_a_database_are_bounded_and_old_ones_noticed() {
        let own = Hasher::default().hash("correct horse").unwrap();
        assert!(is_current(&own));
        let with = |costs: &str| own.replace("m=19456,t=2,p=1", costs);
        assert!(!is_current(&with("m=4096,t=2,p=1")));
        for costs in [
            "m=4194304,t=2,p=1",
            "m=19456,t=1000,p=1",
            "m=19456,t=2,p=64",
            "m=0,t=2,p=1",
            "t=2,m=19456,p=1",
            "",
        ] {
            let refused = Hasher::default().verify("correct horse", Some(&with(costs)));
            assert!(refused.is_err(), "{costs}");
        }
    }

    #[test]
    fn lengths_are_checked_before_hashing() {
        for (len, expected) in [
            (7, false),
            (8, true),
            (1024, true),
            (1025, false),
            (1 << 20, false),
        ] {
            assert_eq!(check(&"x".repeat(len)).is_ok(), expected, "{len}");
        }
    }
}
