//! The (empty) configuration of the echo filter.

use std::sync::Arc;

use sampan_api::MessageSupport;
use sampan_api::envoy::extensions::filters::network::echo::v3 as pb;
use sampan_filters_api::network::NetworkFilterFactory;

use super::Echo;
use crate::config::{Compiled, FilterContext, payload};

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[("envoy.extensions.filters.network.echo.v3.Echo", &[])];

/// Makes the factory.
pub fn compile(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<Arc<dyn NetworkFilterFactory>> {
    payload::<pb::Echo>(bytes)?;
    Ok(Arc::new(Echo))
}
