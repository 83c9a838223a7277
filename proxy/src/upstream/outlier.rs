//! Outlier detection as the data path sees it: where outcomes are noted, and how the control thread hears of a run of failures.
//!
//! Shared by all workers and by all versions of a cluster with the same settings; see [`sampan_model::outlier`].

use std::sync::{Arc, Mutex, PoisonError};

use sampan_model::cluster::Host;
use sampan_model::outlier::{Averages, Outcome, OutlierConfig};
use tokio::sync::Notify;

/// The outlier detection of one cluster.
#[derive(Debug)]
pub struct Outliers {
    config: Arc<OutlierConfig>,
    tripped: Notify,
    /// Of the last interval: the hosts' answers, and our own failures to reach them. For the admin server.
    averages: Mutex<[Averages; 2]>,
}

impl Outliers {
    /// Nothing was noted yet.
    pub fn new(config: Arc<OutlierConfig>) -> Self {
        Self { config, tripped: Notify::new(), averages: Mutex::default() }
    }

    /// The settings.
    pub fn config(&self) -> &Arc<OutlierConfig> {
        &self.config
    }

    /// Notes how something ended that was sent to a host.
    pub fn note(&self, host: &Host, outcome: Outcome) {
        if host.outlier.note(outcome, &self.config) {
            self.tripped.notify_one();
        }
    }

    /// Comes when a host has completed a run of failures.
    pub async fn tripped(&self) {
        self.tripped.notified().await;
    }

    /// Keeps what an interval came to.
    pub fn set_averages(&self, averages: [Averages; 2]) {
        *self.averages.lock().unwrap_or_else(PoisonError::into_inner) = averages;
    }

    /// What the last interval came to.
    pub fn averages(&self) -> [Averages; 2] {
        *self.averages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
