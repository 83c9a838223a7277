//! The secrets that TLS contexts refer to, and how a new one reaches them.
//!
//! ```text
//!  bootstrap, SDS, file watch --update(source, name, Delivered)--> Slot --prepare--> every context that refers to it
//!                                   all can be rebuilt: all are switched        one cannot: nothing changes, Err says why
//! ```
//!
//! A context names its secrets as slots ([`Secrets::slot`]); inline certificates have slots without a name, so that all
//! ways of delivery end in the same place. A slot may be empty until its secret arrives, and a context with an empty slot
//! serves nothing ([`super::ServerContext::current`] is `None`): fail closed. Whoever delivers secrets by SDS asks [`Secrets::wanted`]
//! what to subscribe to, is told of changes by [`Secrets::subscribe`], and calls [`Secrets::update`]. Updates are for the control
//! thread; workers see only the contexts' current state, by one pointer.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::context::{ContextError, Inventory};
use super::files::Watch;
use super::material::Identity;
use super::tickets::TicketKeys;
use super::verify::Rules;
use crate::reference::{Source, SourceKey};

/// Where a secret comes from.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// `static_resources.secrets` of the bootstrap.
    Static,
    /// A secret discovery service.
    Sds(Source),
}

impl SecretSource {
    fn key(&self) -> Option<SourceKey> {
        match self {
            Self::Static => None,
            Self::Sds(source) => Some(source.key.clone()),
        }
    }
}

/// A secret, read and checked. Its content is in no `Debug`.
#[derive(Clone, Debug)]
pub enum Secret {
    /// `tls_certificate`
    Certificate(Arc<Identity>),
    /// `validation_context`
    Validation(Arc<Rules>),
    /// `session_ticket_keys`
    TicketKeys(Arc<TicketKeys>),
    /// `generic_secret`: for filters; no TLS context takes it.
    Generic,
}

impl Secret {
    /// What kind it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "tls_certificate",
            Self::Validation(_) => "validation_context",
            Self::TicketKeys(_) => "session_ticket_keys",
            Self::Generic => "generic_secret",
        }
    }
}

/// A secret as it is delivered.
#[derive(Debug)]
pub struct Delivered {
    /// The secret.
    pub secret: Secret,
    /// The files it was read from, to be read again when they change.
    pub watch: Option<Watch>,
}

/// A secret that was not taken, and what is in force goes on.
#[derive(Debug, thiserror::Error)]
#[error("the secret {name:?} is not taken, what was in force goes on: {source}")]
pub struct NotTaken {
    /// Its name.
    pub name: Arc<str>,
    /// Which context cannot use it, and why.
    pub source: ContextError,
}

/// A place for a secret.
pub struct Slot {
    /// Its name; empty for an inline one.
    pub name: Arc<str>,
    source: SecretSource,
    secret: ArcSwapOption<Secret>,
    watch: Mutex<Option<Watch>>,
    contexts: Mutex<Vec<Weak<dyn Dependent>>>,
}

/// What is built from secrets.
pub trait Dependent: Send + Sync {
    /// Builds it from the slots as they are now. What is returned puts it in force.
    ///
    /// # Errors
    /// The secrets do not make a whole.
    fn prepare(self: Arc<Self>) -> Result<Box<dyn FnOnce() + Send>, ContextError>;

    /// What it holds, for the admin server and for stats.
    fn inventory(&self) -> Inventory;
}

