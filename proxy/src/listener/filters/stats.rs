//! Counters of listener filters, for all listeners together, as each worker writes them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::proxy_header::Version;
use crate::telemetry::stats::kinds::{self, ProxyErrorsCounter};
use crate::telemetry::stats::{Block, Stats, Writer};

/// A worker's counters of listener filters; made when the first connection meets such a filter.
pub(crate) struct FilterStats {
    /// `tls_inspector`
    pub(crate) tls_inspector: Arc<Block<kinds::TlsInspector>>,
    /// `http_inspector`
    pub(crate) http_inspector: Arc<Block<kinds::HttpInspector>>,
    /// `proxy_protocol`, by `stat_prefix`.
    proxy_protocol: RefCell<HashMap<Arc<str>, Rc<ProxyStats>>>,
    registry: Arc<Stats>,
    writer: Writer,
}

/// Counters of `proxy_protocol` filters with the same `stat_prefix`.
pub(crate) struct ProxyStats {
    /// Those of no version.
    pub(crate) block: Arc<Block<kinds::ProxyProtocol>>,
    versions: [Arc<Block<kinds::ProxyVersion>>; 2],
    errors: Arc<Block<kinds::ProxyErrors>>,
}

impl FilterStats {
    /// The counters that `writer` writes.
    pub(crate) fn new(registry: &Arc<Stats>, writer: Writer) -> Self {
        Self {
            tls_inspector: registry.block("", writer),
            http_inspector: registry.block("", writer),
            proxy_protocol: RefCell::default(),
            registry: registry.clone(),
            writer,
        }
    }

    /// The counters of a `stat_prefix`.
    pub(crate) fn proxy_protocol(&self, prefix: &Arc<str>) -> Rc<ProxyStats> {
        if let Some(known) = self.proxy_protocol.borrow().get(prefix) {
            return known.clone();
        }
        let stats = Rc::new(ProxyStats::new(prefix, &self.registry, self.writer));
        self.proxy_protocol.borrow_mut().insert(prefix.clone(), stats.clone());
        stats
    }
}

impl ProxyStats {
    fn new(prefix: &str, registry: &Arc<Stats>, writer: Writer) -> Self {
        let dotted = if prefix.is_empty() { String::new() } else { format!("{prefix}.") };
        Self {
            block: registry.block(prefix, writer),
            versions: ["v1", "v2"].map(|name| registry.block(&format!("{dotted}versions.{name}"), writer)),
            errors: registry.block("", writer),
        }
    }

    /// The counters of a version.
    pub(crate) fn version(&self, version: Version) -> &Block<kinds::ProxyVersion> {
        match version {
            Version::V1 => &self.versions[0],
            Version::V2 => &self.versions[1],
        }
    }

    /// Counts a header that is bad or missing.
    pub(crate) fn error(&self) {
        self.errors.inc(ProxyErrorsCounter::DownstreamCxProxyProtoError);
    }
}
