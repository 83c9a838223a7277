//! `name: value` lines: counters, gauges and text readouts by name, then the histograms.

use std::fmt::Write;

use super::super::collect::{Recorded, Samples};
use super::super::histogram::{Distribution, QUANTILES};
use super::super::query::{Buckets, StatsQuery};
use super::super::registry::Stats;

pub(super) fn print(samples: &Samples, stats: &Stats, query: &StatsQuery) -> String {
    let mut lines: Vec<(&str, Line<'_>)> = Vec::with_capacity(samples.counters.len() + samples.gauges.len());
    let numbers = samples.counters.iter().chain(&samples.gauges);
    lines.extend(numbers.map(|sample| (sample.name.as_str(), Line::Number(sample.value))));
    lines.extend(samples.texts.iter().map(|sample| (sample.name.as_str(), Line::Text(&sample.value))));
    lines.sort_by_key(|(name, _)| *name);
    let mut body = String::with_capacity(lines.len() * 48);
    for (name, line) in lines {
        // Writing to a String cannot fail.
        let _ = match line {
            Line::Number(value) => writeln!(body, "{name}: {value}"),
            Line::Text(value) => writeln!(body, "{name}: \"{value}\""),
        };
    }
    for sample in &samples.histograms {
        body.push_str(&sample.name);
        print_histogram(&mut body, &sample.value, stats.config.buckets(&sample.name), query.buckets);
        body.push('\n');
    }
    body
}

enum Line<'a> {
    Number(u64),
    Text(&'a str),
}

fn print_histogram(body: &mut String, value: &Recorded, bounds: &[f64], buckets: Buckets) {
    if value.cumulative.is_empty() {
        body.push_str(": No recorded values");
        return;
    }
    match buckets {
        Buckets::Unset | Buckets::Summary => {
            body.push_str(": ");
            print_quantiles(body, value);
        }
        Buckets::Cumulative => print_buckets(body, value, bounds, super::cumulative),
        Buckets::Disjoint => print_buckets(body, value, bounds, super::disjoint),
        Buckets::Detailed => {
            body.push_str(":\n  totals=");
            print_bins(body, &value.cumulative);
            body.push_str("\n  intervals=");
            print_bins(body, &value.interval);
            body.push_str("\n  summary=");
            print_quantiles(body, value);
        }
    }
}

/// `P25(interval,cumulative)` for each quantile.
fn print_quantiles(body: &mut String, value: &Recorded) {
    let (interval, cumulative) = (value.interval.quantiles(), value.cumulative.quantiles());
    for (at, ((interval, cumulative), quantile)) in interval.iter().zip(cumulative).zip(QUANTILES).enumerate()
    {
        let space = if at == 0 { "" } else { " " };
        let percent = percent(quantile);
        let _ = write!(body, "{space}P{percent}({},{})", number(*interval), number(cumulative));
    }
}

type Count = fn(&Distribution, &[f64]) -> Vec<u64>;

/// `B25(interval,cumulative)` for each bound.
fn print_buckets(body: &mut String, value: &Recorded, bounds: &[f64], count: Count) {
    body.push(':');
    let counts = count(&value.interval, bounds).into_iter().zip(count(&value.cumulative, bounds));
    for (bound, (interval, total)) in bounds.iter().zip(counts) {
        let _ = write!(body, " B{}({interval},{total})", short(*bound));
    }
}

/// `lower,width:count` for each bin.
fn print_bins(body: &mut String, values: &Distribution) {
    for (at, (lower, width, count)) in values.bins().enumerate() {
        let space = if at == 0 { "" } else { " " };
        let _ = write!(body, "{space}{},{}:{count}", short(lower), short(width));
    }
}

/// A quantile in percent, without the noise of the multiplication.
pub(super) fn percent(quantile: f64) -> f64 {
    (quantile * 1000.0).round() / 10.0
}

fn number(value: f64) -> String {
    if value.is_nan() { "nan".to_owned() } else { value.to_string() }
}

/// Six digits, as C's `%g` has it: `300000`, `1.8e+06`.
fn short(value: f64) -> String {
    if value.abs() < 1e6 {
        let digits = value.abs().max(1.0).log10().floor() as usize;
        let fixed = format!("{value:.*}", 5usize.saturating_sub(digits));
        if fixed.contains('.') { fixed.trim_end_matches('0').trim_end_matches('.').to_owned() } else { fixed }
    } else {
        let scientific = format!("{value:.5e}");
        let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
        format!("{mantissa}e+{exponent:0>2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_have_six_digits() {
        for (value, text) in [
            (0.5, "0.5"),
            (1.0, "1"),
            (25.0, "25"),
            (600_000.0, "600000"),
            (1_800_000.0, "1.8e+06"),
            (3_600_000.0, "3.6e+06"),
            (0.1, "0.1"),
            (12_345.678, "12345.7"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}
