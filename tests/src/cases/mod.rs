//! The differential cases, one file for each topic.

pub mod h1_syntax;
pub mod h1_upstream;
pub mod h2_syntax;
pub mod hcm;
pub mod headers;
pub mod hosts;
pub mod paths;
pub mod rewrite;
pub mod routing;
