//! `istio.alpn`: offers upstream other application protocols than the cluster's configuration, by the HTTP version that is spoken.
//!
//! So a sidecar tells the one at the other end what is inside of the TLS stream (`istio-http/1.1`), and its listener finds the right
//! filter chain. Connections that offer different lists are kept apart by the pool. A cluster without TLS gets no instance.

pub mod config;
#[cfg(test)]
mod tests;

use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Start, Stream};
use sampan_filters_api::info::MetadataValue;
use sampan_filters_api::{Protocol, ProtocolSet};

/// The factory: what to offer, by protocol.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alpn {
    http10: Option<ProtocolSet>,
    http11: Option<ProtocolSet>,
    http2: Option<ProtocolSet>,
}

struct Instance(ProtocolSet);

impl Alpn {
    /// Adds what to offer by a protocol. The first word counts, as in Istio.
    pub fn add(&mut self, protocol: Protocol, set: Option<ProtocolSet>) {
        let slot = match protocol {
            Protocol::Http10 => &mut self.http10,
            Protocol::Http11 => &mut self.http11,
            Protocol::Http2 => &mut self.http2,
        };
        if slot.is_none() {
            *slot = set;
        }
    }

    fn set(&self, protocol: Protocol) -> Option<ProtocolSet> {
        match protocol {
            Protocol::Http10 => self.http10,
            Protocol::Http11 => self.http11,
            Protocol::Http2 => self.http2,
        }
    }
}

impl HttpFilterFactory for Alpn {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        start.cluster?;
        let facts = (start.upstream)().filter(|facts| facts.tls)?;
        if let Some(MetadataValue::String(word)) = facts.metadata(&["istio", "alpn_override"])
            && &**word == "false"
        {
            return None;
        }
        let set = self.set(facts.protocol(start.info.protocol.unwrap_or_default()))?;
        Some(Box::new(Instance(set)))
    }
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        stream.info.upstream.protocols = Some(self.0);
        Flow::Continue
    }
}
