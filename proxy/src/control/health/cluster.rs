//! The watch over one cluster.

use std::sync::Arc;
use std::time::Duration;

use sampan_model::route::Slot;
use tokio::time::Instant;

use super::checks::{Checks, Report};
use super::ejection::Ejection;
use super::events::EventLog;
use super::{Outside, members};
use crate::control::publish::Publisher;
use crate::snapshot::ClusterParts;
use crate::upstream::original_dst::OriginalHosts;
use crate::upstream::outlier::Outliers;

/// A cluster, as its watch last saw it.
pub(super) struct Watch {
    slot: Slot,
    publisher: Arc<Publisher>,
    outside: Arc<Outside>,
    parts: Option<Arc<ClusterParts>>,
    ejection: Option<Ejection>,
    checks: Option<Checks>,
}

impl Watch {
    pub(super) fn new(slot: Slot, publisher: Arc<Publisher>, outside: Arc<Outside>) -> Self {
        Self { slot, publisher, outside, parts: None, ejection: None, checks: None }
    }

    /// Runs until the cluster is gone or nothing about it is to be watched.
    pub(super) async fn run(mut self) {
        let mut changed = self.publisher.published().subscribe();
        while self.follow() {
            let outliers = self.ejection.as_ref().map(|ejection| ejection.outliers().clone());
            let next = self.ejection.as_ref().map_or_else(far, Ejection::next);
            let look = self.originals().map_or_else(far, |_| Instant::now() + LOOK);
            let refresh = tokio::select! {
                published = changed.changed() => {
                    if published.is_err() {
                        return;
                    }
                    false
                }
                report = report(self.checks.as_mut()) => self.checked(report),
                () = tripped(outliers.as_deref()) => {
                    self.follow_originals();
                    self.ejection.as_mut().is_some_and(Ejection::look)
                }
                () = tokio::time::sleep_until(next) => self.ejection.as_mut().is_some_and(Ejection::interval),
                () = tokio::time::sleep_until(look) => {
                    self.follow_originals();
                    false
                }
            };
            if refresh {
                self.publisher.refresh(self.slot);
            }
        }
    }

    /// Takes over what was published; false if there is nothing to watch any more.
    fn follow(&mut self) -> bool {
        let snapshot = self.publisher.published().load();
        let Some(entry) = snapshot.clusters.entry(self.slot) else { return false };
        let parts = entry.parts();
        if self.parts.as_ref().is_some_and(|known| Arc::ptr_eq(known, parts)) {
            return true;
        }
        self.parts = Some(parts.clone());
        match (&mut self.ejection, &parts.outliers) {
            (Some(ejection), Some(outliers)) if Arc::ptr_eq(ejection.outliers(), outliers) => {
                ejection.follow(&members(parts));
            }
            (ejection, Some(outliers)) => {
                let name = parts.config.observability_name();
                let log = EventLog::open(&self.outside.outlier_log, &self.outside.logs);
                let hosts = members(parts);
                *ejection = Some(Ejection::new(outliers.clone(), &hosts, name, &self.outside.stats, log));
            }
            (ejection, None) => {
                if ejection.take().is_some_and(|mut ejection| ejection.release()) {
                    self.publisher.refresh(self.slot);
                }
            }
        }
        self.follow_checks(&parts.clone());
        self.ejection.is_some() || self.checks.is_some()
    }

    fn follow_checks(&mut self, parts: &Arc<ClusterParts>) {
        let check = parts.config.health_check.as_ref();
        if self.checks.as_ref().map(Checks::check) != check {
            let released = self.checks.take().is_some_and(|mut checks| checks.release());
            if released && check.is_none() {
                self.publisher.refresh(self.slot);
            }
        }
        let Some(check) = check else { return };
        let name = parts.config.observability_name();
        let checks = self.checks.get_or_insert_with(|| Checks::new(check.clone(), name, &self.outside));
        checks.follow(parts, &members(parts));
    }

    /// The hosts of a cluster that has one for each destination.
    fn originals(&self) -> Option<&Arc<OriginalHosts>> {
        self.parts.as_ref()?.originals.as_ref()
    }

    /// Takes over the destinations of now; no snapshot tells of them.
    fn follow_originals(&mut self) {
        let Some(parts) = self.parts.clone().filter(|parts| parts.originals.is_some()) else { return };
        let hosts = members(&parts);
        if let Some(ejection) = &mut self.ejection {
            ejection.follow(&hosts);
        }
        if let Some(checks) = &mut self.checks {
            checks.follow(&parts, &hosts);
        }
    }

    /// Takes over what a check changed.
    fn checked(&mut self, report: Report) -> bool {
        if let (Report::Passes(host), Some(ejection)) = (report, &mut self.ejection) {
            ejection.passes_checks(&host);
        }
        if let Some(checks) = &self.checks {
            checks.count();
        }
        true
    }
}

/// Whether a cluster has hosts to be watched.
pub(super) fn needs_watch(parts: &ClusterParts) -> bool {
    parts.outliers.is_some() || parts.config.health_check.is_some()
}

/// How often the destinations of a cluster are looked at that has a host for each.
const LOOK: Duration = Duration::from_secs(1);

/// Never, for all that matters.
fn far() -> Instant {
    Instant::now() + Duration::from_hours(24)
}

async fn report(checks: Option<&mut Checks>) -> Report {
    if let Some(checks) = checks
        && let Some(report) = checks.report().await
    {
        return report;
    }
    std::future::pending().await
}

async fn tripped(outliers: Option<&Outliers>) {
    match outliers {
        Some(outliers) => outliers.tripped().await,
        None => std::future::pending().await,
    }
}
