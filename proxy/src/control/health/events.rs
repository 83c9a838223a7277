//! The event logs of health checks and of outlier detection: a line of JSON for each change, as Envoy writes it.
//!
//! Written by the writer thread of the file, as access logs are: at most so many bytes wait for it, and what does not fit is dropped and
//! counted. A file that cannot be opened is told once and left out.

use std::sync::Arc;

use sampan_filters_api::info::MetadataValue;
use sampan_model::cluster::{Host, HostAddress, Member};
use sampan_model::health_check::{CheckKind, CheckResult, HealthCheck};
use sampan_model::outlier::{Event, History, Reason};
use serde_json::{Map, Value, json};

use crate::logging::target;
use crate::telemetry::access_log::{LogFile, LogFiles, LogTarget};

/// Open event logs.
#[derive(Clone, Debug, Default)]
pub(super) struct EventLog(Vec<LogFile>);

impl EventLog {
    /// Opens the files that can be opened.
    pub(super) fn open<'p>(paths: impl IntoIterator<Item = &'p Box<str>>, files: &LogFiles) -> Self {
        let open = |path: &'p str| {
            let opened = files.open(&LogTarget::Path(path.into()));
            opened
                .inspect_err(|error| tracing::warn!(target: target::HEALTH_CHECKER, "event log: {error}"))
                .ok()
        };
        Self(paths.into_iter().map(|path| &**path).filter_map(open).collect())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn write(&self, line: &Map<String, Value>) {
        let Ok(mut bytes) = serde_json::to_vec(line) else { return };
        bytes.push(b'\n');
        for file in &self.0 {
            file.submit(bytes.clone(), 1, false);
        }
    }
}

/// What a check did, as the log tells it.
pub(super) struct Checked {
    pub result: CheckResult,
    /// The status of the answer, where there was one.
    pub status: u16,
    /// It was the first check of the host.
    pub first: bool,
    /// Whether the host was failing, and degraded, before.
    pub before: (bool, bool),
    /// And after.
    pub after: (bool, bool),
}

/// Where in a line an event is: fields are in the order of their numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Fourth,
    Sixth,
    Last,
}

/// The log of the checks of one host.
pub(super) struct HostEvents {
    log: EventLog,
    start: Map<String, Value>,
    end: Map<String, Value>,
    failures: bool,
    successes: bool,
}

impl HostEvents {
    pub(super) fn new(log: EventLog, check: &HealthCheck, cluster: &str, member: &Member) -> Self {
        let kind = match check.kind {
            CheckKind::Http(_) => "HTTP",
            CheckKind::Tcp(_) => "TCP",
            CheckKind::Grpc(_) => "GRPC",
        };
        let mut start = Map::new();
        start.insert("health_checker_type".into(), kind.into());
        start.insert("host".into(), address(&member.host.address));
        start.insert("cluster_name".into(), cluster.into());
        let mut end = Map::new();
        let metadata =
            member.metadata.as_ref().and_then(|metadata| metadata.0.downcast_ref::<MetadataValue>());
        if let Some(metadata) = metadata {
            let metadata = json!({"filter_metadata": value(metadata), "typed_filter_metadata": {}});
            end.insert("metadata".into(), metadata);
        }
        let place = &member.locality;
        let place = json!({"region": place.region, "zone": place.zone, "sub_zone": place.sub_zone});
        end.insert("locality".into(), place);
        Self { log, start, end, failures: check.log_failures, successes: check.log_successes }
    }

    /// Tells what a check did.
    pub(super) fn tell(&self, checked: &Checked) {
        if self.log.is_empty() {
            return;
        }
        let Checked { result, status, first, before, after } = checked;
        let failure = match result {
            CheckResult::Good { .. } => None,
            CheckResult::Wrong { .. } => Some("ACTIVE"),
            CheckResult::Passive => Some("PASSIVE"),
            CheckResult::NoAnswer => Some("NETWORK"),
            CheckResult::TimedOut => Some("NETWORK_TIMEOUT"),
        };
        match (before.0, after.0) {
            (true, false) => self.write(Place::Fourth, "add_healthy_event", json!({"first_check": first})),
            (false, true) => {
                let event = json!({"failure_type": failure.unwrap_or("ACTIVE"), "http_status_code": status});
                self.write(Place::Fourth, "eject_unhealthy_event", event);
            }
            _ => {}
        }
        match (before.1, after.1) {
            (false, true) => self.write(Place::Sixth, "degraded_healthy_host", json!({})),
            (true, false) => self.write(Place::Sixth, "no_longer_degraded_host", json!({})),
            _ => {}
        }
        match failure {
            Some(failure) if *first || self.failures => {
                let event =
                    json!({"failure_type": failure, "first_check": first, "http_status_code": status});
                self.write(Place::Sixth, "health_check_failure_event", event);
            }
            None if self.successes && before.0 == after.0 => {
                self.write(Place::Last, "successful_health_check_event", json!({}));
            }
            _ => {}
        }
    }

