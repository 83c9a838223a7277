//! The configuration of the filter, and what routes change of it.

use std::sync::Arc;

use sampan_api::envoy::extensions::filters::http::buffer::v3 as pb;
use sampan_api::envoy::extensions::filters::http::buffer::v3::buffer_per_route::Override;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};

use super::Buffer;
use crate::config::{Compiled, ConfigError, FilterContext, payload};

const YES: Support = Support::Supported;

/// Full name of the filter's message.
pub const MESSAGE: &str = "envoy.extensions.filters.http.buffer.v3.Buffer";
/// Full name of the per-route message.
pub const PER_ROUTE: &str = "envoy.extensions.filters.http.buffer.v3.BufferPerRoute";

/// What is read here.
pub const SUPPORT: &[MessageSupport] =
    &[(MESSAGE, &[("max_request_bytes", YES)]), (PER_ROUTE, &[("disabled", YES), ("buffer", YES)])];

/// Makes the factory.
pub fn compile(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    let proto: pb::Buffer = payload(bytes)?;
    Ok(Arc::new(buffer(proto, "max_request_bytes").map_err(|error| vec![error])?))
}

/// Compiles what a route or virtual host changes.
pub fn compile_route(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<RouteConfig> {
    let proto: pb::BufferPerRoute = payload(bytes)?;
    let found = match &proto.r#override {
        Some(Override::Disabled(true)) => Ok(Buffer { most: None }),
        Some(Override::Disabled(false)) => Err(ConfigError::new("disabled", "must be true")),
        Some(Override::Buffer(proto)) => buffer(*proto, "buffer.max_request_bytes"),
        None => Err(ConfigError::new("", "neither disabled nor buffer is given")),
    };
    Ok(Arc::new(found.map_err(|error| vec![error])?))
}

fn buffer(proto: pb::Buffer, path: &str) -> Result<Buffer, ConfigError> {
    match proto.max_request_bytes.map(|wrapper| wrapper.value) {
        Some(most) if most > 0 => Ok(Buffer { most: Some(most as usize) }),
        Some(_) => Err(ConfigError::new(path, "must be greater than 0")),
        None => Err(ConfigError::new(path, "is required")),
    }
}
