//! The data plane: the `sampan` binary and its library. See ARCHITECTURE.md for the way of a request through it.

pub mod admin;
pub mod cli;
pub mod http;
pub mod logging;
pub mod process;
pub mod run;
pub mod telemetry;
