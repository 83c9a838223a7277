//! What the configuration says of a listener, a filter chain and a route, for filters, logs and expressions; shared by all that goes by them.

use std::sync::Arc;

use super::MetadataValue;
use crate::node::{Direction, NodeFacts};

/// What is known of a listener.
#[derive(Clone, Debug, Default)]
pub struct ListenerFacts {
    /// `name`
    pub name: Arc<str>,
    /// `metadata`, by namespace.
    pub metadata: Option<MetadataValue>,
    /// `traffic_direction`
    pub direction: Direction,
    /// The node that the proxy is.
    pub node: Arc<NodeFacts>,
}

/// What is known of a filter chain.
#[derive(Clone, Debug, Default)]
pub struct ChainFacts {
    /// `name`; may be empty.
    pub name: Box<str>,
    /// `metadata`, by namespace.
    pub metadata: Option<MetadataValue>,
}

/// What is known of a virtual host.
#[derive(Clone, Debug, Default)]
pub struct VirtualHostFacts {
    /// `name`
    pub name: Box<str>,
    /// `metadata`, by namespace.
    pub metadata: Option<MetadataValue>,
}

/// What is known of a route.
#[derive(Clone, Debug, Default)]
pub struct RouteFacts {
    /// `name`; none if empty.
    pub name: Option<Box<str>>,
    /// `metadata`, by namespace.
    pub metadata: Option<MetadataValue>,
    /// The virtual host that it is of.
    pub host: Arc<VirtualHostFacts>,
}
