//! How many connections there may be: of one listener, and of the whole process.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The limit of downstream connections of the process (`overload_manager` global_downstream_max_connections).
#[derive(Debug)]
pub struct GlobalConnections {
    limit: AtomicU64,
    active: AtomicU64,
}

impl Default for GlobalConnections {
    fn default() -> Self {
        Self { limit: AtomicU64::new(u64::MAX), active: AtomicU64::new(0) }
    }
}

impl GlobalConnections {
    /// Sets the limit; `None` is none.
    pub fn set_limit(&self, limit: Option<u64>) {
        self.limit.store(limit.unwrap_or(u64::MAX), Relaxed);
    }

    /// Connections now.
    pub fn active(&self) -> u64 {
        self.active.load(Relaxed)
    }

    /// Counts a connection in; false, and not counted, at the limit. One that ignores the limit is counted all the same.
    pub fn enter(&self, ignore_limit: bool) -> bool {
        enter(&self.active, if ignore_limit { u64::MAX } else { self.limit.load(Relaxed) })
    }

    /// Counts a connection out.
    pub fn leave(&self) {
        self.active.fetch_sub(1, Relaxed);
    }
}

/// Counts one in, unless the limit is reached.
pub fn enter(active: &AtomicU64, limit: u64) -> bool {
    if active.fetch_add(1, Relaxed) < limit {
        return true;
    }
    active.fetch_sub(1, Relaxed);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_but_for_those_who_ignore_it() {
        let connections = GlobalConnections::default();
        connections.set_limit(Some(1));
        assert!(connections.enter(false));
        assert!(!connections.enter(false));
        assert!(connections.enter(true));
        assert_eq!(connections.active(), 2);
        connections.leave();
        connections.leave();
        assert!(connections.enter(false));
    }
}
