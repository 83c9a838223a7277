//! The settings of active health checks (`envoy.config.core.v3.HealthCheck`).

use std::net::IpAddr;

use super::state::CheckTiming;
use crate::route::StringMatch;

/// An active health check.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// When, and what counts.
    pub timing: CheckTiming,
    /// `reuse_connection`
    pub reuse_connection: bool,
    /// `alt_port`: the port that is checked, unless the endpoint has its own.
    pub port: Option<u16>,
    /// `always_log_health_check_failures`
    pub log_failures: bool,
    /// `always_log_health_check_success`
    pub log_successes: bool,
    /// `event_log_path`, and the paths of file sinks of `event_logger`.
    pub event_logs: Vec<Box<str>>,
    /// What is asked.
    pub kind: CheckKind,
}

/// What is asked of a host.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckKind {
    /// A request that is answered with the right status.
    Http(HttpCheck),
    /// Bytes that are answered with the right bytes, or only that it can be connected to.
    Tcp(TcpCheck),
    /// `grpc.health.v1.Health/Check`
    Grpc(GrpcCheck),
}

/// `HttpHealthCheck`
#[derive(Clone, Debug, PartialEq)]
pub struct HttpCheck {
    /// `host`, or the cluster's name.
    pub host: Box<str>,
    /// `path`
    pub path: Box<str>,
    /// `method`
    pub method: &'static str,
    /// `expected_statuses`, each from its first up to before its second.
    pub expected: Vec<(u16, u16)>,
    /// `retriable_statuses`
    pub retriable: Vec<(u16, u16)>,
    /// `codec_client_type: HTTP2`
    pub http2: bool,
    /// `request_headers_to_add`: name, value, and whether it is added beside those that are there.
    pub add: Vec<(Box<str>, Box<str>, bool)>,
    /// `request_headers_to_remove`
    pub remove: Vec<Box<str>>,
    /// `service_name_matcher`: what `x-envoy-upstream-healthchecked-cluster` must be.
    pub service: Option<StringMatch>,
    /// `receive`: these must be in the body, one after the other.
    pub receive: Vec<Box<[u8]>>,
    /// `response_buffer_size`: how much of the body is looked at.
    pub body_limit: usize,
}

/// `TcpHealthCheck`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpCheck {
    /// `send`
    pub send: Box<[u8]>,
    /// `receive`: these must come, one after the other, with anything between them.
    pub receive: Vec<Box<[u8]>>,
}

/// `GrpcHealthCheck`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcCheck {
    /// `service_name`
    pub service: Box<str>,
    /// `authority`, or the cluster's name.
    pub authority: Box<str>,
    /// `initial_metadata`
    pub metadata: Vec<(Box<str>, Box<str>)>,
}

/// `Endpoint.HealthCheckConfig`: what is particular about checking one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckTarget {
    /// `port_value`, where it is not zero.
    pub port: Option<u16>,
    /// `hostname`, over the check's own.
    pub hostname: Box<str>,
    /// `address`, in place of the host's.
    pub address: Option<IpAddr>,
    /// `disable_active_health_check`
    pub disabled: bool,
}

/// Whether all of `parts` are in `text`, one after the other.
pub fn in_order(text: &[u8], parts: &[Box<[u8]>]) -> bool {
    let mut at = 0;
    parts.iter().all(|part| {
        let found = memchr::memmem::find(&text[at..], part);
        at += found.map_or(0, |start| start + part.len());
        found.is_some()
    })
}

impl HttpCheck {
    /// What a status means.
    pub fn expects(&self, status: u16) -> bool {
        within(&self.expected, status)
    }

    /// Whether a wrong status may be followed by the right one.
    pub fn is_retriable(&self, status: u16) -> bool {
        within(&self.retriable, status)
    }
}

fn within(ranges: &[(u16, u16)], status: u16) -> bool {
    ranges.iter().any(|(start, end)| (*start..*end).contains(&status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_in_order_with_anything_between() {
        let parts = |list: &[&str]| list.iter().map(|p| p.as_bytes().into()).collect::<Vec<Box<[u8]>>>();
        assert!(in_order(b"..ab..cd", &parts(&["ab", "cd"])));
        assert!(!in_order(b"..cd..ab", &parts(&["ab", "cd"])));
        assert!(!in_order(b"aba", &parts(&["ab", "ba"])));
        assert!(in_order(b"", &[]));
    }
}
