//! `envoy.config.trace.v3.ZipkinConfig`

use sampan_api::envoy::config::trace::v3::ZipkinConfig;
use sampan_api::envoy::config::trace::v3::zipkin_config::{CollectorEndpointVersion, TraceContextOption};
use sampan_api::{MessageSupport, Support};

use super::super::{Context, Scope, value};
use super::collector;
use crate::telemetry::trace::{Export, HttpCollector, Zipkin, ZipkinExport};

const YES: Support = Support::Supported;

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[(
    "envoy.config.trace.v3.ZipkinConfig",
    &[
        ("collector_cluster", YES),
        ("collector_endpoint", YES),
        ("trace_id_128bit", YES),
        ("shared_span_context", YES),
        ("collector_endpoint_version", YES),
        ("collector_hostname", YES),
        ("split_spans_for_request", YES),
        ("trace_context_option", YES),
        ("collector_service", YES),
        ("timestamp_trace_ids", YES),
    ],
)];

/// Options of the request path, and where spans go.
#[expect(deprecated, reason = "1.40 accepts split_spans_for_request")]
pub fn compile(proto: &ZipkinConfig, context: &Context, at: &Scope<'_>) -> Option<(Zipkin, Export)> {
    let shared = value::switch(proto.shared_span_context.as_ref()).unwrap_or(true);
    let options = Zipkin {
        wide_ids: proto.trace_id_128bit,
        timed_ids: proto.timestamp_trace_ids,
        shared,
        split: proto.split_spans_for_request,
        with_w3c: proto.trace_context_option() == TraceContextOption::UseB3WithW3cPropagation,
    };
    let version = at.field("collector_endpoint_version");
    match proto.collector_endpoint_version() {
        CollectorEndpointVersion::HttpJson => {}
        CollectorEndpointVersion::DeprecatedAndUnavailableDoNotUse => {
            return version.reject_value("", "version 1 of the API is no longer spoken", "set HTTP_JSON");
        }
        other => {
            return version.reject_value(
                other.as_str_name(),
                "spans are sent in JSON alone",
                "set HTTP_JSON, which every Zipkin collector takes",
            );
        }
    }
    let collector = match &proto.collector_service {
        Some(service) => collector::compile(service, &at.field("collector_service"))?,
        None => by_cluster(proto, at)?,
    };
    if !context.clusters.contains(&*collector.cluster) {
        return at.field("collector_cluster").reject_value(
            &collector.cluster,
            "unknown cluster",
            "the collector is reached by a cluster that must be defined first",
        );
    }
    let service = context.service_cluster.clone();
    Some((options, Export::Zipkin(ZipkinExport { collector, shared, service })))
}

fn by_cluster(proto: &ZipkinConfig, at: &Scope<'_>) -> Option<HttpCollector> {
    for (field, text) in
        [("collector_cluster", &proto.collector_cluster), ("collector_endpoint", &proto.collector_endpoint)]
    {
        if text.is_empty() {
            return at.field(field).reject("is required without collector_service");
        }
    }
    let host = if proto.collector_hostname.is_empty() {
        &proto.collector_cluster
    } else {
        &proto.collector_hostname
    };
    Some(HttpCollector {
        cluster: proto.collector_cluster.as_str().into(),
        host: host.as_str().into(),
        path: proto.collector_endpoint.as_str().into(),
        headers: Vec::new(),
        timeout: None,
    })
}
