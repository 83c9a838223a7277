//! Which clusters are to have their hosts watched: workers say so, the control thread does it (`control/health`).

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use sampan_model::route::Slot;
use tokio::sync::Notify;

/// The clusters that are watched, or are to be.
#[derive(Debug, Default)]
pub struct Watched {
    slots: Mutex<Slots>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Slots {
    known: HashSet<Slot>,
    fresh: Vec<Slot>,
}

impl Watched {
    /// Has a cluster watched, if it is not yet. Takes a lock: for what is rare.
    pub fn add(&self, slot: Slot) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.known.insert(slot) {
            slots.fresh.push(slot);
            self.more.notify_one();
        }
    }

    /// Forgets a cluster that is gone.
    pub fn remove(&self, slot: Slot) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).known.remove(&slot);
    }

    /// The clusters that came since the last look.
    pub fn take(&self) -> Vec<Slot> {
        std::mem::take(&mut self.slots.lock().unwrap_or_else(PoisonError::into_inner).fresh)
    }

    /// Comes when there are more.
    pub async fn more(&self) {
        self.more.notified().await;
    }
}
