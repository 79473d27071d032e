//! Names of this server as values: `["admin.example", "metrics"]`. Pure.

use toml::Spanned;
use toml::de::DeValue;

use super::networks::listed;
use super::value::{Given, Refusal, Value, quoted};

/// Names by which a server may be asked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HostNames(pub Vec<String>);

/// A list of names. Outside of the file, commas may stand for the brackets and
/// quotes.
impl Value for HostNames {
    type Limits = ();

    fn read(given: &Given<'_>, limits: &()) -> Result<Self, Refusal> {
        match given {
            Given::Toml(value) => {
                let list = value.get_ref().as_array();
                let list = list.ok_or_else(|| Self::refusal(limits))?;
                list.iter().map(element).collect::<Result<_, _>>().map(Self)
            }
            Given::Text(text) => {
                let texts = listed(text).ok_or_else(|| Self::refusal(limits))?;
                match texts.iter().find(|text| !is_host(text)) {
                    Some(wrong) => Err(Refusal::Inside(no_host(wrong), None)),
                    None => Ok(Self(texts)),
                }
            }
        }
    }

    fn limits((): &()) -> String {
        r#"a list of host names such as ["admin.example"]"#.into()
    }

    fn write(&self) -> String {
        let texts: Vec<String> = self.0.iter().map(|host| quoted(host)).collect();
        format!("[{}]", texts.join(", "))
    }
}

fn element(value: &Spanned<DeValue<'_>>) -> Result<String, Refusal> {
    let text = value.get_ref().as_str().unwrap_or_default();
    if is_host(text) {
        Ok(text.to_owned())
    } else {
        Err(Refusal::Inside(no_host(text), Some(value.span())))
    }
}

fn no_host(text: &str) -> String {
    format!("{text:?} is no host name: write \"admin.example\", without scheme and port")
}

fn is_host(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !text.is_empty() && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_alike() {
        for (text, expected) in [
            ("", Some(&[][..])),
            ("a.example", Some(&["a.example"])),
            ("a, b-c", Some(&["a", "b-c"])),
            (r#"["a", "b"]"#, Some(&["a", "b"])),
            ("http://a", None),
            ("a:80", None),
            ("*", None),
            ("[1]", None),
        ] {
            let read = HostNames::read(&Given::Text(text.into()), &()).ok();
            let expected = expected.map(|list| list.iter().map(|one| (*one).to_owned()).collect());
            assert_eq!(read, expected.map(HostNames), "{text}");
            if let Some(hosts) = read {
                let again = HostNames::read(&Given::Text(hosts.write()), &());
                assert_eq!(again, Ok(hosts));
            }
        }
    }
}
