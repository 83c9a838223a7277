//! The configuration of the health check filter.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sampan_api::envoy::extensions::filters::http::health_check::v3 as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::http::HttpFilterFactory;

use super::cache::Cache;
use super::{COUNTERS, HealthCheck, Mode, Settings};
use crate::config::{Compiled, ConfigError, FilterContext, duration, matcher, payload};

const YES: Support = Support::Supported;

/// Full name of the message.
pub const MESSAGE: &str = "envoy.extensions.filters.http.health_check.v3.HealthCheck";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[(
    MESSAGE,
    &[
        ("pass_through_mode", YES),
        ("cache_time", YES),
        ("cluster_min_healthy_percentages", YES),
        ("headers", YES),
    ],
)];

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    let proto: pb::HealthCheck = payload(bytes)?;
    let mut errors = Vec::new();
    if proto.pass_through_mode.is_none() {
        errors.push(ConfigError::new("pass_through_mode", "is required"));
    }
    let mode = match &proto.pass_through_mode {
        Some(wrapper) if wrapper.value => through(&proto, &mut errors),
        _ => answer(&proto, &mut errors),
    };
    let mut headers = Vec::new();
    for (index, proto) in proto.headers.iter().enumerate() {
        match matcher::header(proto, &format!("headers[{index}]")) {
            Ok(header) => headers.push(header),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Arc::new(HealthCheck(Arc::new(Settings {
        mode,
        headers,
        cluster: context.service_cluster.into(),
        failing: Arc::clone(context.failing),
        counters: context.counters.counters(&format!("{}health_check.", context.prefix), COUNTERS),
    }))))
}

fn through(proto: &pb::HealthCheck, errors: &mut Vec<ConfigError>) -> Mode {
    let time = proto.cache_time.as_ref().map(|time| duration(time, "cache_time"));
    // In milliseconds, as in Envoy: less than one is none.
    let millis =
        time.and_then(|time| time.map_err(|error| errors.push(error)).ok()).map(|time| time.as_millis());
    let piece = millis.and_then(|millis| u64::try_from(millis).ok()).filter(|millis| *millis > 0);
    // The percentages of clusters do not matter here. That they are well-formed does.
    percentages(proto, errors);
    Mode::PassThrough(piece.map(|millis| Cache::new(Duration::from_millis(millis), Instant::now())))
}

fn answer(proto: &pb::HealthCheck, errors: &mut Vec<ConfigError>) -> Mode {
    if proto.cache_time.as_ref().is_some_and(|time| time.seconds != 0 || time.nanos != 0) {
        let hint = "set pass_through_mode: true, or leave it out";
        errors.push(ConfigError::new("cache_time", "is only for pass-through mode").hint(hint));
    }
    Mode::Answer(percentages(proto, errors))
}

/// The least share of each cluster, whole numbers in a hundred, in the order of names.
fn percentages(proto: &pb::HealthCheck, errors: &mut Vec<ConfigError>) -> Vec<(Box<str>, u64)> {
    let mut found = Vec::with_capacity(proto.cluster_min_healthy_percentages.len());
    for (cluster, percent) in &proto.cluster_min_healthy_percentages {
        if (0.0..=100.0).contains(&percent.value) {
            found.push((cluster.as_str().into(), percent.value as u64));
        } else {
            let path = format!("cluster_min_healthy_percentages[{cluster:?}].value");
            errors.push(ConfigError::new(path, "is not between 0 and 100").value(percent.value));
        }
    }
    found.sort();
    found
}
