//! `envoy.filters.http.health_check`: answers health checks in the upstream's place, or marks them as such on their way through.
//!
//! ```text
//! headers match? no  -> on its way
//!                yes -> failing (POST /healthcheck/fail), or no pass-through: answered here, 200 or 503 (LH)
//!                       else on its way
//! ```
//! While the proxy fails its checks, every response says so in `x-envoy-immediate-health-check-fail`.

pub mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Start, Stream};
use sampan_filters_api::{Counters, Flag, Flags, LocalReply};
use sampan_model::route::HeaderMatch;

use crate::matcher::View;

/// The configuration.
#[derive(Debug)]
pub struct Settings {
    /// `pass_through_mode`
    pub pass_through: bool,
    /// `headers`: all must match.
    pub headers: Vec<HeaderMatch>,
    /// `node.cluster`, which answers are marked with.
    pub cluster: Box<str>,
    /// Whether the proxy is to fail its checks.
    pub failing: Arc<AtomicBool>,
    /// `health_check.…`
    pub counters: Arc<Counters>,
}

/// The names of [`Settings::counters`].
pub const COUNTERS: &[&str] = &["request_total", "ok", "failed"];
const TOTAL: usize = 0;
const OK: usize = 1;
const FAILED: usize = 2;

/// The factory.
#[derive(Debug)]
pub struct HealthCheck(pub Arc<Settings>);

/// One stream.
struct Instance {
    settings: Arc<Settings>,
    /// It is a health check.
    is_check: bool,
}

const MARK: &str = "x-envoy-upstream-healthchecked-cluster";
const FAIL: &str = "x-envoy-immediate-health-check-fail";

impl HttpFilterFactory for HealthCheck {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD.and(Phases::RESPONSE_HEAD)
    }

    fn create(&self, _start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        Some(Box::new(Instance { settings: Arc::clone(&self.0), is_check: false }))
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
        let failing = settings.failing.load(Relaxed);
        if settings.pass_through && !failing {
            return Flow::Continue;
        }
        settings.counters.inc(TOTAL);
        settings.counters.inc(if failing { FAILED } else { OK });
        let reply = if failing {
            let mut flags = Flags::default();
            flags.set(Flag::FailedLocalHealthCheck);
            LocalReply::new(503, "health_check_failed").flags(flags)
        } else {
            LocalReply::new(200, "health_check_ok")
        };
        Flow::Reply(Box::new(reply))
    }

    fn on_response_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let Some(response) = stream.response.as_mut() else { return Flow::Continue };
        if self.is_check {
            response.headers.set(MARK, self.settings.cluster.as_bytes());
        }
        if self.settings.failing.load(Relaxed) {
            response.headers.set(FAIL, "true");
        }
        Flow::Continue
    }
}
