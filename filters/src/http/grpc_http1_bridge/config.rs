//! The configuration of the gRPC bridge.

use std::sync::Arc;

use sampan_api::envoy::extensions::filters::http::grpc_http1_bridge::v3 as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::http::HttpFilterFactory;

use super::Bridge;
use crate::config::{Compiled, FilterContext, payload};

const YES: Support = Support::Supported;

/// Full name of the message.
pub const MESSAGE: &str = "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config";

/// What is read here.
pub const SUPPORT: &[MessageSupport] =
    &[(MESSAGE, &[("upgrade_protobuf_to_grpc", YES), ("ignore_query_parameters", YES)])];

/// Makes the factory.
pub fn compile(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    let proto: pb::Config = payload(bytes)?;
    Ok(Arc::new(Bridge {
        upgrades: proto.upgrade_protobuf_to_grpc,
        ignores_query: proto.ignore_query_parameters,
    }))
}
