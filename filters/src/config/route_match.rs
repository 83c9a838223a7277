//! `RouteMatch`, of rules that filters have.

use sampan_api::envoy::config::route::v3 as pb;
use sampan_api::envoy::config::route::v3::route_match::PathSpecifier;
use sampan_model::route::{PathMatch, RouteMatch};

use super::ConfigError;
use super::matcher::{header, query, regex, under};

/// The conditions at `path`.
pub fn route_match(proto: &pb::RouteMatch, path: &str) -> Result<RouteMatch, ConfigError> {
    let unsupported = [
        (!proto.cookies.is_empty(), "cookies"),
        (proto.runtime_fraction.is_some(), "runtime_fraction"),
        (proto.grpc.is_some(), "grpc"),
        (proto.tls_context.is_some(), "tls_context"),
        (!proto.dynamic_metadata.is_empty(), "dynamic_metadata"),
        (!proto.filter_state.is_empty(), "filter_state"),
    ];
    if let Some((_, field)) = unsupported.iter().find(|(set, _)| *set) {
        return Err(ConfigError::new(under(path, field), "has no meaning in the rules of filters"));
    }
    let matcher = match &proto.path_specifier {
        Some(PathSpecifier::Prefix(text)) => PathMatch::Prefix(text.as_str().into()),
        Some(PathSpecifier::Path(text)) => PathMatch::Exact(text.as_str().into()),
        Some(PathSpecifier::PathSeparatedPrefix(text)) => PathMatch::SeparatedPrefix(text.as_str().into()),
        Some(PathSpecifier::SafeRegex(rule)) => PathMatch::Regex(regex(rule, &under(path, "safe_regex"))?),
        Some(PathSpecifier::ConnectMatcher(_)) => PathMatch::Connect,
        Some(PathSpecifier::PathMatchPolicy(policy)) => {
            let error = ConfigError::new(under(path, "path_match_policy"), "is not supported here");
            return Err(error.value(&policy.name));
        }
        None => return Err(ConfigError::new(path, "no path is given")),
    };
    let headers = proto.headers.iter().enumerate();
    let headers = headers.map(|(index, rule)| header(rule, &format!("{path}.headers[{index}]")));
    let queries = proto.query_parameters.iter().enumerate();
    let queries = queries.map(|(index, rule)| query(rule, &format!("{path}.query_parameters[{index}]")));
    Ok(RouteMatch {
        case_sensitive: proto.case_sensitive.is_none_or(|wrapper| wrapper.value),
        headers: headers.collect::<Result<_, _>>()?,
        query: queries.collect::<Result<_, _>>()?,
        ..RouteMatch::new(matcher)
    })
}
