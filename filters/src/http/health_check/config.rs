//! The configuration of the health check filter.

use std::sync::Arc;

use sampan_api::envoy::extensions::filters::http::health_check::v3 as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::http::HttpFilterFactory;

use super::{COUNTERS, HealthCheck, Settings};
use crate::config::{Compiled, ConfigError, FilterContext, matcher, payload};

const YES: Support = Support::Supported;
const REFUSED: Support = Support::Later("a filter that sets it is refused");

/// Full name of the message.
pub const MESSAGE: &str = "envoy.extensions.filters.http.health_check.v3.HealthCheck";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[(
    MESSAGE,
    &[
        ("pass_through_mode", YES),
        ("cache_time", REFUSED),
        ("cluster_min_healthy_percentages", REFUSED),
        ("headers", YES),
    ],
)];

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    let proto: pb::HealthCheck = payload(bytes)?;
    let mut errors = Vec::new();
    if proto.pass_through_mode.is_none() {
        errors.push(ConfigError::new("pass_through_mode", "is required"));
    }
    if proto.cache_time.is_some() {
        errors.push(ConfigError::new("cache_time", "is not supported yet"));
    }
    if !proto.cluster_min_healthy_percentages.is_empty() {
        errors.push(ConfigError::new("cluster_min_healthy_percentages", "is not supported yet"));
    }
    let mut headers = Vec::new();
    for (index, proto) in proto.headers.iter().enumerate() {
        match matcher::header(proto, &format!("headers[{index}]")) {
            Ok(header) => headers.push(header),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Arc::new(HealthCheck(Arc::new(Settings {
        pass_through: proto.pass_through_mode.is_some_and(|wrapper| wrapper.value),
        headers,
        cluster: context.service_cluster.into(),
        failing: Arc::clone(context.failing),
        counters: context.counters.counters(&format!("{}health_check.", context.prefix), COUNTERS),
    }))))
}
