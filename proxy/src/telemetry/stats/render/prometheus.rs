//! The Prometheus text format: families by name, counters before gauges before histograms, tags as labels.
//!
//! Families are encoded one at a time, so that a scrape of thousands of clusters never holds all of them as messages.

use std::collections::HashMap;

use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType, Quantile, Summary,
};

use super::super::collect::{Recorded, Sample, Samples};
use super::super::histogram::QUANTILES;
use super::super::query::{Buckets, StatsQuery};
use super::super::registry::Stats;

pub(super) fn print(samples: Samples, stats: &Stats, query: &StatsQuery) -> String {
    let mut body = String::with_capacity((samples.counters.len() + samples.gauges.len()) * 96);
    print_families(&mut body, stats, samples.counters, MetricType::COUNTER, |metric, sample| {
        let mut counter = Counter::default();
        counter.set_value(sample.value as f64);
        metric.set_counter(counter);
    });
    print_families(&mut body, stats, samples.gauges, MetricType::GAUGE, |metric, sample| {
        metric.set_gauge(gauge(sample.value as f64));
    });
    print_families(&mut body, stats, samples.texts, MetricType::GAUGE, |metric, sample| {
        let mut labels = metric.take_label();
        labels.push(label("text_value", sample.value));
        metric.set_label(labels);
        metric.set_gauge(gauge(0.0));
    });
    if query.buckets == Buckets::Summary {
        print_families(&mut body, stats, samples.histograms, MetricType::SUMMARY, |metric, sample| {
            metric.set_summary(summary(&sample.value));
        });
    } else {
        print_families(&mut body, stats, samples.histograms, MetricType::HISTOGRAM, |metric, sample| {
            metric.set_histogram(histogram(&sample.value, stats.config.buckets(&sample.name)));
        });
    }
    body
}

/// The labels of a stat, and the stat.
type Member<T> = (Vec<LabelPair>, Sample<T>);

/// Groups samples into families and encodes each.
fn print_families<T>(
    body: &mut String,
    stats: &Stats,
    samples: Vec<Sample<T>>,
    is: MetricType,
    mut fill: impl FnMut(&mut Metric, Sample<T>),
) {
    let mut families: HashMap<String, Vec<Member<T>>> = HashMap::new();
    for sample in samples {
        let (family, labels) = identify(stats, &sample);
        families.entry(family).or_default().push((labels, sample));
    }
    let mut families: Vec<_> = families.into_iter().collect();
    families.sort_by(|one, other| one.0.cmp(&other.0));
    for (name, members) in families {
        let mut metrics = Vec::with_capacity(members.len());
        for (labels, sample) in members {
            let mut metric = Metric::default();
            metric.set_label(labels);
            fill(&mut metric, sample);
            metrics.push(metric);
        }
        let mut family = MetricFamily::default();
        family.set_name(name);
        family.set_field_type(is);
        family.set_metric(metrics);
        if let Err(error) = TextEncoder::new().encode_utf8(&[family], body) {
            // Only families without a name or members are refused, and there are none.
            tracing::debug!(%error, "a metric family could not be printed");
        }
    }
}

/// The family's name and the labels of one stat.
fn identify<T>(stats: &Stats, sample: &Sample<T>) -> (String, Vec<LabelPair>) {
    if let Some((name, tags)) = &sample.tags {
        let labels = tags.iter().map(|(name, value)| label(name, value.clone())).collect();
        return (family(stats, name), labels);
    }
    let tagged = stats.config.extractor.extract(&sample.name);
    let labels = tagged.tags.into_iter().map(|(name, value)| label(&name, value)).collect();
    (family(stats, &tagged.name), labels)
}

/// `envoy_` and the name, or the bare name within a custom namespace.
fn family(stats: &Stats, name: &str) -> String {
    match stats.config.strip_namespace(name) {
        Some(bare) if !bare.starts_with(|c: char| c.is_ascii_digit()) => sanitized(bare),
        _ => format!("envoy_{}", sanitized(name)),
    }
}

fn sanitized(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

fn label(name: &str, value: String) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(sanitized(name));
    pair.set_value(value);
    pair
}

fn gauge(value: f64) -> Gauge {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    gauge
}

fn histogram(value: &Recorded, bounds: &[f64]) -> Histogram {
    let counts = super::cumulative(&value.cumulative, bounds);
    let buckets = bounds.iter().zip(counts).map(|(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(count);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(value.cumulative.count());
    histogram.set_sample_sum(value.cumulative.sum());
    histogram
}

/// Quantiles of the last interval, over the count and sum since the start.
fn summary(value: &Recorded) -> Summary {
    let quantiles = QUANTILES.iter().zip(value.interval.quantiles()).map(|(quantile, value)| {
        let mut each = Quantile::default();
        each.set_quantile(*quantile);
        each.set_value(value);
        each
    });
    let mut summary = Summary::default();
    summary.set_quantile(quantiles.collect());
    summary.set_sample_count(value.cumulative.count());
    summary.set_sample_sum(value.cumulative.sum());
    summary
}
