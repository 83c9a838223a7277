//! The configuration of the filter; a route's own is the same message.

use std::sync::Arc;

use sampan_api::envoy::extensions::filters::http::csrf::v3 as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::RuntimeFraction;
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};

use super::{COUNTERS, Csrf, Policy};
use crate::config::{Compiled, ConfigError, FilterContext, fraction, matcher, payload};

const YES: Support = Support::Supported;

/// Full name of the message, for the filter and for routes.
pub const MESSAGE: &str = "envoy.extensions.filters.http.csrf.v3.CsrfPolicy";

/// What is read here.
pub const SUPPORT: &[MessageSupport] =
    &[(MESSAGE, &[("filter_enabled", YES), ("shadow_enabled", YES), ("additional_origins", YES)])];

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    let counters = context.counters.counters(&format!("{}csrf.", context.prefix), COUNTERS);
    Ok(Arc::new(Csrf { policy: Arc::new(policy(bytes)?), counters }))
}

/// Compiles the policy of a route or virtual host.
pub fn compile_route(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<RouteConfig> {
    Ok(Arc::new(policy(bytes)?))
}

fn policy(bytes: &[u8]) -> Compiled<Policy> {
    let proto: pb::CsrfPolicy = payload(bytes)?;
    let mut errors = Vec::new();
    let Some(enabled) = &proto.filter_enabled else {
        return Err(vec![ConfigError::new("filter_enabled", "is required")]);
    };
    let each = proto.additional_origins.iter().enumerate();
    let origins = each
        .filter_map(|(index, rule)| {
            let rule = matcher::string(rule, &format!("additional_origins[{index}]"));
            rule.map_err(|error| errors.push(error)).ok()
        })
        .collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    let shadow = proto.shadow_enabled.as_ref().map_or_else(RuntimeFraction::never, fraction::fraction);
    Ok(Policy { enabled: fraction::fraction(enabled), shadow, origins })
}
