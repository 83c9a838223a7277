//! `envoy.filters.http.local_ratelimit`: answers 429 to requests for which there is no token.
//!
//! ```text
//! filter_enabled? -> tokens? -yes-> on its way
//!                            -no--> filter_enforced? -yes-> 429 (RL)    -no-> request headers added, on its way
//! ```
//! A route's own configuration takes the place of the filter's, with buckets of its own. Buckets are shared by all workers, or are
//! those of the client's connection.

pub mod config;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use sampan_filters_api::http::{
    Flow, HttpFilter, HttpFilterFactory, Phases, RouteConfig, Start, Stream, of_level,
};
use sampan_filters_api::info::StateObject;
use sampan_filters_api::{Counters, Flag, Flags, LocalReply, RuntimeFraction, StreamInfo};

use crate::http::header_mutation::Mutation;
use crate::rate_limit::bucket::Bucket;
use crate::rate_limit::limiter::{Limiter, Verdict};
use crate::rate_limit::{Descriptor, RateLimit, RouteLimits, Source};

/// `vh_rate_limits`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostLimits {
    /// Those of the virtual host count where the route has none.
    Override,
    /// They count beside the route's.
    Include,
    /// They do not count.
    Ignore,
}

/// The configuration of a filter or of a route.
#[derive(Debug)]
pub struct Limits {
    /// Tells configurations apart, for the buckets of connections.
    pub id: u64,
    /// The buckets.
    pub limiter: Limiter,
    /// `local_rate_limit_per_downstream_connection`
    pub per_connection: bool,
    /// `filter_enabled`
    pub enabled: RuntimeFraction,
    /// `filter_enforced`
    pub enforced: RuntimeFraction,
    /// `rate_limits`
    pub limits: Vec<RateLimit>,
    /// `stage`
    pub stage: u32,
    /// `vh_rate_limits`
    pub host_limits: HostLimits,
    /// `status`
    pub status: u16,
    /// `rate_limited_as_resource_exhausted`
    pub exhausted: bool,
    /// `response_headers_to_add`
    pub response_headers: Vec<Mutation>,
    /// `request_headers_to_add_when_not_enforced`
    pub request_headers: Vec<Mutation>,
    /// `enable_x_ratelimit_headers`
    pub told: bool,
    /// `enable_retry_after_header`
    pub retry_after: bool,
    /// `<stat_prefix>.http_local_rate_limit.…`
    pub counters: Arc<Counters>,
}

/// The names of [`Limits::counters`].
pub const COUNTERS: &[&str] = &["enabled", "enforced", "rate_limited", "ok", "shadow_mode"];
const ENABLED: usize = 0;
const ENFORCED: usize = 1;
const LIMITED: usize = 2;
const OK: usize = 3;
const SHADOW: usize = 4;

/// The factory.
#[derive(Debug)]
pub struct LocalRateLimit(pub Limits);

/// One stream.
struct Instance<'f> {
    limits: Which<'f>,
    enforced: bool,
    /// Rate limits of the route and of its virtual host, where they count.
    routes: [Option<Arc<RouteLimits>>; 2],
    cluster: Option<Arc<str>>,
    /// What the response tells of.
    bucket: Option<Arc<Bucket>>,
}

/// Whose configuration counts.
enum Which<'f> {
    Own(&'f Limits),
    Route(Arc<Limits>),
}

impl Deref for Which<'_> {
    type Target = Limits;

    fn deref(&self) -> &Limits {
        match self {
            Which::Own(own) => own,
            Which::Route(route) => route,
        }
    }
}

impl HttpFilterFactory for LocalRateLimit {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD.and(Phases::RESPONSE_HEAD)
    }

    fn reads_facts(&self, route: Option<&RouteConfig>) -> bool {
        of_level(&self.0, route).is_none_or(Limits::reads_facts)
    }

    fn passing(&self) -> Option<Phases> {
        let certain = self.0.enabled.certain() == Some(true) && self.0.enforced.certain().is_some();
        (certain && !self.0.tells()).then_some(Phases::REQUEST_HEAD)
    }

    fn at_hook(&self, hook: &mut dyn FnMut(&mut dyn HttpFilter) -> Flow) -> Flow {
        let enforced = self.0.enforced.certain() == Some(true);
        let limits = Which::Own(&self.0);
        hook(&mut Instance { limits, enforced, routes: [None, None], cluster: None, bucket: None })
    }

    fn create<'f>(&'f self, start: &Start<'_>) -> Option<Box<dyn HttpFilter + 'f>> {
        let limits = start.route::<Limits>().map_or(Which::Own(&self.0), Which::Route);
        if !limits.enabled.holds(start.runtime, || fastrand::u64(..)) {
            return None;
        }
        let enforced = limits.enforced.holds(start.runtime, || fastrand::u64(..));
        let asks = limits.limiter.has_limits() && limits.limits.is_empty() && start.forwards;
        let routes = if asks { limits.of_route(start) } else { [None, None] };
        let cluster = start.cluster.filter(|_| limits.limiter.has_limits()).cloned();
        Some(Box::new(Instance { limits, enforced, routes, cluster, bucket: None }))
    }
}

