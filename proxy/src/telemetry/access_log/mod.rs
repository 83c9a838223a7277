//! Access logs.

/// A configured access log.
pub struct AccessLog {}

/// Which streams are logged.
pub struct Filter {}
