//! What can go wrong, in words for the person who wrote the pod's manifest.
//! Filled by [`crate::config`] and [`crate::explain`], printed by [`crate::run`].

use std::fmt;

use crate::apply::ApplyError;
use crate::validate::ValidationError;

/// One option whose value cannot be used: which, what it was, why, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{option} = {value:?}: {reason}; {hint}")]
pub struct ArgumentError {
    /// The flag or environment variable as the user wrote it, e.g. `--proxy-uid` or `PROXY_UID (environment)`.
    pub option: String,
    /// The value as given.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
    /// What would be right.
    pub hint: String,
}

/// Every wrong option of one command line; never empty when returned as an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArgumentErrors(pub Vec<ArgumentError>);

/// Why the program ends without having done what was asked.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Some options have values that cannot be used.
    #[error("{0}")]
    Arguments(#[from] ArgumentErrors),
    /// The kernel, or a program that speaks to it, refused.
    #[error("{0}")]
    Apply(#[from] ApplyError),
    /// Traffic is not redirected.
    #[error("{0}")]
    Validation(#[from] ValidationError),
    /// The answer could not be written out.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

impl std::error::Error for ArgumentErrors {}

impl fmt::Display for ArgumentErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} invalid argument(s):", self.0.len())?;
        for error in &self.0 {
            write!(f, "\n  {error}")?;
        }
        Ok(())
    }
}
