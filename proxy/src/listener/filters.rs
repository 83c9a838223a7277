//! Listener filters: what is learned of a connection between its acceptance and the choice of its filter chain.
//!
//! ```text
//! accepted --filter, filter, ..--> facts known --hand-off to the listener of the restored address--> its own filters
//!              |  needs bytes: peeks                          '--> filter chain
//!              '--> refused, or the time is over: closed, or goes on with what is known
//! ```
//!
//! Called by `worker/serve.rs`, and only for listeners that have such filters. What they find goes into the
//! [`ConnectionInfo`]; the bytes stay in the socket. Each filter has a file: [`original_dst`],
//! [`original_src`], [`tls_inspector`], [`http_inspector`], [`proxy_protocol`].

mod client_hello;
pub mod http_inspector;
pub mod original_dst;
pub mod original_src;
pub mod predicate;
pub mod proxy_header;
pub mod proxy_protocol;
mod stats;
pub mod tls_inspector;

use std::time::Duration;

use sampan_filters_api::ConnectionInfo;

use self::original_src::OriginalSrc;
use self::predicate::Predicate;
use self::proxy_protocol::ProxyProtocol;
pub(crate) use self::stats::FilterStats;
use self::tls_inspector::TlsInspector;
use super::accepted::{Accepted, Unseen};
use crate::worker::Worker;

/// The filters of a listener that has some, or that hands connections over.
#[derive(Debug)]
pub struct ListenerFilters {
    /// `listener_filters`; `use_original_dst` puts `original_dst` first.
    pub filters: Vec<FilterEntry>,
    /// `listener_filters_timeout`: how long all of them may take together.
    pub timeout: Option<Duration>,
    /// `continue_on_listener_filters_timeout`
    pub continue_on_timeout: bool,
    /// `use_original_dst`: the listener of the restored address gets the connection, if there is one.
    pub hand_off: bool,
}

/// A filter in its place.
#[derive(Debug)]
pub struct FilterEntry {
    /// The filter.
    pub filter: ListenerFilter,
    /// `filter_disabled`: connections that it does not look at.
    pub disabled: Option<Predicate>,
}

/// The filters that there are.
#[derive(Debug)]
pub enum ListenerFilter {
    /// `envoy.filters.listener.original_dst`
    OriginalDst,
    /// `envoy.filters.listener.tls_inspector`
    TlsInspector(TlsInspector),
    /// `envoy.filters.listener.http_inspector`
    HttpInspector,
    /// `envoy.filters.listener.proxy_protocol`
    ProxyProtocol(Box<ProxyProtocol>),
    /// `envoy.filters.listener.original_src`
    OriginalSrc(OriginalSrc),
}

/// Why a connection gets no filter chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The filters took too long.
    Timeout,
    /// The client closed before it said enough.
    RemoteClose,
    /// The connection broke.
    Error,
    /// A filter will not have it, and has counted it.
    Filter,
}

impl ListenerFilters {
    /// Asks every filter about a connection.
    ///
    /// # Errors
    /// The connection is to be closed.
    pub(crate) async fn run(
        &self,
        worker: &Worker,
        socket: &mut Accepted,
        info: &mut ConnectionInfo,
    ) -> Result<(), Refusal> {
        let asked = self.ask(worker, socket, info);
        match self.timeout {
            None => asked.await,
            Some(limit) => tokio::time::timeout(limit, asked).await.unwrap_or(Err(Refusal::Timeout)),
        }
    }

    async fn ask(
        &self,
        worker: &Worker,
        socket: &mut Accepted,
        info: &mut ConnectionInfo,
    ) -> Result<(), Refusal> {
        for entry in &self.filters {
            if entry.disabled.as_ref().is_some_and(|disabled| disabled.holds(info)) {
                continue;
            }
            match &entry.filter {
                ListenerFilter::OriginalDst => original_dst::restore(socket, info),
                ListenerFilter::TlsInspector(inspector) => inspector.inspect(worker, socket, info).await?,
                ListenerFilter::HttpInspector => http_inspector::inspect(worker, socket, info).await?,
                ListenerFilter::ProxyProtocol(protocol) => protocol.read(worker, socket, info).await?,
                ListenerFilter::OriginalSrc(source) => source.note(info),
            }
        }
        Ok(())
    }
}

/// What becomes of a connection whose first bytes cannot be seen.
fn refusal(unseen: Unseen) -> Refusal {
    match unseen {
        // No bytes will come that could still tell, so waiting for the time to be over is of no use.
        Unseen::Ended(_) => Refusal::RemoteClose,
        Unseen::TooMany => Refusal::Filter,
        Unseen::Broken(_) => Refusal::Error,
    }
}
