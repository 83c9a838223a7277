//! What the tests of the compile step share: YAML in, domain values or refusals out.

use std::sync::Arc;

use sampan_api::{Descriptors, Document, Format, Policy, decode};
use sampan_filters_api::Direction;
use sampan_filters_api::series::NoSeries;

use super::scope::Rejects;
use super::{Context, Scope};
use crate::runtime::{Layer, Runtime, Value};
use crate::telemetry::access_log::{LogFiles, LogServices};
use crate::telemetry::trace::SpanSinks;

/// A context with the clusters `a` and `b` and a connection limit for the listener `limited`.
pub fn context() -> Context {
    let limit = ("envoy.resource_limits.listener.limited.connection_limit".into(), Value::Number(7.0));
    let layer = Layer { name: "l".into(), values: [limit].into_iter().collect(), ..Layer::default() };
    Context {
        routes: Arc::default(),
        scopes: Arc::default(),
        extensions: Arc::default(),
        slots: Arc::default(),
        runtime: Arc::new(Runtime { layers: vec![layer] }),
        clusters: Arc::new(["a".into(), "b".into()].into_iter().collect()),
        log_files: Arc::new(LogFiles::for_validation()),
        log_services: Arc::new(LogServices::for_validation()),
        service_cluster: "cluster".into(),
        service_node: "node".into(),
        service_zone: "zone".into(),
        span_sinks: Arc::new(SpanSinks::for_validation()),
        tracing_provider: None,
        tls: super::tls::Inputs::default(),
        counters: Arc::default(),
        failing: Arc::default(),
        series: Arc::new(NoSeries),
        node: Arc::default(),
        direction: Direction::Unspecified,
    }
}

/// The message that a YAML text stands for.
pub fn parsed<M: prost::Message + prost::Name + Default>(yaml: &str) -> M {
    let document = Document::parse(yaml, Format::Yaml).unwrap();
    decode(Descriptors::load(), &document, Policy::default()).unwrap().value
}

/// Runs a compile function on a YAML text: the value, or `path: reason` of each refusal.
pub fn compiled<M: prost::Message + prost::Name + Default, T>(
    yaml: &str,
    compile: impl FnOnce(&M, &Context, &Scope<'_>) -> Option<T>,
) -> Result<T, Vec<String>> {
    let rejects = Rejects::default();
    let value = compile(&parsed(yaml), &context(), &Scope::root("test", &rejects));
    let told: Vec<_> = rejects.into_vec().iter().map(|r| format!("{}: {}", r.path, r.reason)).collect();
    assert_eq!(value.is_some(), told.is_empty(), "{told:?}");
    value.ok_or(told)
}
