//! `envoy.filters.http.health_check`: answers health checks in the upstream's place, or marks them as such on their way through.
//!
//! ```text
//! headers match? no  -> on its way
//!                yes -> failing (POST /healthcheck/fail): 503 (LH)
//!                       pass-through: a cached answer (LH unless 2xx), else on its way, and the response is cached
//!                       else: 200, or 503 (LH) if one of the clusters has too few hosts that can take requests
//! ```
//! While the proxy fails its checks, every response says so in `x-envoy-immediate-health-check-fail`.

pub mod cache;
pub mod config;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use sampan_filters_api::call::Calls;
use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Start, Stream};
use sampan_filters_api::{Counters, Flag, Known, LocalReply};
use sampan_model::route::HeaderMatch;

use self::cache::{Answer, Cache};
use crate::matcher::View;

/// The configuration.
#[derive(Debug)]
pub struct Settings {
    /// What is done with checks.
    pub mode: Mode,
    /// `headers`: all must match.
    pub headers: Vec<HeaderMatch>,
    /// `node.cluster`, which answers are marked with.
    pub cluster: Box<str>,
    /// Whether the proxy is to fail its checks.
    pub failing: Arc<AtomicBool>,
    /// `health_check.…`
    pub counters: Arc<Counters>,
}

/// `pass_through_mode`, with what belongs to it.
#[derive(Debug)]
pub enum Mode {
    /// Checks go upstream, unless an answer is cached (`cache_time`).
    PassThrough(Option<Cache>),
    /// Checks are answered here: well, if so many in a hundred of each cluster's hosts can take requests. In the order of names.
    Answer(Vec<(Box<str>, u64)>),
}

/// The names of [`Settings::counters`].
pub const COUNTERS: &[&str] = &[
    "request_total",
    "ok",
    "failed",
    "cached_response",
    "failed_cluster_not_found",
    "failed_cluster_empty",
    "failed_cluster_unhealthy",
    "degraded",
];
const TOTAL: usize = 0;
const OK: usize = 1;
const FAILED: usize = 2;
const CACHED: usize = 3;
const NOT_FOUND: usize = 4;
const EMPTY: usize = 5;
const UNHEALTHY: usize = 6;
const DEGRADED: usize = 7;

/// The factory.
#[derive(Debug)]
pub struct HealthCheck(pub Arc<Settings>);

/// One stream.
struct Instance {
    settings: Arc<Settings>,
    /// What knows the clusters, where they matter.
    calls: Option<Rc<dyn Calls>>,
    /// It is a health check.
    is_check: bool,
}

/// What a check is answered with, and why.
struct Verdict {
    answer: Answer,
    details: &'static str,
    /// What counts beside `ok` or `failed`.
    counter: Option<usize>,
}

const MARK: &str = "x-envoy-upstream-healthchecked-cluster";
const FAIL: &str = "x-envoy-immediate-health-check-fail";

impl HttpFilterFactory for HealthCheck {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD.and(Phases::RESPONSE_HEAD)
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        let clusters = matches!(&self.0.mode, Mode::Answer(clusters) if !clusters.is_empty());
        let calls = clusters.then(|| start.calls.share());
        Some(Box::new(Instance { settings: Arc::clone(&self.0), calls, is_check: false }))
    }
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let settings = &*self.settings;
        let view = View { request: stream.request, tls: None };
        self.is_check = settings.headers.iter().all(|header| header.is_match(&view));
        if !self.is_check {
            return Flow::Continue;
        }
        stream.info.health_check = true;
        match self.verdict() {
            Some(verdict) => Flow::Reply(Box::new(verdict.reply(&settings.counters))),
            None => Flow::Continue,
        }
    }

    fn on_response_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let Some(response) = stream.response.as_mut() else { return Flow::Continue };
        if self.is_check {
            if let Mode::PassThrough(Some(cache)) = &self.settings.mode {
                let degraded = response.headers.has(Known::XEnvoyDegraded);
                cache.keep(Answer { status: response.status, degraded }, Instant::now());
            }
            response.headers.set(MARK, self.settings.cluster.as_bytes());
        }
        if self.settings.failing.load(Relaxed) {
            response.headers.set(FAIL, "true");
        }
        Flow::Continue
    }
}

impl Instance {
    /// What the check is answered with; `None` if it goes on its way.
    fn verdict(&self) -> Option<Verdict> {
        if self.settings.failing.load(Relaxed) {
            return Some(Verdict::new(503, "health_check_failed", None));
        }
        match &self.settings.mode {
            Mode::PassThrough(cache) => {
                let answer = cache.as_ref()?.answer(Instant::now())?;
                Some(Verdict { answer, details: "health_check_cached", counter: Some(CACHED) })
            }
            Mode::Answer(clusters) if clusters.is_empty() => Some(Verdict::new(200, "health_check_ok", None)),
            Mode::Answer(clusters) => {
                let bad = clusters.iter().find_map(|(name, least)| self.fault(name, *least));
                Some(bad.unwrap_or(Verdict::new(200, "health_check_ok_cluster_healthy", None)))
            }
        }
    }

    /// What is wrong with a cluster of which so many hosts in a hundred are to be available.
    fn fault(&self, cluster: &str, least: u64) -> Option<Verdict> {
        let Some(hosts) = self.calls.as_ref().and_then(|calls| calls.membership(cluster)) else {
            return Some(Verdict::new(503, "health_check_failed_no_cluster_found", Some(NOT_FOUND)));
        };
        if hosts.total == 0 {
            return (least > 0).then_some(Verdict::new(
                503,
                "health_check_failed_cluster_empty",
                Some(EMPTY),
            ));
        }
        (hosts.available * 100 < hosts.total * least).then_some(Verdict::new(
            503,
            "health_check_failed_cluster_unhealthy",
            Some(UNHEALTHY),
        ))
    }
}

impl Verdict {
    const fn new(status: u16, details: &'static str, counter: Option<usize>) -> Self {
        Self { answer: Answer { status, degraded: false }, details, counter }
    }

    /// Counts it and says it.
    fn reply(&self, counters: &Counters) -> LocalReply {
        let Answer { status, degraded } = self.answer;
        let well = (200..300).contains(&status);
        counters.inc(TOTAL);
        counters.inc(if well { OK } else { FAILED });
        for counter in self.counter.into_iter().chain(degraded.then_some(DEGRADED)) {
            counters.inc(counter);
        }
        let mut reply = LocalReply::new(status, self.details);
        if !well {
            reply.flags.set(Flag::FailedLocalHealthCheck);
        }
        if degraded {
            reply.headers.set_known(Known::XEnvoyDegraded, "");
        }
        reply
    }
}
