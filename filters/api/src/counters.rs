//! Counters that filters keep, by Envoy's names.
//!
//! A filter asks for its counters when it is configured, by prefix. Who asks for the same ones again (another listener with
//! this prefix, or the same listener in a newer version) gets the same counters, so that an update does not set them back. Each
//! thread writes cells of its own, so workers do not contend; a reader sums. Memory is taken by the first write.

use std::cell::Cell;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, Weak};

/// Cells of one counter: one for each thread of a worker and for some others, and the last one, which all further threads share.
static SHARDS: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, NonZeroUsize::get) + 4);
/// Cells of a cache line.
const LINE: usize = 8;

/// Counters with a common prefix, as [`CounterStore::counters`] made them.
#[derive(Debug)]
pub struct Counters {
    prefix: Box<str>,
    names: &'static [&'static str],
    cells: OnceLock<Box<[AtomicU64]>>,
}

impl Counters {
    /// Counters that no store knows, for tests and for defaults.
    pub fn detached(names: &'static [&'static str]) -> Self {
        Self { prefix: "".into(), names, cells: OnceLock::new() }
    }

    /// Adds one to a counter, by its place in the list of names.
    #[inline]
    pub fn inc(&self, index: usize) {
        self.add(index, 1);
    }

    /// Adds to a counter, by its place in the list of names.
    pub fn add(&self, index: usize, count: u64) {
        let stride = self.stride();
        let cells = self.cells.get_or_init(|| (0..*SHARDS * stride).map(|_| AtomicU64::new(0)).collect());
        let Shard { number, alone } = shard();
        let Some(cell) = cells.get(number * stride + index) else { return };
        if alone {
            // Nobody else writes it, and an atomic addition costs several times as much.
            cell.store(cell.load(Relaxed).wrapping_add(count), Relaxed);
        } else {
            cell.fetch_add(count, Relaxed);
        }
    }

    /// What a counter has come to.
    pub fn value(&self, index: usize) -> u64 {
        let Some(cells) = self.cells.get() else { return 0 };
        cells.iter().skip(index).step_by(self.stride()).map(|cell| cell.load(Relaxed)).sum()
    }

    fn stride(&self) -> usize {
        self.names.len().next_multiple_of(LINE)
    }
}

/// A prefix, and the first of the names: one prefix can have several lists of them.
type Key = (Box<str>, &'static str);

/// All counters of all filters, by prefix. They go when no filter holds them any more.
#[derive(Debug, Default)]
pub struct CounterStore {
    sets: Mutex<HashMap<Key, Weak<Counters>>>,
    /// Sets that stay, whoever holds them.
    kept: Mutex<HashMap<Box<str>, Arc<Counters>>>,
    gauges: Mutex<HashMap<Box<str>, Weak<AtomicU64>>>,
}

/// Sets that are kept at most: their names can come from requests.
const MOST_KEPT: usize = 8192;

impl CounterStore {
    /// The counters `prefix` + name for each of the names.
    pub fn counters(&self, prefix: &str, names: &'static [&'static str]) -> Arc<Counters> {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (Box::from(prefix), names.first().copied().unwrap_or_default());
        if let Some(known) = sets.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        let fresh = Arc::new(Counters { prefix: prefix.into(), names, cells: OnceLock::new() });
        sets.insert(key, Arc::downgrade(&fresh));
        fresh
    }

    /// Counters with a name that requests or routes bring in, such as that of a cluster or of a gRPC method. They stay, and only
    /// those of them that were written to are told. None once there are too many.
    pub fn kept(&self, prefix: &str, names: &'static [&'static str]) -> Option<Arc<Counters>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.get(prefix) {
            return Some(Arc::clone(known));
        }
        if kept.len() >= MOST_KEPT {
            return None;
        }
        let fresh = Arc::new(Counters { prefix: prefix.into(), names, cells: OnceLock::new() });
        kept.insert(prefix.into(), Arc::clone(&fresh));
        Some(fresh)
    }

    /// A number that goes up and down, by its full name: the same one for whoever asks.
    pub fn gauge(&self, name: &str) -> Arc<AtomicU64> {
        let mut gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = gauges.get(name).and_then(Weak::upgrade) {
            return known;
        }
        let fresh = Arc::new(AtomicU64::new(0));
        gauges.insert(name.into(), Arc::downgrade(&fresh));
        fresh
    }

    /// Tells every gauge that somebody holds.
    pub fn read_gauges(&self, tell: &mut dyn FnMut(String, u64)) {
        let mut gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.retain(|_, gauge| gauge.strong_count() > 0);
        for (name, gauge) in gauges.iter().filter_map(|(name, gauge)| Some((name, gauge.upgrade()?))) {
            tell(name.to_string(), gauge.load(Relaxed));
        }
    }

    /// Tells every counter of each set that was ever written to, by full name.
    pub fn read(&self, tell: &mut dyn FnMut(String, u64)) {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        sets.retain(|_, set| set.strong_count() > 0);
        let written = sets.values().filter_map(Weak::upgrade).filter(|set| set.cells.get().is_some());
        for set in written {
            for (index, name) in set.names.iter().enumerate() {
                tell(format!("{}{name}", set.prefix), set.value(index));
            }
        }
        drop(sets);
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for set in kept.values() {
            for (index, name) in set.names.iter().enumerate().filter(|(index, _)| set.value(*index) > 0) {
                tell(format!("{}{name}", set.prefix), set.value(index));
            }
        }
    }
}

/// The cells of a thread.
#[derive(Clone, Copy)]
struct Shard {
    number: usize,
    /// No other thread writes them.
    alone: bool,
}

/// The cells of this thread.
#[inline]
fn shard() -> Shard {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static SHARD: Cell<Option<Shard>> = const { Cell::new(None) });
    SHARD.with(|shard| {
        shard.get().unwrap_or_else(|| {
            let (next, last) = (NEXT.fetch_add(1, Relaxed), *SHARDS - 1);
            let fresh = Shard { number: next.min(last), alone: next < last };
            shard.set(Some(fresh));
            fresh
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["a", "b"];

    fn read(store: &CounterStore) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        store.read(&mut |name, value| found.push((name, value)));
        found.sort();
        found
    }

    #[test]
    fn one_prefix_is_one_set_for_as_long_as_someone_holds_it() {
        let store = CounterStore::default();
        let first = store.counters("p.", NAMES);
        let second = store.counters("p.", NAMES);
        assert_eq!(read(&store), []);
        first.inc(1);
        std::thread::scope(|scope| scope.spawn(|| second.add(1, 2)).join().unwrap());
        assert_eq!(read(&store), [("p.a".to_owned(), 0), ("p.b".to_owned(), 3)]);
        drop(first);
        assert_eq!(read(&store).len(), 2);
        drop(second);
        assert_eq!(read(&store), []);
    }

    #[test]
    fn no_count_is_lost_when_there_are_more_threads_than_cells() {
        let counters = Counters::detached(NAMES);
        std::thread::scope(|scope| {
            for _ in 0..*SHARDS + 8 {
                scope.spawn(|| (0..10_000).for_each(|_| counters.inc(0)));
            }
        });
        assert_eq!(counters.value(0), 10_000 * (*SHARDS as u64 + 8));
    }
}
