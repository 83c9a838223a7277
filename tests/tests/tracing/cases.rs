//! The listeners, one for each way of tracing, and the requests.

/// A request, and what comes of it.
pub struct Case {
    pub name: &'static str,
    pub listener: &'static str,
    /// With lines that end in LF.
    pub request: &'static str,
    pub answers: &'static [&'static str],
    /// How many spans are told.
    pub spans: usize,
}

const fn case(name: &'static str, listener: &'static str, spans: usize, request: &'static str) -> Case {
    Case { name, listener, request, answers: &[], spans }
}

const fn answered(case: Case, answers: &'static [&'static str]) -> Case {
    Case { answers, ..case }
}

/// Name, direction, fields of the connection manager.
pub const LISTENERS: &[(&str, &str, &str)] = &[
    (
        "zipkin-out",
        "OUTBOUND",
        "tracing: {verbose: true, max_path_tag_length: 10, custom_tags: [{tag: lit, literal: {value: v}}, \
         {tag: hdr, request_header: {name: x-a, default_value: d}}, {tag: fmt, value: '%REQ(x-a)%-%RESP(x-q)%-%PROTOCOL%'}, \
         {tag: env, environment: {name: NO_SUCH, default_value: e}}, {tag: none, environment: {name: NO_SUCH}}, \
         {tag: md, metadata: {kind: {request: {}}, metadata_key: {key: ns, path: [{key: k}]}, default_value: m}}, \
         {tag: component, literal: {value: mine}}], \
         provider: {name: envoy.tracers.zipkin, typed_config: {\"@type\": type.googleapis.com/envoy.config.trace.v3.ZipkinConfig, \
         collector_cluster: zipkin, collector_endpoint: /api/v2/spans, collector_endpoint_version: HTTP_JSON}}}",
    ),
    (
        "zipkin-in",
        "INBOUND",
        "tracing: {spawn_upstream_span: true, custom_tags: [{tag: lit, literal: {value: v}}], \
         provider: {name: envoy.tracers.zipkin, typed_config: {\"@type\": type.googleapis.com/envoy.config.trace.v3.ZipkinConfig, \
         collector_service: {http_uri: {uri: 'http://zipkin.test/api/v2/spans', cluster: zipkin, timeout: 1s}, \
         request_headers_to_add: [{header: {key: x-token, value: t}}]}, \
         collector_endpoint_version: HTTP_JSON, trace_id_128bit: true, trace_context_option: USE_B3_WITH_W3C_PROPAGATION}}}",
    ),
    (
        "zipkin-apart",
        "INBOUND",
        "tracing: {no_context_propagation: true, \
         provider: {name: envoy.tracers.zipkin, typed_config: {\"@type\": type.googleapis.com/envoy.config.trace.v3.ZipkinConfig, \
         collector_cluster: zipkin, collector_endpoint: /api/v2/spans, collector_endpoint_version: HTTP_JSON, \
         shared_span_context: false, collector_hostname: zipkin.test}}}",
    ),
    (
        "otlp-out",
        "OUTBOUND",
        "tracing: {verbose: true, spawn_upstream_span: true, custom_tags: [{tag: lit, literal: {value: v}}], \
         provider: {name: envoy.tracers.opentelemetry, typed_config: {\"@type\": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, \
         service_name: svc, http_service: {http_uri: {cluster: otlp, uri: 'http://otlp.test/v1/traces', timeout: 1s}, \
         request_headers_to_add: [{header: {key: x-token, value: t}}]}}}}",
    ),
    (
        "otlp-in",
        "INBOUND",
        "always_set_request_id_in_response: true\n\
         tracing: {operation: 'op-%REQ(x-a)%-%RESPONSE_CODE%', \
         provider: {name: envoy.tracers.opentelemetry, typed_config: {\"@type\": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, \
         grpc_service: {envoy_grpc: {cluster_name: grpc}, timeout: 1s}, resource_detectors: [{name: s, typed_config: {\"@type\": \
         type.googleapis.com/envoy.extensions.tracers.opentelemetry.resource_detectors.v3.StaticConfigResourceDetectorConfig, \
         attributes: {k: v}}}]}}}",
    ),
    (
        "otlp-sampler",
        "OUTBOUND",
        "tracing: {random_sampling: {value: 0}, \
         provider: {name: envoy.tracers.opentelemetry, typed_config: {\"@type\": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, \
         grpc_service: {envoy_grpc: {cluster_name: grpc}}, sampler: {name: s, typed_config: {\"@type\": \
         type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.ParentBasedSamplerConfig, wrapped_sampler: {name: w, \
         typed_config: {\"@type\": type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.AlwaysOnSamplerConfig}}}}}}}",
    ),
    (
        "otlp-ratio",
        "OUTBOUND",
        "tracing: {provider: {name: envoy.tracers.opentelemetry, typed_config: {\"@type\": \
         type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, grpc_service: {envoy_grpc: {cluster_name: grpc}}, \
         sampler: {name: s, typed_config: {\"@type\": \
         type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.TraceIdRatioBasedSamplerConfig, \
         sampling_percentage: {numerator: 50}}}}}}",
    ),
    (
        "marks",
        "UNSPECIFIED",
        "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}\n\
        tracing: {overall_sampling: {value: 0.5}, client_sampling: {value: 100}, random_sampling: {value: 50.5}}",
    ),
    (
        "marks-edge",
        "UNSPECIFIED",
        "use_remote_address: true\npreserve_external_request_id: true\ntracing: {random_sampling: {value: 0}}",
    ),
    (
        "marks-unpacked",
        "UNSPECIFIED",
        "request_id_extension: {typed_config: {\"@type\": type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig, \
         pack_trace_reason: false}}\ntracing: {}",
    ),
    (
        "child-spans",
        "INBOUND",
        "http_filters: [{name: router, typed_config: {\"@type\": \
        type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, start_child_span: true}}]\n\
        tracing: {upstream_operation: 'up-%REQ(x-a)%-%RESPONSE_CODE%-%PROTOCOL%', provider: {name: envoy.tracers.opentelemetry, \
        typed_config: {\"@type\": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, \
        grpc_service: {envoy_grpc: {cluster_name: grpc}}}}}",
    ),
];

