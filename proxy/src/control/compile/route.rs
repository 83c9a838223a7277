//! `envoy.config.route.v3.RouteConfiguration` -> [`RouteConfig`].
//!
//! Called for the inline routes of a connection manager and for each route configuration of the control plane.
//! [`matching`] has the conditions of routes, [`action`] forwarding, [`redirect`] redirects and direct responses.

mod action;
mod matching;
mod redirect;
mod support;
#[cfg(test)]
mod tests;

pub use support::SUPPORT;

use std::collections::HashSet;

use sampan_api::envoy::config::route::v3 as pb;
use sampan_api::envoy::config::route::v3::route::Action as ProtoAction;
use sampan_api::envoy::config::route::v3::virtual_host::TlsRequirementType;
use sampan_model::route::{ClusterRef, Route, RouteTable, RouteTableOptions, TlsRequirement, VirtualHost};

use super::http::filters;
use super::{Context, Scope, headers, value};
use crate::http::route::{Action, FilterOverrides, RouteConfig, RoutePayload, VirtualHostPayload};

type Host = VirtualHost<VirtualHostPayload, RoutePayload>;

/// `max_direct_response_body_size_bytes` where nothing is configured.
const BODY_LIMIT: u32 = 4096;

/// What the parts of a route configuration need to know of the whole.
struct Build<'a> {
    context: &'a Context,
    /// `validate_clusters`
    validate_clusters: bool,
    /// `max_direct_response_body_size_bytes`
    body_limit: usize,
    /// `typed_per_filter_config` of the whole, for virtual hosts that say nothing else of a filter.
    filters: FilterOverrides,
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
    let limit = proto.max_direct_response_body_size_bytes.as_ref();
    let build = Build {
        context,
        validate_clusters: value::switch(proto.validate_clusters.as_ref()).unwrap_or(validate_clusters),
        body_limit: value::number_or(limit, BODY_LIMIT) as usize,
        filters: filters::overrides(&proto.typed_per_filter_config, &at.field("typed_per_filter_config")),
    };
    let list = at.field("virtual_hosts");
    let each = proto.virtual_hosts.iter().enumerate();
    let hosts = each.filter_map(|(index, host)| virtual_host(host, &build, &list.index(index))).collect();
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
    let table = match RouteTable::new(hosts, options) {
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
    })
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

fn virtual_host(proto: &pb::VirtualHost, build: &Build<'_>, at: &Scope<'_>) -> Option<Host> {
    refuse_unsupported_in_host(proto, at);
    let list = at.field("routes");
    let each = proto.routes.iter().enumerate();
    let routes: Vec<_> = each.filter_map(|(index, proto)| route(proto, build, &list.index(index))).collect();
    let lists = (
        &proto.request_headers_to_add[..],
        &proto.request_headers_to_remove[..],
        &proto.response_headers_to_add[..],
        &proto.response_headers_to_remove[..],
    );
    let mut overrides =
        filters::overrides(&proto.typed_per_filter_config, &at.field("typed_per_filter_config"));
    for (name, inherited) in &build.filters.0 {
        if overrides.of(name).is_none() {
            overrides.0.push((name.clone(), inherited.clone()));
        }
    }
    let payload = VirtualHostPayload {
        name: proto.name.as_str().into(),
        headers: headers::ops(lists, at),
        filters: overrides,
        attempt_count: proto.include_request_attempt_count,
        attempt_count_in_response: proto.include_attempt_count_in_response,
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

fn route(proto: &pb::Route, build: &Build<'_>, at: &Scope<'_>) -> Option<Route<RoutePayload>> {
    let match_at = at.field("match");
    let matcher = match &proto.r#match {
        Some(proto) => matching::compile(proto, &match_at),
        None => match_at.reject("is required"),
    };
    refuse_specifiers(proto.route_specifiers.len(), at);
    let action = match &proto.action {
        Some(ProtoAction::Route(route)) => {
            action::compile(route, matcher.as_ref(), build, &at.field("route")).map(Action::Forward)
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
    let filters = filters::overrides(&proto.typed_per_filter_config, &at.field("typed_per_filter_config"));
    let some = |text: &str| (!text.is_empty()).then(|| text.into());
    let payload = RoutePayload {
        name: some(&proto.name),
        action: action?,
        headers,
        filters,
        stat_prefix: some(&proto.stat_prefix),
    };
    Some(Route { name: proto.name.as_str().into(), matcher: matcher?, payload })
}

fn refuse_specifiers(count: usize, at: &Scope<'_>) {
    if count > 0 {
        at.field("route_specifiers").reject::<()>("route specifier extensions are not supported yet");
    }
}

/// What would change the meaning of the configuration if it were left out.
fn refuse_unsupported(proto: &pb::RouteConfiguration, at: &Scope<'_>) {
    if proto.vhds.is_some() {
        at.field("vhds").reject::<()>("virtual host discovery is not supported yet");
    }
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
