//! HTTP filters.

pub mod fault;
pub mod header_mutation;
