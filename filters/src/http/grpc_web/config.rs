//! The configuration of the gRPC-Web filter, which has no fields.

use std::sync::Arc;

use sampan_api::MessageSupport;
use sampan_api::envoy::extensions::filters::http::grpc_web::v3 as pb;
use sampan_filters_api::http::HttpFilterFactory;

use super::GrpcWeb;
use crate::config::{Compiled, FilterContext, payload};

/// Full name of the message.
pub const MESSAGE: &str = "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[(MESSAGE, &[])];

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    let _: pb::GrpcWeb = payload(bytes)?;
    Ok(Arc::new(GrpcWeb { store: Arc::clone(context.counters) }))
}
