//! The configuration of the filter, and of routes that have their own or turn it off.

use std::sync::Arc;
use std::time::Duration;

use sampan_api::envoy::extensions::filters::http::stateful_session::v3 as pb;
use sampan_api::envoy::extensions::filters::http::stateful_session::v3::stateful_session_per_route::Override;
use sampan_api::envoy::extensions::http::stateful_session::cookie::v3::CookieBasedSessionState;
use sampan_api::envoy::extensions::http::stateful_session::header::v3::HeaderBasedSessionState;
use sampan_api::google::protobuf::Any;
use sampan_api::{MessageSupport, Support, type_url};
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};

use super::{COUNTERS, CookieState, Route, SessionState, Settings, StatefulSession};
use crate::config::{Compiled, ConfigError, FilterContext, duration, payload};

const YES: Support = Support::Supported;

/// Full name of the message.
pub const MESSAGE: &str = "envoy.extensions.filters.http.stateful_session.v3.StatefulSession";
/// Full name of a route's message.
pub const PER_ROUTE: &str = "envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute";

const COOKIE: &str = "envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState";
const HEADER: &str = "envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        MESSAGE,
        &[
            ("session_state", YES),
            ("strict", YES),
            ("stat_prefix", YES),
            ("status_on_strict_destination_not_found", YES),
        ],
    ),
    (PER_ROUTE, &[("disabled", YES), ("stateful_session", YES)]),
    (COOKIE, &[("cookie", YES)]),
    (HEADER, &[("name", YES)]),
    ("envoy.type.http.v3.Cookie", &[("name", YES), ("ttl", YES), ("path", YES), ("attributes", YES)]),
    ("envoy.type.http.v3.CookieAttribute", &[("name", YES), ("value", YES)]),
];

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    let proto: pb::StatefulSession = payload(bytes)?;
    let counters = (!proto.stat_prefix.is_empty()).then(|| {
        let prefix = format!("{}stateful_session.{}.", context.prefix, proto.stat_prefix);
        context.counters.counters(&prefix, COUNTERS)
    });
    Ok(Arc::new(StatefulSession { settings: Arc::new(settings(&proto, "")?), counters }))
}

/// Compiles what a route says.
pub fn compile_route(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<RouteConfig> {
    let proto: pb::StatefulSessionPerRoute = payload(bytes)?;
    let route = match &proto.r#override {
        Some(Override::Disabled(_)) => Route::Off,
        Some(Override::StatefulSession(own)) => Route::Own(Arc::new(settings(own, "stateful_session.")?)),
        None => return Err(vec![ConfigError::new("override", "is required")]),
    };
    Ok(Arc::new(route))
}

fn settings(proto: &pb::StatefulSession, prefix: &str) -> Compiled<Settings> {
    let any = proto.session_state.as_ref().map(|extension| extension.typed_config.as_ref());
    let path = format!("{prefix}session_state.typed_config");
    let state = match any {
        None => None,
        Some(None) => return Err(vec![ConfigError::new(path, "is required")]),
        Some(Some(any)) => Some(state(any, &path)?),
    };
    let status = match proto.status_on_strict_destination_not_found {
        0 => 503,
        status => status,
    };
    let Some(status) = u16::try_from(status).ok().filter(|status| (100..600).contains(status)) else {
        let path = format!("{prefix}status_on_strict_destination_not_found");
        return Err(vec![ConfigError::new(path, "is no status of a response").value(status)]);
    };
    Ok(Settings { state, strict: proto.strict.then_some(status) })
}

fn state(any: &Any, path: &str) -> Compiled<SessionState> {
    match type_url::full_name(&any.type_url) {
        HEADER => {
            let proto: HeaderBasedSessionState = payload(&any.value)?;
            if proto.name.is_empty() {
                return Err(vec![ConfigError::new(
                    format!("{path}.name"),
                    "Header name cannot be empty for header based stateful sessions",
                )]);
            }
            Ok(SessionState::Header(proto.name.to_ascii_lowercase().into()))
        }
        COOKIE => cookie(&payload(&any.value)?, &format!("{path}.cookie")).map(SessionState::Cookie),
        other => {
            let error = ConfigError::new(path, "there is no such session state").value(other);
            Err(vec![error.hint("cookies and headers are supported")])
        }
    }
}

fn cookie(proto: &CookieBasedSessionState, path: &str) -> Compiled<CookieState> {
    let missing = || {
        let reason = "Cookie key cannot be empty for cookie based stateful sessions";
        vec![ConfigError::new(format!("{path}.name"), reason)]
    };
    let proto = proto.cookie.as_ref().filter(|cookie| !cookie.name.is_empty()).ok_or_else(missing)?;
    // It becomes part of a response header.
    let clean = |field: String, text: &str| {
        let bad = text.bytes().any(|byte| byte.is_ascii_control() || byte == b';');
        let error = || vec![ConfigError::new(&field, "has a character that no cookie can have").value(text)];
        if bad { Err(error()) } else { Ok(()) }
    };
    clean(format!("{path}.name"), &proto.name)?;
    clean(format!("{path}.path"), &proto.path)?;
    let mut attributes = String::new();
    for (index, attribute) in proto.attributes.iter().enumerate() {
        for text in [&attribute.name, &attribute.value] {
            clean(format!("{path}.attributes[{index}]"), text)?;
        }
        attributes += "; ";
        attributes += &attribute.name;
        if !attribute.value.is_empty() {
            attributes += "=";
            attributes += &attribute.value;
        }
    }
    let ttl = match &proto.ttl {
        Some(ttl) => duration(ttl, &format!("{path}.ttl")).map_err(|error| vec![error])?,
        None => Duration::ZERO,
    };
    Ok(CookieState {
        name: proto.name.as_str().into(),
        ttl,
        path: proto.path.as_str().into(),
        attributes: attributes.into(),
    })
}
