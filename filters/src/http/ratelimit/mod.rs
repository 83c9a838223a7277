//! `envoy.filters.http.ratelimit`: asks a rate limit service about the descriptors of a request.
//!
//! ```text
//! descriptors (route, virtual host, filter) -> ShouldRateLimit -> Answer
//!   within   the service's request headers added, on its way
//!   over     429 (RL, request_rate_limited); on its way where it is not enforced
//!   no answer  on its way, or with failure_mode_deny 500 (RLSE, rate_limiter_error)
//! stream over -> descriptors that count then (apply_on_stream_done) -> ShouldRateLimit, whose answer does not matter
//! ```

pub mod config;
mod follow;
#[cfg(test)]
mod tests;
mod wire;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use sampan_filters_api::call::Calls;
use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Resume, Start, Stream};
use sampan_filters_api::info::MetadataValue;
use sampan_filters_api::{Headers, Known, Runtime, RuntimeFraction};

use self::follow::Then;
use crate::counted::ClusterCounters;
use crate::grpc::{GrpcError, GrpcService};
use crate::http::header_mutation::Mutation;
use crate::http::local_ratelimit::HostLimits;
use crate::rate_limit::{Descriptor, RateLimit, RouteLimits, Source};

/// The configuration of the filter.
#[derive(Debug)]
pub struct Settings {
    /// `rate_limit_service`
    pub service: GrpcService,
    /// `domain`
    pub domain: Box<str>,
    /// `stage`
    pub stage: u32,
    /// `request_type`: whether internal requests are asked about, and whether others are.
    pub asks: Asks,
    /// `rate_limits`
    pub limits: Vec<RateLimit>,
    /// `filter_enabled`, or the runtime's `ratelimit.http_filter_enabled`.
    pub enabled: RuntimeFraction,
    /// `filter_enforced`, or the runtime's `ratelimit.http_filter_enforcing`.
    pub enforced: RuntimeFraction,
    /// `failure_mode_deny`
    pub deny_failure: bool,
    /// `failure_mode_deny_percent`
    pub deny_share: Option<RuntimeFraction>,
    /// `rate_limited_as_resource_exhausted`
    pub exhausted: bool,
    /// `enable_x_ratelimit_headers`
    pub told: bool,
    /// Without `disable_x_envoy_ratelimited_header`.
    pub marked: bool,
    /// `enable_retry_after_header`
    pub retry_after: bool,
    /// `rate_limited_status`
    pub status: u16,
    /// `status_on_error`
    pub status_on_error: u16,
    /// `response_headers_to_add`
    pub response_headers: Vec<Mutation>,
    /// `metadata_namespace`
    pub namespace: Box<str>,
    /// `cluster.<name>.ratelimit.[<stat_prefix>.]…`
    pub counters: ClusterCounters,
}

/// `request_type`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// `both`
    All,
    /// `internal`
    Internal,
    /// `external`
    External,
}

/// The configuration of a route.
#[derive(Debug)]
pub struct RouteSettings {
    /// `vh_rate_limits`
    pub host_limits: HostLimits,
    /// `rate_limits`
    pub limits: Vec<RateLimit>,
    /// `domain`
    pub domain: Option<Box<str>>,
}

/// The names of [`Settings::counters`].
pub const COUNTERS: &[&str] = &["ok", "error", "over_limit", "failure_mode_allowed"];
const OK: usize = 0;
const ERROR: usize = 1;
const OVER: usize = 2;
const FAILURE_ALLOWED: usize = 3;

/// What the service said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The request is over its limits.
    pub over: bool,
    /// Of each descriptor.
    pub statuses: Vec<Status>,
    /// `response_headers_to_add`
    pub response_headers: Vec<(Box<str>, Vec<u8>)>,
    /// `request_headers_to_add`
    pub request_headers: Vec<(Box<str>, Vec<u8>)>,
    /// `raw_body`
    pub body: Bytes,
    /// `dynamic_metadata`
    pub metadata: Vec<(Arc<str>, MetadataValue)>,
}

/// What the service said of one descriptor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// It is over its limit.
    pub over: bool,
    /// The limit, if there is one: so many, in so many seconds, and its name.
    pub limit: Option<(u32, u32, Box<str>)>,
    /// What is left.
    pub remaining: u32,
    /// Seconds until there is more.
    pub reset: Option<u64>,
}

/// The factory.
#[derive(Debug)]
pub struct RateLimits(pub Arc<Settings>);

/// One stream.
struct Instance {
    settings: Arc<Settings>,
    own: Option<Arc<RouteSettings>>,
    routes: [Option<Arc<RouteLimits>>; 2],
    /// Keys whose rate limits the runtime switches off, or not.
    off: Vec<Box<str>>,
    enforced: bool,
    denies: bool,
    /// Where it goes; none where a header says so.
    cluster: Option<Arc<str>>,
    calls: Rc<dyn Calls>,
    /// For the response of a request that goes on.
    response: Rc<RefCell<Headers>>,
    /// How far it has come.
    progress: Rc<Cell<Progress>>,
}

/// How far a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Nothing is asked about it: it did not come here, or is of the wrong kind.
    Idle,
    /// The service is asked.
    Asking,
    /// It is known whether it may pass.
    Settled,
}

