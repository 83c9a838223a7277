//! The control thread: configuration in, snapshots out. It meets the workers only through what it publishes.

pub mod access_log;
pub mod compile;
pub mod discovery;
pub mod dns;
pub mod gauges;
pub mod generations;
pub mod health;
pub mod last_good;
pub mod publish;
pub mod store;
pub mod support;
pub mod trace;
