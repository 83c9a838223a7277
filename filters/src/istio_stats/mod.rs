//! Istio's standard metrics (`istio.stats`), for requests and for connections.
//!
//! ```text
//!  facts of a stream -> key (bytes in a buffer of the thread) -> group of series, by thread -> four counters to write
//!                                   \-- not known yet: labels are made, series asked for, at most once per combination
//! ```
//!
//! So a request that is like one before it formats nothing, takes no lock and no memory. The number of series is bounded by the store;
//! what there is no room for is added to series whose labels are `folded`, and counted.
//!
//! Names of metrics and labels and where their values come from are those of Istio's data plane (`istio_stats.cc`).

pub mod label;
pub mod labels;
pub mod plan;
pub mod series;
#[cfg(test)]
mod tests;
pub mod value;

use std::sync::Arc;
use std::time::Duration;

use sampan_filters_api::{NodeFacts, SeriesStore};

use self::plan::Plan;

/// What stands before the names of all metrics; Prometheus prints them without it.
pub const NAMESPACE: &str = "istiocustom";

/// Whose view of the traffic it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporter {
    /// Of a sidecar or gateway that sends requests.
    Source,
    /// Of a sidecar that gets them.
    Destination,
    /// Of a gateway in front of workloads.
    Waypoint,
}

impl Reporter {
    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Waypoint => "waypoint",
        }
    }
}

/// The standard metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Metric {
    /// Requests
    Requests,
    /// How long they took
    Duration,
    /// Bytes of requests
    RequestBytes,
    /// Bytes of responses
    ResponseBytes,
    /// gRPC messages of requests
    RequestMessages,
    /// gRPC messages of responses
    ResponseMessages,
    /// Connections that were opened
    Opened,
    /// Connections that ended
    Closed,
    /// Bytes sent to clients
    Sent,
    /// Bytes received from clients
    Received,
}

impl Metric {
    /// Every metric, in order.
    pub const ALL: [Metric; 10] = [
        Metric::Requests,
        Metric::Duration,
        Metric::RequestBytes,
        Metric::ResponseBytes,
        Metric::RequestMessages,
        Metric::ResponseMessages,
        Metric::Opened,
        Metric::Closed,
        Metric::Sent,
        Metric::Received,
    ];

    /// Its name, without `istio_`.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Requests => "requests_total",
            Metric::Duration => "request_duration_milliseconds",
            Metric::RequestBytes => "request_bytes",
            Metric::ResponseBytes => "response_bytes",
            Metric::RequestMessages => "request_messages_total",
            Metric::ResponseMessages => "response_messages_total",
            Metric::Opened => "tcp_connections_opened_total",
            Metric::Closed => "tcp_connections_closed_total",
            Metric::Sent => "tcp_sent_bytes_total",
            Metric::Received => "tcp_received_bytes_total",
        }
    }

    /// The metric of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// Whether it is a histogram.
    pub fn is_histogram(self) -> bool {
        matches!(self, Metric::Duration | Metric::RequestBytes | Metric::ResponseBytes)
    }
}

/// What the labels say of the own workload.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// `WORKLOAD_NAME`
    pub workload: Box<str>,
    /// `NAMESPACE`
    pub namespace: Box<str>,
    /// `service.istio.io/canonical-name`
    pub canonical_name: Box<str>,
    /// `service.istio.io/canonical-revision`
    pub canonical_revision: Box<str>,
    /// `app`
    pub app: Box<str>,
    /// `version`
    pub version: Box<str>,
    /// `CLUSTER_ID`
    pub cluster: Box<str>,
}

impl Own {
    /// Of the proxy's own node.
    pub fn of(node: &NodeFacts) -> Self {
        Self {
            workload: node.text(&["WORKLOAD_NAME"]).into(),
            namespace: node.text(&["NAMESPACE"]).into(),
            canonical_name: node.text(&["LABELS", "service.istio.io/canonical-name"]).into(),
            canonical_revision: node.text(&["LABELS", "service.istio.io/canonical-revision"]).into(),
            app: node.text(&["LABELS", "app"]).into(),
            version: node.text(&["LABELS", "version"]).into(),
            cluster: node.text(&["CLUSTER_ID"]).into(),
        }
    }
}

/// A configured filter.
pub struct Settings {
    /// Tells configurations apart.
    pub id: u64,
    /// Whose view it is.
    pub reporter: Reporter,
    /// Whether `Host` may name the destination (unless `disable_host_header_fallback`).
    pub host_fallback: bool,
    /// `tcp_reporting_duration`; zero is only at the end.
    pub period: Duration,
    /// The own workload.
    pub own: Own,
    /// Changes to metrics and labels.
    pub plan: Plan,
    /// After how long an idle series is given up (`rotation_interval` and `graceful_deletion_interval`).
    pub idle: Option<Duration>,
    /// Where series are kept.
    pub store: Arc<dyn SeriesStore>,
}
