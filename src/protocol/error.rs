//! What a peer is told when a handler cannot answer. Plain data.

use std::fmt;

/// What went wrong, for the peer: a code and a text.
///
/// Any [`std::error::Error`] becomes one by `?`, with code 500. What it says, paths
/// and queries among it, goes into the log and not to the peer, who gets "internal
/// error" and the name of the request under which the log has it. What the peer may
/// see is said by [`Error::new`] or [`Error::show`]. On the wire it is an error
/// frame: request id u32 and code u16, both big-endian, then the text in UTF-8.
///
/// ```
/// use purlin::prelude::*;
///
/// let app = App::<()>::new()
///     .on(1, |_, (): ()| Ok::<_, Error>(std::fs::read("/etc/secret/key")?))
///     .on(2, |_, n: String| match n.parse::<u32>() {
///         Ok(n) => Ok(format!("{}", n + 1)),
///         Err(error) => Err(Error::from(error).show()),
///     })
///     .on(3, |_, (): ()| Err::<(), _>(Error::new(403, "log in first")));
/// let mut test = app.test();
/// let ann = test.connect();
/// let error = test.call(ann, 1, ()).unwrap_err();
/// assert!(error.text.starts_with("internal error, request "));
/// assert!(error.cause().is_some_and(|cause| cause.contains("No such file")));
/// assert_eq!(test.call(ann, 2, "x").unwrap_err().text, "invalid digit found in string");
/// assert_eq!(test.call(ann, 3, ()).unwrap_err(), Error::new(403, "log in first"));
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Error {
    /// As in HTTP: 4xx the request's fault, 5xx ours.
    pub code: u16,
    /// For people: the peer sees it.
    pub text: String,
    /// For the log.
    cause: Option<Box<str>>,
}

impl Error {
    /// An error of this code and text, both for the peer.
    #[must_use]
    pub fn new(code: u16, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            cause: None,
        }
    }

    /// An error of code 500 whose cause is for the log alone.
    #[must_use]
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self {
            cause: Some(cause.to_string().into()),
            ..Self::new(500, "internal error")
        }
    }

    /// What was for the log alone is for the peer.
    #[must_use]
    pub fn show(self) -> Self {
        let text = self.cause.map_or(self.text, String::from);
        Self::new(self.code, text)
    }

    /// What the log is told, and the peer is not.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }
}

/// `Error` itself is no [`std::error::Error`]: otherwise the conversion below
/// would meet itself.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut cause = error.to_string();
        let mut source = error.source();
        while let Some(deeper) = source {
            // Many say what is beneath them themselves.
            let text = deeper.to_string();
            if !cause.ends_with(&text) {
                cause.push_str(": ");
                cause.push_str(&text);
            }
            source = deeper.source();
        }
        Self::internal(cause)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}: {}", self.code, self.text)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("open the accounts")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn what_an_error_says_is_for_the_log_until_it_is_shown() {
        let outer = || Error::from(Outer(std::io::Error::other("/srv/accounts.db is locked")));
        let whole = "open the accounts: /srv/accounts.db is locked";
        assert_eq!((outer().code, &*outer().text), (500, "internal error"));
        assert_eq!(outer().cause(), Some(whole));
        assert!(!outer().to_string().contains("accounts"));
        assert_eq!(outer().show(), Error::new(500, whole));
        let mut late = outer();
        late.code = 503;
        assert_eq!(late.show(), Error::new(503, whole));
        let said = Error::new(404, "no such player");
        assert_eq!((said.cause(), said.clone().show()), (None, said.clone()));
    }
}
