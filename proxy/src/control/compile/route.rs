//! `envoy.config.route.v3.RouteConfiguration` -> [`RouteConfig`].
//!
//! Called for the inline routes of a connection manager and for each route configuration of the control plane.
//! [`matching`] has the conditions of routes, [`action`] forwarding, [`redirect`] redirects and direct responses.

mod action;
mod hashing;
mod later;
mod matching;
mod redirect;
mod retry;
mod special;
mod support;
#[cfg(test)]
mod tests;

pub use support::SUPPORT;

use std::collections::HashSet;
use std::sync::Arc;

use sampan_api::envoy::config::route::v3 as pb;
use sampan_api::envoy::config::route::v3::route::Action as ProtoAction;
use sampan_api::envoy::config::route::v3::virtual_host::TlsRequirementType;
use sampan_api::google::protobuf::{UInt32Value, UInt64Value};
use sampan_filters::config::rate_limit;
use sampan_filters::rate_limit::RouteLimits;
use sampan_filters_api::http::RouteConfig as FilterConfig;
use sampan_filters_api::info::{RouteFacts, VirtualHostFacts};
use sampan_model::route::{ClusterRef, Route, RouteTable, RouteTableOptions, TlsRequirement, VirtualHost};

use self::special::Inherited;
use super::http::filters;
use super::{Context, Scope, headers, network, source, trace, value};
use crate::http::route::{Action, FilterOverrides, RouteConfig, RoutePayload, VirtualHostPayload};

type Host = VirtualHost<VirtualHostPayload, RoutePayload>;

/// `max_direct_response_body_size_bytes` where nothing is configured.
const BODY_LIMIT: u32 = 4096;

/// The largest number of virtual hosts that are all kept compiled.
const MOST_AT_ONCE: usize = 256;

/// What the parts of a route configuration need to know of the whole.
struct Build<'a> {
    context: &'a Context,
    /// `validate_clusters`
    validate_clusters: bool,
    /// `max_direct_response_body_size_bytes`
    body_limit: usize,
    /// `typed_per_filter_config` of the whole, for virtual hosts that say nothing else of a filter.
    filters: FilterOverrides,
    /// What the levels above say of mirrors and hedging.
    inherited: Inherited,
}

impl Build<'_> {
    /// A cluster by name, with its slot. Refuses unknown ones where the configuration wants that.
    fn cluster(&self, name: &str, at: &Scope<'_>) -> Option<ClusterRef> {
        if name.is_empty() {
            return at.reject("the cluster has no name");
        }
        if self.validate_clusters && !self.context.clusters.contains(name) {
            return at.reject_value(name, "unknown cluster", "define it, or set validate_clusters to false");
        }
        Some(ClusterRef { name: name.into(), slot: self.context.slots.intern(name) })
    }
}

/// Compiles a route configuration; `None` if anything in it is refused. `validate_clusters` is the default of the field
/// of that name: on for inline routes, off for discovered ones.
pub fn compile(
    proto: &pb::RouteConfiguration,
    validate_clusters: bool,
    context: &Context,
    at: &Scope<'_>,
) -> Option<RouteConfig> {
    let found_before = at.rejects().len();
    refuse_unsupported(proto, at);
    let virtual_hosts = proto.vhds.as_ref().and_then(|vhds| {
        let at = at.field("vhds");
        source::compile(vhds.config_source.as_ref(), &at.field("config_source"))
    });
    let limit = proto.max_direct_response_body_size_bytes.as_ref();
    let mut build = Build {
        context,
        validate_clusters: value::switch(proto.validate_clusters.as_ref()).unwrap_or(validate_clusters),
        body_limit: value::number_or(limit, BODY_LIMIT) as usize,
        filters: filters::overrides(
            &proto.typed_per_filter_config,
            context,
            &at.field("typed_per_filter_config"),
        ),
        inherited: Inherited::default(),
    };
    let policies = at.field("request_mirror_policies");
    build.inherited.mirrors = special::mirrors(&proto.request_mirror_policies, &build, &policies);
    let list = at.field("virtual_hosts");
    let each = proto.virtual_hosts.iter().enumerate();
    // A large discovered table keeps its virtual hosts as bytes; they are compiled here to validate them.
    let later = !validate_clusters && proto.virtual_hosts.len() > MOST_AT_ONCE;
    let mut hosts = Vec::new();
    for (index, host) in each {
        let compiled = virtual_host(host, &build, &list.index(index));
        if !later {
            hosts.extend(compiled);
        }
    }
    duplicate_domains(&proto.virtual_hosts, at);
    let lists = (
        &proto.request_headers_to_add[..],
        &proto.request_headers_to_remove[..],
        &proto.response_headers_to_add[..],
        &proto.response_headers_to_remove[..],
    );
    let headers = headers::ops(lists, at);
    if at.rejects().len() != found_before {
        return None;
    }
    let options = RouteTableOptions {
        ignore_port_in_host: proto.ignore_port_in_host_matching,
        ignore_path_parameters: proto.ignore_path_parameters_in_path_matching,
    };
    let table = if later { later::table(proto, &build, options) } else { RouteTable::new(hosts, options) };
    let table = match table {
        Ok(table) => table,
        Err(error) => return list.reject(error.to_string()),
    };
    Some(RouteConfig {
        name: proto.name.as_str().into(),
        table,
        headers,
        most_specific_wins: proto.most_specific_header_mutations_wins,
        internal_only_headers: proto
            .internal_only_headers
            .iter()
            .map(|name| name.to_ascii_lowercase().into())
            .collect(),
        clusters_by_name: context.slots.clone(),
        virtual_hosts,
    })
}

