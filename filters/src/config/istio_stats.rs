//! `stats.PluginConfig`: the same message for requests and for connections.

use std::sync::Arc;
use std::time::Duration;

use sampan_api::istio as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::{Direction, SeriesKind};

use super::{Compiled, ConfigError, FilterContext, duration, payload};
use crate::http::local_ratelimit::next_id;
use crate::istio_stats::labels::Label;
use crate::istio_stats::plan::{Custom, Plan};
use crate::istio_stats::value::Expression;
use crate::istio_stats::{Metric, NAMESPACE, Own, Reporter, Settings};

const YES: Support = Support::Supported;
const GONE: Support = Support::Ignored("it has no effect in Istio either");

/// Full name of the message.
pub const MESSAGE: &str = "stats.PluginConfig";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        MESSAGE,
        &[
            ("debug", GONE),
            ("max_peer_cache_size", GONE),
            ("stat_prefix", GONE),
            ("field_separator", GONE),
            ("value_separator", GONE),
            ("disable_host_header_fallback", YES),
            ("tcp_reporting_duration", YES),
            ("metrics", YES),
            ("definitions", YES),
            ("reporter", YES),
            ("rotation_interval", YES),
            ("graceful_deletion_interval", YES),
        ],
    ),
    (
        "stats.MetricConfig",
        &[("dimensions", YES), ("name", YES), ("tags_to_remove", YES), ("match", GONE), ("drop", YES)],
    ),
    ("stats.MetricDefinition", &[("name", YES), ("value", YES), ("type", YES)]),
];

/// `tcp_reporting_duration` unless it is given.
const PERIOD: Duration = Duration::from_secs(5);
/// `graceful_deletion_interval` unless it is given.
const GRACE: Duration = Duration::from_mins(5);
/// The expression of a label that has none.
const UNKNOWN_LABEL: &str = "'unknown'";
/// Expressions of a filter at most.
const MOST_EXPRESSIONS: usize = 256;

/// Compiles the message.
pub fn settings(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<Settings>> {
    let proto: pb::PluginConfig = payload(bytes)?;
    let mut reading = Reading { context, plan: Plan::default(), texts: Vec::new(), errors: Vec::new() };
    reading.definitions(&proto.definitions);
    reading.metrics(&proto.metrics);
    let period = reading.duration(proto.tcp_reporting_duration.as_ref(), "tcp_reporting_duration");
    let rotation = reading.duration(proto.rotation_interval.as_ref(), "rotation_interval");
    let grace = reading.duration(proto.graceful_deletion_interval.as_ref(), "graceful_deletion_interval");
    let Reading { plan, errors, .. } = reading;
    if !errors.is_empty() {
        return Err(errors);
    }
    let reporter = match (proto.reporter(), context.direction) {
        (pb::Reporter::ServerGateway, _) => Reporter::Waypoint,
        (pb::Reporter::Unspecified, Direction::Inbound) => Reporter::Destination,
        (pb::Reporter::Unspecified, _) => Reporter::Source,
    };
    tell_build(context);
    Ok(Arc::new(Settings {
        id: next_id(),
        reporter,
        host_fallback: !proto.disable_host_header_fallback,
        period: period.unwrap_or(PERIOD),
        own: Own::of(context.node),
        plan,
        idle: rotation
            .filter(|rotation| !rotation.is_zero())
            .map(|rotation| rotation.saturating_add(grace.unwrap_or(GRACE))),
        store: Arc::clone(context.series),
    }))
}

/// `istio_build`: which Istio this proxy belongs to.
fn tell_build(context: &FilterContext<'_>) {
    let version = match context.node.text(&["ISTIO_VERSION"]) {
        "" => "unknown",
        version => version,
    };
    let labels = [("component".into(), "proxy".to_owned()), ("tag".into(), version.to_owned())];
    context.series.constant(&format!("{NAMESPACE}.istio_build"), labels.into(), 1);
}

/// One run of reading.
struct Reading<'c> {
    context: &'c FilterContext<'c>,
    plan: Plan,
    /// The texts of the plan's expressions.
    texts: Vec<String>,
    errors: Vec<ConfigError>,
}

