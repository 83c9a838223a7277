//! Proto -> domain. The only place (with the filters' `config.rs`) that knows proto types.
//!
//! A compile function takes a proto value, a [`Scope`] and, where it needs more than the value, the [`Context`], and
//! returns the domain value, or `None` after it has told the scope what is wrong. It goes on after an error where it can,
//! so that one run reports all of them. Each module says in its `SUPPORT` rows which fields it reads.

pub mod access_log;
pub mod bootstrap;
pub mod cluster;
pub mod custom_tag;
pub mod endpoints;
pub mod extension;
pub mod format;
pub mod headers;
pub mod http;
pub mod labels;
pub mod listener;
pub mod local_reply;
pub mod matcher;
pub mod network;
pub mod route;
pub mod runtime;
pub mod scope;
pub mod source;
pub mod stats_config;
pub mod tls;
pub mod trace;
pub mod value;

#[cfg(test)]
mod testing;

pub use scope::{Reject, Scope};

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sampan_api::envoy::config::trace::v3::tracing::Http as TracingProvider;
use sampan_filters::config::FilterContext;
use sampan_filters_api::{CounterStore, Direction, NodeFacts, SeriesStore};

use crate::reference::Names;
use crate::runtime::Runtime;
use crate::snapshot::SlotNames;
use crate::telemetry::access_log::{LogFiles, LogServices};
use crate::telemetry::trace::SpanSinks;

/// What compiling needs to know besides the resource itself.
#[derive(Clone)]
pub struct Context {
    /// Where cluster names become slots.
    pub slots: Arc<SlotNames>,
    /// Where the names of discovered route configurations become slots.
    pub routes: Arc<Names>,
    /// Where the names of discovered scopes become slots.
    pub scopes: Arc<Names>,
    /// Where the names of discovered filters become slots.
    pub extensions: Arc<Names>,
    /// The runtime layers.
    pub runtime: Arc<Runtime>,
    /// Names of the clusters that exist, by which `validate_clusters` judges.
    pub clusters: Arc<HashSet<Box<str>>>,
    /// `node.cluster`, or `--service-cluster`.
    pub service_cluster: Arc<str>,
    /// `node.id`, or `--service-node`.
    pub service_node: Arc<str>,
    /// The files of access logs.
    pub log_files: Arc<LogFiles>,
    /// The services that access logs are sent to.
    pub log_services: Arc<LogServices>,
    /// Where the spans of traces are sent.
    pub span_sinks: Arc<SpanSinks>,
    /// `node.locality.zone`, or `--service-zone`.
    pub service_zone: Arc<str>,
    /// `tracing.http` of the bootstrap: the provider where a connection manager names none.
    pub tracing_provider: Option<Arc<TracingProvider>>,
    /// What TLS contexts are compiled with.
    pub tls: tls::Inputs,
    /// Where the filters' counters are kept.
    pub counters: Arc<CounterStore>,
    /// Whether the proxy is to fail its health checks (`POST /healthcheck/fail`), for filters.
    pub failing: Arc<AtomicBool>,
    /// Where the filters' metrics with labels are kept.
    pub series: Arc<dyn SeriesStore>,
    /// The proxy's own node, for filters.
    pub node: Arc<NodeFacts>,
    /// `traffic_direction` of the listener that is compiled.
    pub direction: Direction,
}

impl Context {
    /// What the filter of a name may know; `prefix` is what the names of its counters begin with.
    pub fn for_filter<'a>(&'a self, name: &'a str, prefix: &'a str) -> FilterContext<'a> {
        FilterContext {
            counters: &self.counters,
            name,
            prefix,
            service_cluster: &self.service_cluster,
            failing: &self.failing,
            series: &self.series,
            node: &self.node,
            direction: self.direction,
        }
    }
}
