//! What the proxy tells about itself. The workers write; the control thread reads and prints.

pub mod access_log;
pub mod stats;
