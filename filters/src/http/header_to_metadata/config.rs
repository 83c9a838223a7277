//! The configuration of the filter; a route's own is the same message.

use std::sync::Arc;

use sampan_api::envoy::extensions::filters::http::header_to_metadata::v3 as pb;
use sampan_api::envoy::extensions::filters::http::header_to_metadata::v3::config::{
    KeyValuePair, ValueEncode, ValueType,
};
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};
use sampan_model::pattern::RegexRewrite;

use super::{COUNTERS, From, HeaderToMetadata, Kind, NAMESPACE, Rule, Rules, Target};
use crate::config::matcher::under;
use crate::config::{Compiled, ConfigError, FilterContext, payload};

const YES: Support = Support::Supported;

/// Full name of the message, for the filter and for routes.
pub const MESSAGE: &str = "envoy.extensions.filters.http.header_to_metadata.v3.Config";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (MESSAGE, &[("request_rules", YES), ("response_rules", YES), ("stat_prefix", YES)]),
    ("envoy.extensions.filters.http.header_to_metadata.v3.Config.Rule", &[("*", YES)]),
    ("envoy.extensions.filters.http.header_to_metadata.v3.Config.KeyValuePair", &[("*", YES)]),
    ("envoy.type.matcher.v3.RegexMatchAndSubstitute", &[("*", YES)]),
];

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    Ok(Arc::new(HeaderToMetadata(Arc::new(rules(&payload(bytes)?, context)?))))
}

/// Compiles the rules of a route or virtual host.
pub fn compile_route(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<RouteConfig> {
    let rules = rules(&payload(bytes)?, context)?;
    if rules.request.is_empty() && rules.response.is_empty() {
        let reason = "per filter configs must at least specify either request or response rules";
        return Err(vec![ConfigError::new("", reason)]);
    }
    Ok(Arc::new(rules))
}

fn rules(proto: &pb::Config, context: &FilterContext<'_>) -> Compiled<Rules> {
    let mut errors = Vec::new();
    let mut list = |protos: &[pb::config::Rule], field: &str| -> Vec<Rule> {
        let each = protos.iter().enumerate();
        each.filter_map(|(index, proto)| {
            rule(proto, &format!("{field}[{index}]")).map_err(|error| errors.push(error)).ok()
        })
        .collect()
    };
    let request = list(&proto.request_rules, "request_rules");
    let response = list(&proto.response_rules, "response_rules");
    if !errors.is_empty() {
        return Err(errors);
    }
    let prefix = format!("http_filter_name.{}.", proto.stat_prefix);
    let counters = (!proto.stat_prefix.is_empty()).then(|| context.counters.counters(&prefix, COUNTERS));
    Ok(Rules { request, response, counters })
}

fn rule(proto: &pb::config::Rule, path: &str) -> Result<Rule, ConfigError> {
    let from = match (&*proto.header, &*proto.cookie) {
        ("", "") => return Err(ConfigError::new(path, "one of header and cookie is required")),
        (header, "") => From::Header(header.to_ascii_lowercase().into(), proto.remove),
        ("", _) if proto.remove => {
            return Err(ConfigError::new(under(path, "remove"), "a cookie cannot be removed"));
        }
        ("", cookie) => From::Cookie(cookie.into()),
        _ => return Err(ConfigError::new(path, "only one of header and cookie may be given")),
    };
    let target = |proto: &Option<KeyValuePair>, field: &str| {
        proto.as_ref().map(|proto| target(proto, &under(path, field))).transpose()
    };
    let present = target(&proto.on_header_present, "on_header_present")?;
    let missing = target(&proto.on_header_missing, "on_header_missing")?;
    if present.is_none() && missing.is_none() {
        return Err(ConfigError::new(path, "neither on_header_present nor on_header_missing is given"));
    }
    if missing.as_ref().is_some_and(|missing| missing.value.is_none()) {
        return Err(ConfigError::new(under(path, "on_header_missing.value"), "is required"));
    }
    Ok(Rule { from, present, missing })
}

fn target(proto: &KeyValuePair, path: &str) -> Result<Target, ConfigError> {
    if proto.key.is_empty() {
        return Err(ConfigError::new(under(path, "key"), "is required"));
    }
    let rewrite = match &proto.regex_value_rewrite {
        None => None,
        Some(_) if !proto.value.is_empty() => {
            return Err(ConfigError::new(path, "only one of value and regex_value_rewrite may be given"));
        }
        Some(rewrite) => {
            let pattern = rewrite.pattern.as_ref().map_or("", |pattern| &pattern.regex);
            let at = under(path, "regex_value_rewrite");
            let compiled = RegexRewrite::new(pattern, &rewrite.substitution);
            Some(compiled.map_err(|error| ConfigError::new(at, error.to_string()).value(pattern))?)
        }
    };
    let kind = match proto.r#type() {
        ValueType::String => Kind::Text,
        ValueType::Number => Kind::Number,
        ValueType::ProtobufValue => Kind::Value,
    };
    let namespace = if proto.metadata_namespace.is_empty() { NAMESPACE } else { &proto.metadata_namespace };
    Ok(Target {
        namespace: namespace.into(),
        key: proto.key.as_str().into(),
        value: (!proto.value.is_empty()).then(|| proto.value.as_str().into()),
        rewrite,
        kind,
        base64: proto.encode() == ValueEncode::Base64,
    })
}