/// All slots and contexts.
pub struct Secrets {
    slots: Mutex<Table>,
    /// Held while contexts are switched.
    updating: Mutex<()>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Table {
    /// By the key of their source, `None` for static ones, and by name.
    named: HashMap<(Option<SourceKey>, Arc<str>), Weak<Slot>>,
    /// Static secrets stay though nothing refers to them yet.
    kept: Vec<Arc<Slot>>,
    watched: Vec<Weak<Slot>>,
    contexts: Vec<Weak<dyn Dependent>>,
}

impl Default for Secrets {
    fn default() -> Self {
        Self { slots: Mutex::default(), updating: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Secrets {
    /// The slot of a named secret, made if there is none. It lives as long as somebody holds it.
    pub fn slot(&self, source: SecretSource, name: &str) -> Arc<Slot> {
        let mut table = locked(&self.slots);
        let key = (source.key(), Arc::from(name));
        if let Some(slot) = table.named.get(&key).and_then(Weak::upgrade) {
            return slot;
        }
        table.named.retain(|_, slot| slot.strong_count() > 0);
        let slot = Arc::new(Slot::new(key.1.clone(), source));
        if key.0.is_none() {
            table.kept.push(slot.clone());
        }
        table.named.insert(key, Arc::downgrade(&slot));
        drop(table);
        self.changed.send_modify(|count| *count += 1);
        slot
    }

    /// Whether a static secret exists.
    pub fn has_static(&self, name: &str) -> bool {
        locked(&self.slots).kept.iter().any(|slot| &*slot.name == name)
    }

    /// A slot for an inline secret.
    pub fn inline(&self, delivered: Delivered) -> Arc<Slot> {
        let slot = Arc::new(Slot::new(Arc::default(), SecretSource::Static));
        slot.secret.store(Some(Arc::new(delivered.secret)));
        self.watch(&slot, delivered.watch);
        slot
    }

    /// The SDS secrets that contexts refer to now: where each is to be had, and its name.
    pub fn wanted(&self) -> Vec<(Source, Arc<str>)> {
        let table = locked(&self.slots);
        let source = |slot: Arc<Slot>| match &slot.source {
            SecretSource::Static => None,
            SecretSource::Sds(source) => Some((source.clone(), slot.name.clone())),
        };
        table.named.values().filter_map(Weak::upgrade).filter_map(source).collect()
    }

    /// Tells when [`Secrets::wanted`] may have grown.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Delivers a secret of the bootstrap.
    ///
    /// # Errors
    /// A context cannot use it; then no context does.
    pub fn update_static(&self, name: &str, delivered: Delivered) -> Result<(), NotTaken> {
        let slot = self.slot(SecretSource::Static, name);
        self.deliver(&slot, delivered)
    }

    /// Delivers a secret of a discovery service. Contexts that use it serve new handshakes with it from now on; connections
    /// live on. A secret that nobody refers to is dropped.
    ///
    /// # Errors
    /// A context cannot use it; then no context does.
    pub fn update(&self, source: &SourceKey, name: &str, delivered: Delivered) -> Result<(), NotTaken> {
        match self.known(source, name) {
            Some(slot) => self.deliver(&slot, delivered),
            None => Ok(()),
        }
    }

    /// Takes a secret away, because its source says that it is gone. Contexts that need it serve nothing until it comes
    /// again.
    pub fn remove(&self, source: &SourceKey, name: &str) {
        if let Some(slot) = self.known(source, name) {
            // A context without all its secrets is always possible: it serves nothing.
            let _ = self.switch(&slot, None);
        }
    }

    fn known(&self, source: &SourceKey, name: &str) -> Option<Arc<Slot>> {
        locked(&self.slots).named.get(&(Some(source.clone()), Arc::from(name))).and_then(Weak::upgrade)
    }

    fn deliver(&self, slot: &Arc<Slot>, delivered: Delivered) -> Result<(), NotTaken> {
        let Delivered { secret, watch } = delivered;
        self.switch(slot, Some(secret))?;
        self.watch(slot, watch);
        Ok(())
    }

    /// Puts a secret into its slot and rebuilds what depends on it: all of it, or nothing.
    pub(super) fn switch(&self, slot: &Arc<Slot>, secret: Option<Secret>) -> Result<(), NotTaken> {
        let _guard = locked(&self.updating);
        let before = slot.secret.swap(secret.map(Arc::new));
        let contexts: Vec<_> = locked(&slot.contexts).iter().filter_map(Weak::upgrade).collect();
        let mut switches = Vec::with_capacity(contexts.len());
        for context in contexts {
            match context.prepare() {
                Ok(switch) => switches.push(switch),
                Err(error) => {
                    slot.secret.store(before);
                    return Err(NotTaken { name: slot.name.clone(), source: error });
                }
            }
        }
        for switch in switches {
            switch();
        }
        Ok(())
    }

    /// Registers a context with the slots it refers to, and puts it in force as far as they are filled.
    ///
    /// # Errors
    /// The secrets that are there do not make a whole.
    pub(super) fn register(
        &self,
        context: &Arc<impl Dependent + 'static>,
        slots: &[&Arc<Slot>],
    ) -> Result<(), ContextError> {
        let _guard = locked(&self.updating);
        context.clone().prepare()?();
        let context: Arc<dyn Dependent> = context.clone();
        let context = Arc::downgrade(&context);
        for slot in slots {
            let mut contexts = locked(&slot.contexts);
            contexts.retain(|context| context.strong_count() > 0);
            contexts.push(context.clone());
        }
        let mut table = locked(&self.slots);
        table.contexts.retain(|context| context.strong_count() > 0);
        table.contexts.push(context);
        Ok(())
    }

    /// What all contexts hold.
    pub fn inventory(&self) -> Vec<Inventory> {
        let contexts = locked(&self.slots).contexts.clone();
        contexts.iter().filter_map(Weak::upgrade).map(|context| context.inventory()).collect()
    }

    fn watch(&self, slot: &Arc<Slot>, watch: Option<Watch>) {
        let watched = watch.is_some();
        *locked(&slot.watch) = watch;
        if watched {
            let mut table = locked(&self.slots);
            table.watched.retain(|other| other.strong_count() > 0 && !other.ptr_eq(&Arc::downgrade(slot)));
            table.watched.push(Arc::downgrade(slot));
        }
    }

    /// Reads again what has changed on disk since the last time. Files are read on the calling thread.
    pub fn check_files(&self) {
        let watched = locked(&self.slots).watched.clone();
        for slot in watched.iter().filter_map(Weak::upgrade) {
            let changed = locked(&slot.watch).as_mut().and_then(Watch::reread);
            let Some(read) = changed else { continue };
            let outcome = match read {
                Ok(secret) => self.switch(&slot, Some(secret)).map_err(|error| error.to_string()),
                Err(reason) => Err(reason),
            };
            let files = locked(&slot.watch).as_ref().map(Watch::shown).unwrap_or_default();
            match outcome {
                Ok(()) => tracing::info!(target: "secret", "read again, for they have changed: {files}"),
                Err(reason) => {
                    tracing::warn!(target: "secret", "{files} changed and cannot be used, what was in force goes on: {reason}");
                }
            }
        }
    }
}

impl Slot {
    fn new(name: Arc<str>, source: SecretSource) -> Self {
        Self {
            name,
            source,
            secret: ArcSwapOption::empty(),
            watch: Mutex::default(),
            contexts: Mutex::default(),
        }
    }

    /// Where the secret is to be had, if it is discovered and has not come.
    pub fn awaited(&self) -> Option<(Source, Arc<str>)> {
        match &self.source {
            SecretSource::Sds(source) if self.secret.load().is_none() => {
                Some((source.clone(), self.name.clone()))
            }
            _ => None,
        }
    }

    /// The secret, if it has arrived.
    pub fn secret(&self) -> Option<Arc<Secret>> {
        self.secret.load_full()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({:?})", self.name)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
