//! The side-by-side runner behind `just compare`: Sampan, Envoy, HAProxy and nginx over the same work.
//!
//! What a run does, in order:
//!
//! ```text
//! cli ──> binaries (find each proxy) ──> backend (one child process, the same for all)
//!            │
//!            ├─ run:    per scenario: start every proxy, warm up, then rounds A B C D, A B C D, …
//!            │            load/* drives, procfs reads the proxy's CPU and memory around each drive
//!            ├─ memory: per proxy: idle, many clusters, many idle connections
//!            └─ report: medians, ratios to Envoy, verdicts; table, JSON, SVG
//! ```
//!
//! Each proxy runs with one worker on one core of its own; this process, the load tools and the backend stay
//! on the other cores. CPU time is the proxy's own, read from `/proc`, so a noisy neighbour changes the
//! request rate far more than it changes the figure that is judged.

pub mod affinity;
pub mod backend;
pub mod binaries;
pub mod cli;
pub mod config;
pub mod interrupt;
pub mod layout;
pub mod load;
pub mod memory;
pub mod process;
pub mod procfs;
pub mod report;
pub mod run;
pub mod scenario;
