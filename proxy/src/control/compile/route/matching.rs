//! `RouteMatch`: when a route takes a request.

use sampan_api::envoy::config::core::v3::{RuntimeFractionalPercent, TypedExtensionConfig};
use sampan_api::envoy::config::route::v3 as pb;
use sampan_api::envoy::config::route::v3::route_match::PathSpecifier;
use sampan_api::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use sampan_model::fraction::RuntimeFraction;
use sampan_model::route::{CookieMatch, PathMatch, RouteMatch, TlsContextMatch, UriTemplate};

use super::super::{Scope, extension, matcher, value};

const URI_TEMPLATE: &str = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";

/// Compiles the conditions of a route.
pub fn compile(proto: &pb::RouteMatch, at: &Scope<'_>) -> Option<RouteMatch> {
    let found_before = at.rejects().len();
    let refuse = |set: bool, field: &str, reason: &str| {
        if set {
            at.field(field).reject::<()>(reason);
        }
    };
    refuse(
        !proto.dynamic_metadata.is_empty(),
        "dynamic_metadata",
        "matching by metadata is not supported yet",
    );
    refuse(!proto.filter_state.is_empty(), "filter_state", "matching by filter state is not supported yet");
    let matcher = RouteMatch {
        path: path(proto, at)?,
        case_sensitive: value::switch(proto.case_sensitive.as_ref()).unwrap_or(true),
        headers: each(&proto.headers, &at.field("headers"), matcher::header),
        query: each(&proto.query_parameters, &at.field("query_parameters"), matcher::query),
        cookies: each(&proto.cookies, &at.field("cookies"), cookie),
        runtime_fraction: proto
            .runtime_fraction
            .as_ref()
            .and_then(|proto| fraction(proto, &at.field("runtime_fraction"))),
        grpc: proto.grpc.is_some(),
        tls_context: proto.tls_context.as_ref().map(|options| TlsContextMatch {
            presented: value::switch(options.presented.as_ref()),
            validated: value::switch(options.validated.as_ref()),
        }),
    };
    (at.rejects().len() == found_before).then_some(matcher)
}

fn each<P, T>(protos: &[P], at: &Scope<'_>, compile: impl Fn(&P, &Scope<'_>) -> Option<T>) -> Vec<T> {
    protos.iter().enumerate().filter_map(|(index, proto)| compile(proto, &at.index(index))).collect()
}

fn path(proto: &pb::RouteMatch, at: &Scope<'_>) -> Option<PathMatch> {
    match &proto.path_specifier {
        Some(PathSpecifier::Prefix(text)) => Some(PathMatch::Prefix(text.as_str().into())),
        Some(PathSpecifier::Path(text)) => Some(PathMatch::Exact(text.as_str().into())),
        Some(PathSpecifier::PathSeparatedPrefix(text)) => {
            let is_path = !text.contains(['?', '#']) && text.len() > 1 && !text.ends_with('/');
            if !is_path {
                return at.field("path_separated_prefix").reject_value(
                    text,
                    "must be a path without '?', '#' or a '/' at its end",
                    "",
                );
            }
            Some(PathMatch::SeparatedPrefix(text.as_str().into()))
        }
        Some(PathSpecifier::SafeRegex(rule)) => {
            matcher::regex(rule, &at.field("safe_regex")).map(PathMatch::Regex)
        }
        Some(PathSpecifier::ConnectMatcher(_)) => Some(PathMatch::Connect),
        Some(PathSpecifier::PathMatchPolicy(policy)) => {
            template(policy, &at.field("path_match_policy")).map(PathMatch::UriTemplate)
        }
        None => at.reject("no path is given"),
    }
}

fn template(policy: &TypedExtensionConfig, at: &Scope<'_>) -> Option<UriTemplate> {
    let any = policy.typed_config.as_ref().filter(|any| extension::is(any, URI_TEMPLATE));
    let Some(any) = any else {
        return at.reject_value(
            extension::shown(policy),
            "there is no such path match policy",
            "use envoy.path.match.uri_template",
        );
    };
    let at = at.field("typed_config");
    let config: UriTemplateMatchConfig = value::payload(any, &at)?;
    match UriTemplate::new(&config.path_template) {
        Ok(template) => Some(template),
        Err(error) => at.field("path_template").reject_value(&error.template, error.reason, ""),
    }
}

fn cookie(proto: &pb::CookieMatcher, at: &Scope<'_>) -> Option<CookieMatch> {
    let at = at.field("string_match");
    let matcher = match &proto.string_match {
        Some(rule) => matcher::string(rule, &at)?,
        None => return at.reject("is required"),
    };
    Some(CookieMatch { name: proto.name.as_str().into(), matcher, invert: proto.invert_match })
}

/// A fraction of requests.
pub(super) fn fraction(proto: &RuntimeFractionalPercent, at: &Scope<'_>) -> Option<RuntimeFraction> {
    let Some(default) = &proto.default_value else {
        return at.field("default_value").reject("is required");
    };
    Some(RuntimeFraction {
        default: value::fraction(default),
        key: (!proto.runtime_key.is_empty()).then(|| proto.runtime_key.as_str().into()),
    })
}
