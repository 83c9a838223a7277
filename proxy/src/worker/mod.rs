//! A data thread: one OS thread, one single-threaded runtime, its own sockets, pools and counters.
//!
//! Everything a connection needs hangs on the [`Worker`], in `Rc`s and cells. What comes from outside: the snapshot
//! (seen through [`Worker::snapshot`]), the drain state, and sockets handed over by an exactly balancing listener.

mod accept;
pub mod balance;
mod buffers;
mod destinations;
pub mod idle;
mod runtime;
mod serve;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sampan_model::lb::Within;
use sampan_model::route::Slot;

pub(crate) use self::accept::Listening;
pub use self::buffers::Buffers;
use self::destinations::Destinations;
pub use self::runtime::{Shared, spawn};
use crate::http::config::HttpConfig;
use crate::http::connection::HttpStats;
use crate::http::route::RouteConfig;
use crate::http::stream::Scratch;
use crate::listener::filters::FilterStats;
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
    /// Downstream connections, to be woken for a drain and when their filter chain may be retired.
    pub idle: idle::Idle,
    /// Access log lines on their way to the writers.
    pub logs: Rc<WorkerLogs>,
    /// Read buffers to reuse.
    pub buffers: Buffers,
    /// What its TCP connections share.
    pub tcp: WorkerTcp,
    /// Where listener filters look at first bytes; one look at a time.
    pub first_bytes: RefCell<Vec<u8>>,
    filter_stats: OnceCell<FilterStats>,
    /// Which listener has an address, for connections that were redirected.
    destinations: RefCell<Destinations>,
    snapshot: RefCell<Arc<Snapshot>>,
    routes: RefCell<Vec<Option<Routes>>>,
    no_routes: Routes,
    clusters: RefCell<Vec<Option<Used>>>,
    http_stats: RefCell<HashMap<*const HttpConfig, Rc<HttpStats>, ahash::RandomState>>,
    drain: Cell<DrainState>,
    rng: RefCell<fastrand::Rng>,
    connections: Cell<usize>,
    // Boxed, for a stream's future holds one, and moving it would copy a kilobyte.
    #[expect(clippy::vec_box)]
    scratch: RefCell<Vec<Box<Scratch>>>,
    writes: RefCell<Vec<Vec<u8>>>,
}

/// A worker's own count of who uses a route configuration: a stream that takes it touches no shared count.
type Routes = Rc<Arc<RouteConfig>>;

/// A cluster that this worker has used, with the snapshot's entry that it follows.
struct Used {
    entry: Arc<ClusterEntry>,
    cluster: Rc<WorkerCluster>,
}

impl Worker {
    fn new(index: usize, shared: Arc<Shared>) -> Self {
        let snapshot = shared.published.load();
        let writer = Writer::worker(index);
        Self {
            index,
            writer,
            logs: WorkerLogs::new(&shared.logs, shared.stats.block("", writer)),
            buffers: Buffers::default(),
            tcp: WorkerTcp::default(),
            idle: idle::Idle::default(),
            drain: Cell::new(shared.lifecycle.drain_state()),
            shared,
            first_bytes: RefCell::default(),
            filter_stats: OnceCell::new(),
            destinations: RefCell::default(),
            snapshot: RefCell::new(snapshot),
            routes: RefCell::default(),
            no_routes: Rc::new(Arc::new(RouteConfig::empty())),
            clusters: RefCell::default(),
            http_stats: RefCell::default(),
            rng: RefCell::default(),
            connections: Cell::new(0),
            scratch: RefCell::default(),
            writes: RefCell::default(),
        }
    }

    /// The cluster of a slot, as this worker has it.
    pub fn cluster(&self, slot: Slot) -> Option<Rc<WorkerCluster>> {
        self.refresh();
        self.known_cluster(slot)
    }

