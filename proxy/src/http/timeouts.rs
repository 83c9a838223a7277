//! A first, plain version; its full form follows.
use super::{attempt::Plan, chain::Shared, connection::HttpContext};
use crate::upstream::cluster::WorkerCluster;
use std::time::{Duration, Instant};
pub struct Deadlines {
    pub idle: Option<Duration>,
    pub response: Option<Duration>,
    pub request: Option<Instant>,
    pub max_stream: Option<Instant>,
    pub upstream_max: Option<Instant>,
}
pub fn deadlines(context: &HttpContext, plan: &Plan<'_>, _: &WorkerCluster, _: &mut Shared<'_>) -> Deadlines {
    Deadlines {
        idle: context.config.timeouts.stream_idle,
        response: plan.forward.action.timeouts.effective_request(),
        request: None,
        max_stream: None,
        upstream_max: None,
    }
}
