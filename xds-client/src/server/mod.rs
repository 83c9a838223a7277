//! A small control plane: delta ADS over gRPC from a [`Catalog`], with nonces, versions, and a report of every answer.
//!
//! ```text
//! Catalog::change --> version n --> session of each proxy (state machine, no I/O) --> response with a nonce
//!                                      '<-- ACK or NACK --> Answered
//! ```
//! Enough of the protocol for every delta client: wildcard and named subscriptions, `initial_resource_versions`, removals, one
//! response of a type in flight, parents before children. `sampan demo` and tests run it; it is no product.

mod catalog;
mod session;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use sampan_api::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use catalog::{Catalog, Item, ItemError};

use self::session::Session;
use crate::kinds::ADS_DELTA;
use crate::transport::serve::{Method, Requests, serve};

/// What a proxy said to a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// `node.id`
    pub node: String,
    /// The type of the response.
    pub type_url: String,
    /// The catalog's version that it was made of.
    pub version: u64,
    /// `error_detail.message`: why it was refused; `None` if it was accepted.
    pub error: Option<String>,
}

/// A running control plane. It ends, with all of its connections, when it is dropped.
pub struct AdsServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl AdsServer {
    /// Serves the catalog on a listener and tells `answers` what proxies say; a stream is not read on while nobody takes that.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn start(
        listener: TcpListener,
        catalog: Arc<Catalog>,
        answers: mpsc::Sender<Answered>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let task = tokio::spawn(serve(listener, Aggregated { catalog, answers }));
        Ok(Self { address, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for AdsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// `DeltaAggregatedResources`
#[derive(Clone)]
struct Aggregated {
    catalog: Arc<Catalog>,
    answers: mpsc::Sender<Answered>,
}

impl Method for Aggregated {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;
    const PATH: &'static str = ADS_DELTA;

    fn call(&self, requests: Requests<DeltaDiscoveryRequest>) -> mpsc::Receiver<DeltaDiscoveryResponse> {
        let (responses, queue) = mpsc::channel(1);
        tokio::spawn(converse(self.clone(), requests, responses));
        queue
    }
}

/// One stream, until one side ends it.
async fn converse(
    plane: Aggregated,
    mut requests: Requests<DeltaDiscoveryRequest>,
    responses: mpsc::Sender<DeltaDiscoveryResponse>,
) {
    let mut session = Session::default();
    let mut changes = plane.catalog.changes();
    loop {
        changes.mark_unchanged();
        while let Some(response) = plane.catalog.read(|contents| session.response(contents)) {
            if responses.send(response).await.is_err() {
                return;
            }
        }
        tokio::select! {
            request = requests.message() => match request {
                Ok(Some(request)) => {
                    if let Some(answered) = session.request(request)
                        && plane.answers.send(answered).await.is_err()
                    {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => return tracing::debug!(%error, "a proxy's stream ended"),
            },
            // The catalog, which holds the sender, is in `plane`.
            _ = changes.changed() => {}
        }
    }
}