    /// As [`Worker::cluster`], of the snapshot that was taken over last: for whoever has that borrowed.
    pub fn known_cluster(&self, slot: Slot) -> Option<Rc<WorkerCluster>> {
        let index = slot.index()?;
        if let Some(Some(used)) = self.clusters.borrow().get(index) {
            return Some(used.cluster.clone());
        }
        let entry = self.snapshot.borrow().clusters.entry(slot)?.clone();
        self.have_watched(slot, &entry);
        let cluster =
            Rc::new(WorkerCluster::new(entry.parts().clone(), self.shared.stats.clone(), self.writer));
        self.follow_local(&cluster);
        let mut clusters = self.clusters.borrow_mut();
        if index >= clusters.len() {
            clusters.resize_with(index + 1, || None);
        }
        clusters[index] = Some(Used { entry, cluster: cluster.clone() });
        Some(cluster)
    }

    /// The cluster to pick a host of, and which of its hosts: one of those that an aggregate cluster is made of, else the
    /// cluster itself. `None` if an aggregate cluster has no hosts.
    #[inline]
    pub fn member(&self, cluster: &Rc<WorkerCluster>) -> Option<(Rc<WorkerCluster>, Option<Within>)> {
        if !cluster.is_aggregate() {
            return Some((cluster.clone(), None));
        }
        let random = self.with_rng(|rng| rng.u64(..));
        let (member, within) = cluster.choose(random, |slot| self.cluster(slot))?;
        Some((member, Some(within)))
    }

    /// Tells a cluster the hosts of the local cluster, if it wants to know.
    fn follow_local(&self, cluster: &WorkerCluster) {
        if let Some(slot) = cluster.local_slot() {
            let snapshot = self.snapshot.borrow();
            cluster.set_local(snapshot.clusters.entry(slot).map(|entry| entry.parts().hosts.clone()));
        }
    }

    /// The control thread is to watch the hosts of a cluster that is in use.
    fn have_watched(&self, slot: Slot, entry: &ClusterEntry) {
        if entry.parts().outliers.is_some() {
            self.shared.published.watched().add(slot);
        }
    }

    /// The route configuration of a slot; one without routes while it has not arrived.
    pub fn routes(&self, slot: Slot) -> Routes {
        self.refresh();
        let Some(index) = slot.index() else { return self.no_routes.clone() };
        if let Some(Some(routes)) = self.routes.borrow().get(index) {
            return routes.clone();
        }
        let Some(config) = self.snapshot.borrow().routes.entry(slot).cloned() else {
            return self.no_routes.clone();
        };
        let routes = Rc::new(config);
        let mut known = self.routes.borrow_mut();
        if index >= known.len() {
            known.resize_with(index + 1, || None);
        }
        known[index] = Some(routes.clone());
        routes
    }

    /// The counters of listener filters.
    pub(crate) fn filter_stats(&self) -> &FilterStats {
        self.filter_stats.get_or_init(|| FilterStats::new(&self.shared.stats, self.writer))
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

    /// A write buffer, empty.
    pub fn take_write(&self) -> Vec<u8> {
        self.writes.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives a write buffer back for a later response.
    pub fn give_write(&self, mut buffer: Vec<u8>) {
        const MOST: usize = 256;
        const LARGEST: usize = 64 * 1024;
        let mut spare = self.writes.borrow_mut();
        if spare.len() < MOST && (1..=LARGEST).contains(&buffer.capacity()) {
            buffer.clear();
            spare.push(buffer);
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
                    self.have_watched(Slot(index as u32), entry);
                    used.cluster.update(entry.parts().clone());
                    used.entry = entry.clone();
                }
                Some(_) => {}
            }
        }
        for (index, slot) in self.routes.borrow_mut().iter_mut().enumerate() {
            let current = next.routes.entry(Slot(index as u32));
            if slot.as_ref().is_some_and(|used| !current.is_some_and(|now| Arc::ptr_eq(now, used))) {
                *slot = None;
            }
        }
        let before = self.snapshot.replace(next);
        for used in self.clusters.borrow().iter().flatten() {
            self.follow_local(&used.cluster);
            used.cluster.part();
        }
        if !Arc::ptr_eq(&before.listeners, &self.snapshot.borrow().listeners) {
            self.idle.wake_all();
        }
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