impl Limits {
    /// Whether the response may tell how it stands. Descriptors can say so for themselves.
    fn tells(&self) -> bool {
        self.told || self.limiter.has_limits()
    }

    /// Descriptors may be made of anything.
    fn reads_facts(&self) -> bool {
        self.limiter.has_limits()
            || !self.limits.is_empty()
            || self.response_headers.iter().chain(&self.request_headers).any(Mutation::reads_facts)
    }

    /// The rate limits of the route and its virtual host, as far as they count.
    fn of_route(&self, start: &Start<'_>) -> [Option<Arc<RouteLimits>>; 2] {
        let found = start
            .rate_limits
            .map(|limits| limits.and_then(|limits| Arc::clone(limits).downcast::<RouteLimits>().ok()));
        let [route, host] = found;
        let include = route.as_ref().is_some_and(|route| route.include_host);
        let has_own = route.as_ref().is_some_and(|route| !route.limits.is_empty());
        let host = match self.host_limits {
            _ if include => host,
            HostLimits::Include => host,
            HostLimits::Override if !has_own => host,
            HostLimits::Override | HostLimits::Ignore => None,
        };
        [route, host]
    }
}

impl HttpFilter for Instance<'_> {
    fn phases(&self) -> Option<Phases> {
        (!self.limits.tells()).then_some(Phases::REQUEST_HEAD)
    }

    fn on_request_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let limits = &*self.limits;
        limits.counters.inc(ENABLED);
        let descriptors = self.descriptors(stream);
        let now = Instant::now();
        let verdict = if limits.per_connection {
            of_connection(limits, stream.info, now).0.take(&descriptors, limits.told, now)
        } else {
            limits.limiter.take(&descriptors, limits.told, now)
        };
        let Verdict { allowed, shadow, bucket, told } = verdict;
        let tells = told.unwrap_or(limits.told);
        if tells {
            self.bucket.clone_from(&bucket);
        }
        if allowed {
            limits.counters.inc(OK);
            return Flow::Continue;
        }
        limits.counters.inc(LIMITED);
        if shadow {
            limits.counters.inc(SHADOW);
        }
        if shadow || !self.enforced {
            for header in &limits.request_headers {
                header.change_request(stream);
            }
            return Flow::Continue;
        }
        limits.counters.inc(ENFORCED);
        Flow::Reply(Box::new(limits.refusal(bucket.as_deref(), stream, now)))
    }

    fn on_response_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let (Some(bucket), Some(response)) = (&self.bucket, stream.response.as_mut()) else {
            return Flow::Continue;
        };
        let now = Instant::now();
        let told = [
            ("x-ratelimit-limit", u64::from(bucket.shape().most)),
            ("x-ratelimit-remaining", bucket.left(now)),
            ("x-ratelimit-reset", bucket.next(now)),
        ];
        for (name, number) in told {
            response.headers.append(name, number.to_string());
        }
        Flow::Continue
    }
}

impl Instance<'_> {
    fn descriptors(&self, stream: &Stream<'_>) -> Vec<Descriptor> {
        let limits = &*self.limits;
        if !limits.limiter.has_limits() {
            return Vec::new();
        }
        let source = Source { request: stream.request, info: stream.info, cluster: self.cluster.as_deref() };
        if !limits.limits.is_empty() {
            let now = limits.limits.iter().filter(|limit| !limit.on_done);
            return now.filter_map(|limit| limit.descriptor(source)).collect();
        }
        let all = self.routes.iter().flatten().flat_map(|route| &route.limits);
        all.filter(|limit| limit.stage == limits.stage && limit.disable_key.is_empty())
            .filter_map(|limit| limit.descriptor(source))
            .collect()
    }
}

impl Limits {
    fn refusal(&self, bucket: Option<&Bucket>, stream: &mut Stream<'_>, now: Instant) -> LocalReply {
        const NAME: &str = "local_rate_limited";
        let mut flags = Flags::default();
        flags.set(Flag::RateLimited);
        let mut reply = LocalReply::new(self.status, NAME).body(NAME).flags(flags);
        if self.exhausted {
            reply.grpc_status = Some(8);
        }
        if let (true, Some(bucket)) = (self.retry_after, bucket) {
            reply.headers.append("retry-after", bucket.next(now).to_string());
        }
        for header in &self.response_headers {
            header.change_headers(&mut reply.headers, stream);
        }
        reply
    }
}

/// The buckets of a connection, in its filter state.
struct OfConnection(Limiter);

impl StateObject for OfConnection {
    fn plain(&self) -> String {
        String::new()
    }
}

/// The buckets of a connection; full ones if this is its first request.
fn of_connection(limits: &Limits, info: &StreamInfo, now: Instant) -> Rc<OfConnection> {
    let key = format!("per_connection_local_rate_limiter.{}", limits.id);
    let mut state = info.connection.state.borrow_mut();
    let known = state.object(&key).cloned().map(|object| -> Rc<dyn Any> { object });
    if let Some(Ok(known)) = known.map(Rc::downcast::<OfConnection>) {
        return known;
    }
    let fresh = Rc::new(OfConnection(limits.limiter.fresh(now)));
    state.set(&key, fresh.clone());
    fresh
}

/// A number that no other configuration has.
pub fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Relaxed)
}
