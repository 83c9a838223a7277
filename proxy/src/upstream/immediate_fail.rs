//! Hosts that say in a response to a request that they fail their checks (`x-envoy-immediate-health-check-fail`).
//!
//! Workers note it on the host and wake the checks of its cluster, which take it as a failed check. A response that comes while one waits
//! to be taken adds nothing, so that a flood of them costs no more than one. Shared by all versions of a cluster.

use std::sync::Arc;

use sampan_filters_api::Headers;
use sampan_model::cluster::Host;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Wakes the checks of a cluster.
#[derive(Clone, Debug, Default)]
pub struct ImmediateFail(Arc<Notify>);

impl ImmediateFail {
    /// Takes in the head of a host's response.
    pub fn hear(&self, host: &Host, answer: &Headers) {
        if answer.value("x-envoy-immediate-health-check-fail").is_some() && host.fail_immediately() {
            self.0.notify_waiters();
        }
    }

    /// Comes when some host has said so after this call; [`Host::take_immediate_fail`] tells which.
    pub fn heard(&self) -> Notified<'_> {
        self.0.notified()
    }
}
