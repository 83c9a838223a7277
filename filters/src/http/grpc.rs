//! What filters know of gRPC: the names of methods, and counters of calls by status.

use sampan_filters_api::{Counters, Headers, Known};

/// Statuses that have a counter of their own.
const STATUSES: usize = 17;
/// The places of the counters that follow them.
const SUCCESS: usize = STATUSES;
const FAILURE: usize = STATUSES + 1;
const TOTAL: usize = STATUSES + 2;

/// The names of the counters of calls.
#[rustfmt::skip]
pub const CALLS: &[&str] = &[
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
    "success", "failure", "total",
];

/// The most that a filter holds of a message to turn it into another one, in bytes: what Envoy's connections buffer unless they are
/// configured otherwise.
pub const MOST_HELD: usize = 1024 * 1024;

/// A flag and a length of four bytes, before each message.
pub const PREFIX: usize = 5;

/// `/service/method`
pub fn names(path: &[u8]) -> Option<(&str, &str)> {
    let path = std::str::from_utf8(path).ok()?.strip_prefix('/')?;
    let (service, method) = path.split_once('/')?;
    (!service.is_empty() && !method.is_empty() && !method.contains('/')).then_some((service, method))
}

/// Counts a call by the status that a head or trailers bring, if they do. The counters begin as [`CALLS`].
pub fn charge(counters: &Counters, fields: &Headers) {
    let Some(status) = fields.known(Known::GrpcStatus) else { return };
    let status = std::str::from_utf8(status).ok().and_then(|text| text.parse::<usize>().ok());
    // A status that gRPC does not know has no counter of its own.
    if let Some(status) = status.filter(|status| *status < STATUSES) {
        counters.inc(status);
    }
    counters.inc(if status == Some(0) { SUCCESS } else { FAILURE });
    counters.inc(TOTAL);
}
