//! The health of hosts, watched on the control thread: outlier detection and active checks.
//!
//! ```text
//! a worker uses a cluster that is to be watched --Watched--> one task for it, until it is gone
//!   the task: runs of failures, intervals, results of checks --> flags of hosts --> the cluster's host set published anew
//! ```

mod checks;
mod cluster;
mod dial;
mod ejection;
mod events;
mod probe;

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sampan_model::cluster::Member;

use self::checks::Checks;
use super::publish::Publisher;
use crate::logging::target;
use crate::snapshot::ClusterParts;
use crate::telemetry::access_log::LogFiles;
use crate::telemetry::stats::Stats;

/// What the watch tells others.
pub struct Outside {
    /// The stats of the process.
    pub stats: Arc<Stats>,
    /// Its log files.
    pub logs: Arc<LogFiles>,
    /// `cluster_manager.outlier_detection.event_log_path`
    pub outlier_log: Option<Box<str>>,
}

/// The hosts of a cluster; where it has one for each destination, those of now.
fn members(parts: &ClusterParts) -> Cow<'_, [Member]> {
    match &parts.originals {
        Some(originals) => originals.members().into(),
        None => parts.hosts.members().into(),
    }
}

/// Checks each host of a cluster once that is not in force yet, or until the slowest check should have been.
pub async fn warm(parts: Arc<ClusterParts>, outside: &Outside) {
    let Some(check) = parts.config.health_check.clone() else { return };
    let mut checks = Checks::new(check, parts.config.observability_name(), outside);
    checks.follow(&parts, parts.hosts.members());
    let all = [parts];
    let mut round = pin!(checked_once(&all));
    loop {
        tokio::select! {
            () = &mut round => return,
            // Nobody needs to know, but the checks must not wait for somebody to listen.
            _ = checks.report() => {}
        }
    }
}

/// Watches the clusters that there are and those to come, for as long as the process runs.
pub async fn watch(publisher: Arc<Publisher>, outside: Arc<Outside>) {
    let published = publisher.published().clone();
    loop {
        for slot in published.watched().take() {
            let watch = cluster::Watch::new(slot, publisher.clone(), outside.clone());
            let published = published.clone();
            tokio::spawn(async move {
                watch.run().await;
                published.watched().remove(slot);
                // It may have come back meanwhile.
                let snapshot = published.load();
                let entry = snapshot.clusters.entry(slot).filter(|entry| entry.is_built());
                if entry.is_some_and(|entry| cluster::needs_watch(entry.parts())) {
                    published.watched().add(slot);
                }
            });
        }
        published.watched().more().await;
    }
}

/// Waits until every host of these clusters was checked once, or until the slowest check should have been.
pub async fn first_round(publisher: &Publisher, clusters: &[Arc<str>]) {
    let snapshot = publisher.published().load();
    let entries = clusters.iter().filter_map(|name| snapshot.clusters.entry(publisher.slot(name)));
    let all: Vec<Arc<ClusterParts>> = entries.map(|entry| entry.parts().clone()).collect();
    checked_once(&all).await;
}

/// Waits until every host of these clusters was checked once, or until the slowest check should have been.
async fn checked_once(all: &[Arc<ClusterParts>]) {
    let timings =
        all.iter().filter_map(|parts| parts.config.health_check.as_ref()).map(|check| &check.timing);
    let Some(longest) = timings.map(|timing| timing.timeout + timing.initial_jitter).max() else { return };
    let members = || all.iter().flat_map(|parts| parts.hosts.members());
    let disabled = |member: &Member| member.check.as_ref().is_some_and(|check| check.disabled);
    let round = async {
        while members().any(|member| !member.host.was_checked() && !disabled(member)) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // The results are published by then.
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    if tokio::time::timeout(longest + Duration::from_secs(1), round).await.is_err() {
        tracing::warn!(target: target::HEALTH_CHECKER, "not every host was checked in time");
    }
}
