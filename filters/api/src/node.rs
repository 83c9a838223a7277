//! What filters may know of the proxy itself and of the listener that they are in.

use std::sync::Arc;

use crate::info::MetadataValue;

/// The node, as the bootstrap and the flags have it.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    /// `node.id`
    pub id: Arc<str>,
    /// `node.cluster`
    pub cluster: Arc<str>,
    /// `node.metadata`, a struct
    pub metadata: MetadataValue,
    /// `node.locality.region`
    pub region: Arc<str>,
    /// `node.locality.zone`
    pub zone: Arc<str>,
    /// `node.locality.sub_zone`
    pub sub_zone: Arc<str>,
}

impl Default for NodeFacts {
    fn default() -> Self {
        Self {
            id: Arc::default(),
            cluster: Arc::default(),
            metadata: MetadataValue::Struct(Vec::new()),
            region: Arc::default(),
            zone: Arc::default(),
            sub_zone: Arc::default(),
        }
    }
}

impl NodeFacts {
    /// A text of the metadata.
    pub fn text(&self, path: &[&str]) -> &str {
        match self.metadata.at(path) {
            Some(MetadataValue::String(text)) => text,
            _ => "",
        }
    }
}

/// `traffic_direction` of a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Not said
    #[default]
    Unspecified,
    /// To this workload
    Inbound,
    /// From this workload
    Outbound,
}
