//! Active health checks: what is asked of a host ([`config`]), what its answers make of it and when it is asked next ([`state`]).

pub mod config;
pub mod state;

pub use config::{CheckKind, CheckTarget, GrpcCheck, HealthCheck, HttpCheck, TcpCheck};
pub use state::{CheckResult, CheckState, CheckTiming, Transition};
