//! Sources that run one task for each type, started with the type's first subscription: own gRPC streams, REST, files.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::Backend;
use super::shared::Shared;
use crate::event::{Names, TypeUrl};
use crate::protocol::Machine;
use crate::status::Status;

/// A state machine and the task that drives it, which ends with this.
pub(super) struct Running<M> {
    pub(super) shared: Arc<Shared<M>>,
    pub(super) task: JoinHandle<()>,
}

impl<M> Drop for Running<M> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<M: Machine> Backend for Running<M> {
    fn subscribe(&self, type_url: &TypeUrl, names: &Names, fetch_timeout: Duration) {
        self.shared.subscribe(type_url, names, fetch_timeout);
    }

    fn unsubscribe(&self, type_url: &TypeUrl, names: &[String]) {
        self.shared.unsubscribe(type_url, names);
    }

    fn status(&self) -> Status {
        Status { streams: vec![self.shared.status()] }
    }
}

/// Starts the task of a type on a runtime; none when the source cannot have that type.
type Start<M> = dyn Fn(&TypeUrl, &Handle) -> Option<Running<M>> + Send + Sync;

/// One [`Running`] for each type.
pub(super) struct PerType<M> {
    start: Box<Start<M>>,
    runtime: Handle,
    running: Mutex<HashMap<TypeUrl, Running<M>>>,
}

impl<M> PerType<M> {
    /// Tasks will run on the current runtime.
    pub(super) fn new(
        start: impl Fn(&TypeUrl, &Handle) -> Option<Running<M>> + Send + Sync + 'static,
    ) -> Self {
        Self { start: Box::new(start), runtime: Handle::current(), running: Mutex::default() }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<TypeUrl, Running<M>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Machine> Backend for PerType<M> {
    fn subscribe(&self, type_url: &TypeUrl, names: &Names, fetch_timeout: Duration) {
        let mut running = self.running();
        if let Some(one) = running.get(type_url) {
            one.subscribe(type_url, names, fetch_timeout);
        } else if let Some(one) = (self.start)(type_url, &self.runtime) {
            one.subscribe(type_url, names, fetch_timeout);
            running.insert(Arc::clone(type_url), one);
        }
    }

    fn unsubscribe(&self, type_url: &TypeUrl, names: &[String]) {
        if let Some(one) = self.running().get(type_url) {
            one.unsubscribe(type_url, names);
        }
    }

    fn status(&self) -> Status {
        Status { streams: self.running().values().map(|one| one.shared.status()).collect() }
    }
}
