//! Sources of configuration as tasks: each runs a state machine over a transport and tells what happens as [`Event`]s.
//!
//! [`Source`] is the handle that the control thread keeps. `stream.rs` drives a gRPC stream (aggregated, or of one type), `rest.rs`
//! polls, `file.rs` reads and watches. Tasks are started on the runtime in which the source is made, and end with its last handle.

mod file;
mod per_type;
mod rest;
mod settings;
mod shared;
mod stream;
mod text;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

pub use settings::{FileSettings, RestSettings, StreamSettings, Variant};

use crate::event::{Event, Names, SourceId, TypeUrl};
use crate::kinds::{ADS_DELTA, ADS_STREAM};
use crate::protocol::{DEFAULT_FETCH_TIMEOUT, Delta, Sotw};
use crate::status::Status;

/// Where configuration of some types comes from. Clones are the same source; its tasks end when the last one is dropped.
#[derive(Clone)]
pub struct Source {
    backend: Arc<dyn Backend>,
}

/// What the kinds of sources have in common.
trait Backend: Send + Sync {
    fn subscribe(&self, type_url: &TypeUrl, names: &Names, fetch_timeout: Duration);
    fn unsubscribe(&self, type_url: &TypeUrl, names: &[String]);
    fn status(&self) -> Status;
}

impl Source {
    /// One gRPC stream for all types (`ads_config`). It is opened at once. Must be called within a tokio runtime.
    pub fn ads(id: SourceId, settings: StreamSettings, events: mpsc::Sender<Event>) -> Self {
        let backend: Arc<dyn Backend> = match settings.variant {
            Variant::StateOfTheWorld => {
                Arc::new(stream::aggregated::<Sotw>(id, settings, ADS_STREAM, events))
            }
            Variant::Delta => Arc::new(stream::aggregated::<Delta>(id, settings, ADS_DELTA, events)),
        };
        Self { backend }
    }

    /// A gRPC stream for each type, on the type's own service, opened with its first subscription. A type that has no service of its
    /// own is reported as failed. Must be called within a tokio runtime.
    pub fn grpc(id: SourceId, settings: StreamSettings, events: mpsc::Sender<Event>) -> Self {
        let backend: Arc<dyn Backend> = match settings.variant {
            Variant::StateOfTheWorld => Arc::new(stream::separate::<Sotw>(id, settings, events)),
            Variant::Delta => Arc::new(stream::separate::<Delta>(id, settings, events)),
        };
        Self { backend }
    }

    /// Polling over HTTP, type by type. Must be called within a tokio runtime.
    pub fn rest(id: SourceId, settings: RestSettings, events: mpsc::Sender<Event>) -> Self {
        Self { backend: Arc::new(rest::source(id, settings, events)) }
    }

    /// A file. It holds resources of one type; every type that is subscribed is looked for in it. Must be called within a tokio runtime.
    pub fn file(id: SourceId, settings: FileSettings, events: mpsc::Sender<Event>) -> Self {
        Self { backend: Arc::new(file::source(id, settings, events)) }
    }

    /// Asks for resources, in addition to what is asked for already. Those that are new must come within `initial_fetch_timeout`, or a
    /// [`Event::FetchTimeout`] tells; zero is for ever, none is 15 seconds. Requests for what is asked for in one go go out as one.
    pub fn subscribe(&self, type_url: &TypeUrl, names: Names, initial_fetch_timeout: Option<Duration>) {
        self.backend.subscribe(type_url, &names, initial_fetch_timeout.unwrap_or(DEFAULT_FETCH_TIMEOUT));
    }

    /// Asks for resources no more; the name `*` stands for the wildcard.
    pub fn unsubscribe(&self, type_url: &TypeUrl, names: &[String]) {
        self.backend.unsubscribe(type_url, names);
    }

    /// The source as it is now.
    pub fn status(&self) -> Status {
        self.backend.status()
    }
}
