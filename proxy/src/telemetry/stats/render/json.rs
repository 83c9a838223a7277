//! `{"stats":[{"name":…,"value":…},…,{"histograms":…}]}`, in Envoy's shapes for each `histogram_buckets`.

use std::fmt::Write;

use super::super::collect::{Recorded, Sample, Samples};
use super::super::histogram::{Distribution, QUANTILES};
use super::super::query::{Buckets, StatsQuery};
use super::super::registry::Stats;
use super::text::percent;

pub(super) fn print(samples: &Samples, stats: &Stats, query: &StatsQuery) -> String {
    let mut items: Vec<(&str, String)> = Vec::with_capacity(samples.counters.len() + samples.gauges.len());
    let numbers = samples.counters.iter().chain(&samples.gauges);
    items.extend(numbers.map(|sample| (sample.name.as_str(), sample.value.to_string())));
    items.extend(samples.texts.iter().map(|sample| (sample.name.as_str(), quoted(&sample.value))));
    items.sort_by(|one, other| one.0.cmp(other.0));
    let mut body = String::with_capacity(items.len() * 64);
    body.push_str("{\"stats\":[");
    let printed =
        items.iter().map(|(name, value)| format!("{{\"name\":{},\"value\":{value}}}", quoted(name)));
    let histograms = (!samples.histograms.is_empty())
        .then(|| format!("{{\"histograms\":{}}}", histograms(&samples.histograms, stats, query.buckets)));
    list(&mut body, printed.chain(histograms));
    body.push_str("]}");
    body
}

fn histograms(samples: &[Sample<Recorded>], stats: &Stats, buckets: Buckets) -> String {
    let mut body = String::new();
    match buckets {
        Buckets::Unset | Buckets::Summary => {
            let _ = write!(body, "{{\"supported_quantiles\":[{}],\"computed_quantiles\":[", percents());
            list(&mut body, samples.iter().map(computed));
            body.push_str("]}");
        }
        Buckets::Detailed => {
            let _ = write!(body, "{{\"supported_percentiles\":[{}],\"details\":[", percents());
            list(&mut body, samples.iter().map(detail));
            body.push_str("]}");
        }
        Buckets::Cumulative | Buckets::Disjoint => {
            let count = if buckets == Buckets::Cumulative { super::cumulative } else { super::disjoint };
            body.push('[');
            list(
                &mut body,
                samples.iter().map(|sample| bucketed(sample, stats.config.buckets(&sample.name), count)),
            );
            body.push(']');
        }
    }
    body
}

fn computed(sample: &Sample<Recorded>) -> String {
    format!("{{\"name\":{},\"values\":[{}]}}", quoted(&sample.name), quantiles(&sample.value))
}

fn detail(sample: &Sample<Recorded>) -> String {
    format!(
        "{{\"name\":{},\"totals\":[{}],\"intervals\":[{}],\"percentiles\":[{}]}}",
        quoted(&sample.name),
        bins(&sample.value.cumulative),
        bins(&sample.value.interval),
        quantiles(&sample.value)
    )
}

fn bucketed(
    sample: &Sample<Recorded>,
    bounds: &[f64],
    count: fn(&Distribution, &[f64]) -> Vec<u64>,
) -> String {
    let mut body = format!("{{\"name\":{},\"buckets\":[", quoted(&sample.name));
    let totals = count(&sample.value.cumulative, bounds);
    let intervals = count(&sample.value.interval, bounds);
    let each = bounds.iter().zip(intervals).zip(totals).map(|((bound, interval), total)| {
        format!("{{\"upper_bound\":{bound},\"interval\":{interval},\"cumulative\":{total}}}")
    });
    list(&mut body, each);
    body.push_str("]}");
    body
}

fn bins(values: &Distribution) -> String {
    let mut body = String::new();
    let each = values.bins().map(|(lower, width, count)| {
        format!("{{\"lower_bound\":{lower},\"width\":{width},\"count\":{count}}}")
    });
    list(&mut body, each);
    body
}

fn quantiles(value: &Recorded) -> String {
    let mut body = String::new();
    let each =
        value.cumulative.quantiles().into_iter().zip(value.interval.quantiles()).map(|(total, interval)| {
            format!("{{\"cumulative\":{},\"interval\":{}}}", number(total), number(interval))
        });
    list(&mut body, each);
    body
}

fn percents() -> String {
    let mut body = String::new();
    list(&mut body, QUANTILES.iter().map(|quantile| percent(*quantile).to_string()));
    body
}

/// JSON has no NaN.
fn number(value: f64) -> String {
    if value.is_nan() { "null".to_owned() } else { value.to_string() }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn list(body: &mut String, items: impl Iterator<Item = String>) {
    for (at, item) in items.enumerate() {
        if at > 0 {
            body.push(',');
        }
        body.push_str(&item);
    }
}
