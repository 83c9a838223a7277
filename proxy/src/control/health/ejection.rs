//! Outlier detection of one cluster: the model's detector with its timer, its stats and its lines in the log.

use std::sync::Arc;

use sampan_model::cluster::{Host, Member};
use sampan_model::outlier::{Detector, Event, Reason, Side};
use tokio::time::Instant;

use super::events::EventLog;
use crate::logging::target;
use crate::net::clock;
use crate::telemetry::stats::kinds::{
    OutlierDetection, OutlierDetectionCounter as Counter, OutlierDetectionGauge,
};
use crate::telemetry::stats::{Block, Stats, Writer};
use crate::upstream::outlier::Outliers;

/// The detection of one cluster.
pub(super) struct Ejection {
    log: EventLog,
    outliers: Arc<Outliers>,
    detector: Detector,
    name: Arc<str>,
    stats: Arc<Block<OutlierDetection>>,
    next: Instant,
}

impl Ejection {
    pub(super) fn new(
        outliers: Arc<Outliers>,
        members: &[Member],
        name: &Arc<str>,
        stats: &Stats,
        log: EventLog,
    ) -> Self {
        let scope = format!("{name}.outlier_detection");
        let mut ejection = Self {
            log,
            detector: Detector::new((**outliers.config()).clone()),
            next: Instant::now() + outliers.config().interval,
            outliers,
            name: name.clone(),
            stats: stats.block::<OutlierDetection>(&scope, Writer::CONTROL),
        };
        ejection.follow(members);
        ejection
    }

    /// What workers note outcomes with.
    pub(super) fn outliers(&self) -> &Arc<Outliers> {
        &self.outliers
    }

    /// When the interval ends.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    pub(super) fn follow(&mut self, members: &[Member]) {
        self.detector.follow(members);
        self.stats.set(OutlierDetectionGauge::EjectionsActive, self.detector.ejected() as i64);
    }

    /// Looks at runs of failures; true if that changed a host.
    pub(super) fn look(&mut self) -> bool {
        let events = self.detector.look(clock::millis(), &mut fastrand::Rng::new());
        self.tell(&events)
    }

    /// Ends an interval; true if that changed a host.
    pub(super) fn interval(&mut self) -> bool {
        self.next = Instant::now() + self.outliers.config().interval;
        let events = self.detector.interval(clock::millis(), &mut fastrand::Rng::new());
        let averages = [Side::External, Side::LocalOrigin].map(|side| self.detector.averages(side));
        self.outliers.set_averages(averages);
        self.tell(&events)
    }

    /// A host passes active checks again, which may end its ejection.
    pub(super) fn passes_checks(&mut self, host: &Arc<Host>) {
        let events = self.detector.passes_checks(host, clock::millis());
        self.tell(&events);
    }

    /// Ends the detection; true if that changed a host.
    pub(super) fn release(&mut self) -> bool {
        self.stats.set(OutlierDetectionGauge::EjectionsActive, 0);
        self.detector.release()
    }

    fn tell(&self, events: &[Event]) -> bool {
        let mut changed = false;
        let now = clock::millis();
        for event in events {
            self.count(event);
            self.write(event, now);
            let (what, host) = match event {
                Event::Ejected(reason, host) => (format!("ejected for {reason:?}"), host),
                Event::Returned(host) => ("no longer ejected".to_owned(), host),
                _ => continue,
            };
            changed = true;
            tracing::debug!(target: target::UPSTREAM, "{}: host {} is {what}", self.name, host.address);
        }
        self.stats.set(OutlierDetectionGauge::EjectionsActive, self.detector.ejected() as i64);
        changed
    }

    fn write(&self, event: &Event, now: u64) {
        let (side, host) = match event {
            Event::Ejected(reason, host) | Event::NotEnforced(reason, host) => (reason.side(), host),
            Event::Returned(host) => (Side::External, host),
            Event::Detected(..) | Event::TooMany(..) => return,
        };
        let history = self.detector.history(host, now);
        self.log.outlier(&self.name, event, history, self.detector.averages(side));
    }

    fn count(&self, event: &Event) {
        match event {
            Event::Detected(reason, _) => {
                self.stats.inc(detected(*reason));
                match reason {
                    Reason::Consecutive5xx => self.stats.inc(Counter::EjectionsConsecutive5xx),
                    Reason::SuccessRate => self.stats.inc(Counter::EjectionsSuccessRate),
                    _ => {}
                }
            }
            Event::Ejected(reason, _) => {
                self.total(*reason);
                self.stats.inc(enforced(*reason));
                self.stats.inc(Counter::EjectionsEnforcedTotal);
            }
            Event::NotEnforced(reason, _) => self.total(*reason),
            Event::TooMany(..) => self.stats.inc(Counter::EjectionsOverflow),
            Event::Returned(_) => {}
        }
    }

    /// A counter of old, which knows two reasons and whatever was not ejected for want of enforcing.
    fn total(&self, reason: Reason) {
        if matches!(reason, Reason::Consecutive5xx | Reason::SuccessRate) {
            self.stats.inc(Counter::EjectionsTotal);
        }
    }
}

fn detected(reason: Reason) -> Counter {
    match reason {
        Reason::ConsecutiveGatewayFailure => Counter::EjectionsDetectedConsecutiveGatewayFailure,
        Reason::Consecutive5xx => Counter::EjectionsDetectedConsecutive5xx,
        Reason::ConsecutiveLocalOriginFailure => Counter::EjectionsDetectedConsecutiveLocalOriginFailure,
        Reason::SuccessRate => Counter::EjectionsDetectedSuccessRate,
        Reason::LocalOriginSuccessRate => Counter::EjectionsDetectedLocalOriginSuccessRate,
        Reason::FailurePercentage => Counter::EjectionsDetectedFailurePercentage,
        Reason::LocalOriginFailurePercentage => Counter::EjectionsDetectedLocalOriginFailurePercentage,
    }
}

fn enforced(reason: Reason) -> Counter {
    match reason {
        Reason::ConsecutiveGatewayFailure => Counter::EjectionsEnforcedConsecutiveGatewayFailure,
        Reason::Consecutive5xx => Counter::EjectionsEnforcedConsecutive5xx,
        Reason::ConsecutiveLocalOriginFailure => Counter::EjectionsEnforcedConsecutiveLocalOriginFailure,
        Reason::SuccessRate => Counter::EjectionsEnforcedSuccessRate,
        Reason::LocalOriginSuccessRate => Counter::EjectionsEnforcedLocalOriginSuccessRate,
        Reason::FailurePercentage => Counter::EjectionsEnforcedFailurePercentage,
        Reason::LocalOriginFailurePercentage => Counter::EjectionsEnforcedLocalOriginFailurePercentage,
    }
}