    fn write(&self, place: Place, name: &str, event: Value) {
        let mut line = self.start.clone();
        if place == Place::Fourth {
            line.insert(name.into(), event.clone());
        }
        line.insert("timestamp".into(), now());
        if place == Place::Sixth {
            line.insert(name.into(), event.clone());
        }
        line.extend(self.end.clone());
        if place == Place::Last {
            line.insert(name.into(), event);
        }
        self.log.write(&line);
    }
}

impl EventLog {
    /// Tells what outlier detection did to a host.
    pub(super) fn outlier(
        &self,
        cluster: &str,
        event: &Event,
        history: History,
        averages: Option<(f64, f64)>,
    ) {
        let (reason, host, enforced) = match event {
            Event::Ejected(reason, host) => (Some(*reason), host, true),
            Event::NotEnforced(reason, host) => (Some(*reason), host, false),
            Event::Returned(host) => (None, host, false),
            Event::Detected(..) | Event::TooMany(..) => return,
        };
        if self.is_empty() {
            return;
        }
        let mut line = Map::new();
        line.insert("type".into(), reason.map_or("CONSECUTIVE_5XX", kind).into());
        line.insert("timestamp".into(), now());
        if let Some(since) = history.since_last_action {
            line.insert("secs_since_last_action".into(), since.as_secs().to_string().into());
        }
        line.insert("cluster_name".into(), cluster.into());
        line.insert("upstream_url".into(), host.address.to_string().into());
        line.insert("action".into(), if reason.is_some() { "EJECT" } else { "UNEJECT" }.into());
        line.insert("num_ejections".into(), history.ejections.into());
        line.insert("enforced".into(), enforced.into());
        if let Some(reason) = reason {
            let (name, event) = of(reason, host, averages);
            line.insert(name.into(), event);
        }
        self.write(&line);
    }
}

/// What is told of a reason.
fn of(reason: Reason, host: &Arc<Host>, averages: Option<(f64, f64)>) -> (&'static str, Value) {
    let rate = host.outlier.success_rate(reason.side()).unwrap_or(0.0) as u32;
    match reason {
        Reason::SuccessRate | Reason::LocalOriginSuccessRate => {
            let (average, threshold) = averages.unwrap_or_default();
            let event = json!({
                "host_success_rate": rate,
                "cluster_average_success_rate": average as u32,
                "cluster_success_rate_ejection_threshold": threshold as u32,
            });
            ("eject_success_rate_event", event)
        }
        Reason::FailurePercentage | Reason::LocalOriginFailurePercentage => {
            ("eject_failure_percentage_event", json!({"host_success_rate": rate}))
        }
        _ => ("eject_consecutive_event", json!({})),
    }
}

fn kind(reason: Reason) -> &'static str {
    match reason {
        Reason::Consecutive5xx => "CONSECUTIVE_5XX",
        Reason::ConsecutiveGatewayFailure => "CONSECUTIVE_GATEWAY_FAILURE",
        Reason::ConsecutiveLocalOriginFailure => "CONSECUTIVE_LOCAL_ORIGIN_FAILURE",
        Reason::SuccessRate => "SUCCESS_RATE",
        Reason::LocalOriginSuccessRate => "SUCCESS_RATE_LOCAL_ORIGIN",
        Reason::FailurePercentage => "FAILURE_PERCENTAGE",
        Reason::LocalOriginFailurePercentage => "FAILURE_PERCENTAGE_LOCAL_ORIGIN",
    }
}

fn now() -> Value {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true).into()
}

fn address(address: &HostAddress) -> Value {
    match address {
        HostAddress::Socket(socket) => json!({"socket_address": {
            "protocol": "TCP",
            "address": socket.ip().to_string(),
            "port_value": socket.port(),
            "resolver_name": "",
            "ipv4_compat": false,
            "network_namespace_filepath": "",
        }}),
        HostAddress::Pipe(path) => json!({"pipe": {"path": path.to_string_lossy(), "mode": 0}}),
    }
}

/// Below this, every whole number is exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

fn value(metadata: &MetadataValue) -> Value {
    match metadata {
        MetadataValue::Null => Value::Null,
        MetadataValue::Bool(on) => (*on).into(),
        // A whole number is written as one.
        MetadataValue::Number(number) if number.fract() == 0.0 && number.abs() < EXACT => {
            (*number as i64).into()
        }
        MetadataValue::Number(number) => (*number).into(),
        MetadataValue::String(text) => (**text).into(),
        MetadataValue::List(list) => list.iter().map(value).collect(),
        MetadataValue::Struct(fields) => {
            fields.iter().map(|(name, field)| (name.to_string(), value(field))).collect()
        }
    }
}
