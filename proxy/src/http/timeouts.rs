//! How long a stream may take: the limits of configuration and of the request's own headers, put together.
//!
//! Called once by [`super::relay`], which keeps the deadlines. The headers that tell the upstream of them
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

use super::chain::Shared;
use super::config::HttpTimeouts;
use super::connection::HttpContext;
use super::relay::Plan;
use crate::upstream::cluster::WorkerCluster;

/// The limits of one stream; `None` is without limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadlines {
    /// Without a byte in either direction.
    pub idle: Option<Duration>,
    /// From the end of the request to the end of the response.
    pub response: Option<Duration>,
    /// From then, or from when a try has its connection, to its response.
    pub per_try: Option<Duration>,
    /// Without a byte from the upstream of a try, once the request is complete.
    pub per_try_idle: Option<Duration>,
    /// A try that takes longer than that goes on, beside another one.
    pub hedges: bool,
    /// A timeout of the response is answered with 204 (`x-envoy-upstream-rq-timeout-alt-response`).
    pub alternative: bool,
    /// When the whole request must have arrived.
    pub request: Option<Instant>,
    /// When the downstream stream must be over.
    pub max_stream: Option<Instant>,
    /// When the upstream stream must be over.
    pub upstream_max: Option<Instant>,
    /// Between bytes of the request's body, until the response begins.
    pub body_idle: Option<Duration>,
    /// For a client that takes nothing of the response.
    pub flush: Option<Duration>,
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
    let legacy = if is_grpc {
        route.legacy_grpc(headers.known(Known::GrpcTimeout).and_then(grpc_timeout))
    } else {
        None
    };
    let retry = plan.retry_policy();
    let mut response = Response::take(route, legacy, retry.and_then(|retry| retry.per_try_timeout), headers);
    let per_try_idle = retry.and_then(|retry| retry.per_try_idle_timeout);
    response.hedged = (response.per_try.is_some() || per_try_idle.is_some()) && plan.hedges(headers);
    response.announce(headers, !context.config.suppress_envoy_headers, legacy.is_some());
    let alternative = headers.has(Known::XEnvoyUpstreamRqTimeoutAltResponse);
    headers.remove_known(Known::XEnvoyUpstreamRqTimeoutAltResponse);
    let start = shared.info.start;
    // A stream that goes both ways may be silent in one of them for long.
    let both_ways = is_grpc || shared.request.upgrade().is_some() || shared.request.method() == b"CONNECT";
    let upstream_max = cluster.config().http.common.max_stream_duration;
    Deadlines {
        idle: route.idle.or(config.stream_idle).filter(|limit| !limit.is_zero()),
        response: response.global,
        per_try: response.per_try,
        per_try_idle,
        hedges: response.hedged,
        alternative,
        request: config.request.filter(|limit| !limit.is_zero()).map(|limit| start + limit),
        max_stream: max_stream.map(|limit| start + limit),
        upstream_max: upstream_max.filter(|limit| !limit.is_zero()).map(|limit| Instant::now() + limit),
        body_idle: config.body_idle.filter(|_| route.idle.is_none() && !both_ways),
        flush: flush(route, config),
    }
}

/// The route's, else the connection manager's own, else an idle timeout that somebody has configured.
fn flush(route: &RouteTimeouts, config: &HttpTimeouts) -> Option<Duration> {
    let of_route = if config.stream_flush_configured { route.flush } else { route.flush.or(route.idle) };
    of_route.or(config.stream_flush).filter(|limit| !limit.is_zero())
}

/// How long the response may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Response {
    /// All tries together.
    global: Option<Duration>,
    /// One of them.
    per_try: Option<Duration>,
    /// One of them may go on beyond that.
    hedged: bool,
}