impl Reading<'_> {
    fn duration(
        &mut self,
        proto: Option<&sampan_api::google::protobuf::Duration>,
        path: &str,
    ) -> Option<Duration> {
        duration(proto?, path).map_err(|error| self.errors.push(error)).ok()
    }

    /// The place of an expression, which may be there already. In Istio no label makes a configuration fail, and its own examples name attributes
    /// that only a plugin sets: a label that cannot be worked out is `unknown`.
    fn label(&mut self, text: &str, path: &str) -> Option<usize> {
        if let Err(reason) = Expression::parse(text, self.context.node) {
            let name = self.context.name;
            tracing::warn!(target: "filter", "{name}: {path}: the label will be `unknown`: {reason}: {text}");
            return self.expression(UNKNOWN_LABEL, path);
        }
        self.expression(text, path)
    }

    /// The same for what a metric is made of, which there is none without.
    fn expression(&mut self, text: &str, path: &str) -> Option<usize> {
        if let Some(known) = self.texts.iter().position(|known| known == text) {
            return Some(known);
        }
        if self.texts.len() >= MOST_EXPRESSIONS {
            self.errors.push(ConfigError::new(path, "there are too many expressions"));
            return None;
        }
        match Expression::parse(text, self.context.node) {
            Ok(expression) => {
                self.texts.push(text.to_owned());
                self.plan.expressions.push(expression);
                Some(self.texts.len() - 1)
            }
            Err(reason) => {
                let error = ConfigError::new(path, format!("the expression is not supported: {reason}"));
                self.errors.push(error.value(text).hint(
                    "literals and attributes such as request.host, request.headers['x'], upstream_peer.app are",
                ));
                None
            }
        }
    }

    fn definitions(&mut self, protos: &[pb::MetricDefinition]) {
        for (index, proto) in protos.iter().enumerate() {
            let path = format!("definitions[{index}]");
            if proto.name.is_empty() || Metric::named(&proto.name).is_some() {
                let error =
                    ConfigError::new(format!("{path}.name"), "is empty, or the name of a standard metric");
                self.errors.push(error.value(&proto.name));
                continue;
            }
            let Some(value) = self.expression(&proto.value, &format!("{path}.value")) else { continue };
            let kind = match proto.r#type() {
                pb::MetricKind::Counter => SeriesKind::Counter,
                pb::MetricKind::Gauge => SeriesKind::Gauge,
                pb::MetricKind::Histogram => SeriesKind::Histogram,
            };
            let name = format!("istio_{}", proto.name).into();
            self.plan.custom.push(Custom { name, kind, value, labels: Vec::new() });
        }
    }

    fn metrics(&mut self, protos: &[pb::MetricConfig]) {
        for (index, proto) in protos.iter().enumerate() {
            // A name that is none of the standard ones may be one of the definitions.
            let named = Metric::named(&proto.name);
            let standard: Vec<Metric> = match (proto.name.as_str(), named) {
                ("", _) => Metric::ALL.into(),
                (_, named) => named.into_iter().collect(),
            };
            if proto.drop {
                // As in Istio, only a metric that is named can be dropped.
                self.plan.dropped.extend(named);
                continue;
            }
            // What is no standard label is not there in the first place.
            for label in proto.tags_to_remove.iter().filter_map(|name| Label::named(name)) {
                self.plan.replaced.extend(standard.iter().map(|metric| (*metric, label, None)));
            }
            for (name, text) in &proto.dimensions {
                let path = format!("metrics[{index}].dimensions[{name}]");
                let Some(value) = self.label(text, &path) else { continue };
                self.dimension(&proto.name, &standard, name, value);
            }
        }
    }

    fn dimension(&mut self, metric: &str, standard: &[Metric], name: &str, value: usize) {
        if let Some(label) = Label::named(name) {
            self.plan.replaced.extend(standard.iter().map(|metric| (*metric, label, Some(value))));
        } else {
            let name: Arc<str> = name.into();
            self.plan.added.extend(standard.iter().map(|metric| (*metric, Arc::clone(&name), value)));
        }
        let full = format!("istio_{metric}");
        for custom in self.plan.custom.iter_mut().filter(|custom| metric.is_empty() || *custom.name == *full)
        {
            custom.labels.push((name.into(), value));
        }
    }
}
