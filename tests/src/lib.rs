//! End-to-end and differential tests: the real `sampan` binary beside a real Envoy 1.40.
//!
//! A **case** ([`case::Case`]) says what a client does, what the upstream answers, and the facts that must hold. Cases of one
//! topic share a **group** ([`case::Group`]): one bootstrap, so one process of each proxy serves them all. [`run`] plays a group
//! against Envoy and against Sampan, each with fake upstreams of its own, turns what was seen into a flat list of named facts
//! ([`harness::observe`]), and compares: Envoy must show the facts the case states, and Sampan must show what Envoy shows, save
//! for the reviewed list in [`differences`], each entry of which is explained in `docs/differences.md`.
//!
//! Called by the test targets in `tests/tests/`. Everything here is test code, which is why it may panic.

#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod case;
pub mod cases;
pub mod conversation;
pub mod differences;
pub mod harness;
pub mod run;
