//! `HttpConnectionManager.Tracing`, `Route.tracing`, `Route.decorator` -> what the request path reads of them.
//!
//! [`opentelemetry`] and [`zipkin`] have the providers, [`collector`] how they reach a collector by HTTP.

mod collector;
mod opentelemetry;
#[cfg(test)]
mod tests;
mod zipkin;

use std::sync::Arc;

use sampan_api::envoy::config::route::v3 as route;
use sampan_api::envoy::config::trace::v3::tracing::Http as ProviderProto;
use sampan_api::envoy::config::trace::v3::tracing::http::ConfigType;
use sampan_api::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::Tracing as Proto;
use sampan_api::envoy::r#type::v3::{FractionalPercent as Share, Percent};
use sampan_api::{MessageSupport, Support, type_url};
use sampan_filters_api::format::Template;
use sampan_model::fraction::{Denominator, FractionalPercent};
use sampan_model::trace::Rates;

use super::{Context, Scope, custom_tag, value};
use crate::telemetry::trace::{Decorator, Dialect, RouteTracing, SpanTags, Tracer, Tracing};

const YES: Support = Support::Supported;

/// What is read here.
pub const SUPPORT: &[&[MessageSupport]] =
    &[TRACING, opentelemetry::SUPPORT, zipkin::SUPPORT, collector::SUPPORT];

const TRACING: &[MessageSupport] = &[
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing",
        &[
            ("client_sampling", YES),
            ("random_sampling", YES),
            ("overall_sampling", YES),
            ("verbose", YES),
            ("max_path_tag_length", YES),
            ("custom_tags", YES),
            ("provider", YES),
            ("spawn_upstream_span", YES),
            ("operation", YES),
            ("upstream_operation", YES),
            ("no_context_propagation", YES),
        ],
    ),
    ("envoy.config.trace.v3.Tracing", &[("http", YES)]),
    ("envoy.config.trace.v3.Tracing.Http", &[("name", YES), ("typed_config", YES)]),
    ("envoy.type.v3.Percent", &[("value", YES)]),
    (
        "envoy.config.route.v3.Tracing",
        &[
            ("client_sampling", YES),
            ("random_sampling", YES),
            ("overall_sampling", YES),
            ("custom_tags", YES),
            ("operation", YES),
            ("upstream_operation", YES),
        ],
    ),
    ("envoy.config.route.v3.Decorator", &[("operation", YES), ("propagate", YES)]),
];

const OPENTELEMETRY: &str = "envoy.config.trace.v3.OpenTelemetryConfig";
const ZIPKIN: &str = "envoy.config.trace.v3.ZipkinConfig";

/// `max_path_tag_length` where nothing is configured.
const MAX_PATH: u32 = 256;

/// What the connection manager's other fields say about tracing.
#[derive(Clone, Copy)]
pub struct Beside {
    /// `UuidRequestIdConfig.use_request_id_for_trace_sampling`
    pub by_request_id: bool,
    /// `Router.start_child_span`
    pub child_spans: bool,
}

/// `tracing` of a connection manager.
pub fn compile(proto: &Proto, beside: Beside, context: &Context, at: &Scope<'_>) -> Option<Box<Tracing>> {
    let before = at.rejects().len();
    let tags = tags(&proto.custom_tags, &proto.operation, &proto.upstream_operation, at);
    // As in Envoy, the bootstrap's provider stands in for one that is not named.
    let tracer = match (&proto.provider, &context.tracing_provider) {
        (Some(own), _) => tracer(own, context, &at.field("provider")),
        (None, Some(common)) => tracer(common, context, &at.field("provider")),
        (None, None) => None,
    };
    let separate_hop = value::switch(proto.spawn_upstream_span.as_ref()).unwrap_or(false);
    let tracing = Tracing {
        rates: Rates {
            client: whole_percent(proto.client_sampling.as_ref()),
            random: percent(proto.random_sampling.as_ref()),
            overall: percent(proto.overall_sampling.as_ref()),
        },
        by_request_id: beside.by_request_id,
        verbose: proto.verbose,
        max_path: value::number_or(proto.max_path_tag_length.as_ref(), MAX_PATH) as usize,
        tags,
        separate_hop,
        upstream_spans: separate_hop || beside.child_spans,
        propagates: !proto.no_context_propagation,
        tracer,
        node_id: context.service_node.clone(),
        zone: context.service_zone.clone(),
    };
    (at.rejects().len() == before).then(|| Box::new(tracing))
}