/// Whether a virtual host that is discovered by itself is good; the scope is told why not.
pub fn check_virtual_host(proto: &pb::VirtualHost, context: &Context, at: &Scope<'_>) -> bool {
    let found_before = at.rejects().len();
    let filters = FilterOverrides::default();
    let inherited = Inherited::default();
    let body_limit = BODY_LIMIT as usize;
    let build = Build { context, validate_clusters: false, body_limit, filters, inherited };
    virtual_host(proto, &build, at);
    duplicate_domains(std::slice::from_ref(proto), at);
    at.rejects().len() == found_before
}

/// The route table refuses these as well, but knows neither their place nor more than the first.
fn duplicate_domains(protos: &[pb::VirtualHost], at: &Scope<'_>) {
    let list = at.field("virtual_hosts");
    let mut known = HashSet::new();
    for (index, host) in protos.iter().enumerate() {
        for (place, domain) in host.domains.iter().enumerate() {
            if known.insert(domain.to_ascii_lowercase()) {
                continue;
            }
            let reason = match domain.as_str() {
                "*" => "only a single wildcard domain is permitted",
                _ => "only unique values for domains are permitted",
            };
            let at = list.index(index);
            at.field("domains").index(place).reject_value::<()>(domain, reason, "");
        }
    }
}

#[allow(deprecated)] // `per_request_buffer_limit_bytes`
fn virtual_host(proto: &pb::VirtualHost, build: &Build<'_>, at: &Scope<'_>) -> Option<Host> {
    refuse_unsupported_in_host(proto, at);
    let inherited = build.inherited.of_host(proto, build, at);
    let list = at.field("routes");
    let each = proto.routes.iter().enumerate();
    let facts = Arc::new(VirtualHostFacts {
        name: proto.name.as_str().into(),
        metadata: proto.metadata.as_ref().map(value::metadata),
    });
    let routes: Vec<_> = each
        .filter_map(|(index, proto)| route(proto, build, (&inherited, &facts), &list.index(index)))
        .collect();
    let lists = (
        &proto.request_headers_to_add[..],
        &proto.request_headers_to_remove[..],
        &proto.response_headers_to_add[..],
        &proto.response_headers_to_remove[..],
    );
    let mut overrides = filters::overrides(
        &proto.typed_per_filter_config,
        build.context,
        &at.field("typed_per_filter_config"),
    );
    for (name, inherited) in &build.filters.0 {
        if overrides.of(name).is_none() {
            overrides.0.push((name.clone(), inherited.clone()));
        }
    }
    let payload = VirtualHostPayload {
        headers: headers::ops(lists, at),
        filters: overrides,
        rate_limits: rate_limits(&proto.rate_limits, false, build.context, at),
        attempt_count: proto.include_request_attempt_count,
        attempt_count_in_response: proto.include_attempt_count_in_response,
        retry: retry::compile(proto.retry_policy.as_ref(), &at.field("retry_policy")),
        buffer_limit: buffer_limit(
            proto.per_request_buffer_limit_bytes.as_ref(),
            proto.request_body_buffer_limit.as_ref(),
        ),
        timeout_retry_header: proto.include_is_timeout_retry_header,
    };
    if proto.domains.is_empty() {
        at.field("domains").reject::<()>("a virtual host needs at least one domain");
    }
    let domains = proto.domains.iter().map(|domain| domain.as_str().into()).collect();
    let requirement = match proto.require_tls() {
        TlsRequirementType::None => TlsRequirement::None,
        TlsRequirementType::ExternalOnly => TlsRequirement::ExternalOnly,
        TlsRequirementType::All => TlsRequirement::All,
    };
    (routes.len() == proto.routes.len())
        .then(|| VirtualHost::new(&proto.name, domains, routes, payload).require_tls(requirement))
}

/// How much of a body is kept; the newer field counts.
fn buffer_limit(older: Option<&UInt32Value>, newer: Option<&UInt64Value>) -> Option<u32> {
    let newer = newer.map(|limit| u32::try_from(limit.value).unwrap_or(u32::MAX));
    newer.or(value::number(older))
}

