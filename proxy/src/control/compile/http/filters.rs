//! The HTTP filters of a connection manager, and their per-route configuration.
//!
//! Filters are found in the registry by the type of their configuration. The router is not one of them: its configuration
//! must come last, and only its own switches are kept.

use std::sync::Arc;

use sampan_api::envoy::config::core::v3::ExtensionConfigSource;
use sampan_api::envoy::config::route::v3::FilterConfig;
use sampan_api::envoy::extensions::filters::http::on_demand::v3::OnDemand;
use sampan_api::envoy::extensions::filters::http::router::v3::Router;
use sampan_api::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use sampan_api::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;
use sampan_api::google::protobuf::Any;
use sampan_api::type_url;
use sampan_filters::config::FilterContext;
use sampan_filters::registry;

use super::super::{Context, Scope, extension, network, value};
use crate::http::config::{ConfiguredFilter, FilterSource};
use crate::http::route::{FilterOverride, FilterOverrides};

const ON_DEMAND: &str = "envoy.extensions.filters.http.on_demand.v3.OnDemand";
const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
const FILTER_CONFIG: &str = "envoy.config.route.v3.FilterConfig";

/// The filters before the router, and what the router's configuration says.
#[derive(Default)]
pub struct Chain {
    /// The filters.
    pub filters: Vec<ConfiguredFilter>,
    /// The `on_demand` filter is there. It is none of the others: what waits is the look-up of the route.
    pub on_demand: bool,
    /// `router.suppress_envoy_headers`
    pub suppress_envoy_headers: bool,
    /// `router.start_child_span`
    pub start_child_span: bool,
}

/// Compiles `http_filters`.
///
/// `prefix` is `http.<stat_prefix>.`.
pub fn chain(protos: &[pb::HttpFilter], prefix: &str, context: &Context, at: &Scope<'_>) -> Chain {
    let mut chain = Chain::default();
    let mut has_router = false;
    for (index, proto) in protos.iter().enumerate() {
        let at = at.index(index);
        let any = match &proto.config_type {
            Some(ConfigType::TypedConfig(any)) => any,
            Some(ConfigType::ConfigDiscovery(source)) => {
                chain.filters.extend(discovered(
                    proto,
                    source,
                    prefix,
                    context,
                    &at.field("config_discovery"),
                ));
                continue;
            }
            None => {
                at.reject_value::<()>(&proto.name, "the filter has no typed_config", "");
                continue;
            }
        };
        if extension::is(any, ON_DEMAND) {
            chain.on_demand |= on_demand(any, &at.field("typed_config"));
            continue;
        }
        if type_url::full_name(&any.type_url) != ROUTER {
            let context = context.for_filter(&proto.name, prefix);
            chain.filters.extend(filter(proto, any, &context, &at.field("typed_config")));
            continue;
        }
        if index + 1 != protos.len() {
            at.reject_value::<()>(
                &proto.name,
                "this terminal filter must be the last filter in a http filter chain",
                "move envoy.filters.http.router to the end",
            );
        }
        has_router = true;
        if let Some(router) = value::payload::<Router>(any, &at.field("typed_config")) {
            chain.suppress_envoy_headers = router.suppress_envoy_headers;
            #[expect(deprecated, reason = "1.40 accepts start_child_span")]
            let child_spans = router.start_child_span;
            chain.start_child_span = child_spans;
            if !router.upstream_http_filters.is_empty() {
                at.field("typed_config")
                    .field("upstream_http_filters")
                    .reject::<()>("upstream filters are not supported yet");
            }
        }
    }
    if let (Some(last), false) = (protos.last(), has_router) {
        at.index(protos.len() - 1).reject_value::<()>(
            &last.name,
            "this non-terminal filter is the last filter in a http filter chain",
            "end the list with envoy.filters.http.router",
        );
    }
    if protos.is_empty() {
        at.reject::<()>("the list is empty; it must end with envoy.filters.http.router");
    }
    chain
}

/// Whether requests wait for their virtual hosts.
fn on_demand(any: &Any, at: &Scope<'_>) -> bool {
    let config = value::payload::<OnDemand>(any, at);
    if config.is_some_and(|config| config.odcds.is_some()) {
        at.field("odcds").reject::<()>("clusters are not discovered on demand");
    }
    true
}

/// A filter whose configuration is to be discovered.
fn discovered(
    proto: &pb::HttpFilter,
    source: &ExtensionConfigSource,
    prefix: &str,
    context: &Context,
    at: &Scope<'_>,
) -> Option<ConfiguredFilter> {
    let factory = extension::discovered(&proto.name, source, context, at, |any, at| {
        let Some(entry) = registry::http(type_url::full_name(&any.type_url)) else {
            return at.reject_value(&any.type_url, "there is no HTTP filter of this type", "");
        };
        network::tell((entry.compile)(&any.value, &context.for_filter(&proto.name, prefix)), at)
    })?;
    Some(ConfiguredFilter::new(&proto.name, factory, proto.disabled))
}

fn filter(
    proto: &pb::HttpFilter,
    any: &Any,
    context: &FilterContext<'_>,
    at: &Scope<'_>,
) -> Option<ConfiguredFilter> {
    let Some(entry) = registry::http(type_url::full_name(&any.type_url)) else {
        if proto.is_optional {
            tracing::warn!(target: "config", "{}: the optional filter {:?} is unknown and left out", at.path(), proto.name);
            return None;
        }
        return at.reject_value(
            &any.type_url,
            format!("there is no HTTP filter {:?} of this type", proto.name),
            "docs/configuration.md lists the filters",
        );
    };
    let factory = FilterSource::Fixed(network::tell((entry.compile)(&any.value, context), at)?);
    Some(ConfiguredFilter::new(&proto.name, factory, proto.disabled))
}

/// Compiles `typed_per_filter_config`, sorted by name.
pub fn overrides<'p>(
    protos: impl IntoIterator<Item = (&'p String, &'p Any)>,
    context: &Context,
    at: &Scope<'_>,
) -> FilterOverrides {
    let mut found: Vec<(Arc<str>, FilterOverride)> = protos
        .into_iter()
        .filter_map(|(name, any)| Some((Arc::from(name.as_str()), one(name, any, context, &at.key(name))?)))
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    FilterOverrides(found)
}

fn one(name: &str, any: &Any, context: &Context, at: &Scope<'_>) -> Option<FilterOverride> {
    if type_url::full_name(&any.type_url) != FILTER_CONFIG {
        return route_config(name, any, false, context, at);
    }
    let wrapper: FilterConfig = value::payload(any, at)?;
    match &wrapper.config {
        _ if wrapper.disabled => Some(FilterOverride::Disabled),
        None => at.reject("empty per-route configuration: neither config nor disabled is given"),
        Some(inner) => route_config(name, inner, wrapper.is_optional, context, &at.field("config")),
    }
}

/// A filter's own configuration for a route; none of its own for an unknown filter that is optional.
fn route_config(
    name: &str,
    any: &Any,
    optional: bool,
    context: &Context,
    at: &Scope<'_>,
) -> Option<FilterOverride> {
    match registry::http_route(type_url::full_name(&any.type_url)) {
        Some(compile) => network::tell(compile(&any.value, &context.for_filter(name, "")), at)
            .map(|config| FilterOverride::Enabled(Some(config))),
        None if optional => Some(FilterOverride::Enabled(None)),
        None => at.reject_value(
            &any.type_url,
            format!("the filter {name:?} has no per-route configuration of this type"),
            "docs/configuration.md lists the filters",
        ),
    }
}
