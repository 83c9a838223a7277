//! Prints stats. Pure functions from the registry and a query to a body; the admin server calls [`render`].

mod json;
mod prometheus;
mod text;

#[cfg(test)]
mod tests;

use super::collect::{Samples, Wanted};
use super::histogram::Distribution;
use super::query::{Format, Only, StatsQuery};
use super::registry::Stats;

/// A printed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The `content-type`.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

const TEXT: &str = "text/plain; charset=UTF-8";
const JSON: &str = "application/json";

/// Reads the stats that a query asks for and prints them.
pub fn render(stats: &Stats, query: &StatsQuery) -> Rendered {
    let samples = samples(stats, query);
    match query.format {
        Format::Text => Rendered { content_type: TEXT, body: text::print(&samples, stats, query) },
        Format::Json => Rendered { content_type: JSON, body: json::print(&samples, stats, query) },
        Format::Prometheus => Rendered { content_type: TEXT, body: prometheus::print(samples, stats, query) },
    }
}

fn samples(stats: &Stats, query: &StatsQuery) -> Samples {
    let asked = |only| query.only.is_none_or(|wanted| wanted == only);
    let texts_matter = query.format != Format::Prometheus || query.text_readouts;
    stats.collect(&Wanted {
        used_only: query.used_only,
        counters: asked(Only::Counters),
        gauges: asked(Only::Gauges),
        texts: asked(Only::TextReadouts) && texts_matter,
        histograms: asked(Only::Histograms),
        named: &|name| query.names(name),
    })
}

/// How many values lie between each bound and the one before.
fn disjoint(values: &Distribution, bounds: &[f64]) -> Vec<u64> {
    let mut below = 0;
    let each = bounds.iter().map(|bound| {
        let now = values.count_below(*bound);
        let count = now - below;
        below = now;
        count
    });
    each.collect()
}

/// How many values lie below each bound.
fn cumulative(values: &Distribution, bounds: &[f64]) -> Vec<u64> {
    bounds.iter().map(|bound| values.count_below(*bound)).collect()
}
