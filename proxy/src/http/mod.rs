//! HTTP: codecs, the life of a request, and what configuration says about both.

mod attempt;
pub mod body;
pub mod chain;
pub mod config;
pub mod connection;
mod date;
pub mod exchange;
pub mod forwarding;
pub mod h1;
pub mod h2;
pub mod header_changes;
pub mod header_ops;
pub mod local_reply;
pub mod normalize;
mod progress;
mod pump;
pub mod reply;
pub mod request_id;
pub mod route;
mod sides;
pub mod stream;
mod target;
pub mod timeouts;
mod upgrade;
mod upstream;
