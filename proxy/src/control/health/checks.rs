//! The active health checks of one cluster: a task for each host, which ends with the host.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use sampan_model::cluster::{HealthFlag, Host, Member};
use sampan_model::health_check::{CheckResult, CheckState, HealthCheck, Transition};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::dial::Dial;
use super::events::{Checked, EventLog, HostEvents};
use super::probe::Prober;
use super::{Outside, members};
use crate::logging::target;
use crate::net::clock;
use crate::snapshot::ClusterParts;
use crate::telemetry::stats::kinds::{HealthCheck as Kind, HealthCheckCounter as Counter, HealthCheckGauge};
use crate::telemetry::stats::{Block, Writer};
use crate::upstream::immediate_fail::ImmediateFail;

/// Reports that may wait at most; a task whose report does not fit waits.
const QUEUE: usize = 256;

/// What a check changed.
pub(super) enum Report {
    /// The flags of a host.
    Changed,
    /// A host passes that did not.
    Passes(Arc<Host>),
}

/// The checks of one cluster.
pub(super) struct Checks {
    check: Arc<HealthCheck>,
    /// By the address of the host, which `members` keeps from being another's.
    hosts: HashMap<usize, AbortHandle>,
    members: Vec<Arc<Host>>,
    tasks: JoinSet<()>,
    stats: Arc<Block<Kind>>,
    reports: (mpsc::Sender<Report>, mpsc::Receiver<Report>),
    log: EventLog,
}

impl Checks {
    pub(super) fn new(check: Arc<HealthCheck>, name: &str, outside: &Outside) -> Self {
        let (stats, logs) = (&outside.stats, &outside.logs);
        Self {
            log: EventLog::open(&check.event_logs, logs),
            check,
            hosts: HashMap::new(),
            members: Vec::new(),
            tasks: JoinSet::new(),
            stats: stats.block::<Kind>(&format!("{name}.health_check"), Writer::CONTROL),
            reports: mpsc::channel(QUEUE),
        }
    }

    pub(super) fn check(&self) -> &Arc<HealthCheck> {
        &self.check
    }

    /// What the next check changed.
    pub(super) async fn report(&mut self) -> Option<Report> {
        self.reports.1.recv().await
    }

    /// Takes over the hosts there are: starts to check new ones, and ends the checks of those that are gone.
    pub(super) fn follow(&mut self, parts: &Arc<ClusterParts>, members: &[Member]) {
        while self.tasks.try_join_next().is_some() {}
        let mut before = std::mem::take(&mut self.hosts);
        self.members.clear();
        for member in members {
            let at = Arc::as_ptr(&member.host).addr();
            if self.hosts.contains_key(&at) {
                continue;
            }
            self.members.push(member.host.clone());
            if member.check.as_ref().is_some_and(|target| target.disabled) {
                continue;
            }
            let task = before.remove(&at).unwrap_or_else(|| self.start(parts, member));
            self.hosts.insert(at, task);
        }
        for task in before.into_values() {
            task.abort();
        }
        self.count();
    }

    /// Counts the hosts that pass.
    pub(super) fn count(&self) {
        let count =
            |flag, wanted| self.members.iter().filter(|host| host.has_flag(flag) == wanted).count() as i64;
        self.stats.set(HealthCheckGauge::Healthy, count(HealthFlag::FailedActiveHc, false));
        self.stats.set(HealthCheckGauge::Degraded, count(HealthFlag::DegradedActiveHc, true));
    }

    /// Ends the checks: every host is in use again; true if that changed one.
    pub(super) fn release(&mut self) -> bool {
        self.tasks.abort_all();
        self.stats.set(HealthCheckGauge::Healthy, 0);
        self.stats.set(HealthCheckGauge::Degraded, 0);
        let flags = [
            HealthFlag::FailedActiveHc,
            HealthFlag::DegradedActiveHc,
            HealthFlag::PendingActiveHc,
            HealthFlag::ExcludedViaImmediateHcFail,
        ];
        let cleared = self.members.iter().flat_map(|host| flags.map(|flag| host.set_flag(flag, false)));
        cleared.filter(|changed| *changed).count() > 0
    }

