//! `envoy.filters.http.fault`: delays a share of the requests, answers a share of them with an error, slows a share of the responses.
//!
//! ```text
//! too many faults? wrong cluster, node, headers? -> no faults
//! dice: slow response?   dice: delayed? -> wait -+-> dice: aborted? -> reply (FI)
//!                                    no ---------+         no ---> go on
//! ```
//! A route's own configuration takes the place of the filter's. Faults that say so are controlled by headers of the request. The
//! number of faults at a time is counted over all workers.

pub mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sampan_filters_api::flags::Flag;
use sampan_filters_api::http::{
    Flow, HttpFilter, HttpFilterFactory, Phases, Resume, RouteConfig, Start, Stream,
};
use sampan_filters_api::info::MetadataValue;
use sampan_filters_api::{Counters, Flags, Known, LocalReply, RequestHead, Runtime, RuntimeFraction};
use sampan_model::route::HeaderMatch;

use crate::http::transform;
use crate::matcher::View;

/// What faults to make.
#[derive(Debug, Default)]
pub struct Faults {
    /// `delay`
    pub delay: Option<Delay>,
    /// `abort`
    pub abort: Option<Abort>,
    /// `response_rate_limit`
    pub limit: Option<Limit>,
    /// `headers`: only requests that match all of them.
    pub headers: Vec<HeaderMatch>,
    /// `upstream_cluster`: only requests for this cluster.
    pub upstream_cluster: Option<Box<str>>,
    /// `downstream_nodes`: only requests of these; all if empty.
    pub downstream_nodes: Vec<Box<str>>,
    /// `max_active_faults`
    pub most_active: Option<u64>,
    /// `max_active_faults_runtime`
    pub most_active_key: Box<str>,
    /// `filter_metadata`
    pub metadata: Vec<(Arc<str>, MetadataValue)>,
}

/// `delay`
#[derive(Debug)]
pub struct Delay {
    /// How long.
    pub wait: Wait,
    /// How many of the requests.
    pub share: RuntimeFraction,
    /// `delay_duration_runtime`
    pub key: Box<str>,
}

/// How long a request is delayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// `fixed_delay`
    Fixed(Duration),
    /// As a header says.
    Header,
}

/// `abort`
#[derive(Debug)]
pub struct Abort {
    /// The answer's status.
    pub status: Status,
    /// The body.
    pub body: Bytes,
    /// How many of the requests.
    pub share: RuntimeFraction,
    /// `abort_http_status_runtime`
    pub http_key: Box<str>,
    /// `abort_grpc_status_runtime`
    pub grpc_key: Box<str>,
}

/// With which status a request is aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// `http_status`
    Http(u16),
    /// `grpc_status`
    Grpc(u32),
    /// As a header says.
    Header,
}

/// `response_rate_limit`
#[derive(Debug)]
pub struct Limit {
    /// KiB in a second; none where a header says.
    pub kilobytes: Option<u64>,
    /// How many of the responses.
    pub share: RuntimeFraction,
}

/// The factory.
#[derive(Debug)]
pub struct Fault {
    /// The filter's own configuration.
    pub faults: Arc<Faults>,
    /// `active_faults`
    pub active: Arc<AtomicU64>,
    /// [`COUNTERS`]
    pub counters: Arc<Counters>,
}

/// The counters.
pub const COUNTERS: &[&str] =
    &["delays_injected", "aborts_injected", "response_rl_injected", "faults_overflow"];
const DELAYS: usize = 0;
const ABORTS: usize = 1;
const LIMITS: usize = 2;
const OVERFLOW: usize = 3;

/// A fault under way.
struct Active(Arc<AtomicU64>);

/// The answer that was drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Aborted {
    status: u16,
    grpc_status: Option<u32>,
    body: Bytes,
}

/// One stream that the dice chose.
struct Instance {
    delay: Option<Duration>,
    abort: Option<Aborted>,
    /// Bytes in a second.
    rate: Option<u64>,
    /// When the bytes that went down so far are due.
    due: Option<Instant>,
    metadata: Vec<(Arc<str>, MetadataValue)>,
    counters: Arc<Counters>,
    _active: Active,
}

