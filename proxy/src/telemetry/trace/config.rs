//! `HttpConnectionManager.Tracing`, its provider, and what routes say about tracing.

use std::sync::Arc;

use sampan_filters_api::format::Template;
use sampan_model::trace::{Rates, Sampler};

use super::sink::SpanSink;
use crate::telemetry::access_log::CustomTag;

/// `tracing` of a connection manager.
pub struct Tracing {
    /// `client_sampling`, `random_sampling`, `overall_sampling`
    pub rates: Rates,
    /// `UuidRequestIdConfig.use_request_id_for_trace_sampling`
    pub by_request_id: bool,
    /// `verbose`
    pub verbose: bool,
    /// `max_path_tag_length`
    pub max_path: usize,
    /// `custom_tags`, and how spans are called.
    pub tags: SpanTags,
    /// `spawn_upstream_span`
    pub separate_hop: bool,
    /// A span for each try: `spawn_upstream_span`, or the router's `start_child_span`.
    pub upstream_spans: bool,
    /// Not `no_context_propagation`
    pub propagates: bool,
    /// `provider`; without one, requests are only marked.
    pub tracer: Option<Tracer>,
    /// `node.id`
    pub node_id: Arc<str>,
    /// `node.locality.zone`
    pub zone: Arc<str>,
}

/// Tags and names of spans: of the connection manager, or of a route and it together.
#[derive(Debug, Default)]
pub struct SpanTags {
    /// `custom_tags`
    pub custom: Vec<CustomTag>,
    /// `operation`, in place of every other name.
    pub operation: Option<Template>,
    /// `upstream_operation`
    pub upstream_operation: Option<Template>,
}

/// `Route.tracing`
#[derive(Debug)]
pub struct RouteTracing {
    /// In place of those of the connection manager.
    pub rates: Rates,
    /// Over those of the connection manager.
    pub tags: SpanTags,
}

/// `Route.decorator`
#[derive(Debug)]
pub struct Decorator {
    /// `operation`
    pub operation: Box<str>,
    /// `propagate`
    pub propagates: bool,
}

/// A tracing provider.
pub struct Tracer {
    /// How ids and headers are made.
    pub dialect: Dialect,
    /// Where spans go; nowhere if no collector is configured.
    pub sink: Option<SpanSink>,
}

/// What tells providers apart on the request path.
#[derive(Debug)]
pub enum Dialect {
    /// `envoy.tracers.opentelemetry`: W3C Trace Context.
    OpenTelemetry(Option<Sampler>),
    /// `envoy.tracers.zipkin`: B3.
    Zipkin(Zipkin),
}

/// Options of `envoy.tracers.zipkin`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Zipkin {
    /// `trace_id_128bit`
    pub wide_ids: bool,
    /// `timestamp_trace_ids`
    pub timed_ids: bool,
    /// `shared_span_context`
    pub shared: bool,
    /// `split_spans_for_request`
    pub split: bool,
    /// `trace_context_option` is `USE_B3_WITH_W3C_PROPAGATION`.
    pub with_w3c: bool,
}
