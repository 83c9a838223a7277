//! The configuration of the filter, and the users of routes.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sampan_api::envoy::config::core::v3::DataSource;
use sampan_api::envoy::extensions::filters::http::basic_auth::v3 as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};

use super::{BasicAuth, COUNTERS, Settings, Users};
use crate::config::{Compiled, ConfigError, FilterContext, data_source, payload};

const YES: Support = Support::Supported;

/// Full name of the filter's message.
pub const MESSAGE: &str = "envoy.extensions.filters.http.basic_auth.v3.BasicAuth";
/// Full name of the per-route message.
pub const PER_ROUTE: &str = "envoy.extensions.filters.http.basic_auth.v3.BasicAuthPerRoute";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        MESSAGE,
        &[
            ("users", YES),
            ("forward_username_header", YES),
            ("authentication_header", YES),
            ("allow_missing", YES),
            ("emit_dynamic_metadata", YES),
        ],
    ),
    (PER_ROUTE, &[("users", YES)]),
];

/// The longest list of users.
const LIMIT: usize = 4 << 20;

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    let proto: pb::BasicAuth = payload(bytes)?;
    let users = users(proto.users.as_ref()).map_err(|error| vec![error])?;
    let some = |text: &str| (!text.is_empty()).then(|| Box::from(text.to_ascii_lowercase()));
    let settings = Settings {
        forward: some(&proto.forward_username_header),
        header: some(&proto.authentication_header).unwrap_or_else(|| "authorization".into()),
        allow_missing: proto.allow_missing,
        emit: proto.emit_dynamic_metadata,
        counters: context.counters.counters(&format!("{}basic_auth.", context.prefix), COUNTERS),
    };
    Ok(Arc::new(BasicAuth { users: Arc::new(users), settings: Arc::new(settings) }))
}

/// Compiles the users of a route or virtual host.
pub fn compile_route(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<RouteConfig> {
    let proto: pb::BasicAuthPerRoute = payload(bytes)?;
    Ok(Arc::new(users(proto.users.as_ref()).map_err(|error| vec![error])?))
}

/// The list. Errors show no line of it: they could be somebody's secret.
fn users(source: Option<&DataSource>) -> Result<Users, ConfigError> {
    const PATH: &str = "users";
    let source = source.ok_or_else(|| ConfigError::new(PATH, "is required"))?;
    let bytes = data_source(source, LIMIT, PATH)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| ConfigError::new(PATH, "the list is not UTF-8"))?;
    let mut users = Users::default();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |reason: &str| ConfigError::new(PATH, format!("line {}: {reason}", index + 1));
        let (name, secret) = line
            .split_once(':')
            .ok_or_else(|| wrong("invalid htpasswd format, username:password is expected"))?;
        if name.is_empty() || secret.is_empty() {
            return Err(wrong("empty user name or password hash"));
        }
        let digest = secret
            .strip_prefix("{SHA}")
            .ok_or_else(|| wrong("unsupported htpasswd format: please use {SHA}"))?;
        let digest: Option<[u8; 20]> = STANDARD.decode(digest).ok().and_then(|bytes| bytes.try_into().ok());
        let digest = digest.ok_or_else(|| wrong("invalid htpasswd format, invalid SHA hash"))?;
        if users.0.insert(name.into(), digest).is_some() {
            return Err(wrong("duplicate user"));
        }
    }
    Ok(users)
}
