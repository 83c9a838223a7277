//! One clock for all threads, as a number: for what is kept in atomics.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since some moment before the first call, never 0.
pub fn millis() -> u64 {
    (START.elapsed() + Duration::from_secs(1)).as_millis() as u64
}
