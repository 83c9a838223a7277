//! The configuration of the authorization filter, its own and that of routes.

use std::sync::Arc;
use std::time::Duration;

use sampan_api::envoy::config::common::mutation_rules::v3::HeaderMutationRules;
use sampan_api::envoy::config::core::v3::{ApiVersion, GrpcService as GrpcProto, HeaderValue};
use sampan_api::envoy::extensions::filters::http::ext_authz::v3 as pb;
use sampan_api::envoy::extensions::filters::http::ext_authz::v3::check_settings::ServiceOverride;
use sampan_api::envoy::extensions::filters::http::ext_authz::v3::ext_authz::Services;
use sampan_api::envoy::extensions::filters::http::ext_authz::v3::ext_authz_per_route::Override;
use sampan_api::envoy::r#type::matcher::v3::ListStringMatcher;
use sampan_api::google::protobuf::BoolValue;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::NodeFacts;
use sampan_filters_api::format::Template;
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};
use sampan_filters_api::info::MetadataValue;
use sampan_model::route::StringMatch;

use super::http::Lists;
use super::state::Keys;
use super::{
    Buffering, CLUSTER_COUNTERS, COUNTERS, ExtAuthz, HttpAuthorization, RouteBody, RouteSettings, Rules,
    Service, Settings, Told,
};
use crate::config::matcher::{metadata, regex, string, under};
use crate::config::{Compiled, ConfigError, FilterContext, fraction, payload, remote};
use crate::counted::ClusterCounters;

const YES: Support = Support::Supported;
const REFUSED: Support = Support::Later("a filter that sets it is refused");
const UNTYPED: Support = Support::Ignored("there are no typed dynamic metadata");
const SPANS: Support = Support::Ignored("calls of filters make no spans");

/// Full name of the message.
pub const MESSAGE: &str = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz";
/// Full name of the per-route message.
pub const PER_ROUTE: &str = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        MESSAGE,
        &[
            ("grpc_service", YES),
            ("http_service", YES),
            ("transport_api_version", YES),
            ("failure_mode_allow", YES),
            ("failure_mode_allow_header_add", YES),
            ("with_request_body", YES),
            ("clear_route_cache", YES),
            ("status_on_error", YES),
            ("validate_mutations", YES),
            ("metadata_context_namespaces", YES),
            ("typed_metadata_context_namespaces", UNTYPED),
            ("route_metadata_context_namespaces", YES),
            ("route_typed_metadata_context_namespaces", REFUSED),
            ("filter_enabled", YES),
            ("filter_enabled_metadata", YES),
            ("deny_at_disable", YES),
            ("include_peer_certificate", YES),
            ("stat_prefix", YES),
            ("bootstrap_metadata_labels_key", YES),
            ("allowed_headers", YES),
            ("disallowed_headers", YES),
            ("include_tls_session", YES),
            ("charge_cluster_response_stats", YES),
            ("encode_raw_headers", YES),
            ("decoder_header_mutation_rules", YES),
            ("enable_dynamic_metadata_ingestion", YES),
            ("filter_metadata", Support::Ignored("nothing can read it")),
            ("emit_filter_state_stats", YES),
            ("max_denied_response_body_bytes", YES),
            ("enforce_response_header_limits", REFUSED),
            ("shadow_mode", YES),
            ("emit_client_span", SPANS),
        ],
    ),
    ("envoy.extensions.filters.http.ext_authz.v3.BufferSettings", &[("*", YES)]),
    ("envoy.extensions.filters.http.ext_authz.v3.HttpService", &[("*", YES)]),
    ("envoy.extensions.filters.http.ext_authz.v3.AuthorizationRequest", &[("*", YES)]),
    ("envoy.extensions.filters.http.ext_authz.v3.AuthorizationResponse", &[("*", YES)]),
    (PER_ROUTE, &[("*", YES)]),
    ("envoy.extensions.filters.http.ext_authz.v3.CheckSettings", &[("*", YES), ("emit_client_span", SPANS)]),
    ("envoy.config.common.mutation_rules.v3.HeaderMutationRules", &[("*", YES)]),
    ("envoy.type.matcher.v3.ListStringMatcher", &[("*", YES)]),
    ("envoy.type.v3.HttpStatus", &[("code", YES)]),
];

