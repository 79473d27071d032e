//! What a body is. Plain data.

/// What a body is, for protocols that say it. Frames do not.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Media {
    /// Bytes of any kind.
    #[default]
    Bytes,
    /// Text in UTF-8.
    Text,
    /// A page.
    Html,
    /// JSON.
    Json,
}

impl Media {
    /// As the field `Content-Type` says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "application/octet-stream",
            Self::Text => "text/plain; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Json => "application/json",
        }
    }
}
