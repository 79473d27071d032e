//! The methods that routes are registered for.

/// A method of a request, or of a route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Patch,
    Options,
    /// All that have no handler of their own.
    Any,
}

impl Method {
    /// Those that a route may be for, in the order of `Allow`.
    pub(super) const ALL: [Self; 8] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Delete,
        Self::Patch,
        Self::Options,
        Self::Any,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
            Self::Options => "OPTIONS",
            Self::Any => "any method of",
        }
    }

    /// The method of a request; one that is not known only `any` handles.
    pub(super) fn of(name: &str) -> Self {
        let known = Self::ALL.into_iter().find(|method| method.name() == name);
        known.unwrap_or(Self::Any)
    }
}
