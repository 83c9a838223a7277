//! `envoy.filters.http.fault`: delays a share of the requests, and answers a share of them with an error.
//!
//! ```text
//! dice: delayed? -> wait -+-> aborted? -> reply (FI)
//!            no ----------+       no ---> go on
//! ```
//! A route's own configuration takes the place of the filter's. The number of faults at a time is counted per filter,
//! over all workers.

pub mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sampan_filters_api::flags::Flag;
use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Resume, RouteConfig, Stream};
use sampan_filters_api::{Flags, Known, LocalReply, RequestHead, StreamInfo};

/// What faults to make.
#[derive(Debug, Default)]
pub struct Faults {
    /// `delay.fixed_delay` and its share.
    pub delay: Option<(Duration, Share)>,
    /// `abort` and its share.
    pub abort: Option<(Abort, Share)>,
    /// `downstream_nodes`: only requests of these; all if empty.
    pub downstream_nodes: Vec<Box<str>>,
    /// `max_active_faults`
    pub most_active: Option<u64>,
}

/// A share of requests (`envoy.type.v3.FractionalPercent`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub numerator: u32,
    /// Of how many; never zero.
    pub denominator: u32,
}

/// The answer in place of the upstream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abort {
    /// The HTTP status.
    pub status: u16,
    /// `grpc_status`
    pub grpc_status: Option<u32>,
    /// The body.
    pub body: Bytes,
}

/// The factory.
#[derive(Debug)]
pub struct Fault {
    /// The filter's own configuration.
    pub faults: Arc<Faults>,
    /// Faults under way.
    pub active: Arc<AtomicU64>,
}

/// A fault under way.
struct Active(Arc<AtomicU64>);

/// One stream that the dice chose.
struct Instance {
    delay: Option<Duration>,
    abort: Option<Abort>,
    _active: Active,
}

impl Share {
    fn holds(self, random: u64) -> bool {
        random % u64::from(self.denominator.max(1)) < u64::from(self.numerator)
    }
}

impl Active {
    /// Counts a fault, unless there are as many as may be.
    fn start(count: &Arc<AtomicU64>, most: Option<u64>) -> Option<Self> {
        let before = count.fetch_add(1, Ordering::Relaxed);
        let active = Self(Arc::clone(count));
        most.is_none_or(|most| before < most).then_some(active)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Fault {
    fn instance(&self, faults: &Faults, request: &RequestHead, dice: [u64; 2]) -> Option<Instance> {
        if !faults.downstream_nodes.is_empty() {
            let node = request.headers.known(Known::XEnvoyDownstreamServiceNode)?;
            faults.downstream_nodes.iter().find(|known| known.as_bytes() == node)?;
        }
        let delay = faults.delay.filter(|(_, share)| share.holds(dice[0])).map(|(delay, _)| delay);
        let abort = faults.abort.as_ref().filter(|(_, share)| share.holds(dice[1]));
        if delay.is_none() && abort.is_none() {
            return None;
        }
        let active = Active::start(&self.active, faults.most_active)?;
        Some(Instance { delay, abort: abort.map(|(abort, _)| abort.clone()), _active: active })
    }
}

impl HttpFilterFactory for Fault {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD
    }

    fn create(
        &self,
        request: &RequestHead,
        _info: &StreamInfo,
        route: Option<&RouteConfig>,
    ) -> Option<Box<dyn HttpFilter>> {
        let faults = route.and_then(|config| config.downcast_ref::<Faults>()).unwrap_or(&self.faults);
        let dice = [fastrand::u64(..), fastrand::u64(..)];
        self.instance(faults, request, dice).map(|instance| Box::new(instance) as Box<dyn HttpFilter>)
    }
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let abort = self.abort.take();
        let Some(delay) = self.delay.take() else {
            return finish(abort, stream);
        };
        stream.info.flags.set(Flag::DelayInjected);
        Flow::Await(Box::pin(async move {
            tokio::time::sleep(delay).await;
            let resume: Resume = Box::new(move |stream| finish(abort, stream));
            resume
        }))
    }
}

fn finish(abort: Option<Abort>, stream: &mut Stream<'_>) -> Flow {
    let Some(abort) = abort else { return Flow::Continue };
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
