//! Whether anything of a connection manager reads a stream's facts. Where nothing does, the data path does not gather them.

use crate::http::config::{HeaderAdd, HeaderOps, HttpConfig, RouteSource};
use crate::http::route::{Action, RouteConfig, RoutePayload};
use sampan_model::route::ClusterSpecifier;

/// Whether access logs, filters, local replies or header values ask for facts.
pub fn needed(config: &HttpConfig) -> bool {
    !config.access_logs.is_empty()
        || !config.filters.is_empty()
        || !config.local_reply.mappers.is_empty()
        || config.local_reply.format.is_some()
        || config.tracing.as_ref().is_some_and(|tracing| tracing.tracer.is_some())
        || match &config.routes {
            RouteSource::Inline(routes) => in_routes(routes),
            // What will come is not known yet.
            RouteSource::Discovered(_) | RouteSource::Scoped(_) => true,
        }
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
