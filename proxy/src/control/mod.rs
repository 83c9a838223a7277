//! The control thread: configuration in, snapshots out. It meets the workers only through what it publishes.

pub mod compile;
pub mod dns;
pub mod gauges;
pub mod publish;
pub mod store;
pub mod support;
