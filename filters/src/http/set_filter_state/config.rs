//! The configuration of the filter; a route's own is the same message.

use std::sync::Arc;

use sampan_api::envoy::extensions::filters::http::set_filter_state::v3 as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};

use super::{SetFilterState, States};
use crate::config::{Compiled, FilterContext, payload, state};

const YES: Support = Support::Supported;

/// Full name of the message, for the filter and for routes.
pub const MESSAGE: &str = "envoy.extensions.filters.http.set_filter_state.v3.Config";

/// What is read here.
pub const SUPPORT: &[MessageSupport] =
    &[(MESSAGE, &[("on_request_headers", YES), ("clear_route_cache", YES)])];

/// Makes the factory.
pub fn compile(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    Ok(Arc::new(SetFilterState(Arc::new(states(bytes)?))))
}

/// Compiles the values of a route or virtual host.
pub fn compile_route(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<RouteConfig> {
    Ok(Arc::new(states(bytes)?))
}

fn states(bytes: &[u8]) -> Compiled<States> {
    let proto: pb::Config = payload(bytes)?;
    let mut errors = Vec::new();
    let values =
        state::values(&proto.on_request_headers, state::OF_REQUESTS, "on_request_headers", &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(States { values, clear_route: proto.clear_route_cache })
}
