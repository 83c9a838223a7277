//! `sampan-init` in network namespaces: what it makes of a kernel's rules, and of traffic. Each test has namespaces of its
//! own; each back-end that this machine has is tried, and where it lacks one, the error that says so.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod back_end;
mod dns;
mod failures;
mod kernel;
mod options;
mod pod;
mod traffic;
mod validation;
