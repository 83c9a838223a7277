//! Filters of a cluster (`Cluster.filters`): what is exchanged with a host before anything else.
//!
//! Asked by [`super::connect`] for each connection that was opened; a cluster without filters pays nothing.

use std::fmt;
use std::io;
use std::sync::Arc;

use sampan_filters_api::info::TlsInfo;
use sampan_filters_api::network::{UpstreamFilterFactory, UpstreamState};

use crate::net::io::Io;

/// The filters of a cluster, in order.
#[derive(Clone, Default)]
pub struct UpstreamFilters(pub Arc<[Arc<dyn UpstreamFilterFactory>]>);

impl UpstreamFilters {
    /// Lets them exchange what they want over a new connection; what they learned of it, or will.
    pub(super) async fn begin(&self, io: &Io, tls: Option<&TlsInfo>) -> io::Result<Option<UpstreamState>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let state = UpstreamState::default();
        for filter in &*self.0 {
            if let Some(preamble) = filter.connected(tls, &state) {
                io.begin(preamble).await?;
            }
        }
        Ok(Some(state))
    }
}

impl fmt::Debug for UpstreamFilters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UpstreamFilters").field(&self.0.len()).finish()
    }
}
