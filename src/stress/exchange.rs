//! The part of the command line that says what frames say that are no echoes: one
//! that each connection sends first, and what right replies hold.

use std::fs;

/// Of frames; their comments are the text of `--help`.
#[derive(Clone, Debug, Default, Eq, PartialEq, clap::Args)]
pub(super) struct ExchangeOptions {
    /// Frames: the body of each right reply, where that is not the body of its
    /// request
    #[arg(long, value_name = "TEXT|@FILE")]
    expect: Option<String>,

    /// Frames: what each connection sends before anything else, such as a login;
    /// an error for a reply ends the run. In formats without ids there is no `ID:`
    #[arg(long, value_name = "ID:TEXT|@FILE")]
    first: Option<String>,
}

/// What frames say; of what is not there, as echoes do.
#[derive(Clone, Debug, Default)]
pub(super) struct Exchange {
    /// Message id, in formats that have them, and body.
    pub(super) first: Option<(Option<u32>, Vec<u8>)>,
    pub(super) body: Option<Vec<u8>>,
    pub(super) expect: Option<Vec<u8>>,
}

impl ExchangeOptions {
    /// What is asked for, in a format that `has_ids`. The `body` is that of requests.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or an id is missing; the words for the operator.
    pub(super) fn exchange(
        &self,
        body: Option<Vec<u8>>,
        has_ids: bool,
    ) -> Result<Exchange, String> {
        let first = self.first.as_deref().map(|text| {
            if !has_ids {
                return Ok((None, said("--first", text)?));
            }
            let with_id = text.split_once(':');
            let (id, text) = with_id
                .and_then(|(id, text)| Some((id.parse().ok()?, text)))
                .ok_or_else(|| format!("--first {text}: expected ID:TEXT or ID:@FILE"))?;
            Ok::<_, String>((Some(id), said("--first", text)?))
        });
        let expect = self.expect.as_deref();
        Ok(Exchange {
            first: first.transpose()?,
            body,
            expect: expect.map(|text| said("--expect", text)).transpose()?,
        })
    }

    /// The first of them that is there.
    pub(super) fn given(&self) -> Option<&'static str> {
        let expect = self.expect.is_some().then_some("--expect");
        expect.or_else(|| self.first.is_some().then_some("--first"))
    }
}

/// A text, or what a file has.
fn said(option: &str, text: &str) -> Result<Vec<u8>, String> {
    match text.strip_prefix('@') {
        Some(file) => fs::read(file).map_err(|error| format!("{option} @{file}: {error}")),
        None => Ok(text.as_bytes().to_vec()),
    }
}
