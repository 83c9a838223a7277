//! YAML in, tracing out.

use sampan_api::envoy::config::route::v3 as route_pb;
use sampan_api::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::Tracing as Proto;
use sampan_model::fraction::{Denominator, FractionalPercent};
use sampan_model::trace::{Rates, Sampler};

use super::super::testing;
use super::{Beside, compile};
use crate::telemetry::trace::{Dialect, Tracing};

fn tracing(yaml: &str) -> Result<Box<Tracing>, Vec<String>> {
    let beside = Beside { by_request_id: true, child_spans: false };
    testing::compiled(yaml, |proto: &Proto, context, at| compile(proto, beside, context, at))
}

fn provider(name: &str, fields: &str) -> String {
    format!("provider: {{name: p, typed_config: {{\"@type\": type.googleapis.com/{name}, {fields}}}}}")
}

fn refused(yaml: &str) -> String {
    tracing(yaml).err().unwrap().join("\n")
}

const ZIPKIN: &str = "envoy.config.trace.v3.ZipkinConfig";
const OPEN: &str = "envoy.config.trace.v3.OpenTelemetryConfig";
const SAMPLERS: &str = "type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3";

#[test]
fn shares_are_rounded_as_envoy_does() {
    let defaults = tracing("{}").unwrap();
    let all = FractionalPercent { numerator: 10_000, denominator: Denominator::TenThousand };
    assert_eq!(defaults.rates, Rates { random: all, overall: all, ..Rates::default() });
    assert!(defaults.tracer.is_none() && defaults.propagates && !defaults.upstream_spans);
    assert_eq!(defaults.max_path, 256);
    let some = tracing(
        "{client_sampling: {value: 1.9}, random_sampling: {value: 0.126}, overall_sampling: {value: 12.5}, \
         max_path_tag_length: 3, verbose: true, no_context_propagation: true, spawn_upstream_span: true}",
    )
    .unwrap();
    let numbers = [some.rates.client, some.rates.random, some.rates.overall].map(|share| share.numerator);
    assert_eq!(numbers, [1, 13, 1250]);
    assert!(some.verbose && !some.propagates && some.separate_hop && some.upstream_spans);
}

#[test]
fn zipkin_has_its_options() {
    let found = tracing(&provider(
        ZIPKIN,
        "collector_cluster: a, collector_endpoint: /api/v2/spans, collector_endpoint_version: HTTP_JSON, \
         trace_id_128bit: true, shared_span_context: false, trace_context_option: USE_B3_WITH_W3C_PROPAGATION",
    ))
    .unwrap();
    let Some(Dialect::Zipkin(zipkin)) = found.tracer.as_ref().map(|tracer| &tracer.dialect) else { panic!() };
    assert!(zipkin.wide_ids && !zipkin.shared && zipkin.with_w3c && !zipkin.split && !zipkin.timed_ids);
}

#[test]
fn open_telemetry_has_its_sampler() {
    let ratio = format!(
        "{{name: r, typed_config: {{\"@type\": {SAMPLERS}.TraceIdRatioBasedSamplerConfig, sampling_percentage: {{numerator: 5}}}}}}"
    );
    let yaml = provider(
        OPEN,
        &format!(
            "grpc_service: {{envoy_grpc: {{cluster_name: a}}}}, sampler: {{name: s, typed_config: \
             {{\"@type\": {SAMPLERS}.ParentBasedSamplerConfig, wrapped_sampler: {ratio}}}}}"
        ),
    );
    let found = tracing(&yaml).unwrap().tracer.unwrap();
    let share = FractionalPercent { numerator: 5, denominator: Denominator::Hundred };
    let expected = Sampler::ParentBased(Box::new(Sampler::TraceIdRatio(share)));
    assert!(matches!(found.dialect, Dialect::OpenTelemetry(Some(sampler)) if sampler == expected));
    let nowhere = tracing(&provider(OPEN, "service_name: s")).unwrap().tracer.unwrap();
    assert!(nowhere.sink.is_none(), "spans without a collector are made and thrown away");
}

#[test]
fn what_is_refused_is_named() {
    let zipkin = |fields: &str| refused(&provider(ZIPKIN, fields));
    let version = "provider.typed_config.collector_endpoint_version";
    assert!(zipkin("collector_cluster: a, collector_endpoint: /").starts_with(version));
    let json = "collector_endpoint: /x, collector_endpoint_version: HTTP_JSON";
    assert!(zipkin(&format!("collector_cluster: unknown, {json}")).contains("unknown cluster"));
    assert!(zipkin(json).contains("collector_cluster: is required"));
    let both = "grpc_service: {envoy_grpc: {cluster_name: a}}, http_service: {http_uri: {uri: u, cluster: a, timeout: 1s}}";
    assert!(refused(&provider(OPEN, both)).contains("cannot have both"));
    let odd = "sampler: {name: s, typed_config: {\"@type\": type.googleapis.com/google.protobuf.Empty}}";
    assert!(refused(&provider(OPEN, odd)).starts_with("provider.typed_config.sampler"));
    assert!(refused("provider: {name: p}").contains("no typed_config"));
    assert!(refused(&provider("google.protobuf.Empty", "")).contains("no tracing provider"));
    assert!(refused("operation: '%NO_SUCH%'").starts_with("operation"));
}

#[test]
fn routes_have_their_own() {
    let yaml = "{random_sampling: {numerator: 1, denominator: MILLION}, custom_tags: [{tag: t, literal: {value: v}}]}";
    let found =
        testing::compiled(yaml, |proto: &route_pb::Tracing, _, at| Some(super::route(proto, at))).unwrap();
    let one = FractionalPercent { numerator: 1, denominator: Denominator::Million };
    assert_eq!(found.rates, Rates { random: one, ..Rates::default() });
    assert_eq!(&*found.tags.custom[0].name, "t");
    let quiet = testing::parsed::<route_pb::Decorator>("{operation: o, propagate: false}");
    assert!(!super::decorator(&quiet).propagates);
}