impl Response {
    /// Takes the client's wishes out of the request. Those of external clients were removed before.
    /// `legacy` is what stands for the route's timeout with `max_grpc_timeout`.
    fn take(
        route: &RouteTimeouts,
        legacy: Option<Duration>,
        per_try: Option<Duration>,
        headers: &mut Headers,
    ) -> Self {
        let own = || match legacy {
            Some(limit) => Some(limit).filter(|limit| !limit.is_zero()),
            None => route.effective_request(),
        };
        let mut taken = |known| {
            let millis = headers.known(known).and_then(number);
            headers.remove_known(known);
            millis.map(Duration::from_millis)
        };
        let global = taken(Known::XEnvoyUpstreamRqTimeoutMs)
            .map_or_else(own, |limit| Some(limit).filter(|limit| !limit.is_zero()));
        let per_try = taken(Known::XEnvoyUpstreamRqPerTryTimeoutMs)
            .or(per_try)
            .filter(|limit| !limit.is_zero() && global.is_none_or(|global| *limit < global));
        Self { global, per_try, hedged: false }
    }

    /// Sets `x-envoy-expected-rq-timeout-ms` and, with `max_grpc_timeout`, `grpc-timeout`, unless there is no limit.
    fn announce(self, headers: &mut Headers, expected: bool, grpc: bool) {
        let Some(limit) = self.per_try.filter(|_| !self.hedged).or(self.global) else { return };
        if expected {
            let millis = limit.as_millis().max(1);
            headers.set_known(Known::XEnvoyExpectedRqTimeoutMs, itoa::Buffer::new().format(millis));
        }
        if grpc {
            headers.set_known(Known::GrpcTimeout, grpc_timeout_text(limit));
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
            Response::take(&route, None, None, &mut headers).announce(&mut headers, true, false);
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

    /// What Envoy 1.40 makes of `max_grpc_timeout` and `grpc_timeout_offset`.
    #[test]
    fn legacy_grpc_timeouts() {
        let millis = Duration::from_millis;
        let open = RouteTimeouts { max_grpc_timeout: Some(Duration::ZERO), ..RouteTimeouts::default() };
        let five = RouteTimeouts {
            max_grpc_timeout: Some(millis(5000)),
            grpc_timeout_offset: Some(millis(500)),
            ..RouteTimeouts::default()
        };
        for (value, with_open, with_five) in [
            (None, None, Some("5000m")),
            (Some("1S"), Some("1000m"), Some("500m")),
            (Some("100m"), Some("100m"), Some("100m")),
            (Some("500m"), Some("500m"), Some("500m")),
            (Some("10S"), Some("10000m"), Some("5000m")),
            (Some("0m"), Some("0m"), Some("5000m")),
        ] {
            for (route, expected) in [(&open, with_open), (&five, with_five)] {
                let mut headers =
                    headers(&value.map(|value| ("grpc-timeout", value)).into_iter().collect::<Vec<_>>());
                let limit = route.legacy_grpc(headers.known(Known::GrpcTimeout).and_then(grpc_timeout));
                Response::take(route, limit, None, &mut headers).announce(&mut headers, true, true);
                assert_eq!(headers.known(Known::GrpcTimeout), expected.map(str::as_bytes), "{value:?}");
            }
        }
        let newer = RouteTimeouts { has_max_stream: true, ..open };
        assert_eq!((newer.legacy_grpc(None), newer.effective_request()), (None, None));
    }

    #[test]
    fn where_the_flush_timeout_comes_from() {
        let seconds = |n| Some(Duration::from_secs(n));
        let route = |flush, idle| RouteTimeouts { flush, idle, ..RouteTimeouts::default() };
        let own = HttpTimeouts::default();
        let set = HttpTimeouts { stream_flush: seconds(5), stream_flush_configured: true, ..own.clone() };
        for (route, config, expected) in [
            (route(None, None), &own, seconds(60)),
            (route(None, seconds(7)), &own, seconds(7)),
            (route(None, seconds(0)), &own, None),
            (route(seconds(3), seconds(7)), &own, seconds(3)),
            (route(None, seconds(7)), &set, seconds(5)),
            (route(seconds(0), seconds(7)), &set, None),
        ] {
            assert_eq!(flush(&route, config), expected, "{route:?}");
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
