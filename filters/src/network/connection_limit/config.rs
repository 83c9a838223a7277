//! The configuration of the connection limit filter.

use std::sync::Arc;
use std::time::Duration;

use sampan_api::envoy::extensions::filters::network::connection_limit::v3 as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::network::NetworkFilterFactory;

use super::{ConnectionLimit, Counts};
use crate::config::{Compiled, ConfigError, FilterContext, duration, payload};

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
        &[
            ("stat_prefix", Support::Supported),
            ("max_connections", Support::Supported),
            ("delay", Support::Supported),
            ("runtime_enabled", Support::Supported),
        ],
    ),
    (
        "envoy.config.core.v3.RuntimeFeatureFlag",
        &[("default_value", Support::Supported), ("runtime_key", Support::Supported)],
    ),
];

/// Makes the factory.
pub fn compile(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<Arc<dyn NetworkFilterFactory>> {
    let proto: pb::ConnectionLimit = payload(bytes)?;
    let Some(most) = proto.max_connections else {
        return Err(vec![ConfigError::new("max_connections", "is required")]);
    };
    let delay = match &proto.delay {
        Some(delay) => duration(delay, "delay").map_err(|error| vec![error])?,
        None => Duration::ZERO,
    };
    let flag = proto.runtime_enabled.unwrap_or_default();
    Ok(Arc::new(ConnectionLimit {
        most: most.value,
        delay: (!delay.is_zero()).then_some(delay),
        enabled: flag.default_value.is_none_or(|wrapper| wrapper.value),
        runtime_key: flag.runtime_key.into(),
        counts: Arc::new(Counts::new(&proto.stat_prefix)),
    }))
}
