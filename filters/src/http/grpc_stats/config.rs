//! The configuration of the gRPC statistics filter.

use std::collections::HashSet;
use std::sync::Arc;

use sampan_api::envoy::extensions::filters::http::grpc_stats::v3 as pb;
use sampan_api::envoy::extensions::filters::http::grpc_stats::v3::filter_config::PerMethodStatSpecifier;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::http::HttpFilterFactory;

use super::{GrpcStats, Methods};
use crate::config::{Compiled, FilterContext, payload};
use crate::http::local_ratelimit::next_id;

const YES: Support = Support::Supported;

/// Full name of the message.
pub const MESSAGE: &str = "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        MESSAGE,
        &[
            ("emit_filter_state", YES),
            ("individual_method_stats_allowlist", YES),
            ("stats_for_all_methods", YES),
            ("enable_upstream_stats", YES),
            ("replace_dots_in_grpc_service_name", YES),
        ],
    ),
    ("envoy.config.core.v3.GrpcMethodList", &[("*", YES)]),
    ("envoy.config.core.v3.GrpcMethodList.Service", &[("*", YES)]),
];

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    let proto: pb::FilterConfig = payload(bytes)?;
    let methods = match &proto.per_method_stat_specifier {
        Some(PerMethodStatSpecifier::StatsForAllMethods(all)) if all.value => Methods::All,
        Some(PerMethodStatSpecifier::IndividualMethodStatsAllowlist(list)) => {
            let each = list.services.iter().flat_map(|service| {
                let name = service.name.as_str();
                service.method_names.iter().map(move |method| (name.into(), method.as_str().into()))
            });
            Methods::Listed(each.collect())
        }
        Some(PerMethodStatSpecifier::StatsForAllMethods(_)) | None => Methods::Listed(HashSet::new()),
    };
    Ok(Arc::new(GrpcStats {
        id: next_id(),
        methods,
        emit: proto.emit_filter_state,
        replace_dots: proto.replace_dots_in_grpc_service_name,
        store: Arc::clone(context.counters),
        times: proto.enable_upstream_stats.then(|| Arc::clone(context.series)),
    }))
}