impl Active {
    fn start(count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn number(request: &RequestHead, name: &str) -> Option<u64> {
    request.headers.value(name).and_then(transform::number)
}

/// Whether the dice choose a request. A header may ask for less than what is configured, where the fault is controlled by headers.
fn drawn(
    share: &RuntimeFraction,
    header: Option<(&RequestHead, &str)>,
    runtime: &dyn Runtime,
    random: impl FnOnce() -> u64,
) -> bool {
    let asked = header.and_then(|(request, name)| number(request, name));
    match asked {
        Some(asked) => {
            let numerator = share.numerator.min(u32::try_from(asked).unwrap_or(u32::MAX));
            RuntimeFraction { numerator, ..share.clone() }.holds(runtime, random)
        }
        None => share.holds(runtime, random),
    }
}

impl Delay {
    fn draw(
        &self,
        request: &RequestHead,
        runtime: &dyn Runtime,
        random: impl FnOnce() -> u64,
    ) -> Option<Duration> {
        let wait = match self.wait {
            Wait::Fixed(fixed) => {
                let ms = runtime.number(&self.key).map(Duration::from_millis);
                drawn(&self.share, None, runtime, random).then(|| ms.unwrap_or(fixed))
            }
            Wait::Header => {
                let ms = number(request, "x-envoy-fault-delay-request")?;
                let percentage = Some((request, "x-envoy-fault-delay-request-percentage"));
                drawn(&self.share, percentage, runtime, random).then(|| Duration::from_millis(ms))
            }
        };
        wait.filter(|wait| !wait.is_zero())
    }
}

impl Abort {
    fn draw(
        &self,
        request: &RequestHead,
        runtime: &dyn Runtime,
        random: impl FnOnce() -> u64,
    ) -> Option<Aborted> {
        let by_header = matches!(self.status, Status::Header);
        let percentage = by_header.then_some((request, "x-envoy-fault-abort-request-percentage"));
        // First, as most requests end here.
        if !drawn(&self.share, percentage, runtime, random) {
            return None;
        }
        let valid = |status: u64| u16::try_from(status).ok().filter(|status| (200..600).contains(status));
        let (http, grpc) = match self.status {
            Status::Http(status) => {
                (Some(runtime.number(&self.http_key).and_then(valid).unwrap_or(status)), None)
            }
            Status::Grpc(status) => {
                let other = runtime.number(&self.grpc_key).and_then(|status| u32::try_from(status).ok());
                (None, Some(other.unwrap_or(status)))
            }
            Status::Header => {
                let http = number(request, "x-envoy-fault-abort-request").and_then(valid);
                let grpc = number(request, "x-envoy-fault-abort-grpc-request");
                (http, grpc.and_then(|status| u32::try_from(status).ok()))
            }
        };
        // A request that is not gRPC gets 200, as in Envoy.
        let (status, grpc_status) = match (http, grpc) {
            (Some(status), _) => (status, None),
            (None, Some(status)) => (200, Some(status)),
            (None, None) => return None,
        };
        Some(Aborted { status, grpc_status, body: self.body.clone() })
    }
}

impl Limit {
    /// Bytes in a second.
    fn draw(
        &self,
        request: &RequestHead,
        runtime: &dyn Runtime,
        random: impl FnOnce() -> u64,
    ) -> Option<u64> {
        let (kilobytes, header) = match self.kilobytes {
            Some(fixed) => (fixed, None),
            None => (
                number(request, "x-envoy-fault-throughput-response").filter(|limit| *limit > 0)?,
                Some((request, "x-envoy-fault-throughput-response-percentage")),
            ),
        };
        drawn(&self.share, header, runtime, random).then_some(kilobytes.saturating_mul(1024))
    }
}

impl Fault {
    fn instance(&self, faults: &Faults, start: &Start<'_>, dice: impl Fn(usize) -> u64) -> Option<Instance> {
        if faults.delay.is_none() && faults.abort.is_none() && faults.limit.is_none() {
            return None;
        }
        let (request, runtime) = (start.request, start.runtime);
        let most = runtime.number(&faults.most_active_key).or(faults.most_active);
        if most.is_some_and(|most| self.active.load(Ordering::Relaxed) >= most) {
            self.counters.inc(OVERFLOW);
            return None;
        }
        if let Some(wanted) = &faults.upstream_cluster {
            start.cluster.filter(|cluster| ***cluster == **wanted)?;
        }
        if !faults.downstream_nodes.is_empty() {
            let node = request.headers.known(Known::XEnvoyDownstreamServiceNode)?;
            faults.downstream_nodes.iter().find(|known| known.as_bytes() == node)?;
        }
        let view = View { request, tls: start.info.connection.tls.as_deref() };
        if !faults.headers.iter().all(|rule| rule.is_match(&view)) {
            return None;
        }
        let delay = faults.delay.as_ref().and_then(|fault| fault.draw(request, runtime, || dice(0)));
        let abort = faults.abort.as_ref().and_then(|fault| fault.draw(request, runtime, || dice(1)));
        let rate = faults.limit.as_ref().and_then(|fault| fault.draw(request, runtime, || dice(2)));
        if delay.is_none() && abort.is_none() && rate.is_none() {
            return None;
        }
        Some(Instance {
            delay,
            abort,
            rate,
            due: None,
            metadata: faults.metadata.clone(),
            counters: Arc::clone(&self.counters),
            _active: Active::start(&self.active),
        })
    }
}

impl HttpFilterFactory for Fault {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD.and(Phases::RESPONSE_DATA)
    }

    fn reads_facts(&self, _: Option<&RouteConfig>) -> bool {
        false
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        let route = start.route::<Faults>();
        let faults = route.as_ref().unwrap_or(&self.faults);
        self.instance(faults, start, |_| fastrand::u64(..))
            .map(|instance| Box::new(instance) as Box<dyn HttpFilter>)
    }
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        if self.rate.is_some() {
            self.counters.inc(LIMITS);
        }
        if self.delay.is_some() || self.abort.is_some() {
            stream.info.metadata.open("envoy.filters.http.fault");
            for (key, value) in self.metadata.drain(..) {
                stream.info.metadata.set("envoy.filters.http.fault", &key, value);
            }
        }
        let (abort, counters) = (self.abort.take(), Arc::clone(&self.counters));
        let Some(delay) = self.delay.take() else {
            return finish(abort, &counters, stream);
        };
        self.counters.inc(DELAYS);
        stream.info.flags.set(Flag::DelayInjected);
        Flow::Await(Box::pin(async move {
            tokio::time::sleep(delay).await;
            let resume: Resume = Box::new(move |stream| finish(abort, &counters, stream));
            resume
        }))
    }

