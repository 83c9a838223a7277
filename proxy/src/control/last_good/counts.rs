//! What is told of the last-good file: the stats `last_good.*`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::telemetry::stats::{Provided, Provider, Stats};

/// Where the configuration in force came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Nothing has come yet.
    None,
    /// A control plane.
    ControlPlane,
    /// The last-good file, at least in part.
    File,
}

impl Source {
    /// As stats and `/server_info` have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ControlPlane => "control_plane",
            Self::File => "last_good_file",
        }
    }
}

/// The stats.
pub struct Counts {
    stats: Arc<Stats>,
    in_force: AtomicU64,
    writes: AtomicU64,
    failures: AtomicU64,
    left_out: AtomicU64,
    written_at: AtomicU64,
}

impl Counts {
    /// Stats that begin now.
    pub fn new(stats: Arc<Stats>) -> Arc<Self> {
        let counts = Arc::new(Self {
            stats,
            in_force: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            written_at: AtomicU64::new(0),
        });
        counts.stats.provide(counts.clone());
        counts.source(Source::None);
        counts
    }

    /// Notes where the configuration came from.
    pub fn source(&self, source: Source) {
        self.in_force.store(u64::from(source == Source::File), Relaxed);
        self.stats.set_text("last_good.source", source.name());
    }

    /// Notes a write at this time (seconds since 1970), without so many resources that hold secrets.
    pub fn written(&self, at: u64, left_out: u64) {
        self.writes.fetch_add(1, Relaxed);
        self.written_at.store(at, Relaxed);
        self.left_out.store(left_out, Relaxed);
    }

    /// Notes a write that failed.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
    }
}

impl Provider for Counts {
    fn provide(&self, out: &mut Provided<'_>) {
        out.gauge("last_good.in_force".to_owned(), self.in_force.load(Relaxed));
        out.gauge("last_good.left_out".to_owned(), self.left_out.load(Relaxed));
        out.gauge("last_good.written_at_seconds".to_owned(), self.written_at.load(Relaxed));
        out.counter("last_good.write_success".to_owned(), self.writes.load(Relaxed));
        out.counter("last_good.write_failure".to_owned(), self.failures.load(Relaxed));
    }
}
