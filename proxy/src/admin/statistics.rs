//! `/stats`, `/stats/prometheus` and `/reset_counters`: reads the parameters; the stats registry renders.

use http::StatusCode;
use regex::RegexBuilder;

use super::source::{HistogramBuckets, StatsFormat, StatsKind, StatsQuery};
use super::{Admin, Reply, Request};

/// The compiled size a filter may have, in bytes: it comes from whoever can reach the admin port.
const FILTER_SIZE: usize = 1 << 20;

pub(super) fn stats(admin: &Admin, request: &Request) -> Reply {
    if request.parameter("format") == Some("prometheus") {
        return prometheus(admin, request);
    }
    let query = match query(request) {
        Ok(query) => query,
        Err(text) => return Reply::status(StatusCode::BAD_REQUEST, text),
    };
    let body = admin.stats.stats(&query);
    match query.format {
        StatsFormat::Text => Reply::text(body),
        StatsFormat::Json => Reply::json_text(body),
        StatsFormat::Html => Reply::html(body),
    }
}

pub(super) fn prometheus(admin: &Admin, request: &Request) -> Reply {
    match query(request) {
        Ok(query) => Reply::text(admin.stats.prometheus(&query)),
        Err(text) => Reply::status(StatusCode::BAD_REQUEST, text),
    }
}

pub(super) fn reset_counters(admin: &Admin, _: &Request) -> Reply {
    admin.stats.reset_counters();
    Reply::ok()
}

pub(super) fn recent_lookups(_: &Admin, _: &Request) -> Reply {
    Reply::text("Lookup tracking does not exist: stats are not looked up by name.\n\ntotal: 0\n")
}

pub(super) fn no_recent_lookups(_: &Admin, _: &Request) -> Reply {
    Reply::status(
        StatusCode::NOT_IMPLEMENTED,
        "Lookup tracking does not exist: stats are not looked up by name.\n",
    )
}

fn query(request: &Request) -> Result<StatsQuery, String> {
    let given = |name| request.parameter(name).filter(|v| !v.is_empty());
    let filter = match given("filter") {
        None => None,
        Some(text) => {
            let built = RegexBuilder::new(text).size_limit(FILTER_SIZE).build();
            Some(built.map_err(|error| format!("Invalid re2 regex: {error}"))?)
        }
    };
    Ok(StatsQuery {
        used_only: request.has("usedonly"),
        filter,
        invert: request.has("invert_filter"),
        format: format(given("format").unwrap_or("text"))?,
        kind: kind(given("type").unwrap_or("All"))?,
        buckets: given("histogram_buckets").map(buckets).transpose()?,
        text_readouts: request.has("text_readouts"),
    })
}

fn format(text: &str) -> Result<StatsFormat, String> {
    match text {
        "text" | "prometheus" => Ok(StatsFormat::Text),
        "json" => Ok(StatsFormat::Json),
        "html" | "active-html" => Ok(StatsFormat::Html),
        _ => Err("usage: /stats?format=(html|active-html|json|prometheus|text)\n\n".to_owned()),
    }
}

fn kind(text: &str) -> Result<StatsKind, String> {
    match text {
        "All" => Ok(StatsKind::All),
        "Counters" => Ok(StatsKind::Counters),
        "Gauges" => Ok(StatsKind::Gauges),
        "Histograms" => Ok(StatsKind::Histograms),
        "TextReadouts" => Ok(StatsKind::TextReadouts),
        _ => Err("invalid &type= param".to_owned()),
    }
}

fn buckets(text: &str) -> Result<HistogramBuckets, String> {
    match text {
        "cumulative" => Ok(HistogramBuckets::Cumulative),
        "disjoint" => Ok(HistogramBuckets::Disjoint),
        "detailed" => Ok(HistogramBuckets::Detailed),
        "summary" | "none" => Ok(HistogramBuckets::Summary),
        _ => Err("usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)".to_owned()),
    }
}
