//! The data plane: the `sampan` binary and its library. See ARCHITECTURE.md for the way of a request through it.

pub mod admin;
pub mod bootstrap;
pub mod cli;
pub mod control;
pub mod demo;
pub mod diff;
pub mod failure;
pub mod http;
pub mod listener;
pub mod logging;
pub mod net;
pub mod process;
pub mod reference;
pub mod run;
pub mod runtime;
pub mod snapshot;
pub mod tcp;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod worker;