/// `tracing` of a route.
pub fn route(proto: &route::Tracing, at: &Scope<'_>) -> Arc<RouteTracing> {
    let share = |share: Option<&Share>| share.map_or(FractionalPercent::ALWAYS, value::fraction);
    Arc::new(RouteTracing {
        rates: Rates {
            client: share(proto.client_sampling.as_ref()),
            random: share(proto.random_sampling.as_ref()),
            overall: share(proto.overall_sampling.as_ref()),
        },
        tags: tags(&proto.custom_tags, &proto.operation, &proto.upstream_operation, at),
    })
}

/// `decorator` of a route.
pub fn decorator(proto: &route::Decorator) -> Arc<Decorator> {
    let propagates = value::switch(proto.propagate.as_ref()).unwrap_or(true);
    Arc::new(Decorator { operation: proto.operation.as_str().into(), propagates })
}

fn tags(
    custom: &[sampan_api::envoy::r#type::tracing::v3::CustomTag],
    operation: &str,
    upstream_operation: &str,
    at: &Scope<'_>,
) -> SpanTags {
    SpanTags {
        custom: custom_tag::all(custom, &at.field("custom_tags")),
        operation: format(operation, &at.field("operation")),
        upstream_operation: format(upstream_operation, &at.field("upstream_operation")),
    }
}

fn format(text: &str, at: &Scope<'_>) -> Option<Template> {
    if text.is_empty() {
        return None;
    }
    match Template::parse(text) {
        Ok(template) => Some(template.omitting_empty(true)),
        Err(error) => at.reject_value(&error.operator, error.reason, error.hint),
    }
}

/// A percentage to two places.
fn percent(proto: Option<&Percent>) -> FractionalPercent {
    let percent = proto.map_or(100.0, |percent| percent.value);
    FractionalPercent { numerator: (percent * 100.0).round() as u32, denominator: Denominator::TenThousand }
}

/// A percentage of which Envoy takes the whole part.
fn whole_percent(proto: Option<&Percent>) -> FractionalPercent {
    let percent = proto.map_or(100.0, |percent| percent.value);
    FractionalPercent { numerator: percent as u32, denominator: Denominator::Hundred }
}

fn tracer(proto: &ProviderProto, context: &Context, at: &Scope<'_>) -> Option<Tracer> {
    let Some(ConfigType::TypedConfig(any)) = &proto.config_type else {
        return at.reject_value(&proto.name, "the provider has no typed_config", "");
    };
    let at = at.field("typed_config");
    match type_url::full_name(&any.type_url) {
        OPENTELEMETRY => {
            let (sampler, export) = opentelemetry::compile(&value::payload(any, &at)?, &at)?;
            let sink = export.map(|export| context.span_sinks.open(export));
            Some(Tracer { dialect: Dialect::OpenTelemetry(sampler), sink })
        }
        ZIPKIN => {
            let (options, export) = zipkin::compile(&value::payload(any, &at)?, context, &at)?;
            let sink = Some(context.span_sinks.open(export));
            Some(Tracer { dialect: Dialect::Zipkin(options), sink })
        }
        _ => at.reject_value(
            &any.type_url,
            "there is no tracing provider of this type",
            "use envoy.tracers.opentelemetry or envoy.tracers.zipkin",
        ),
    }
}
