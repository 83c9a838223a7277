//! The configuration of `istio.stats` for connections: see [`crate::config::istio_stats`].

use std::sync::Arc;

use sampan_filters_api::network::NetworkFilterFactory;

use super::ConnectionStats;
use crate::config::{Compiled, FilterContext, istio_stats};

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn NetworkFilterFactory>> {
    Ok(Arc::new(ConnectionStats(istio_stats::settings(bytes, context)?)))
}
