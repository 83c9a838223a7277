//! The first checks of a discovered cluster's hosts, which it waits for before it is in force, as in Envoy.
//!
//! The cluster is built apart, with what the version before knows of its hosts, and these are checked once each; then the version is put in
//! force with the same hosts. A cluster whose hosts are names is not built apart: its names are resolved into the snapshot.

use std::sync::Arc;

use super::{Discovery, Local};
use crate::control::health;
use crate::control::publish::Kept;
use crate::snapshot::{ClusterParts, ClusterSource as _};

/// The first checks of the hosts of a version that waits.
pub(super) enum Probation {
    /// It waits for none.
    None,
    /// They begin once nothing else is waited for.
    Due,
    /// They are under way.
    Begun { parts: Arc<ClusterParts>, _task: AbortOnDrop },
    /// Each host was checked once.
    Over(Arc<ClusterParts>),
}

/// Ends a task with whom it works for.
pub(super) struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Discovery {
    /// Whether the hosts of a version were checked that waits for nothing else; begins to check them.
    pub(super) fn passes_probation(&mut self, name: &Arc<str>) -> bool {
        let version = self.clusters.states.get(name).and_then(|state| state.warming.as_ref());
        match version.map(|version| &version.probation) {
            Some(Probation::Due) => {}
            Some(Probation::Begun { .. }) => return false,
            _ => return true,
        }
        let Some(version) = version else { return true };
        let kept = Kept {
            name: name.clone(),
            wire: version.wire.clone(),
            assignment: version.assignment.as_ref().and_then(|key| self.assignment(key)),
            inputs: version.inputs.clone(),
            checked: true,
            warmed: None,
        };
        let slot = self.publisher.slot(name);
        let before = self.publisher.published().load();
        let before = before.clusters.entry(slot).filter(|entry| entry.is_built());
        let parts = Arc::new(kept.build(before.map(|entry| &**entry.parts())));
        let (local, watching) = (self.local.clone(), self.watching.clone());
        let (checked, cluster) = (parts.clone(), name.clone());
        let task = tokio::spawn(async move {
            health::warm(checked.clone(), &watching).await;
            // The sender goes only with the version itself.
            let _ = local.send(Local::Checked(cluster, checked));
        });
        let version = self.clusters.states.get_mut(name).and_then(|state| state.warming.as_mut());
        if let Some(version) = version {
            version.probation = Probation::Begun { parts, _task: AbortOnDrop(task.abort_handle()) };
        }
        false
    }

    /// Notes that the hosts of a version were each checked once.
    pub(super) fn checked(&mut self, name: &str, parts: &Arc<ClusterParts>) {
        let version = self.clusters.states.get_mut(name).and_then(|state| state.warming.as_mut());
        if let Some(version) = version
            && let Probation::Begun { parts: begun, .. } = &version.probation
            && Arc::ptr_eq(begun, parts)
        {
            version.probation = Probation::Over(parts.clone());
        }
    }
}
