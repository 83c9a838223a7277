//! The registry: which scopes exist, and each thread's block in them. Made once by the process and shared by `Arc`.

use std::any::{Any, TypeId};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

use super::block::{AnyBlock, Block};
use super::collect::{Provider, Reader};
use super::config::{Compiled, StatsConfig, StatsConfigError};
use super::metric::Metrics;
use super::schema::{Kind, Schema, prefix_of};

/// A thread that writes stats. Blocks are handed out per writer; only that thread may write to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Writer(u16);

impl Writer {
    /// The control thread.
    pub const CONTROL: Self = Self(u16::MAX);

    /// A data thread, by its index.
    pub fn worker(index: usize) -> Self {
        Self(index.min(usize::from(u16::MAX) - 1) as u16)
    }

    /// Says that this thread is the writer.
    pub fn is_here(self) {
        HERE.set(self);
    }

    /// The writer that this thread is; the control thread unless it was told otherwise.
    pub fn here() -> Self {
        HERE.get()
    }
}

thread_local!(static HERE: Cell<Writer> = const { Cell::new(Writer::CONTROL) });

/// All stats of the process.
pub struct Stats {
    scopes: Mutex<HashMap<TypeId, ScopesByName>>,
    pub(super) metrics: Metrics,
    pub(super) providers: Mutex<Vec<Arc<dyn Provider>>>,
    pub(super) texts: Mutex<BTreeMap<String, String>>,
    pub(super) config: Compiled,
}

type ScopesByName = HashMap<Box<str>, Arc<Scope>>;

/// One instance of a kind: the blocks of all its writers, and what readers remember of it.
pub(super) struct Scope {
    pub(super) prefix: String,
    pub(super) schema: &'static Schema,
    pub(super) reader: Mutex<Reader>,
    blocks: Mutex<Blocks>,
    retired: AtomicBool,
}

type Blocks = SmallVec<[(Writer, Arc<dyn ScopedBlock>); 2]>;

/// A block as the registry keeps it: readable, and convertible back to its own type.
pub(super) trait ScopedBlock: AnyBlock {
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<K: Kind> ScopedBlock for Block<K> {
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl Stats {
    /// An empty registry that follows a bootstrap's `stats_config`.
    pub fn new(config: &StatsConfig) -> Result<Self, StatsConfigError> {
        let config = config.compile()?;
        Ok(Self {
            scopes: Mutex::default(),
            metrics: Metrics::new(config.max_metrics),
            providers: Mutex::default(),
            texts: Mutex::default(),
            config,
        })
    }

    /// Adds a source of gauges that live elsewhere. It is asked at every reading.
    pub fn provide(&self, provider: Arc<dyn Provider>) {
        locked(&self.providers).push(provider);
    }

    /// Sets a text readout, by its full name.
    pub fn set_text(&self, name: &str, value: &str) {
        locked(&self.texts).insert(name.to_owned(), value.to_owned());
    }

    /// The block of `writer` in a scope of kind `K`, made at first use. Keep it: this takes a lock. Asking again gives
    /// the same block, also after [`Stats::retire`] as long as somebody kept it.
    pub fn block<K: Kind>(&self, scope: &str, writer: Writer) -> Arc<Block<K>> {
        let scope = self.scope::<K>(scope);
        scope.retired.store(false, Relaxed);
        let mut blocks = locked(&scope.blocks);
        let known = blocks.iter().find(|(owner, _)| *owner == writer).map(|(_, block)| Arc::clone(block));
        if let Some(block) = known.and_then(|block| block.into_any().downcast::<Block<K>>().ok()) {
            return block;
        }
        let block = Arc::new(Block::<K>::detached());
        blocks.push((writer, Arc::clone(&block) as Arc<dyn ScopedBlock>));
        block
    }

    /// Makes a scope that prints zeros before anything was written to it.
    pub fn declare<K: Kind>(&self, scope: &str) {
        self.scope::<K>(scope).retired.store(false, Relaxed);
    }

    /// Lets go of a scope whose configuration is gone. Its stats vanish once no thread holds a block of it, so a
    /// draining listener still counts.
    pub fn retire<K: Kind>(&self, scope: &str) {
        let scopes = locked(&self.scopes);
        if let Some(scope) = scopes.get(&TypeId::of::<K>()).and_then(|scopes| scopes.get(scope)) {
            scope.retired.store(true, Relaxed);
        }
    }

    fn scope<K: Kind>(&self, name: &str) -> Arc<Scope> {
        let mut scopes = locked(&self.scopes);
        let scopes = scopes.entry(TypeId::of::<K>()).or_default();
        if let Some(scope) = scopes.get(name) {
            return Arc::clone(scope);
        }
        let scope = Arc::new(Scope::new(prefix_of(K::SCHEMA.root, name), K::SCHEMA));
        scopes.insert(name.into(), Arc::clone(&scope));
        scope
    }

    /// The scopes that exist now, after dropping the retired ones that nobody writes any more.
    pub(super) fn scopes(&self) -> Vec<Arc<Scope>> {
        let mut scopes = locked(&self.scopes);
        for scopes in scopes.values_mut() {
            scopes.retain(|_, scope| !scope.is_gone());
        }
        scopes.values().flat_map(|scopes| scopes.values().map(Arc::clone)).collect()
    }
}

impl Scope {
    fn new(prefix: String, schema: &'static Schema) -> Self {
        Self {
            prefix,
            schema,
            reader: Mutex::default(),
            blocks: Mutex::default(),
            retired: AtomicBool::new(false),
        }
    }

    /// The blocks of all writers.
    pub(super) fn blocks(&self) -> SmallVec<[Arc<dyn ScopedBlock>; 4]> {
        locked(&self.blocks).iter().map(|(_, block)| Arc::clone(block)).collect()
    }

    fn is_gone(&self) -> bool {
        self.retired.load(Relaxed)
            && locked(&self.blocks).iter().all(|(_, block)| Arc::strong_count(block) == 1)
    }
}

/// Locks even if a panic poisoned the lock: stats stay consistent under any interruption.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::kinds::{Cluster, ClusterCounter, ClusterHosts};
    use super::*;

    #[test]
    fn each_writer_keeps_its_block() {
        let stats = Stats::new(&StatsConfig::default()).unwrap();
        let zero = stats.block::<Cluster>("c1", Writer::worker(0));
        let one = stats.block::<Cluster>("c1", Writer::worker(1));
        assert!(!Arc::ptr_eq(&zero, &one));
        assert!(Arc::ptr_eq(&zero, &stats.block::<Cluster>("c1", Writer::worker(0))));
        stats.block::<ClusterHosts>("c1", Writer::CONTROL);
        let scopes = stats.scopes();
        assert_eq!(scopes.len(), 2);
        assert!(scopes.iter().all(|scope| scope.prefix == "cluster.c1."));
    }

    #[test]
    fn a_retired_scope_lives_as_long_as_its_writers() {
        let stats = Stats::new(&StatsConfig::default()).unwrap();
        let block = stats.block::<Cluster>("c1", Writer::worker(0));
        stats.retire::<Cluster>("c1");
        block.inc(ClusterCounter::UpstreamRqTotal);
        assert_eq!(stats.scopes().len(), 1);
        let again = stats.block::<Cluster>("c1", Writer::worker(0));
        assert_eq!(again.counter(ClusterCounter::UpstreamRqTotal), 1);
        drop((block, again));
        assert_eq!(stats.scopes().len(), 1, "asked for again, so no longer retired");
        stats.retire::<Cluster>("c1");
        assert!(stats.scopes().is_empty());
    }
}
