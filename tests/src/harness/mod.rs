//! What the end-to-end tests are made of: real proxy processes, scripted upstreams, raw clients and what they observe.
//!
//! Used by [`crate::run`] for the differential suite and by the process tests directly.

pub mod access_log;
pub mod access_log_service;
pub mod binaries;
pub mod bootstrap;
pub mod client;
pub mod coding;
pub mod collector;
pub mod dns;
pub mod invoke;
pub mod jwt;
pub mod load;
pub mod netns;
pub mod observe;
pub mod peer;
pub mod process;
pub mod service;
pub mod solo;
pub mod tls;
pub mod upstream;
pub mod wire;
pub mod xds;

use std::time::{Duration, Instant};

/// How long anything that must happen may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Polls `probe` until it gives a value or `limit` is over.
pub fn poll<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
