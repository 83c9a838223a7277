//! The configuration of the network filter `direct_response`.

use std::sync::Arc;

use bytes::Bytes;
use sampan_api::envoy::extensions::filters::network::direct_response::v3 as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::network::NetworkFilterFactory;

use super::DirectResponse;
use crate::config::{Compiled, FilterContext, data_source, payload};

/// What is read here.
pub const SUPPORT: &[MessageSupport] =
    &[("envoy.extensions.filters.network.direct_response.v3.Config", &[("response", Support::Supported)])];

/// The longest response; it is kept in memory.
const LIMIT: usize = 1 << 20;

/// Makes the factory.
pub fn compile(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<Arc<dyn NetworkFilterFactory>> {
    let proto: pb::Config = payload(bytes)?;
    let response = match &proto.response {
        Some(source) => data_source(source, LIMIT, "response").map_err(|error| vec![error])?,
        None => Vec::new(),
    };
    Ok(Arc::new(DirectResponse { response: Bytes::from(response) }))
}
