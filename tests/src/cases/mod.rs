//! The differential cases, one file for each topic.

pub mod hosts;
pub mod routing;
