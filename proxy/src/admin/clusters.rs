//! `/clusters`: every cluster and host with limits, health and counters, as lines or as `admin.v3.Clusters`.

use std::fmt::Write as _;

use http::StatusCode;
use regex::Regex;
use sampan_model::cluster::HealthFlag;
use serde_json::{Map, Value, json};

use super::status::{ClusterStatus, HostStats, HostStatus, Limits};
use super::{Admin, Reply, Request};

pub(super) fn clusters(admin: &Admin, request: &Request) -> Reply {
    let filter = request.parameter("filter").filter(|f| !f.is_empty());
    let Ok(filter) = filter.map(Regex::new).transpose() else {
        return Reply::status(StatusCode::BAD_REQUEST, "Invalid re2 regex");
    };
    let mut clusters = admin.config.clusters();
    if let Some(filter) = filter {
        clusters.retain(|c| filter.is_match(&c.name));
    }
    if request.wants_json() {
        let statuses: Vec<Value> = clusters.iter().map(cluster_json).collect();
        return Reply::json(&if statuses.is_empty() {
            json!({})
        } else {
            json!({"cluster_statuses": statuses})
        });
    }
    let mut out = String::new();
    for cluster in &clusters {
        cluster_text(&mut out, cluster);
    }
    Reply::text(out)
}

// In what follows, writing to a String cannot fail.

fn cluster_text(out: &mut String, c: &ClusterStatus) {
    let name = &c.name;
    let _ = writeln!(out, "{name}::observability_name::{}", c.observability_name);
    if let Some(o) = c.outlier {
        let _ = writeln!(out, "{name}::outlier::success_rate_average::{}", o.average);
        let _ = writeln!(out, "{name}::outlier::success_rate_ejection_threshold::{}", o.threshold);
        let _ = writeln!(out, "{name}::outlier::local_origin_success_rate_average::{}", o.local_average);
        let _ = writeln!(
            out,
            "{name}::outlier::local_origin_success_rate_ejection_threshold::{}",
            o.local_threshold
        );
    }
    limits_text(out, name, "default", c.default_limits);
    limits_text(out, name, "high", c.high_limits);
    let _ = writeln!(out, "{name}::added_via_api::{}", c.added_via_api);
    if !c.eds_service_name.is_empty() {
        let _ = writeln!(out, "{name}::eds_service_name::{}", c.eds_service_name);
    }
    for host in &c.hosts {
        host_text(out, name, host);
    }
}

fn limits_text(out: &mut String, cluster: &str, priority: &str, limits: Limits) {
    for (key, value) in [
        ("max_connections", limits.connections),
        ("max_pending_requests", limits.pending_requests),
        ("max_requests", limits.requests),
        ("max_retries", limits.retries),
    ] {
        let _ = writeln!(out, "{cluster}::{priority}_priority::{key}::{value}");
    }
}

fn host_text(out: &mut String, cluster: &str, h: &HostStatus) {
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(out, "{cluster}::{}::{key}::{value}", h.address);
    };
    for (name, value) in by_name(&h.stats) {
        line(name, &value);
    }
    line("hostname", &h.hostname);
    line("health_flags", &health_flags(h));
    line("weight", &h.weight);
    line("region", &h.region);
    line("zone", &h.zone);
    line("sub_zone", &h.sub_zone);
    line("canary", &h.canary);
    line("priority", &h.priority);
    line("success_rate", &h.success_rate);
    line("local_origin_success_rate", &h.local_success_rate);
}

fn health_flags(host: &HostStatus) -> String {
    if host.flags.is_empty() {
        return "healthy".to_owned();
    }
    HealthFlag::NAMES.iter().filter(|(flag, _)| host.flags.contains(flag)).map(|(_, name)| *name).collect()
}

/// The field of `HostHealthStatus`; what EDS says is told by `eds_health_status` instead.
fn health_field(flag: HealthFlag) -> Option<&'static str> {
    match flag {
        HealthFlag::FailedActiveHc => Some("failed_active_health_check"),
        HealthFlag::FailedOutlierCheck => Some("failed_outlier_check"),
        HealthFlag::DegradedActiveHc => Some("failed_active_degraded_check"),
        HealthFlag::PendingDynamicRemoval => Some("pending_dynamic_removal"),
        HealthFlag::PendingActiveHc => Some("pending_active_hc"),
        HealthFlag::ExcludedViaImmediateHcFail => Some("excluded_via_immediate_hc_fail"),
        HealthFlag::ActiveHcTimeout => Some("active_hc_timeout"),
        HealthFlag::FailedEdsHealth | HealthFlag::DegradedEdsHealth | HealthFlag::EdsStatusDraining => None,
    }
}

