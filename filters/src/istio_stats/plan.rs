//! Changes to the standard metrics: labels added, replaced and removed, metrics left out, metrics of one's own.

use std::sync::Arc;

use sampan_filters_api::SeriesKind;
use sampan_filters_api::format::FormatContext;
use sampan_filters_api::series::Labels;

use super::Metric;
use super::labels::Label;
use super::value::Expression;

/// What is changed. The default changes nothing.
#[derive(Debug, Default)]
pub struct Plan {
    /// Metrics that are not reported.
    pub dropped: Vec<Metric>,
    /// The expressions of labels and of values, each once.
    pub expressions: Vec<Expression>,
    /// By metric and label: another value, or none to remove it. The last word counts.
    pub replaced: Vec<(Metric, Label, Option<usize>)>,
    /// By metric: more labels.
    pub added: Vec<(Metric, Arc<str>, usize)>,
    /// More metrics.
    pub custom: Vec<Custom>,
}

/// A metric of one's own.
#[derive(Debug)]
pub struct Custom {
    /// The name with `istio_`.
    pub name: Box<str>,
    /// What it is.
    pub kind: SeriesKind,
    /// The expression of its value.
    pub value: usize,
    /// Its labels.
    pub labels: Vec<(Arc<str>, usize)>,
}

impl Plan {
    /// Whether streams need not be looked at for it.
    pub fn is_plain(&self) -> bool {
        self.expressions.is_empty()
    }

    /// The values of the expressions for a stream.
    pub fn values(&self, context: &FormatContext<'_>) -> Vec<String> {
        self.expressions.iter().map(|expression| expression.text(context)).collect()
    }

    /// Whether a metric is left out.
    pub fn drops(&self, metric: Metric) -> bool {
        self.dropped.contains(&metric)
    }

    /// The labels of a metric.
    pub fn labels(&self, metric: Metric, standard: &[(Label, String)], values: &[String]) -> Labels {
        let value = |index: usize| values.get(index).cloned().unwrap_or_default();
        let mut labels: Vec<(Arc<str>, String)> = Vec::with_capacity(standard.len() + 4);
        for (label, own) in standard {
            let change = self.replaced.iter().rev().find(|(of, what, _)| *of == metric && what == label);
            match change {
                Some((_, _, None)) => {}
                Some((_, _, Some(index))) => labels.push((label.name().into(), value(*index))),
                None => labels.push((label.name().into(), own.clone())),
            }
        }
        let added = self.added.iter().filter(|(of, _, _)| *of == metric);
        labels.extend(added.map(|(_, name, index)| (Arc::clone(name), value(*index))));
        labels.into()
    }
}

impl Custom {
    /// Its labels for a stream.
    pub fn labels(&self, values: &[String]) -> Labels {
        let value = |index: usize| values.get(index).cloned().unwrap_or_default();
        self.labels.iter().map(|(name, index)| (Arc::clone(name), value(*index))).collect()
    }
}
