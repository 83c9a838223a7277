//! `envoy.config.trace.v3.OpenTelemetryConfig`, its samplers and resource detectors.

use std::collections::BTreeMap;

use sampan_api::envoy::config::core::v3::TypedExtensionConfig;
use sampan_api::envoy::config::trace::v3::OpenTelemetryConfig;
use sampan_api::envoy::extensions::tracers::opentelemetry::resource_detectors::v3::StaticConfigResourceDetectorConfig;
use sampan_api::envoy::extensions::tracers::opentelemetry::samplers::v3::{
    ParentBasedSamplerConfig, TraceIdRatioBasedSamplerConfig,
};
use sampan_api::{MessageSupport, Support, type_url};
use sampan_model::fraction::FractionalPercent;
use sampan_model::trace::Sampler;

use super::super::{Scope, extension, source, value};
use super::collector;
use crate::telemetry::trace::{Export, Otlp, OtlpWay};

const YES: Support = Support::Supported;
const REFUSED: Support = Support::Later("a provider that sets it is refused");

const ALWAYS_ON: &str = "envoy.extensions.tracers.opentelemetry.samplers.v3.AlwaysOnSamplerConfig";
const PARENT_BASED: &str = "envoy.extensions.tracers.opentelemetry.samplers.v3.ParentBasedSamplerConfig";
const RATIO: &str = "envoy.extensions.tracers.opentelemetry.samplers.v3.TraceIdRatioBasedSamplerConfig";
const ENVIRONMENT: &str =
    "envoy.extensions.tracers.opentelemetry.resource_detectors.v3.EnvironmentResourceDetectorConfig";
const STATIC: &str =
    "envoy.extensions.tracers.opentelemetry.resource_detectors.v3.StaticConfigResourceDetectorConfig";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.config.trace.v3.OpenTelemetryConfig",
        &[
            ("grpc_service", YES),
            ("http_service", YES),
            ("exporter", REFUSED),
            ("service_name", YES),
            ("resource_detectors", YES),
            ("sampler", YES),
            ("max_cache_size", YES),
            ("set_telemetry_sdk_resource_attributes", YES),
            ("set_service_name_resource_attribute", YES),
            ("set_instrumentation_scope", YES),
        ],
    ),
    (ALWAYS_ON, &[]),
    (PARENT_BASED, &[("wrapped_sampler", YES)]),
    (RATIO, &[("sampling_percentage", YES)]),
    (ENVIRONMENT, &[]),
    (STATIC, &[("attributes", YES)]),
];

/// `service_name` where nothing is configured.
const SERVICE: &str = "unknown_service:envoy";

/// The environment variable of attributes (OpenTelemetry, "Resource SDK").
const VARIABLE: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// The longest a wrapped sampler may be nested.
const DEEPEST: usize = 8;

/// The sampler, and where spans go: nowhere if no collector is configured.
pub fn compile(proto: &OpenTelemetryConfig, at: &Scope<'_>) -> Option<(Option<Sampler>, Option<Export>)> {
    let before = at.rejects().len();
    if proto.exporter.is_some() {
        at.field("exporter").reject::<()>("there are no such exporters; use grpc_service or http_service");
    }
    let sampler = proto.sampler.as_ref().and_then(|proto| sampler(proto, 0, &at.field("sampler")));
    let way = match (&proto.grpc_service, &proto.http_service) {
        (Some(_), Some(_)) => at
            .field("http_service")
            .reject("OpenTelemetry Tracer cannot have both gRPC and HTTP exporters configured"),
        (Some(grpc), None) => source::grpc_target(grpc, &at.field("grpc_service")).map(OtlpWay::Grpc),
        (None, Some(http)) => collector::compile(http, &at.field("http_service")).map(OtlpWay::Http),
        (None, None) => None,
    };
    let resource = resource(proto, &at.field("resource_detectors"));
    let export = way.map(|way| {
        Export::Otlp(Otlp {
            way,
            resource,
            scope: value::switch(proto.set_instrumentation_scope.as_ref()).unwrap_or(true),
            most: value::number_or(proto.max_cache_size.as_ref(), crate::telemetry::trace::MOST as u32)
                as usize,
        })
    });
    (at.rejects().len() == before).then_some((sampler, export))
}

