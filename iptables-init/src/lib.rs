//! Traffic interception rules for a pod: the `sampan-init` binary and its library.
//!
//! It stands in for `istio-iptables`: the same flags, environment variables and defaults give the same rules. The way
//! from arguments to rules has no side effect anywhere; what touches the kernel comes after:
//!
//! ```text
//! argv, variables --args--> RawOptions --config--> Config --plan--> Plan --explain--> what becomes of one packet
//!                                                                    |---render---> text (--dry-run)
//!                                                                    `---apply---> kernel, by iptables or nftables
//!                                                                         check: kernel and plan compared
//!                                                                         validate: a real redirected connection
//! ```
//!
//! - [`apply`] makes the kernel have what the plan says, once however often it runs, and undoes what it did if a step is
//!   refused; [`iptables`] and [`nftables`] are its back-ends.
//! - Wrong arguments are collected and reported together (option, value, reason, hint). Exit codes: 0; 1 for what went
//!   wrong; 2 for differences that `check` found; 126 if the validation failed.

#![forbid(unsafe_code)]

pub mod apply;
pub mod args;
pub mod config;
pub mod entrypoint;
pub mod environment;
pub mod error;
pub mod explain;
pub mod iptables;
pub mod nftables;
pub mod plan;
mod run;
pub mod system;
pub mod validate;
pub mod value;

pub use run::run;
