//! Counters by cluster, for filters that count under `cluster.<name>.`.
//!
//! Each thread remembers the sets that it has used, so that counting takes no lock.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sampan_filters_api::{CounterStore, Counters};

/// Sets that a thread remembers at most; beyond, it looks all of them up anew.
const MOST: usize = 4096;

/// Sets of counters by kind, then by cluster, so that looking one up allocates nothing.
type Known = HashMap<u64, HashMap<Box<str>, Arc<Counters>>>;

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// The counters of one kind, for every cluster.
#[derive(Debug)]
pub struct ClusterCounters {
    id: u64,
    store: Arc<CounterStore>,
    /// What follows `cluster.<name>.`.
    kind: Box<str>,
    names: &'static [&'static str],
}

impl ClusterCounters {
    /// Counters named `cluster.<name>.<kind><name of the list>`.
    pub fn new(store: &Arc<CounterStore>, kind: &str, names: &'static [&'static str]) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { id: NEXT.fetch_add(1, Relaxed), store: Arc::clone(store), kind: kind.into(), names }
    }

    /// Adds one for a cluster.
    pub fn inc(&self, cluster: &str, index: usize) {
        KNOWN.with_borrow_mut(|known| {
            if let Some(counters) = known.get(&self.id).and_then(|kind| kind.get(cluster)) {
                return counters.inc(index);
            }
            let prefix = format!("cluster.{cluster}.{}", self.kind);
            let Some(counters) = self.store.kept(&prefix, self.names) else { return };
            counters.inc(index);
            if known.values().map(HashMap::len).sum::<usize>() >= MOST {
                known.clear();
            }
            known.entry(self.id).or_default().insert(cluster.into(), counters);
        });
    }
}