/// The attributes of the resource; detectors overwrite what came before them.
fn resource(proto: &OpenTelemetryConfig, at: &Scope<'_>) -> Vec<(String, String)> {
    let mut all = BTreeMap::new();
    let mut set = |key: &str, value: &str| drop(all.insert(key.to_owned(), value.to_owned()));
    if value::switch(proto.set_telemetry_sdk_resource_attributes.as_ref()).unwrap_or(true) {
        set("telemetry.sdk.language", "rust");
        set("telemetry.sdk.name", "sampan");
        set("telemetry.sdk.version", env!("CARGO_PKG_VERSION"));
    }
    if value::switch(proto.set_service_name_resource_attribute.as_ref()).unwrap_or(true) {
        set("service.name", if proto.service_name.is_empty() { SERVICE } else { &proto.service_name });
    }
    for (index, detector) in proto.resource_detectors.iter().enumerate() {
        let at = at.index(index);
        let name = detector.typed_config.as_ref().map_or("", |any| type_url::full_name(&any.type_url));
        match (name, &detector.typed_config) {
            (ENVIRONMENT, _) => {
                for (key, value) in from_environment(&std::env::var(VARIABLE).unwrap_or_default()) {
                    set(key, value);
                }
            }
            (STATIC, Some(any)) => {
                let at = at.field("typed_config");
                let attributes = value::payload::<StaticConfigResourceDetectorConfig>(any, &at);
                for (key, value) in attributes.map(|config| config.attributes).into_iter().flatten() {
                    set(&key, &value);
                }
            }
            _ => {
                at.reject_value::<()>(
                    extension::shown(detector),
                    "there is no such resource detector",
                    "use environment or static_config",
                );
            }
        }
    }
    all.into_iter().collect()
}

/// `key=value,key=value`; what has another shape is left out, as in Envoy.
fn from_environment(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(',').filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (!key.is_empty() && !value.is_empty() && !value.contains('=')).then_some((key, value))
    })
}

fn sampler(proto: &TypedExtensionConfig, depth: usize, at: &Scope<'_>) -> Option<Sampler> {
    if depth > DEEPEST {
        return at.reject("samplers are nested too deeply");
    }
    let config_at = at.field("typed_config");
    let name = proto.typed_config.as_ref().map_or("", |any| type_url::full_name(&any.type_url));
    match (name, &proto.typed_config) {
        (ALWAYS_ON, _) => Some(Sampler::AlwaysOn),
        (RATIO, Some(any)) => {
            let config: TraceIdRatioBasedSamplerConfig = value::payload(any, &config_at)?;
            let share = config.sampling_percentage.as_ref();
            Some(Sampler::TraceIdRatio(share.map_or(FractionalPercent::NEVER, value::fraction)))
        }
        (PARENT_BASED, Some(any)) => {
            let config: ParentBasedSamplerConfig = value::payload(any, &config_at)?;
            let at = config_at.field("wrapped_sampler");
            let Some(wrapped) = &config.wrapped_sampler else { return at.reject("is required") };
            Some(Sampler::ParentBased(Box::new(sampler(wrapped, depth + 1, &at)?)))
        }
        _ => at.reject_value(
            extension::shown(proto),
            "there is no such sampler",
            "use always_on, trace_id_ratio_based or parent_based",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::from_environment;

    #[test]
    fn attributes_of_the_environment() {
        let found: Vec<_> = from_environment("a=1,b=2,,c,d=,=e,f=1=2,g=3").collect();
        assert_eq!(found, [("a", "1"), ("b", "2"), ("g", "3")]);
        assert_eq!(from_environment("").count(), 0);
    }
}
