//! `envoy.filters.http.csrf`: refuses requests that change something and come from a page of another origin.
//!
//! The origin is that of `origin`, else of `referer`; it must be the host of the request, or one of `additional_origins`.

pub mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Start, Stream};
use sampan_filters_api::{Counters, LocalReply, RequestHead, RuntimeFraction};
use sampan_model::route::StringMatch;

/// The policy of a filter or a route.
#[derive(Debug)]
pub struct Policy {
    /// `filter_enabled`
    pub enabled: RuntimeFraction,
    /// `shadow_enabled`
    pub shadow: RuntimeFraction,
    /// `additional_origins`
    pub origins: Vec<StringMatch>,
}

/// The names of [`Csrf::counters`].
pub const COUNTERS: &[&str] = &["missing_source_origin", "request_invalid", "request_valid"];
const MISSING: usize = 0;
const INVALID: usize = 1;
const VALID: usize = 2;

/// The factory.
#[derive(Debug)]
pub struct Csrf {
    /// The filter's own policy.
    pub policy: Arc<Policy>,
    /// `csrf.…`
    pub counters: Arc<Counters>,
}

/// One stream whose policy is in force.
struct Instance {
    policy: Arc<Policy>,
    counters: Arc<Counters>,
    /// Only counted.
    shadow: bool,
}

impl HttpFilterFactory for Csrf {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        if !matches!(start.request.method(), b"POST" | b"PUT" | b"DELETE" | b"PATCH") {
            return None;
        }
        let policy = start.route::<Policy>().unwrap_or_else(|| Arc::clone(&self.policy));
        let on = policy.enabled.holds(start.runtime, || fastrand::u64(..));
        if !on && !policy.shadow.holds(start.runtime, || fastrand::u64(..)) {
            return None;
        }
        Some(Box::new(Instance { policy, counters: Arc::clone(&self.counters), shadow: !on }))
    }
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let request = &*stream.request;
        let source = source(request);
        let valid = !source.is_empty() && self.is_valid(source, request);
        self.counters.inc(match (source.is_empty(), valid) {
            (true, _) => MISSING,
            (_, true) => VALID,
            (_, false) => INVALID,
        });
        if valid || self.shadow {
            return Flow::Continue;
        }
        Flow::Reply(Box::new(LocalReply::new(403, "csrf_origin_mismatch").body("Invalid origin")))
    }
}

impl Instance {
    fn is_valid(&self, source: &[u8], request: &RequestHead) -> bool {
        source == host_and_port(request.authority())
            || self.policy.origins.iter().any(|origin| origin.is_match(source))
    }
}

/// Where the request comes from; nothing for a page that hides it (`null`).
fn source(request: &RequestHead) -> &[u8] {
    match request.headers.value("origin") {
        Some(b"null") => b"",
        Some(origin) if !origin.is_empty() => host_and_port(origin),
        _ => host_and_port(request.headers.value("referer").unwrap_or_default()),
    }
}

/// The host and port of an absolute URL; what is none is taken as it is.
fn host_and_port(url: &[u8]) -> &[u8] {
    let Some(at) = url.windows(3).position(|window| window == b"://") else { return url };
    let rest = &url[at + 3..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    &rest[..end]
}
