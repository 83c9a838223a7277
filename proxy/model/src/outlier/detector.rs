//! The decision: which hosts are ejected, and when they come back.

use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use hashbrown::HashMap;

use super::{Monitor, OutlierConfig, Reason, Side};
use crate::cluster::{HealthFlag, Host, Member};

/// What the detector did, for stats and logs.
#[derive(Clone, Debug)]
pub enum Event {
    /// A host is an outlier (`ejections_detected_*`).
    Detected(Reason, Arc<Host>),
    /// It is ejected.
    Ejected(Reason, Arc<Host>),
    /// It would be, but `enforcing_*` lets it stay.
    NotEnforced(Reason, Arc<Host>),
    /// It would be, but too many are (`ejections_overflow`).
    TooMany(Reason, Arc<Host>),
    /// It is in use again.
    Returned(Arc<Host>),
}

/// Mean and threshold of the success rates of the last interval; `None` if there was not enough to tell.
pub type Averages = Option<(f64, f64)>;

/// What a log tells of a host besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// How often it was ejected.
    pub ejections: u32,
    /// The time since it last came back, or for one that comes back, since it was ejected.
    pub since_last_action: Option<Duration>,
}

/// The detector of one cluster.
#[derive(Debug)]
pub struct Detector {
    config: OutlierConfig,
    hosts: Vec<Watched>,
    ejected: usize,
    external: Averages,
    local: Averages,
}

#[derive(Debug)]
struct Watched {
    host: Arc<Host>,
    /// When it was ejected last, in milliseconds.
    since: u64,
    /// When it came back last.
    returned: Option<u64>,
    /// How often it was ejected.
    ejections: u32,
    /// How many times the base time it stays out.
    factor: u64,
    /// What is added to that.
    jitter: u64,
}

impl Watched {
    fn new(host: &Arc<Host>) -> Self {
        Self { host: host.clone(), since: 0, returned: None, ejections: 0, factor: 0, jitter: 0 }
    }

    fn is_ejected(&self) -> bool {
        self.host.has_flag(HealthFlag::FailedOutlierCheck)
    }

    fn monitor(&self) -> &Monitor {
        &self.host.outlier
    }
}

impl Detector {
    /// A detector that knows no host yet.
    pub fn new(config: OutlierConfig) -> Self {
        Self { config, hosts: Vec::new(), ejected: 0, external: None, local: None }
    }

    /// The settings.
    pub fn config(&self) -> &OutlierConfig {
        &self.config
    }

    /// How many hosts are ejected (`ejections_active`).
    pub fn ejected(&self) -> usize {
        self.ejected
    }

    /// Mean and threshold of the last interval.
    pub fn averages(&self, side: Side) -> Averages {
        match side {
            Side::External => self.external,
            Side::LocalOrigin => self.local,
        }
    }

    /// What there is to tell of a host to which something was done just now.
    pub fn history(&self, host: &Arc<Host>, now: u64) -> History {
        let Some(watched) = self.hosts.iter().find(|watched| Arc::ptr_eq(&watched.host, host)) else {
            return History::default();
        };
        let last = if watched.is_ejected() || watched.returned != Some(now) {
            watched.returned
        } else {
            Some(watched.since)
        };
        let since = last.map(|last| Duration::from_millis(now.saturating_sub(last)));
        History { ejections: watched.ejections, since_last_action: since }
    }