impl HttpFilterFactory for RateLimits {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD.and(Phases::RESPONSE_HEAD).and(Phases::COMPLETE)
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        let settings = &self.0;
        if !start.forwards || !settings.enabled.holds(start.runtime, || fastrand::u64(..)) {
            return None;
        }
        let own = start.route::<RouteSettings>();
        let routes = start
            .rate_limits
            .map(|limits| limits.and_then(|limits| Arc::clone(limits).downcast::<RouteLimits>().ok()));
        let has_own = !settings.limits.is_empty() || own.as_ref().is_some_and(|own| !own.limits.is_empty());
        if !has_own && routes.iter().flatten().all(|limits| limits.limits.is_empty()) {
            return None;
        }
        let share = settings.deny_share.as_ref();
        Some(Box::new(Instance {
            off: switched_off(routes.iter().flatten(), start.runtime),
            routes,
            own,
            enforced: settings.enforced.holds(start.runtime, || fastrand::u64(..)),
            denies: share
                .map_or(settings.deny_failure, |share| share.holds(start.runtime, || fastrand::u64(..))),
            cluster: start.cluster.cloned(),
            calls: start.calls.share(),
            response: Rc::default(),
            progress: Rc::new(Cell::new(Progress::Idle)),
            settings: Arc::clone(settings),
        }))
    }
}

/// The keys of rate limits that the runtime has switched off for this request.
fn switched_off<'l>(
    limits: impl Iterator<Item = &'l Arc<RouteLimits>>,
    runtime: &dyn Runtime,
) -> Vec<Box<str>> {
    let keys = limits.flat_map(|limits| &limits.limits).map(|limit| &limit.disable_key);
    let off = keys.filter(|key| {
        let share = RuntimeFraction {
            key: format!("ratelimit.{key}.http_filter_enabled").into(),
            ..RuntimeFraction::always()
        };
        !key.is_empty() && !share.holds(runtime, || fastrand::u64(..))
    });
    off.cloned().collect()
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let settings = &*self.settings;
        let internal = stream.request.headers.known(Known::XEnvoyInternal) == Some(b"true");
        match settings.asks {
            Asks::Internal if !internal => return Flow::Continue,
            Asks::External if internal => return Flow::Continue,
            _ => {}
        }
        self.progress.set(Progress::Settled);
        let Some(answer) = self.ask(stream, false) else { return Flow::Continue };
        self.progress.set(Progress::Asking);
        let progress = Rc::clone(&self.progress);
        let then = Then {
            settings: Arc::clone(&self.settings),
            enforced: self.enforced,
            denies: self.denies,
            cluster: self.cluster.clone(),
            calls: Rc::clone(&self.calls),
            response: Rc::clone(&self.response),
        };
        Flow::Await(Box::pin(async move {
            let answer = answer.await.ok().and_then(|message| wire::answer(&message));
            progress.set(Progress::Settled);
            Box::new(move |stream: &mut Stream<'_>| then.follow(answer, stream)) as Resume
        }))
    }

    fn on_response_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        if let Some(head) = &mut stream.response {
            head.headers.extend_from(&self.response.borrow());
        }
        Flow::Continue
    }

    fn on_complete(&mut self, stream: &mut Stream<'_>) {
        if self.progress.get() == Progress::Settled
            && let Some(answer) = self.ask(stream, true)
        {
            // The next requests feel it; this one is over.
            self.calls.spawn(Box::pin(async move {
                let _ = answer.await;
            }));
        }
    }
}

impl Instance {
    /// Asks the service about what counts now, if anything does.
    fn ask(
        &self,
        stream: &Stream<'_>,
        done: bool,
    ) -> Option<impl Future<Output = Result<Bytes, GrpcError>> + use<>> {
        let descriptors = self.descriptors(stream, done);
        if descriptors.is_empty() {
            return None;
        }
        let own = self.own.as_ref().and_then(|own| own.domain.as_deref());
        let message = wire::request(own.unwrap_or(&self.settings.domain), &descriptors);
        let service = &self.settings.service;
        Some(service.unary(&*self.calls, wire::METHOD, &message, Some(stream.request), stream.info))
    }

    fn descriptors(&self, stream: &Stream<'_>, done: bool) -> Vec<Descriptor> {
        let source = Source { request: stream.request, info: stream.info, cluster: self.cluster.as_deref() };
        let own = self.own.as_ref().filter(|own| !own.limits.is_empty()).map(|own| &own.limits);
        if let Some(limits) = own.or_else(|| Some(&self.settings.limits).filter(|own| !own.is_empty())) {
            let now = limits.iter().filter(|limit| limit.on_done == done);
            return now.filter_map(|limit| limit.descriptor(source)).collect();
        }
        let [route, host] = &self.routes;
        let host = host.as_ref().filter(|_| self.asks_host());
        let all = route.iter().chain(host).flat_map(|limits| &limits.limits);
        let now = all.filter(|limit| limit.on_done == done);
        now.filter(|limit| limit.stage == self.settings.stage && !self.off.contains(&limit.disable_key))
            .filter_map(|limit| limit.descriptor_of_route(source))
            .collect()
    }

    /// Whether the virtual host's rate limits count.
    fn asks_host(&self) -> bool {
        let route = self.routes[0].as_ref();
        if route.is_some_and(|route| route.include_host) {
            return true;
        }
        match self.own.as_ref().map_or(HostLimits::Override, |own| own.host_limits) {
            HostLimits::Include => true,
            HostLimits::Ignore => false,
            HostLimits::Override => route.is_none_or(|route| route.limits.is_empty()),
        }
    }
}