fn by_name(s: &HostStats) -> [(&'static str, u64); 9] {
    [
        ("cx_active", s.cx_active),
        ("cx_connect_fail", s.cx_connect_fail),
        ("cx_total", s.cx_total),
        ("rq_active", s.rq_active),
        ("rq_error", s.rq_error),
        ("rq_pending_active", s.rq_pending_active),
        ("rq_success", s.rq_success),
        ("rq_timeout", s.rq_timeout),
        ("rq_total", s.rq_total),
    ]
}

/// `admin.v3.ClusterStatus`: as in all protobuf-JSON, fields with their default value are left out.
fn cluster_json(c: &ClusterStatus) -> Value {
    let mut out = json!({"name": c.name});
    if c.added_via_api {
        out["added_via_api"] = true.into();
    }
    if let Some(o) = c.outlier {
        if o.threshold >= 0.0 {
            out["success_rate_ejection_threshold"] = json!({"value": o.threshold});
        }
        if o.local_threshold >= 0.0 {
            out["local_origin_success_rate_ejection_threshold"] = json!({"value": o.local_threshold});
        }
    }
    if !c.hosts.is_empty() {
        out["host_statuses"] = c.hosts.iter().map(host_json).collect();
    }
    let mut high = json!({"priority": "HIGH"});
    let mut default = json!({});
    limits_json(&mut default, c.default_limits);
    limits_json(&mut high, c.high_limits);
    out["circuit_breakers"] = json!({"thresholds": [default, high]});
    out["observability_name"] = c.observability_name.as_str().into();
    if !c.eds_service_name.is_empty() {
        out["eds_service_name"] = c.eds_service_name.as_str().into();
    }
    out
}

fn limits_json(out: &mut Value, limits: Limits) {
    out["max_connections"] = limits.connections.into();
    out["max_pending_requests"] = limits.pending_requests.into();
    out["max_requests"] = limits.requests.into();
    out["max_retries"] = limits.retries.into();
}

fn host_json(h: &HostStatus) -> Value {
    let mut out = json!({
        "address": h.address.to_json(),
        "stats": stats_json(&h.stats),
        "health_status": health_json(h),
    });
    if h.success_rate >= 0.0 {
        out["success_rate"] = json!({"value": h.success_rate});
    }
    if h.weight != 0 {
        out["weight"] = h.weight.into();
    }
    if !h.hostname.is_empty() {
        out["hostname"] = h.hostname.as_str().into();
    }
    if h.priority != 0 {
        out["priority"] = h.priority.into();
    }
    if h.local_success_rate >= 0.0 {
        out["local_origin_success_rate"] = json!({"value": h.local_success_rate});
    }
    let mut locality = Map::new();
    for (name, value) in [("region", &h.region), ("zone", &h.zone), ("sub_zone", &h.sub_zone)] {
        if !value.is_empty() {
            locality.insert(name.to_owned(), value.as_str().into());
        }
    }
    out["locality"] = Value::Object(locality);
    out
}

fn health_json(h: &HostStatus) -> Value {
    let mut out = Map::new();
    for field in h.flags.iter().filter_map(|flag| health_field(*flag)) {
        out.insert(field.to_owned(), true.into());
    }
    out.insert("eds_health_status".to_owned(), h.eds_health.into());
    Value::Object(out)
}

/// Counters first, then gauges; 64-bit numbers are strings in protobuf-JSON.
fn stats_json(stats: &HostStats) -> Vec<Value> {
    let is_gauge = |name: &str| name.ends_with("_active");
    let (gauges, counters): (Vec<_>, Vec<_>) =
        by_name(stats).into_iter().partition(|(name, _)| is_gauge(name));
    let metric = |(name, value): (&str, u64)| {
        let mut out = Map::new();
        if is_gauge(name) {
            out.insert("type".to_owned(), "GAUGE".into());
        }
        if value != 0 {
            out.insert("value".to_owned(), value.to_string().into());
        }
        out.insert("name".to_owned(), name.into());
        Value::Object(out)
    };
    counters.into_iter().chain(gauges).map(metric).collect()
}
