//! Whether anything of a connection manager reads a stream's facts. Where nothing does, the data path does not gather them.

use crate::http::config::{ConfiguredFilter, FilterSource, HeaderAdd, HeaderOps, HttpConfig, RouteSource};
use crate::http::route::{Action, FilterOverride, FilterOverrides, RouteConfig, RoutePayload};
use sampan_model::route::ClusterSpecifier;

/// Whether access logs, filters, local replies or header values ask for facts.
pub fn needed(config: &HttpConfig) -> bool {
    !config.access_logs.is_empty()
        || !config.local_reply.mappers.is_empty()
        || config.local_reply.format.is_some()
        || config.tracing.as_ref().is_some_and(|tracing| tracing.tracer.is_some())
        || match &config.routes {
            // What will come is not known yet.
            RouteSource::Inline(routes) if routes.virtual_hosts.is_some() => true,
            RouteSource::Inline(routes) => in_filters(&config.filters, routes) || in_routes(routes),
            RouteSource::Discovered(_) | RouteSource::Scoped(_) => true,
        }
}

/// Whether a filter does, by its own configuration or by what a level of the routes has for it.
fn in_filters(filters: &[ConfiguredFilter], routes: &RouteConfig) -> bool {
    filters.iter().any(|filter| {
        let FilterSource::Fixed(factory) = &filter.factory else { return true };
        let mut levels = overrides(routes).filter_map(|level| level.of(&filter.name));
        factory.reads_facts(None)
            || levels.any(|entry| match entry {
                FilterOverride::Enabled(Some(route)) => factory.reads_facts(Some(route)),
                FilterOverride::Enabled(None) | FilterOverride::Disabled => false,
            })
    })
}

/// `typed_per_filter_config` of every level.
fn overrides(routes: &RouteConfig) -> impl Iterator<Item = &FilterOverrides> {
    routes.table.hosts().flat_map(|host| {
        let of_routes = host.routes().iter().flat_map(|route| {
            let weighted = match &route.payload.action {
                Action::Forward(forward) => match &forward.action.cluster {
                    ClusterSpecifier::Weighted(clusters) => clusters.entries(),
                    ClusterSpecifier::Cluster(_) | ClusterSpecifier::Header(_) => &[],
                },
                Action::Redirect(_) | Action::Direct(_) | Action::NonForwarding => &[],
            };
            weighted.iter().map(|entry| &entry.payload.filters).chain([&route.payload.filters])
        });
        of_routes.chain([&host.payload().filters])
    })
}

fn in_routes(config: &RouteConfig) -> bool {
    in_ops(&config.headers)
        || config.table.hosts().any(|host| {
            in_ops(&host.payload().headers) || host.routes().iter().any(|route| in_route(&route.payload))
        })
}

fn in_route(route: &RoutePayload) -> bool {
    in_ops(&route.headers)
        || match &route.action {
            Action::Forward(forward) => match &forward.action.cluster {
                ClusterSpecifier::Weighted(clusters) => {
                    clusters.entries().iter().any(|entry| in_ops(&entry.payload.headers))
                }
                ClusterSpecifier::Cluster(_) | ClusterSpecifier::Header(_) => false,
            },
            Action::Redirect(_) | Action::Direct(_) | Action::NonForwarding => false,
        }
}

fn in_ops(ops: &HeaderOps) -> bool {
    let asks = |add: &HeaderAdd| !add.value.is_literal();
    ops.request_add.iter().any(asks) || ops.response_add.iter().any(asks)
}