const FAILED: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\nno";
const HANGS: &str = "";
const DECORATED: &str = "HTTP/1.1 200 OK\r\nx-envoy-decorator-operation: remote\r\ncontent-length: 0\r\n\r\n";
const GRPC: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 5\r\ngrpc-message: none\r\ncontent-length: 0\r\n\r\n";

/// What is played, in order.
pub const CASES: &[Case] = &[
    case("z-get", "zipkin-out", 1, "GET /up/a/long/path?q=1 HTTP/1.1\nhost: h\nx-a: 1\nuser-agent: u\n\n"),
    case("z-direct", "zipkin-out", 1, "GET /direct HTTP/1.1\nhost: h\n\n"),
    case("z-unrouted", "zipkin-out", 1, "GET /nowhere HTTP/1.1\nhost: h\n\n"),
    case("z-empty", "zipkin-out", 1, "GET /empty HTTP/1.1\nhost: h\n\n"),
    case("z-refused", "zipkin-out", 1, "GET /refused HTTP/1.1\nhost: h\n\n"),
    case("z-rewritten", "zipkin-out", 1, "POST /old/x HTTP/1.1\nhost: h\ncontent-length: 3\n\nabc"),
    case(
        "z-unsampled",
        "zipkin-out",
        0,
        "GET /up HTTP/1.1\nhost: h\nx-b3-traceid: 1\nx-b3-spanid: 2\nx-b3-sampled: 0\n\n",
    ),
    case(
        "z-many",
        "zipkin-out",
        1,
        "GET /up HTTP/1.1\nhost: h\nx-b3-traceid: 0000000000000001\nx-b3-spanid: 0000000000000002\nx-b3-parentspanid: 0000000000000003\nx-b3-sampled: 1\n\n",
    ),
    case(
        "z-single",
        "zipkin-out",
        1,
        "GET /up HTTP/1.1\nhost: h\nb3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90\n\n",
    ),
    case("z-state", "zipkin-out", 0, "GET /up HTTP/1.1\nhost: h\nb3: 0\n\n"),
    case("z-broken", "zipkin-out", 0, "GET /up HTTP/1.1\nhost: h\nb3: x-y\n\n"),
    case(
        "z-decorated",
        "zipkin-out",
        1,
        "GET /deco HTTP/1.1\nhost: h\nx-envoy-decorator-operation: given\n\n",
    ),
    case("z-quiet", "zipkin-out", 1, "GET /quiet HTTP/1.1\nhost: h\n\n"),
    answered(case("z-named-by-upstream", "zipkin-out", 1, "GET /deco HTTP/1.1\nhost: h\n\n"), &[DECORATED]),
    case("zi-get", "zipkin-in", 2, "GET /deco HTTP/1.1\nhost: h\n\n"),
    answered(case("zi-again", "zipkin-in", 3, "GET /again HTTP/1.1\nhost: h\n\n"), &[FAILED]),
    answered(case("zi-again-in-vain", "zipkin-in", 3, "GET /again HTTP/1.1\nhost: h\n\n"), &[FAILED, FAILED]),
    case("zi-refused", "zipkin-in", 3, "GET /refused HTTP/1.1\nhost: h\n\n"),
    case("zi-named", "zipkin-in", 2, "GET /deco HTTP/1.1\nhost: h\nx-envoy-decorator-operation: given\n\n"),
    case("zi-named-empty", "zipkin-in", 2, "GET /deco HTTP/1.1\nhost: h\nx-envoy-decorator-operation: \n\n"),
    case("zi-quiet", "zipkin-in", 2, "GET /quiet HTTP/1.1\nhost: h\n\n"),
    case(
        "zi-shared",
        "zipkin-in",
        2,
        "GET /up HTTP/1.1\nhost: h\nx-b3-traceid: 0000000000000001\nx-b3-spanid: 0000000000000002\nx-b3-parentspanid: 0000000000000003\n\n",
    ),
    case(
        "zi-w3c",
        "zipkin-in",
        2,
        "GET /up HTTP/1.1\nhost: h\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n\n",
    ),
    case(
        "zi-w3c-unsampled",
        "zipkin-in",
        0,
        "GET /up HTTP/1.1\nhost: h\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\n\n",
    ),
    case("za-new", "zipkin-apart", 1, "GET /up HTTP/1.1\nhost: h\n\n"),
    case(
        "za-child",
        "zipkin-apart",
        1,
        "GET /up HTTP/1.1\nhost: h\nx-b3-traceid: 0000000000000001\nx-b3-spanid: 0000000000000002\n\n",
    ),
    case("o-get", "otlp-out", 2, "GET /up HTTP/1.1\nhost: h\nx-client-trace-id: c\n\n"),
    case("o-deco", "otlp-out", 2, "GET /deco HTTP/1.1\nhost: h\nbaggage: k=v\n\n"),
    case("o-direct", "otlp-out", 1, "GET /direct HTTP/1.1\nhost: h\n\n"),
    answered(case("o-again", "otlp-out", 3, "GET /again HTTP/1.1\nhost: h\n\n"), &[FAILED]),
    case("o-refused", "otlp-out", 3, "GET /refused HTTP/1.1\nhost: h\n\n"),
    answered(case("o-late", "otlp-out", 2, "GET /late HTTP/1.1\nhost: h\n\n"), &[HANGS]),
    case(
        "o-parent",
        "otlp-out",
        2,
        "GET /up HTTP/1.1\nhost: h\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\ntracestate: a=b\nx-b: 1\ntracestate: c=d\n\n",
    ),
    case(
        "o-unsampled",
        "otlp-out",
        0,
        "GET /up HTTP/1.1\nhost: h\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\n\n",
    ),
    case("o-broken", "otlp-out", 0, "GET /up HTTP/1.1\nhost: h\ntraceparent: 00-bad\ntracestate: a=b\n\n"),
    answered(
        case(
            "o-grpc",
            "otlp-out",
            2,
            "POST /up/s/m HTTP/1.1\nhost: h\ncontent-type: application/grpc\ngrpc-timeout: 5S\ncontent-length: 0\nte: trailers\n\n",
        ),
        &[GRPC],
    ),
    case("o-route", "otlp-out", 2, "GET /route HTTP/1.1\nhost: h\nx-a: 1\nx-client-trace-id: 4\n\n"),
    case("o-route-not-chosen", "otlp-out", 0, "GET /route HTTP/1.1\nhost: h\nx-a: 1\n\n"),
    case("oi-get", "otlp-in", 1, "GET /deco HTTP/1.1\nhost: h\nx-a: 1\n\n"),
    case("oi-named", "otlp-in", 1, "GET /deco HTTP/1.1\nhost: h\nx-envoy-decorator-operation: given\n\n"),
    case("oi-route", "otlp-in", 1, "GET /route HTTP/1.1\nhost: h\nx-a: 7\nx-client-trace-id: 4\n\n"),
    case("os-new", "otlp-sampler", 0, "GET /up HTTP/1.1\nhost: h\n\n"),
    case(
        "os-child",
        "otlp-sampler",
        0,
        "GET /up HTTP/1.1\nhost: h\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\n\n",
    ),
    case(
        "or-in",
        "otlp-ratio",
        1,
        "GET /up HTTP/1.1\nhost: h\ntraceparent: 00-2a00000000000000000000000000319c-b7ad6b7169203331-00\n\n",
    ),
    case(
        "or-out",
        "otlp-ratio",
        0,
        "GET /up HTTP/1.1\nhost: h\ntraceparent: 00-3400000000000000000000000000319c-b7ad6b7169203331-01\n\n",
    ),
    case(
        "m-below",
        "marks",
        0,
        "GET /up HTTP/1.1\nhost: h\nx-request-id: 00000000-0000-4000-8000-000000000001\n\n",
    ),
    case(
        "m-above",
        "marks",
        0,
        "GET /up HTTP/1.1\nhost: h\nx-request-id: 00000032-0000-9000-8000-000000000001\n\n",
    ),
    case(
        "m-version-7",
        "marks",
        0,
        "GET /up HTTP/1.1\nhost: h\nx-request-id: 00000032-0000-7000-8000-000000000001\n\n",
    ),
    case(
        "m-client",
        "marks",
        0,
        "GET /up HTTP/1.1\nhost: h\nx-request-id: 00000001-0000-4000-8000-000000000001\nx-client-trace-id: 7\n\n",
    ),
    case(
        "m-forced",
        "marks",
        0,
        "GET /up HTTP/1.1\nhost: h\nx-forwarded-for: 10.0.0.1\nx-request-id: 00000001-0000-4000-8000-000000000001\nx-envoy-force-trace: 1\n\n",
    ),
    case(
        "m-forced-outside",
        "marks",
        0,
        "GET /up HTTP/1.1\nhost: h\nx-request-id: 00000032-0000-4000-8000-000000000001\nx-envoy-force-trace: 1\n\n",
    ),
    case("m-no-uuid", "marks", 0, "GET /up HTTP/1.1\nhost: h\nx-request-id: 00000001\n\n"),
    case("m-short", "marks", 0, "GET /up HTTP/1.1\nhost: h\nx-request-id: short\n\n"),
    case(
        "m-direct",
        "marks",
        0,
        "GET /direct HTTP/1.1\nhost: h\nx-request-id: 00000001-0000-4000-8000-000000000001\n\n",
    ),
    case(
        "m-decorated",
        "marks",
        0,
        "GET /deco HTTP/1.1\nhost: h\nx-request-id: 00000001-0000-4000-8000-000000000001\nx-envoy-decorator-operation: given\n\n",
    ),
    case(
        "e-sampled",
        "marks-edge",
        0,
        "GET /up HTTP/1.1\nhost: h\nx-request-id: 00000001-0000-9000-8000-000000000001\n\n",
    ),
    case(
        "e-client",
        "marks-edge",
        0,
        "GET /up HTTP/1.1\nhost: h\nx-request-id: 00000001-0000-4000-8000-000000000001\nx-client-trace-id: 7\n\n",
    ),
    case(
        "e-version-7",
        "marks-edge",
        0,
        "GET /up HTTP/1.1\nhost: h\nx-request-id: 00000001-0000-7000-8000-000000000001\n\n",
    ),
    case(
        "u-given",
        "marks-unpacked",
        0,
        "GET /up HTTP/1.1\nhost: h\nx-request-id: 00000001-0000-4000-8000-000000000001\n\n",
    ),
    case("u-new", "marks-unpacked", 0, "GET /up HTTP/1.1\nhost: h\n\n"),
    answered(case("c-again", "child-spans", 3, "GET /again HTTP/1.1\nhost: h\nx-a: 1\n\n"), &[FAILED]),
];
