//! Why a format was refused.

/// A format that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operator}: {reason} ({hint})")]
pub struct FormatError {
    /// The operator at fault, or the text from the stray `%` on.
    pub operator: String,
    /// What is wrong with it.
    pub reason: String,
    /// What to write instead.
    pub hint: String,
}

impl FormatError {
    pub(crate) fn new(operator: &str, reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { operator: operator.into(), reason: reason.into(), hint: hint.into() }
    }
}

/// A format within a tree that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {error}")]
pub struct StructError {
    /// Where in the tree: `labels.route[0]`.
    pub path: String,
    /// What is wrong there.
    #[source]
    pub error: FormatError,
}
