//! Traffic interception rules for a pod: the `sampan-init` binary and its library.
//!
//! It stands in for `istio-iptables`: the same flags, environment variables and defaults give the same rules. The way
//! from arguments to rules has no side effect anywhere:
//!
//! ```text
//! argv, variables --args--> RawOptions --config--> Config --plan--> Plan --render--> iptables-restore text
//!                                                                    `----explain--> what becomes of one packet
//! ```
//!
//! # What this version does
//!
//! - `--dry-run` prints the rules for IPv4 and, where the pod has IPv6, for IPv6; with `--cleanup-only` it prints what
//!   takes them away again.
//! - `sampan-init [flags] explain --direction outbound --dst 10.0.0.1:80` walks those rules for one packet.
//! - Applying rules is **not** in this version. Without `--dry-run` the program changes nothing, says so and exits
//!   with 1, so that a pod never starts in the belief that its traffic is intercepted. `--skip-rule-apply` alone asks
//!   for nothing to be done and therefore succeeds.
//!
//! Wrong arguments are collected and reported together (option, value, reason, hint); the exit code is 1 for these too.

#![forbid(unsafe_code)]

pub mod args;
pub mod config;
pub mod environment;
pub mod error;
pub mod explain;
pub mod plan;
mod run;
pub mod value;

pub use run::run;
