//! The configuration of the network authorization filter.

use std::sync::Arc;

use sampan_api::envoy::config::core::v3::ApiVersion;
use sampan_api::envoy::extensions::filters::network::ext_authz::v3 as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::network::NetworkFilterFactory;

use super::{COUNTERS, ExtAuthz, Settings};
use crate::config::matcher::metadata;
use crate::config::{Compiled, ConfigError, FilterContext, payload, remote};
use crate::http::ext_authz::Told;
use crate::http::ext_authz::config::TIMEOUT;
use crate::http::ext_authz::config::labels;

const YES: Support = Support::Supported;
const REFUSED: Support = Support::Later("a filter that sets it is refused");

/// Full name of the message.
pub const MESSAGE: &str = "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[(
    MESSAGE,
    &[
        ("stat_prefix", YES),
        ("grpc_service", YES),
        ("failure_mode_allow", YES),
        ("include_peer_certificate", YES),
        ("transport_api_version", YES),
        ("filter_enabled_metadata", YES),
        ("bootstrap_metadata_labels_key", YES),
        ("include_tls_session", YES),
        ("send_tls_alert_on_denial", REFUSED),
        ("metadata_context_namespaces", YES),
        ("typed_metadata_context_namespaces", Support::Ignored("there are no typed dynamic metadata")),
        ("shadow_mode", REFUSED),
    ],
)];

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn NetworkFilterFactory>> {
    let proto: pb::ExtAuthz = payload(bytes)?;
    let mut errors = Vec::new();
    if proto.stat_prefix.is_empty() {
        errors.push(ConfigError::new("stat_prefix", "is required"));
    }
    if proto.transport_api_version() != ApiVersion::V3 {
        let version = proto.transport_api_version().as_str_name();
        let error = ConfigError::new("transport_api_version", "only V3 is spoken").value(version);
        errors.push(error.hint("set transport_api_version: V3"));
    }
    let unsupported =
        [(proto.send_tls_alert_on_denial, "send_tls_alert_on_denial"), (proto.shadow_mode, "shadow_mode")];
    for (_, field) in unsupported.iter().filter(|(set, _)| *set) {
        errors.push(ConfigError::new(*field, "is not supported yet"));
    }
    let service = remote::grpc(proto.grpc_service.as_ref(), TIMEOUT, "grpc_service");
    let service = service.map_err(|error| errors.push(error)).ok();
    let rule = proto.filter_enabled_metadata.as_ref();
    let rule = rule.map(|proto| metadata(proto, false, "filter_enabled_metadata")).transpose();
    let enabled = rule.map_err(|error| errors.push(error)).ok().flatten();
    let Some(service) = service.filter(|_| errors.is_empty()) else { return Err(errors) };
    let names = &proto.metadata_context_namespaces;
    Ok(Arc::new(ExtAuthz(Arc::new(Settings {
        service,
        allow_failure: proto.failure_mode_allow,
        told: Told {
            certificate: proto.include_peer_certificate,
            tls_session: proto.include_tls_session,
            namespaces: names.iter().map(|name| name.as_str().into()).collect(),
            labels: labels(&proto.bootstrap_metadata_labels_key, context.node),
            ..Told::default()
        },
        enabled,
        counters: context.counters.counters(&format!("ext_authz.{}.", proto.stat_prefix), COUNTERS),
    }))))
}