/// How long a service may take where nothing is configured.
pub const TIMEOUT: Duration = Duration::from_millis(200);

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    Ok(Arc::new(ExtAuthz(Arc::new(settings(bytes, context)?))))
}

pub(super) fn settings(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Settings> {
    let proto: pb::ExtAuthz = payload(bytes)?;
    let mut errors = Vec::new();
    refuse(&proto, &mut errors);
    let mut keep = |error| errors.push(error);
    let service = match &proto.services {
        Some(Services::GrpcService(service)) => grpc(service, "grpc_service"),
        Some(Services::HttpService(service)) => http(service, "http_service"),
        None => Err(ConfigError::new("", "neither grpc_service nor http_service is given")),
    };
    let service = service.map_err(&mut keep).ok();
    let told = told(&proto, context.node).map_err(&mut keep).unwrap_or_default();
    let rules = proto.decoder_header_mutation_rules.as_ref();
    let rules = rules.map(|proto| self::rules(proto, "decoder_header_mutation_rules"));
    let rules = rules.transpose().map_err(&mut keep).ok().flatten();
    let enabled_metadata = proto.filter_enabled_metadata.as_ref();
    let enabled_metadata = enabled_metadata.map(|proto| metadata(proto, false, "filter_enabled_metadata"));
    let enabled_metadata = enabled_metadata.transpose().map_err(&mut keep).ok().flatten();
    let Some(service) = service.filter(|_| errors.is_empty()) else { return Err(errors) };
    let of_cluster = match &*proto.stat_prefix {
        "" => "ext_authz.".to_owned(),
        own => format!("ext_authz.{own}."),
    };
    let prefix = format!("{}{of_cluster}", context.prefix);
    let status = proto.status_on_error.as_ref().map_or(0, |status| status.code);
    Ok(Settings {
        service: Arc::new(service),
        told,
        body: proto.with_request_body.map(buffering),
        allow_failure: proto.failure_mode_allow,
        mark_failure: proto.failure_mode_allow_header_add,
        status_on_error: u16::try_from(status).ok().filter(|code| *code > 0).unwrap_or(403),
        clear_route: proto.clear_route_cache,
        validate: proto.validate_mutations,
        rules,
        takes_metadata: is_not_off(proto.enable_dynamic_metadata_ingestion.as_ref()),
        longest_denied: Some(proto.max_denied_response_body_bytes as usize).filter(|most| *most > 0),
        enabled: proto.filter_enabled.as_ref().map(fraction::fraction),
        enabled_metadata,
        deny_at_disable: proto.deny_at_disable.as_ref().map(|proto| fraction::switch(proto, false)),
        charge: is_not_off(proto.charge_cluster_response_stats.as_ref()),
        state: Keys {
            times: proto.emit_filter_state_stats.then(|| context.name.into()),
            shadow: proto.shadow_mode.then(|| format!("{}.shadow", context.name).into()),
        },
        counters: context.counters.counters(&prefix, COUNTERS),
        by_cluster: ClusterCounters::new(context.counters, &of_cluster, CLUSTER_COUNTERS),
    })
}

/// Compiles the configuration of a route or virtual host.
pub fn compile_route(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<RouteConfig> {
    let proto: pb::ExtAuthzPerRoute = payload(bytes)?;
    let settings = match proto.r#override {
        Some(Override::Disabled(disabled)) => RouteSettings { disabled, ..RouteSettings::default() },
        Some(Override::CheckSettings(settings)) => check(&settings).map_err(|error| vec![error])?,
        None => return Err(vec![ConfigError::new("", "neither disabled nor check_settings is given")]),
    };
    Ok(Arc::new(settings))
}

fn check(proto: &pb::CheckSettings) -> Result<RouteSettings, ConfigError> {
    const PATH: &str = "check_settings";
    if proto.disable_request_body_buffering && proto.with_request_body.is_some() {
        let reason = "only one of disable_request_body_buffering and with_request_body may be given";
        return Err(ConfigError::new(under(PATH, "with_request_body"), reason));
    }
    let body = match &proto.with_request_body {
        Some(own) => RouteBody::Own(buffering(*own)),
        None if proto.disable_request_body_buffering => RouteBody::Untold,
        None => RouteBody::Inherited,
    };
    let service = match &proto.service_override {
        Some(ServiceOverride::GrpcService(service)) => Some(grpc(service, &under(PATH, "grpc_service"))?),
        Some(ServiceOverride::HttpService(service)) => Some(http(service, &under(PATH, "http_service"))?),
        None => None,
    };
    let extensions = proto.context_extensions.iter();
    Ok(RouteSettings {
        disabled: false,
        extensions: extensions.map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect(),
        body,
        service: service.map(Arc::new),
    })
}

fn refuse(proto: &pb::ExtAuthz, errors: &mut Vec<ConfigError>) {
    let unsupported = [
        (
            !proto.route_typed_metadata_context_namespaces.is_empty(),
            "route_typed_metadata_context_namespaces",
        ),
        (proto.enforce_response_header_limits, "enforce_response_header_limits"),
    ];
    for (_, field) in unsupported.iter().filter(|(set, _)| *set) {
        errors.push(ConfigError::new(*field, "is not supported yet"));
    }
    if proto.transport_api_version() != ApiVersion::V3 {
        let version = proto.transport_api_version().as_str_name();
        errors.push(
            ConfigError::new("transport_api_version", "only V3 is spoken")
                .value(version)
                .hint("set transport_api_version: V3"),
        );
    }
}

fn is_not_off(proto: Option<&BoolValue>) -> bool {
    proto.is_none_or(|wrapper| wrapper.value)
}

fn buffering(proto: pb::BufferSettings) -> Buffering {
    Buffering {
        most: proto.max_request_bytes as usize,
        partial: proto.allow_partial_message,
        as_bytes: proto.pack_as_bytes,
    }
}

#[expect(deprecated, reason = "1.40 accepts the older place of the list")]
fn told(proto: &pb::ExtAuthz, node: &NodeFacts) -> Result<Told, ConfigError> {
    let older = match &proto.services {
        Some(Services::HttpService(service)) => {
            service.authorization_request.as_ref().and_then(|request| request.allowed_headers.as_ref())
        }
        _ => None,
    };
    let (list, path) = match (&proto.allowed_headers, older) {
        (Some(list), None) => (Some(list), "allowed_headers"),
        (None, Some(list)) => (Some(list), "http_service.authorization_request.allowed_headers"),
        (None, None) => (None, ""),
        (Some(_), Some(_)) => {
            let path = "http_service.authorization_request.allowed_headers";
            return Err(ConfigError::new(path, "allowed_headers is given, too"));
        }
    };
    let names = |list: &[String]| list.iter().map(|name| name.as_str().into()).collect();
    Ok(Told {
        allowed: list.map(|list| strings(Some(list), path)).transpose()?,
        disallowed: strings(proto.disallowed_headers.as_ref(), "disallowed_headers")?,
        few: matches!(proto.services, Some(Services::HttpService(_))),
        raw: proto.encode_raw_headers,
        certificate: proto.include_peer_certificate,
        tls_session: proto.include_tls_session,
        namespaces: names(&proto.metadata_context_namespaces),
        route_namespaces: names(&proto.route_metadata_context_namespaces),
        labels: labels(&proto.bootstrap_metadata_labels_key, node),
    })
}

/// The texts of a struct in the node's metadata, as Envoy takes them: what is no text is empty.
pub fn labels(key: &str, node: &NodeFacts) -> Vec<(Box<str>, Box<str>)> {
    let Some(MetadataValue::Struct(fields)) = node.metadata.at(&[key]) else { return Vec::new() };
    let text = |value: &MetadataValue| match value {
        MetadataValue::String(text) => text.as_ref().into(),
        _ => Box::default(),
    };
    fields.iter().map(|(key, value)| (key.as_ref().into(), text(value))).collect()
}

fn strings(proto: Option<&ListStringMatcher>, path: &str) -> Result<Vec<StringMatch>, ConfigError> {
    let patterns = proto.map(|list| &*list.patterns).unwrap_or_default();
    let each = patterns.iter().enumerate();
    each.map(|(index, proto)| string(proto, &format!("{path}.patterns[{index}]"))).collect()
}

fn rules(proto: &HeaderMutationRules, path: &str) -> Result<Rules, ConfigError> {
    let on = |wrapper: Option<&BoolValue>| wrapper.is_some_and(|wrapper| wrapper.value);
    let expression =
        |proto: Option<&_>, field| proto.map(|proto| regex(proto, &under(path, field))).transpose();
    Ok(Rules {
        routing: on(proto.allow_all_routing.as_ref()),
        envoy: on(proto.allow_envoy.as_ref()),
        no_system: on(proto.disallow_system.as_ref()),
        nothing: on(proto.disallow_all.as_ref()),
        allowed: expression(proto.allow_expression.as_ref(), "allow_expression")?,
        disallowed: expression(proto.disallow_expression.as_ref(), "disallow_expression")?,
        is_error: on(proto.disallow_is_error.as_ref()),
    })
}

fn grpc(proto: &GrpcProto, path: &str) -> Result<Service, ConfigError> {
    remote::grpc(Some(proto), TIMEOUT, path).map(Service::Grpc)
}

fn http(proto: &pb::HttpService, path: &str) -> Result<Service, ConfigError> {
    let retry = remote::retry(proto.retry_policy.as_ref(), None, &under(path, "retry_policy"))?;
    let field = if proto.path_prefix.is_empty() { "path_override" } else { "path_prefix" };
    let start = if proto.path_prefix.is_empty() { &proto.path_override } else { &proto.path_prefix };
    if !start.is_empty() && !start.starts_with('/') {
        let error = ConfigError::new(under(path, field), "must begin with /");
        return Err(error.value(start));
    }
    if !proto.path_prefix.is_empty() && !proto.path_override.is_empty() {
        let reason = "only one of path_prefix and path_override may be given";
        return Err(ConfigError::new(under(path, "path_override"), reason));
    }
    let add = proto.authorization_request.as_ref().map(|request| &*request.headers_to_add);
    let add = added(add.unwrap_or_default(), &under(path, "authorization_request.headers_to_add"))?;
    let response = proto.authorization_response.clone().unwrap_or_default();
    let path = under(path, "authorization_response");
    let list = |proto: Option<&_>, field| strings(proto, &under(&path, field));
    let client = list(response.allowed_client_headers.as_ref(), "allowed_client_headers")?;
    Ok(Service::Http(Box::new(HttpAuthorization {
        server: remote::http(proto.server_uri.as_ref(), TIMEOUT, "http_service.server_uri")?,
        retry,
        prefix: proto.path_prefix.as_str().into(),
        path: (!proto.path_override.is_empty()).then(|| proto.path_override.as_str().into()),
        add,
        lists: Arc::new(Lists {
            upstream: list(response.allowed_upstream_headers.as_ref(), "allowed_upstream_headers")?,
            upstream_append: list(
                response.allowed_upstream_headers_to_append.as_ref(),
                "allowed_upstream_headers_to_append",
            )?,
            client: (!client.is_empty()).then_some(client),
            client_on_success: list(
                response.allowed_client_headers_on_success.as_ref(),
                "allowed_client_headers_on_success",
            )?,
            metadata: list(response.dynamic_metadata_from_headers.as_ref(), "dynamic_metadata_from_headers")?,
        }),
    })))
}

fn added(protos: &[HeaderValue], path: &str) -> Result<Vec<(Box<str>, Template)>, ConfigError> {
    let each = protos.iter().enumerate();
    each.map(|(index, header)| {
        let at = format!("{path}[{index}].value");
        let value = Template::parse_header_value(&header.value)
            .map_err(|error| ConfigError::new(at, error.reason).value(error.operator).hint(error.hint))?;
        Ok((header.key.to_ascii_lowercase().into(), value))
    })
    .collect()
}
