//! The configuration of the filter, and what routes change of it.

use std::sync::Arc;

use sampan_api::envoy::extensions::filters::http::api_key_auth::v3 as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};

use super::{Access, ApiKeyAuth, COUNTERS, Credentials, Forwarding, KeySource};
use crate::config::{Compiled, ConfigError, FilterContext, payload};

const YES: Support = Support::Supported;

/// Full name of the filter's message.
pub const MESSAGE: &str = "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth";
/// Full name of the per-route message.
pub const PER_ROUTE: &str = "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuthPerRoute";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (MESSAGE, &[("credentials", YES), ("key_sources", YES), ("forwarding", YES)]),
    (PER_ROUTE, &[("credentials", YES), ("key_sources", YES), ("allowed_clients", YES), ("forwarding", YES)]),
    ("envoy.extensions.filters.http.api_key_auth.v3.Credential", &[("*", YES)]),
    ("envoy.extensions.filters.http.api_key_auth.v3.KeySource", &[("*", YES)]),
    ("envoy.extensions.filters.http.api_key_auth.v3.Forwarding", &[("*", YES)]),
];

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    let proto: pb::ApiKeyAuth = payload(bytes)?;
    let parts = (&proto.credentials[..], &proto.key_sources[..], proto.forwarding.as_ref());
    let access = Arc::new(access(parts)?);
    let counters = context.counters.counters(&format!("{}api_key_auth.", context.prefix), COUNTERS);
    Ok(Arc::new(ApiKeyAuth { access, counters }))
}

/// Compiles what a route or virtual host changes.
pub fn compile_route(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<RouteConfig> {
    let proto: pb::ApiKeyAuthPerRoute = payload(bytes)?;
    let mut access = access((&proto.credentials, &proto.key_sources, proto.forwarding.as_ref()))?;
    access.clients = (!proto.allowed_clients.is_empty())
        .then(|| proto.allowed_clients.iter().map(|client| client.as_str().into()).collect());
    Ok(Arc::new(access))
}

/// Errors show no key.
fn access(
    (keys, sources, forwarding): (&[pb::Credential], &[pb::KeySource], Option<&pb::Forwarding>),
) -> Compiled<Access> {
    let mut errors = Vec::new();
    let mut credentials = Credentials::default();
    for (index, credential) in keys.iter().enumerate() {
        if credential.key.is_empty() || credential.client.is_empty() {
            errors.push(ConfigError::new(format!("credentials[{index}]"), "key and client are required"));
        }
        if credentials.0.insert(credential.key.as_str().into(), credential.client.as_str().into()).is_some() {
            errors.push(ConfigError::new(format!("credentials[{index}].key"), "duplicated API key"));
        }
    }
    let mut found = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        // The first one that is set counts.
        found.push(match (&*source.header, &*source.query, &*source.cookie) {
            ("", "", "") => {
                let reason = "one of header, query and cookie is required";
                errors.push(ConfigError::new(format!("key_sources[{index}]"), reason));
                continue;
            }
            ("", "", cookie) => KeySource::Cookie(cookie.into()),
            ("", query, _) => KeySource::Query(query.into()),
            (header, _, _) => KeySource::Header(header.to_ascii_lowercase().into()),
        });
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let forwarding = forwarding.map(|forwarding| Forwarding {
        header: (!forwarding.header.is_empty()).then(|| forwarding.header.to_ascii_lowercase().into()),
        hide: forwarding.hide_credentials,
    });
    Ok(Access {
        credentials: (!keys.is_empty()).then_some(credentials),
        sources: found,
        forwarding,
        clients: None,
    })
}
