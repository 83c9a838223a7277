//! The configuration of the connection limit filter.

use std::sync::Arc;

use sampan_api::envoy::extensions::filters::network::connection_limit::v3 as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::network::NetworkFilterFactory;

use super::ConnectionLimit;
use crate::config::{Compiled, ConfigError, payload};

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
        &[
            ("stat_prefix", Support::Later("the filter keeps no stats")),
            ("max_connections", Support::Supported),
            ("delay", Support::Later("connections over the limit are closed at once")),
            ("runtime_enabled", Support::Supported),
        ],
    ),
    (
        "envoy.config.core.v3.RuntimeFeatureFlag",
        &[
            ("default_value", Support::Supported),
            ("runtime_key", Support::Later("the default value is used, whatever the runtime says")),
        ],
    ),
];

/// Makes the factory.
pub fn compile(bytes: &[u8]) -> Compiled<Arc<dyn NetworkFilterFactory>> {
    let proto: pb::ConnectionLimit = payload(bytes)?;
    let Some(most) = proto.max_connections else {
        return Err(vec![ConfigError::new("max_connections", "is required")]);
    };
    let enabled =
        proto.runtime_enabled.and_then(|flag| flag.default_value).is_none_or(|wrapper| wrapper.value);
    Ok(Arc::new(ConnectionLimit { most: most.value, enabled, active: Arc::default() }))
}
