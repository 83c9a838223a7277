//! How long a stream may take: the limits of configuration and of the request's own headers, put together.
//!
//! Called once by [`super::attempt`], which keeps the deadlines. The headers that tell the upstream of them
//! (`x-envoy-expected-rq-timeout-ms`, `grpc-timeout`) are set here too, since they are the same numbers.
//!
//! ```text
//! response      x-envoy-upstream-rq-timeout-ms (of an internal client), else the route's timeout; from the end of the request
//! max_stream    grpc-timeout within the route's bounds, else the route's, else the connection manager's; from the start
//! idle          the route's, else the connection manager's
//! ```

use std::time::{Duration, Instant};

use sampan_filters_api::{Headers, Known};
use sampan_model::route::RouteTimeouts;

use super::attempt::Plan;
use super::chain::Shared;
use super::connection::HttpContext;
use crate::upstream::cluster::WorkerCluster;

/// The limits of one stream; `None` is without limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadlines {
    /// Without a byte in either direction.
    pub idle: Option<Duration>,
    /// From the end of the request to the end of the response.
    pub response: Option<Duration>,
    /// When the whole request must have arrived.
    pub request: Option<Instant>,
    /// When the downstream stream must be over.
    pub max_stream: Option<Instant>,
    /// When the upstream stream must be over.
    pub upstream_max: Option<Instant>,
}

/// Works out the limits, and tells the upstream.
pub fn deadlines(
    context: &HttpContext,
    plan: &Plan<'_>,
    cluster: &WorkerCluster,
    shared: &mut Shared<'_>,
) -> Deadlines {
    let route = &plan.forward.action.timeouts;
    let config = &context.config.timeouts;
    let is_grpc = shared.request.headers.has(Known::ContentType) && shared.request.is_grpc();
    let headers = &mut shared.request.headers;
    let max_stream = max_stream(route, config.max_stream, headers, is_grpc);
    let response = Response::take(route, headers);
    if !context.config.suppress_envoy_headers {
        response.announce(headers);
    }
    let start = shared.info.start;
    let upstream_max = cluster.config().http.common.max_stream_duration;
    Deadlines {
        idle: route.idle.or(config.stream_idle).filter(|limit| !limit.is_zero()),
        response: response.global,
        request: config.request.filter(|limit| !limit.is_zero()).map(|limit| start + limit),
        max_stream: max_stream.map(|limit| start + limit),
        upstream_max: upstream_max.filter(|limit| !limit.is_zero()).map(|limit| Instant::now() + limit),
    }
}

/// How long the response may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Response {
    /// All tries together.
    global: Option<Duration>,
    /// One of them.
    per_try: Option<Duration>,
}

impl Response {
    /// Takes the client's wishes out of the request. Those of external clients were removed before.
    fn take(route: &RouteTimeouts, headers: &mut Headers) -> Self {
        let mut taken = |known| {
            let millis = headers.known(known).and_then(number);
            headers.remove_known(known);
            millis.map(Duration::from_millis)
        };
        let global = taken(Known::XEnvoyUpstreamRqTimeoutMs)
            .map_or_else(|| route.effective_request(), |limit| Some(limit).filter(|limit| !limit.is_zero()));
        let per_try = taken(Known::XEnvoyUpstreamRqPerTryTimeoutMs)
            .filter(|limit| !limit.is_zero() && global.is_none_or(|global| *limit < global));
        Self { global, per_try }
    }

    /// Sets `x-envoy-expected-rq-timeout-ms`, unless there is no limit.
    fn announce(self, headers: &mut Headers) {
        if let Some(limit) = self.per_try.or(self.global) {
            let millis = limit.as_millis().max(1);
            headers.set_known(Known::XEnvoyExpectedRqTimeoutMs, itoa::Buffer::new().format(millis));
        }
    }
}

/// How long the stream may take as a whole. A gRPC upstream is told what was made of its client's `grpc-timeout`.
fn max_stream(
    route: &RouteTimeouts,
    config: Option<Duration>,
    headers: &mut Headers,
    is_grpc: bool,
) -> Option<Duration> {
    let wished =
        route.grpc_timeout_header_max.and_then(|_| headers.known(Known::GrpcTimeout)).and_then(grpc_timeout);
    let limit = match (wished, route.grpc_timeout_header_max) {
        // A bound of zero is none. Zero as a wish is no time at all.
        (Some(wished), Some(bound)) => {
            let bounded = if bound.is_zero() { wished } else { wished.min(bound) };
            Some(bounded.saturating_sub(route.grpc_timeout_header_offset.unwrap_or_default()))
        }
        _ => route.max_stream_duration.or(config).filter(|limit| !limit.is_zero()),
    };
    if let Some(limit) = limit
        && is_grpc
        && route.grpc_timeout_header_max.is_some()
    {
        headers.set_known(Known::GrpcTimeout, grpc_timeout_text(limit));
    }
    limit
}

/// The value of `grpc-timeout` (gRPC over HTTP/2): at most 8 digits and a unit. Parts of a millisecond count as a whole one.
fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    const LONGEST: usize = 8;
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let amount = number(&value[..digits]).filter(|_| digits <= LONGEST)?;
    let up = |parts: u64| Duration::from_millis(amount.div_ceil(parts));
    Some(match value[digits..].trim_ascii() {
        b"H" => Duration::from_hours(amount),
        b"M" => Duration::from_mins(amount),
        b"S" => Duration::from_secs(amount),
        b"m" => Duration::from_millis(amount),
        b"u" => up(1_000),
        b"n" => up(1_000_000),
        _ => return None,
    })
}