#[allow(deprecated)] // `per_request_buffer_limit_bytes`
fn route(
    proto: &pb::Route,
    build: &Build<'_>,
    (inherited, host): (&Inherited, &Arc<VirtualHostFacts>),
    at: &Scope<'_>,
) -> Option<Route<RoutePayload>> {
    let match_at = at.field("match");
    let matcher = match &proto.r#match {
        Some(proto) => matching::compile(proto, &match_at),
        None => match_at.reject("is required"),
    };
    refuse_specifiers(proto.route_specifiers.len(), at);
    let action = match &proto.action {
        Some(ProtoAction::Route(route)) => {
            let forward = action::compile(route, matcher.as_ref(), build, inherited, &at.field("route"));
            forward.map(|mut forward| {
                let older = proto.per_request_buffer_limit_bytes.as_ref();
                forward.buffer_limit = buffer_limit(older, proto.request_body_buffer_limit.as_ref());
                Action::Forward(forward)
            })
        }
        Some(ProtoAction::Redirect(redirect)) => {
            redirect::compile(redirect, &at.field("redirect")).map(Action::Redirect)
        }
        Some(ProtoAction::DirectResponse(direct)) => {
            redirect::direct(direct, build.body_limit, &at.field("direct_response")).map(Action::Direct)
        }
        Some(ProtoAction::NonForwardingAction(_)) => Some(Action::NonForwarding),
        Some(ProtoAction::FilterAction(_)) => {
            at.field("filter_action").reject("Envoy has no filter that takes it, and neither has Sampan")
        }
        None => at.reject("the route has no action"),
    };
    let lists = (
        &proto.request_headers_to_add[..],
        &proto.request_headers_to_remove[..],
        &proto.response_headers_to_add[..],
        &proto.response_headers_to_remove[..],
    );
    let headers = headers::ops(lists, at);
    let filters = filters::overrides(
        &proto.typed_per_filter_config,
        build.context,
        &at.field("typed_per_filter_config"),
    );
    let some = |text: &str| (!text.is_empty()).then(|| text.into());
    let payload = RoutePayload {
        facts: Arc::new(RouteFacts {
            name: (!proto.name.is_empty()).then(|| proto.name.as_str().into()),
            metadata: proto.metadata.as_ref().map(value::metadata),
            host: host.clone(),
        }),
        action: action?,
        headers,
        filters,
        rate_limits: match &proto.action {
            Some(ProtoAction::Route(route)) => route_limits(route, build.context, &at.field("route")),
            _ => None,
        },
        stat_prefix: some(&proto.stat_prefix),
        tracing: proto.tracing.as_ref().map(|proto| trace::route(proto, &at.field("tracing"))),
        decorator: proto.decorator.as_ref().map(trace::decorator),
    };
    Some(Route { name: proto.name.as_str().into(), matcher: matcher?, payload })
}

#[expect(deprecated, reason = "1.40 accepts include_vh_rate_limits")]
fn route_limits(proto: &pb::RouteAction, context: &Context, at: &Scope<'_>) -> Option<FilterConfig> {
    let include = value::switch(proto.include_vh_rate_limits.as_ref()).unwrap_or(false);
    rate_limits(&proto.rate_limits, include, context, at)
}

/// `rate_limits`, as the filters read them; none where there are none.
fn rate_limits(
    protos: &[pb::RateLimit],
    include_host: bool,
    context: &Context,
    at: &Scope<'_>,
) -> Option<FilterConfig> {
    if protos.is_empty() && !include_host {
        return None;
    }
    let mut errors = Vec::new();
    let limits = rate_limit::limits(protos, &context.for_filter("", ""), "rate_limits", &mut errors);
    let found = if errors.is_empty() { Ok(RouteLimits { limits, include_host }) } else { Err(errors) };
    network::tell(found, at).map(|limits| -> FilterConfig { Arc::new(limits) })
}

fn refuse_specifiers(count: usize, at: &Scope<'_>) {
    if count > 0 {
        at.field("route_specifiers").reject::<()>("route specifier extensions are not supported yet");
    }
}

/// What would change the meaning of the configuration if it were left out.
fn refuse_unsupported(proto: &pb::RouteConfiguration, at: &Scope<'_>) {
    if !proto.vhost_header.is_empty() {
        at.field("vhost_header").reject::<()>("choosing the virtual host by a header is not supported yet");
    }
    if !proto.cluster_specifier_plugins.is_empty() {
        at.field("cluster_specifier_plugins").reject::<()>("cluster specifier plugins are not supported");
    }
    refuse_specifiers(proto.route_specifiers.len(), at);
}

fn refuse_unsupported_in_host(proto: &pb::VirtualHost, at: &Scope<'_>) {
    if proto.matcher.is_some() {
        at.field("matcher").reject::<()>("matcher trees are not supported yet; use routes");
    }
    refuse_specifiers(proto.route_specifiers.len(), at);
}
