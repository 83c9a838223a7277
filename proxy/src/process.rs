//! The process itself: its limits, its share of the machine, its signals, and the way from start to exit.
//!
//! `main.rs` calls [`limits::raise`]; the run loop creates one [`Lifecycle`], hands clones to the workers and
//! the admin server, and ends in [`shutdown::drain`], the only way out.

pub mod cgroup;
pub mod concurrency;
pub mod drain;
pub mod lifecycle;
pub mod limits;
pub mod memory;
pub mod shutdown;
pub mod signals;

pub use drain::{AfterDrain, Drain, DrainScope, DrainState};
pub use lifecycle::{Exit, Lifecycle, ServerState, Stage, WorkerToken};
