//! What the configuration says of a cluster, for filters; made once by each worker and shared by its streams.

use std::sync::Arc;

use super::MetadataValue;
use crate::head::Protocol;

/// How a cluster chooses the HTTP version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpChoice {
    /// HTTP/1.1
    #[default]
    Http1,
    /// HTTP/2
    Http2,
    /// That of the client
    Downstream,
    /// What ALPN settles on
    Settled,
}

/// What is known of a cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterFacts {
    /// `name`
    pub name: Arc<str>,
    /// `metadata`, by namespace.
    pub metadata: Option<Arc<MetadataValue>>,
    /// Whether any of its hosts is reached by TLS.
    pub tls: bool,
    /// Its HTTP version.
    pub http: HttpChoice,
}

impl ClusterFacts {
    /// The protocol that a request of a client is forwarded by; where ALPN settles it, the preferred one.
    pub fn protocol(&self, downstream: Protocol) -> Protocol {
        match self.http {
            HttpChoice::Http1 => Protocol::Http11,
            HttpChoice::Http2 | HttpChoice::Settled => Protocol::Http2,
            HttpChoice::Downstream if downstream == Protocol::Http2 => Protocol::Http2,
            HttpChoice::Downstream => Protocol::Http11,
        }
    }

    /// A value of the metadata: the namespace, then struct keys.
    pub fn metadata(&self, path: &[&str]) -> Option<&MetadataValue> {
        self.metadata.as_ref()?.at(path)
    }
}

/// What the configuration says of a host; made once with each pool and shared by its streams.
#[derive(Clone, Debug, Default)]
pub struct HostFacts {
    /// `metadata`, by namespace.
    pub metadata: Option<Arc<MetadataValue>>,
    /// Where it is.
    pub locality: LocalityFacts,
}

/// What the configuration says of where a host is.
#[derive(Clone, Debug, Default)]
pub struct LocalityFacts {
    /// `region`
    pub region: Box<str>,
    /// `zone`
    pub zone: Box<str>,
    /// `sub_zone`
    pub sub_zone: Box<str>,
}