/// A duration in the finest unit from milliseconds up that takes 8 digits.
fn grpc_timeout_text(limit: Duration) -> String {
    const MOST: u128 = 100_000_000;
    let millis = limit.as_millis();
    let units = [(1, 'm'), (1_000, 'S'), (60_000, 'M')];
    let fit = units.into_iter().find(|(size, _)| millis / size < MOST);
    let (size, unit) = fit.unwrap_or((3_600_000, 'H'));
    format!("{}{unit}", (millis / size).min(MOST - 1))
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.append(name, value);
        }
        headers
    }

    /// What Envoy 1.40 tells the upstream.
    #[test]
    fn expected_timeouts() {
        const GLOBAL: &str = "x-envoy-upstream-rq-timeout-ms";
        const PER_TRY: &str = "x-envoy-upstream-rq-per-try-timeout-ms";
        let default = RouteTimeouts::default();
        let off = RouteTimeouts { request: Some(Duration::ZERO), ..default };
        type Row = (RouteTimeouts, &'static [(&'static str, &'static str)], Option<&'static str>);
        let rows: [Row; 12] = [
            (default, &[], Some("15000")),
            (default, &[(GLOBAL, "100")], Some("100")),
            (default, &[(GLOBAL, "0")], None),
            (default, &[(GLOBAL, "x")], Some("15000")),
            (default, &[(GLOBAL, "100"), (PER_TRY, "30")], Some("30")),
            (default, &[(PER_TRY, "30")], Some("30")),
            (default, &[(GLOBAL, "30"), (PER_TRY, "100")], Some("30")),
            (default, &[("x-envoy-expected-rq-timeout-ms", "7")], Some("15000")),
            (off, &[], None),
            (off, &[(GLOBAL, "100")], Some("100")),
            (off, &[(PER_TRY, "30")], Some("30")),
            (off, &[("x-envoy-expected-rq-timeout-ms", "7")], Some("7")),
        ];
        for (route, fields, expected) in rows {
            let mut headers = headers(fields);
            Response::take(&route, &mut headers).announce(&mut headers);
            let told = headers.known(Known::XEnvoyExpectedRqTimeoutMs);
            assert_eq!(told, expected.map(str::as_bytes), "{fields:?}");
            assert!(!headers.has(Known::XEnvoyUpstreamRqTimeoutMs));
        }
    }

    /// What Envoy 1.40 makes of `grpc-timeout`: the header upstream, and whether there is a limit.
    #[test]
    fn grpc_timeouts() {
        let open =
            RouteTimeouts { grpc_timeout_header_max: Some(Duration::ZERO), ..RouteTimeouts::default() };
        let five = RouteTimeouts {
            grpc_timeout_header_max: Some(Duration::from_secs(5)),
            grpc_timeout_header_offset: Some(Duration::from_millis(500)),
            ..RouteTimeouts::default()
        };
        for (value, with_open, with_five) in [
            ("1S", "1000m", "500m"),
            ("100m", "100m", "0m"),
            ("10S", "10000m", "4500m"),
            ("1H", "3600000m", "4500m"),
            ("99999999n", "100m", "0m"),
            ("1u", "1m", "0m"),
            ("0m", "0m", "0m"),
            ("1 S", "1000m", "500m"),
            ("600m", "600m", "100m"),
            ("99999999m", "99999999m", "4500m"),
            ("99999999H", "99999999H", "4500m"),
            ("1000000S", "1000000S", "4500m"),
        ] {
            for (route, expected) in [(&open, with_open), (&five, with_five)] {
                let mut headers = headers(&[("grpc-timeout", value)]);
                assert!(max_stream(route, None, &mut headers, true).is_some());
                assert_eq!(headers.known(Known::GrpcTimeout), Some(expected.as_bytes()), "{value}");
            }
        }
        for value in ["x", "1", "m", "", "100000000m", "-1S"] {
            let mut headers = headers(&[("grpc-timeout", value)]);
            assert_eq!(max_stream(&open, None, &mut headers, true), None, "{value}");
            assert_eq!(headers.known(Known::GrpcTimeout), Some(value.as_bytes()));
        }
    }

    #[test]
    fn where_the_limit_of_a_stream_comes_from() {
        let second = Some(Duration::from_secs(1));
        let minute = Some(Duration::from_mins(1));
        let route = |max_stream_duration| RouteTimeouts { max_stream_duration, ..RouteTimeouts::default() };
        let limit = |route, config| max_stream(&route, config, &mut headers(&[("grpc-timeout", "5S")]), true);
        assert_eq!(limit(route(None), None), None);
        assert_eq!(limit(route(None), minute), minute);
        assert_eq!(limit(route(second), minute), second);
        assert_eq!(limit(route(Some(Duration::ZERO)), minute), None);
        // A request that is not gRPC is bound too, but its header stays.
        let open = RouteTimeouts { grpc_timeout_header_max: Some(Duration::ZERO), ..route(None) };
        let mut headers = headers(&[("grpc-timeout", "1S")]);
        assert_eq!(max_stream(&open, None, &mut headers, false), second);
        assert_eq!(headers.known(Known::GrpcTimeout), Some(&b"1S"[..]));
    }
}
