//! Where WebSockets are, and for whose pages, as values: `/ws`,
//! `["https://a.example"]`. Pure.

use toml::Spanned;
use toml::de::DeValue;

use super::networks::listed;
use super::value::{Given, Refusal, Value, quoted};

/// A path of a URL, if there is one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UrlPath(pub Option<String>);

/// A path; empty for none.
impl Value for UrlPath {
    type Limits = ();

    fn read(given: &Given<'_>, limits: &()) -> Result<Self, Refusal> {
        let text = given.text().ok_or_else(|| Self::refusal(limits))?;
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"?#%".contains(&byte);
        let is_path = text.starts_with('/') && !text.contains("//") && text.bytes().all(is_plain);
        match text {
            "" => Ok(Self(None)),
            path if is_path => Ok(Self(Some(path.to_owned()))),
            _ => Err(Self::refusal(limits)),
        }
    }

    fn limits((): &()) -> String {
        "a path such as /ws, or empty for none".into()
    }

    fn write(&self) -> String {
        quoted(self.0.as_deref().unwrap_or_default())
    }
}

/// Pages from elsewhere that may open a WebSocket.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Origins(pub Vec<String>);

/// A list of origins. Outside of the file, commas may stand for the brackets and
/// quotes.
impl Value for Origins {
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
                let wrong = texts.iter().find(|text| !is_origin(text));
                wrong.map_or(Ok(Self(texts.clone())), |wrong| {
                    Err(Refusal::Inside(no_origin(wrong), None))
                })
            }
        }
    }

    fn limits((): &()) -> String {
        r#"a list of origins such as ["https://a.example", "b.example:8080"]"#.into()
    }

    fn write(&self) -> String {
        let texts: Vec<String> = self.0.iter().map(|origin| quoted(origin)).collect();
        format!("[{}]", texts.join(", "))
    }
}

fn element(value: &Spanned<DeValue<'_>>) -> Result<String, Refusal> {
    let text = value.get_ref().as_str().unwrap_or_default();
    if is_origin(text) {
        Ok(text.to_owned())
    } else {
        Err(Refusal::Inside(no_origin(text), Some(value.span())))
    }
}

fn no_origin(text: &str) -> String {
    format!("{text:?} is no origin: write \"https://host\", \"host:port\" or \"*\"")
}

/// A scheme and a host, a host, or all of them; browsers send no path.
fn is_origin(text: &str) -> bool {
    let host = text.split_once("://").map_or(text, |(_, host)| host);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    text == "*" || (!host.is_empty() && host.bytes().all(is_plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_that_a_request_can_name() {
        for text in ["", "/", "/ws", "/a/b-c.d"] {
            let read = UrlPath::read(&Given::Text(text.into()), &()).unwrap();
            assert_eq!(read.0.as_deref().unwrap_or_default(), text);
            assert_eq!(read.write(), quoted(text));
        }
        for text in ["ws", "//a", "/a?b", "/a b", "/%61", "/ä"] {
            assert!(
                UrlPath::read(&Given::Text(text.into()), &()).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn origins_are_read_and_written_alike() {
        for (text, expected) in [
            ("", Some(&[][..])),
            ("*", Some(&["*"])),
            (
                "https://a.example, b:80",
                Some(&["https://a.example", "b:80"]),
            ),
            (r#"["http://[::1]:7000"]"#, Some(&["http://[::1]:7000"])),
            ("https://a.example/", None),
            ("https://", None),
            ("a b", None),
            ("[1]", None),
        ] {
            let read = Origins::read(&Given::Text(text.into()), &());
            let expected = expected.map(|list| list.iter().map(|one| (*one).to_owned()).collect());
            let read = read.ok();
            assert_eq!(read, expected.map(Origins), "{text}");
            if let Some(origins) = read {
                let again = Origins::read(&Given::Text(origins.write()), &());
                assert_eq!(again, Ok(origins));
            }
        }
    }
}
