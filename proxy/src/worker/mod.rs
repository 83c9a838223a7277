//! A data thread: one OS thread, one single-threaded runtime, its own sockets, pools and counters.
//!
//! Everything a connection needs hangs on the [`Worker`], in `Rc`s and cells. What comes from outside: the snapshot
//! (seen through [`Worker::snapshot`]), the drain state, and sockets handed over by an exactly balancing listener.

mod accept;
pub mod balance;
mod buffers;
pub mod idle;
mod runtime;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sampan_model::route::Slot;

pub(crate) use self::accept::Listening;
pub use self::buffers::Buffers;
pub use self::runtime::{Shared, spawn};
use crate::http::config::HttpConfig;
use crate::http::connection::HttpStats;
use crate::http::stream::Scratch;
use crate::process::drain::DrainState;
use crate::snapshot::{ClusterEntry, Snapshot};
use crate::tcp::proxy::WorkerTcp;
use crate::telemetry::access_log::WorkerLogs;
use crate::telemetry::stats::Writer;
use crate::upstream::cluster::WorkerCluster;

/// One worker.
pub struct Worker {
    /// 0 to the number of workers less one.
    pub index: usize,
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Whom its counters belong to.
    pub writer: Writer,
    /// Connections that wait for their client.
    pub idle: idle::Idle,
    /// Access log lines on their way to the writers.
    pub logs: Rc<WorkerLogs>,
    /// Read buffers to reuse.
    pub buffers: Buffers,
    /// What its TCP connections share.
    pub tcp: WorkerTcp,
    snapshot: RefCell<Arc<Snapshot>>,
    clusters: RefCell<Vec<Option<Used>>>,
    http_stats: RefCell<HashMap<*const HttpConfig, Rc<HttpStats>, ahash::RandomState>>,
    drain: Cell<DrainState>,
    rng: RefCell<fastrand::Rng>,
    connections: Cell<usize>,
    // Boxed, for a stream's future holds one, and moving it would copy a kilobyte.
    #[expect(clippy::vec_box)]
    scratch: RefCell<Vec<Box<Scratch>>>,
}

/// A cluster that this worker has used, with the snapshot's entry that it follows.
struct Used {
    entry: Arc<ClusterEntry>,
    cluster: Rc<WorkerCluster>,
}

impl Worker {
    fn new(index: usize, shared: Arc<Shared>) -> Self {
        let snapshot = shared.published.load();
        Self {
            index,
            writer: Writer::worker(index),
            logs: WorkerLogs::new(&shared.logs),
            buffers: Buffers::default(),
            tcp: WorkerTcp::default(),
            idle: idle::Idle::default(),
            drain: Cell::new(shared.lifecycle.drain_state()),
            shared,
            snapshot: RefCell::new(snapshot),
            clusters: RefCell::default(),
            http_stats: RefCell::default(),
            rng: RefCell::default(),
            connections: Cell::new(0),
            scratch: RefCell::default(),
        }
    }

    /// The cluster of a slot, as this worker has it.
    pub fn cluster(&self, slot: Slot) -> Option<Rc<WorkerCluster>> {
        self.refresh();
        let index = slot.index()?;
        if let Some(Some(used)) = self.clusters.borrow().get(index) {
            return Some(used.cluster.clone());
        }
        let entry = self.snapshot.borrow().clusters.entry(slot)?.clone();
        let cluster =
            Rc::new(WorkerCluster::new(entry.parts().clone(), self.shared.stats.clone(), self.writer));
        let mut clusters = self.clusters.borrow_mut();
        if index >= clusters.len() {
            clusters.resize_with(index + 1, || None);
        }
        clusters[index] = Some(Used { entry, cluster: cluster.clone() });
        Some(cluster)
    }

    /// Memory for a stream.
    pub fn take_scratch(&self) -> Box<Scratch> {
        self.scratch.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives memory back for a later stream.
    pub fn give_scratch(&self, scratch: Box<Scratch>) {
        const MOST: usize = 256;
        let mut spare = self.scratch.borrow_mut();
        if spare.len() < MOST && scratch.is_small() {
            spare.push(scratch);
        }
    }

    /// The current snapshot, borrowed for a look-up.
    pub fn snapshot_ref(&self) -> std::cell::Ref<'_, Arc<Snapshot>> {
        self.refresh();
        self.snapshot.borrow()
    }

    /// The current snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.refresh();
        self.snapshot.borrow().clone()
    }

    /// Takes a new snapshot over, if there is one.
    #[inline]
    pub fn refresh(&self) {
        if self.shared.published.generation() != self.snapshot.borrow().generation {
            self.take_over(self.shared.published.load());
        }
    }

    fn take_over(&self, next: Arc<Snapshot>) {
        for (index, slot) in self.clusters.borrow_mut().iter_mut().enumerate() {
            let Some(used) = slot else { continue };
            match next.clusters.entry(Slot(index as u32)) {
                None => *slot = None,
                Some(entry) if !Arc::ptr_eq(entry, &used.entry) => {
                    used.cluster.update(entry.parts().clone());
                    used.entry = entry.clone();
                }
                Some(_) => {}
            }
        }
        *self.snapshot.borrow_mut() = next;
    }

    /// Closes what is dead, old or idle for too long in all pools.
    pub fn sweep(&self) {
        let clusters: Vec<_> =
            self.clusters.borrow().iter().flatten().map(|used| used.cluster.clone()).collect();
        for cluster in clusters {
            cluster.sweep();
        }
    }

    /// The counters of a connection manager; the same for all of its connections on this worker.
    pub fn http_stats(&self, config: &Arc<HttpConfig>, listener: &str) -> Rc<HttpStats> {
        let key = Arc::as_ptr(config);
        if let Some(stats) = self.http_stats.borrow().get(&key) {
            return stats.clone();
        }
        let stats = Rc::new(HttpStats::new(config.clone(), listener, &self.shared.stats, self.writer));
        let mut all = self.http_stats.borrow_mut();
        // An entry keeps its configuration alive, so a key is never reused; those nobody else holds are old.
        all.retain(|_, stats| stats.is_current());
        all.insert(key, stats.clone());
        stats
    }

    /// The drain state, as far as this worker was told.
    #[inline]
    pub fn drain(&self) -> DrainState {
        self.drain.get()
    }

    /// Random numbers; not for secrets.
    #[inline]
    pub fn with_rng<T>(&self, f: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        f(&mut self.rng.borrow_mut())
    }

    /// The number of downstream connections it serves.
    pub fn connections(&self) -> usize {
        self.connections.get()
    }
}

static CONNECTION_IDS: AtomicU64 = AtomicU64::new(0);

/// A number that no other connection of this process has.
pub fn next_connection_id() -> u64 {
    CONNECTION_IDS.fetch_add(1, Relaxed)
}
