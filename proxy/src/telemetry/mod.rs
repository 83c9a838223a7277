//! What the proxy tells about itself. The workers write; the control thread reads and prints.

pub mod access_log;
mod record;
pub mod stats;
pub mod trace;

pub use record::{log_connection, log_stream};
