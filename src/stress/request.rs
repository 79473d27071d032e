//! The part of the command line that says what a request over HTTP looks like.

use std::fs;
use std::path::PathBuf;

use super::asks::{Http, HttpRequest};
use super::url::Url;
use crate::sys::socket::Address;

/// Of a URL; their comments are the text of `--help`.
#[derive(Clone, Debug, Default, Eq, PartialEq, clap::Args)]
pub(super) struct RequestOptions {
    /// Ask for this over HTTP: http://HOST:PORT/PATH, or a /PATH of ADDRESS
    #[arg(long, value_name = "URL", conflicts_with_all = ["preset", "layout", "id", "size", "classic"])]
    pub(super) http: Option<Url>,

    /// HTTP: a field of each request, such as 'Accept: text/html'; any number
    #[arg(short = 'H', long = "header", value_name = "FIELD", value_parser = field)]
    fields: Vec<(String, String)>,

    /// HTTP: method [default: GET; POST with a body]
    #[arg(short = 'm', long, short_alias = 'X', value_parser = method)]
    method: Option<String>,

    /// Body of each request [default: none over HTTP; of frames as many bytes as
    /// --size, different ones in each]
    #[arg(long, value_name = "TEXT", conflicts_with = "body_file")]
    body: Option<String>,

    /// The same from a file
    #[arg(long, value_name = "FILE")]
    body_file: Option<PathBuf>,

    /// HTTP: statuses of right replies, such as 200,304 [default: 200 to 299]
    #[arg(long = "status", value_name = "CODES", value_delimiter = ',')]
    #[arg(value_parser = clap::value_parser!(u16).range(200..1000))]
    statuses: Vec<u16>,
}

impl RequestOptions {
    /// The requests for `url` at `address`.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or has been named without need; the words for
    /// the operator.
    pub(super) fn asks(&self, url: &Url, address: &Address) -> Result<Http, String> {
        let body = self.body()?;
        let usual = if body.is_some() { "POST" } else { "GET" };
        Ok(Http::new(HttpRequest {
            method: self.method.clone().unwrap_or_else(|| usual.to_owned()),
            target: url.target.clone(),
            host: url.host(address),
            fields: self.fields.clone(),
            body: body.unwrap_or_default(),
            statuses: self.statuses.clone(),
        }))
    }

    /// The body of each request, if one is given.
    ///
    /// # Errors
    ///
    /// The file cannot be read; in words.
    pub(super) fn body(&self) -> Result<Option<Vec<u8>>, String> {
        match (&self.body, &self.body_file) {
            (Some(text), _) => Ok(Some(text.clone().into_bytes())),
            (None, Some(path)) => {
                let read = fs::read(path);
                read.map(Some)
                    .map_err(|error| format!("read {}: {error}", path.display()))
            }
            (None, None) => Ok(None),
        }
    }

    /// The first of them that is there, and has no meaning without a URL.
    pub(super) fn given(&self) -> Option<&'static str> {
        [
            (!self.fields.is_empty(), "--header"),
            (self.method.is_some(), "--method"),
            (!self.statuses.is_empty(), "--status"),
        ]
        .into_iter()
        .find_map(|(given, name)| given.then_some(name))
    }

    /// Whether each request asks for the end of its connection.
    pub(super) fn closes(&self) -> bool {
        self.fields.iter().any(|(name, value)| {
            let mut tokens = value.split(',');
            name.eq_ignore_ascii_case("connection")
                && tokens.any(|token| token.trim().eq_ignore_ascii_case("close"))
        })
    }
}

fn is_token(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}

fn field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').unwrap_or((text, "\0"));
    let value = value.trim();
    if !is_token(name) || value.contains(|c: char| c.is_control() && c != '\t') {
        return Err("expected a field of one line, such as 'Accept: text/html'".into());
    }
    // These two would say something else than what is sent.
    for own in ["content-length", "transfer-encoding"] {
        if name.eq_ignore_ascii_case(own) {
            return Err(format!("{name} follows from --body"));
        }
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn method(text: &str) -> Result<String, String> {
    if text == "CONNECT" || !is_token(text) {
        return Err("expected a method, such as GET".into());
    }
    Ok(text.to_owned())
}
