//! The configuration of `istio.stats` for requests: see [`crate::config::istio_stats`].

use std::sync::Arc;

use sampan_filters_api::http::HttpFilterFactory;

use super::RequestStats;
use crate::config::{Compiled, FilterContext, istio_stats};

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    Ok(Arc::new(RequestStats(istio_stats::settings(bytes, context)?)))
}
