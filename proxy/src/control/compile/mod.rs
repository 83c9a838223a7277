//! Proto -> domain. The only place (with the filters' `config.rs`) that knows proto types.
//!
//! A compile function takes a proto value and a [`Scope`], and returns the domain value, or `None` after it has told
//! the scope what is wrong. It goes on after an error where it can, so that one run reports all of them.

pub mod scope;

pub use scope::{Reject, Scope};