    /// Takes over new hosts; what is known of the others stays.
    pub fn follow<'m>(&mut self, members: impl IntoIterator<Item = &'m Member>) {
        let mut known: HashMap<*const Host, Watched, RandomState> =
            self.hosts.drain(..).map(|watched| (Arc::as_ptr(&watched.host), watched)).collect();
        let mut seen = HashMap::<*const Host, (), RandomState>::default();
        for member in members {
            let at = Arc::as_ptr(&member.host);
            if seen.insert(at, ()).is_none() {
                self.hosts.push(known.remove(&at).unwrap_or_else(|| Watched::new(&member.host)));
            }
        }
        self.ejected = self.hosts.iter().filter(|watched| watched.is_ejected()).count();
    }

    /// Lets every host be used again: there is no detection any more.
    pub fn release(&mut self) -> bool {
        let cleared = self.hosts.iter().filter(|w| w.host.set_flag(HealthFlag::FailedOutlierCheck, false));
        cleared.count() > 0
    }

    /// Looks at the runs of failures that workers completed.
    pub fn look(&mut self, now: u64, rng: &mut fastrand::Rng) -> Vec<Event> {
        let mut events = Vec::new();
        for at in 0..self.hosts.len() {
            for reason in self.hosts[at].monitor().take_complete() {
                if self.hosts[at].is_ejected() {
                    continue;
                }
                self.detected(at, reason, now, rng, &mut events);
                self.hosts[at].monitor().reset(reason);
            }
        }
        events
    }

    /// The end of an interval.
    pub fn interval(&mut self, now: u64, rng: &mut fastrand::Rng) -> Vec<Event> {
        let mut events = Vec::new();
        for at in 0..self.hosts.len() {
            if self.may_return(at, now) {
                self.bring_back(at, now, &mut events);
            }
        }
        self.external = self.compare(Side::External, now, rng, &mut events);
        self.local = self.compare(Side::LocalOrigin, now, rng, &mut events);
        events
    }

    /// A host passes active health checks again, which may end its ejection.
    pub fn passes_checks(&mut self, host: &Arc<Host>, now: u64) -> Vec<Event> {
        let mut events = Vec::new();
        let known = self.hosts.iter().position(|watched| Arc::ptr_eq(&watched.host, host));
        if let Some(at) = known.filter(|at| self.config.health_check_unejects && self.hosts[*at].is_ejected())
        {
            self.bring_back(at, now, &mut events);
        }
        events
    }

    /// Whether its time is over. A host that was in use all along is on its way to a clean slate.
    fn may_return(&mut self, at: usize, now: u64) -> bool {
        let (base, most) = self.times();
        let watched = &mut self.hosts[at];
        if !watched.is_ejected() {
            watched.factor = watched.factor.saturating_sub(1);
            return false;
        }
        let out = base.saturating_mul(watched.factor).min(most).saturating_add(watched.jitter);
        out <= now.saturating_sub(watched.since)
    }

    fn times(&self) -> (u64, u64) {
        let base = self.config.base_ejection_time.as_millis() as u64;
        (base, (self.config.max_ejection_time.as_millis() as u64).max(base))
    }

    fn bring_back(&mut self, at: usize, now: u64, events: &mut Vec<Event>) {
        let watched = &mut self.hosts[at];
        watched.returned = Some(now);
        watched.host.set_flag(HealthFlag::FailedOutlierCheck, false);
        for reason in
            [Reason::Consecutive5xx, Reason::ConsecutiveGatewayFailure, Reason::ConsecutiveLocalOriginFailure]
        {
            watched.monitor().reset(reason);
        }
        self.ejected = self.ejected.saturating_sub(1);
        events.push(Event::Returned(watched.host.clone()));
    }

    fn detected(
        &mut self,
        at: usize,
        reason: Reason,
        now: u64,
        rng: &mut fastrand::Rng,
        events: &mut Vec<Event>,
    ) {
        let host = self.hosts[at].host.clone();
        events.push(Event::Detected(reason, host.clone()));
        let part = 100.0 * (self.ejected + 1) as f64 / self.hosts.len() as f64;
        let first = self.config.always_eject_one_host && self.ejected == 0;
        if !first && part > f64::from(self.config.max_ejection_percent.min(100)) {
            events.push(Event::TooMany(reason, host));
            return;
        }
        if rng.u32(0..100) >= self.config.enforcing.of(reason) {
            events.push(Event::NotEnforced(reason, host));
            return;
        }
        let (base, most) = self.times();
        let jitter = self.config.max_ejection_time_jitter.as_millis() as u64;
        let watched = &mut self.hosts[at];
        if host.set_flag(HealthFlag::FailedOutlierCheck, true) {
            self.ejected += 1;
        }
        watched.ejections += 1;
        watched.since = now;
        watched.jitter = if jitter == 0 { 0 } else { rng.u64(0..=jitter) };
        if watched.factor.saturating_mul(base) < most.saturating_add(base) {
            watched.factor += 1;
        }
        events.push(Event::Ejected(reason, host));
    }

    /// Compares the hosts by their rates of success over the interval.
    fn compare(
        &mut self,
        side: Side,
        now: u64,
        rng: &mut fastrand::Rng,
        events: &mut Vec<Event>,
    ) -> Averages {
        let config = &self.config;
        let (rate_volume, percentage_volume) = (
            u64::from(config.success_rate_request_volume),
            u64::from(config.failure_percentage_request_volume),
        );
        let enough = |hosts: usize, least: u32| hosts > 0 && hosts >= least as usize;
        let (rate_hosts, percentage_hosts) =
            (config.success_rate_minimum_hosts, config.failure_percentage_minimum_hosts);
        let compares = enough(self.hosts.len(), rate_hosts) || enough(self.hosts.len(), percentage_hosts);
        let (mut by_rate, mut by_percentage) = (Vec::new(), Vec::new());
        for (at, watched) in self.hosts.iter().enumerate() {
            let (success, total) = watched.monitor().take_interval(side);
            watched.monitor().set_success_rate(side, None);
            if !compares || watched.is_ejected() || total == 0 {
                continue;
            }
            let rate = 100.0 * success as f64 / total as f64;
            if total >= rate_volume.min(percentage_volume) {
                watched.monitor().set_success_rate(side, Some(rate));
            }
            if total >= rate_volume {
                by_rate.push((at, rate));
            }
            if total >= percentage_volume {
                by_percentage.push((at, rate));
            }
        }
        let factor = f64::from(config.success_rate_stdev_factor) / 1000.0;
        let most_failures = f64::from(config.failure_percentage_threshold);
        let averages = enough(by_rate.len(), rate_hosts).then(|| spread(&by_rate, factor));
        let (of_rate, of_percentage) = match side {
            Side::External => (Reason::SuccessRate, Reason::FailurePercentage),
            Side::LocalOrigin => (Reason::LocalOriginSuccessRate, Reason::LocalOriginFailurePercentage),
        };
        if let Some((_, threshold)) = averages {
            for (at, _) in by_rate.into_iter().filter(|(_, rate)| *rate < threshold) {
                self.detected(at, of_rate, now, rng, events);
            }
        }
        if enough(by_percentage.len(), percentage_hosts) {
            for (at, _) in by_percentage.into_iter().filter(|(_, rate)| 100.0 - rate >= most_failures) {
                self.detected(at, of_percentage, now, rng, events);
            }
        }
        averages
    }
}

/// The mean of the rates, and what is `factor` standard deviations below it.
fn spread(rates: &[(usize, f64)], factor: f64) -> (f64, f64) {
    let count = rates.len() as f64;
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let variance = rates.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / count;
    (mean, mean - factor * variance.sqrt())
}
