//! What a scenario applies: it is there until the scenario has ended and, should it have failed, the evidence was collected.

use std::sync::{MutexGuard, PoisonError};

use anyhow::Result;

use crate::world::World;

/// Manifests that are taken away when the scenario has ended.
pub struct Applied<'a>(&'a World, String);

impl Applied<'_> {
    /// Takes them away now, for what the scenario does next.
    pub fn remove(self) -> Result<()> {
        let Self(world, manifests) = self;
        world.kubernetes.delete(&manifests)?;
        world.applied().retain(|applied| *applied != manifests);
        Ok(())
    }
}

impl World {
    /// Applies manifests until the end of the scenario.
    pub fn apply(&self, manifests: &str) -> Result<Applied<'_>> {
        let mut applied = self.applied();
        // Before it is done: a part of it may be there when the rest is refused.
        if !applied.iter().any(|other| other == manifests) {
            applied.push(manifests.to_owned());
        }
        drop(applied);
        self.kubernetes.apply(manifests)?;
        Ok(Applied(self, manifests.to_owned()))
    }

    /// Takes away what the scenario has applied, the last of it first.
    pub fn undo(&self) -> Result<()> {
        let applied = std::mem::take(&mut *self.applied());
        // All of it, though one may fail.
        let undone: Vec<Result<()>> =
            applied.iter().rev().map(|manifests| self.kubernetes.delete(manifests)).collect();
        undone.into_iter().collect()
    }

    /// What it has applied so far.
    pub fn applied(&self) -> MutexGuard<'_, Vec<String>> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