    /// Bytes are passed on when as much time has gone by as they take at the rate, piece by piece.
    fn on_response_data(&mut self, _stream: &mut Stream<'_>, data: &mut Bytes, _end: bool) -> Flow {
        let Some(rate) = self.rate else { return Flow::Continue };
        if data.is_empty() {
            return Flow::Continue;
        }
        let now = Instant::now();
        let takes = Duration::from_secs_f64(data.len() as f64 / rate as f64);
        let due = self.due.unwrap_or(now).max(now) + takes;
        self.due = Some(due);
        Flow::Await(Box::pin(async move {
            tokio::time::sleep_until(due.into()).await;
            let resume: Resume = Box::new(|_| Flow::Continue);
            resume
        }))
    }
}

fn finish(abort: Option<Aborted>, counters: &Counters, stream: &mut Stream<'_>) -> Flow {
    let Some(abort) = abort else { return Flow::Continue };
    counters.inc(ABORTS);
    stream.info.flags.set(Flag::FaultInjected);
    let mut reply = LocalReply::new(abort.status, "fault_filter_abort").body(abort.body).flags(injected());
    reply.grpc_status = abort.grpc_status;
    Flow::Reply(Box::new(reply))
}

fn injected() -> Flags {
    let mut flags = Flags::default();
    flags.set(Flag::FaultInjected);
    flags
}
