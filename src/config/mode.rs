//! The mode of a file, in octal digits as everybody writes it. Pure.

use super::value::{Given, Refusal, Value, quoted};

/// Who may read, write and search: at most `0777`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mode(pub u32);

/// A mode; empty for the system's.
impl Value for Option<Mode> {
    type Limits = ();

    fn read(given: &Given<'_>, limits: &()) -> Result<Self, Refusal> {
        // Not a number: TOML would read 0660 as an error, and 660 as what nobody
        // means.
        let text = given.text().ok_or_else(|| Self::refusal(limits))?;
        if text.is_empty() {
            return Ok(None);
        }
        let is_octal = text.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
        let mode = u32::from_str_radix(text, 8).ok();
        let mode = mode.filter(|mode| is_octal && text.len() >= 3 && *mode <= 0o777);
        let mode = mode.ok_or_else(|| Self::refusal(limits))?;
        Ok(Some(Mode(mode)))
    }

    fn limits((): &()) -> String {
        "octal digits such as 0660, or empty for the system's".into()
    }

    fn write(&self) -> String {
        quoted(&self.map_or_else(String::new, |Mode(mode)| format!("{mode:04o}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn modes_are_octal_digits() {
        let read = |text: &str| {
            let flags = [
                ("listener.0.address".to_owned(), "unix:s".to_owned()),
                ("listener.0.mode".to_owned(), text.to_owned()),
            ];
            let config = Config::parse(None, [], &flags).map_err(|error| error.to_string())?;
            Ok::<_, String>(config.listener[0].mode.map(|mode| mode.0))
        };
        assert_eq!(read(""), Ok(None));
        for (text, mode) in [("0660", 0o660), ("660", 0o660), ("000", 0), ("0777", 0o777)] {
            assert_eq!(read(text), Ok(Some(mode)), "{text}");
        }
        for text in [
            "1777", "0o660", "888", "rw", "-660", "+660", "6", "66", "0660 ",
        ] {
            let error = read(text)
                .map(|_| ())
                .map_err(|error| error.contains("octal digits"));
            assert!(error == Err(true) || text.ends_with(' '), "{text}");
        }
        assert_eq!(Some(Mode(0o60)).write(), "\"0060\"");
    }
}
