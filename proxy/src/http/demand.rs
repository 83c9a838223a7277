//! Virtual hosts that are fetched when the first request asks for them: a worker's side.
//!
//! With the `on_demand` filter, a request whose host is in no virtual host of a route configuration with `vhds` waits while the
//! control thread asks for it. The answer wakes it after it is published, so the look-up that follows sees it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::connection::HttpContext;
use super::route::RouteConfig;
use crate::reference::SourceKey;

/// A virtual host that a request needs.
#[derive(Debug)]
pub struct Demand {
    /// Where virtual hosts are to be had.
    pub source: SourceKey,
    /// Name of the route configuration.
    pub routes: Arc<str>,
    /// The host, as the request has it.
    pub host: String,
    /// Whom to tell when it was published, or is known not to exist.
    pub reply: oneshot::Sender<()>,
}

/// Demands that may wait for the control thread; what comes when it is that far behind finds no route.
pub const QUEUE: usize = 1024;

/// How long a request waits where the source has no limit of its own.
const PATIENCE: Duration = Duration::from_secs(15);

/// Waits until the host of a request has been asked for; false if it cannot be.
pub async fn wait(context: &HttpContext, routes: &RouteConfig, host: &[u8]) -> bool {
    let (Some(source), Ok(host)) = (&routes.virtual_hosts, std::str::from_utf8(host)) else { return false };
    let (reply, answered) = oneshot::channel();
    let demand = Demand {
        source: source.key.clone(),
        routes: routes.name.clone(),
        host: host.to_ascii_lowercase(),
        reply,
    };
    let sent: Result<(), mpsc::error::TrySendError<Demand>> = context.worker.shared.demands.try_send(demand);
    if sent.is_err() {
        return false;
    }
    let patience = source.fetch_timeout.unwrap_or(PATIENCE);
    matches!(tokio::time::timeout(patience, answered).await, Ok(Ok(())))
}