    fn start(&mut self, parts: &Arc<ClusterParts>, member: &Member) -> AbortHandle {
        let checking = Checking {
            events: HostEvents::new(self.log.clone(), &self.check, &parts.config.name, member),
            dial: Dial::new(parts, member, &self.check),
            check: self.check.clone(),
            cluster: parts.config.observability_name().clone(),
            stats: self.stats.clone(),
            reports: self.reports.0.clone(),
            immediate_fail: parts.immediate_fail.clone().unwrap_or_default(),
            parts: parts.clone(),
        };
        self.tasks.spawn(checking.run())
    }
}

/// The checks of one host.
struct Checking {
    events: HostEvents,
    dial: Dial,
    check: Arc<HealthCheck>,
    cluster: Arc<str>,
    stats: Arc<Block<Kind>>,
    reports: mpsc::Sender<Report>,
    immediate_fail: ImmediateFail,
    /// The version in which the host came; whether it had traffic is asked of its hosts.
    parts: Arc<ClusterParts>,
}

impl Checking {
    async fn run(self) {
        let host = self.dial.host().clone();
        let mut prober = Prober::new(self.check.clone(), self.dial.clone());
        let mut state = CheckState::resumed(&host);
        let mut traffic = false;
        // What it said before anyone checked it is no news.
        host.take_immediate_fail();
        tokio::time::sleep(self.check.timing.first(&mut fastrand::Rng::new())).await;
        loop {
            self.stats.inc(Counter::Attempt);
            let result = prober.probe().await;
            let Some(transition) = self.take(&host, &mut state, result, prober.status()).await else {
                return;
            };
            traffic = traffic || self.had_traffic();
            let wait = self.check.timing.wait(result, transition, traffic, &mut fastrand::Rng::new());
            let next = Instant::now() + wait;
            loop {
                let heard = self.immediate_fail.heard();
                if host.take_immediate_fail() {
                    let taken = self.take(&host, &mut state, CheckResult::Passive, 0).await;
                    if taken.is_none() {
                        return;
                    }
                }
                tokio::select! {
                    () = tokio::time::sleep_until(next) => break,
                    () = heard => {}
                }
            }
        }
    }

    /// Takes a result in: flags, events, counters, log, report. None if nobody wants reports any more.
    async fn take(
        &self,
        host: &Arc<Host>,
        state: &mut CheckState,
        result: CheckResult,
        status: u16,
    ) -> Option<Transition> {
        let flags =
            || (host.has_flag(HealthFlag::FailedActiveHc), host.has_flag(HealthFlag::DegradedActiveHc));
        let (before, first) = (flags(), state.is_new());
        let transition = state.apply(host, result, &self.check.timing);
        let after = flags();
        self.events.tell(&Checked { result, status, first, before, after });
        self.count(result);
        self.log(host, result, transition);
        if transition == Transition::Changed {
            let passes = before.0 && !after.0;
            if passes {
                host.became_healthy(clock::millis());
            }
            let report = if passes { Report::Passes(host.clone()) } else { Report::Changed };
            self.reports.send(report).await.ok()?;
        }
        Some(transition)
    }

    /// Whether anything was ever sent to the cluster.
    fn had_traffic(&self) -> bool {
        members(&self.parts).iter().any(|member| member.host.counters.cx_total.load(Relaxed) > 0)
    }

    fn count(&self, result: CheckResult) {
        match result {
            CheckResult::Good { .. } => self.stats.inc(Counter::Success),
            CheckResult::Wrong { .. } => self.stats.inc(Counter::Failure),
            CheckResult::Passive => {
                self.stats.inc(Counter::Failure);
                self.stats.inc(Counter::PassiveFailure);
            }
            CheckResult::NoAnswer | CheckResult::TimedOut => {
                self.stats.inc(Counter::Failure);
                self.stats.inc(Counter::NetworkFailure);
            }
        }
    }

    fn log(&self, host: &Host, result: CheckResult, transition: Transition) {
        let (cluster, address) = (&self.cluster, &host.address);
        if transition == Transition::Changed {
            let flags = host.flags_text();
            tracing::debug!(target: target::HEALTH_CHECKER, "{cluster}: host {address} is {flags} after {result:?}");
        } else if self.check.log_failures && !matches!(result, CheckResult::Good { .. }) {
            tracing::info!(target: target::HEALTH_CHECKER, "{cluster}: check of host {address}: {result:?}");
        }
    }
}
