//! The journal of a run: what was done, so that a run that fails leaves the pod as it was. Called by [`super`].

use super::error::{ApplyError, Undo};
use super::host;
use super::observe::Observed;
use crate::iptables::saved::Saved;
use crate::iptables::{Iptables, transaction};
use crate::nftables::{self, Listing};
use crate::plan::{Family, HostStep};
use crate::system::System;

/// A step that was done, or begun.
#[derive(Debug)]
enum Entry {
    Added(HostStep),
    Removed(HostStep),
    Touched(Iptables, Family, Saved),
    Tables,
}

/// What was done so far.
#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: Vec<Entry>,
    guards: Vec<(Iptables, Family)>,
}

impl Journal {
    pub(super) fn added(&mut self, step: HostStep) {
        self.entries.push(Entry::Added(step));
    }

    pub(super) fn removed(&mut self, step: HostStep) {
        self.entries.push(Entry::Removed(step));
    }

    /// Rules of a family are about to change from what they are now.
    pub(super) fn touched(&mut self, programs: Iptables, family: Family, before: Saved) {
        self.entries.push(Entry::Touched(programs, family, before));
    }

    pub(super) fn committed_tables(&mut self) {
        self.entries.push(Entry::Tables);
    }

    pub(super) fn raised_guard(&mut self, programs: Iptables, family: Family) {
        self.guards.push((programs, family));
    }

    /// Takes the guards down. Those that resist stay in the journal.
    ///
    /// # Errors
    /// The first refusal.
    pub(super) fn lower_guards(&mut self, system: &dyn System) -> Result<(), ApplyError> {
        while let Some((programs, family)) = self.guards.last() {
            programs.restore(system, *family, transaction::guard_down())?;
            self.guards.pop();
        }
        Ok(())
    }

    /// Undoes everything, last things first, as far as it can be.
    pub(super) fn undo(mut self, system: &dyn System, observed: &Observed) -> Undo {
        if self.entries.is_empty() && self.guards.is_empty() {
            return Undo::NothingDone;
        }
        let mut failures = Vec::new();
        for entry in self.entries.drain(..).rev() {
            let undone = match entry {
                Entry::Added(step) => host::remove(system, step),
                Entry::Removed(step) => host::add(system, step),
                Entry::Touched(programs, family, before) => bring_back(system, &programs, family, &before),
                Entry::Tables => Listing::read(system)
                    .and_then(|now| nftables::commit(system, observed.tables.transaction_back(&now))),
            };
            failures.extend(undone.err());
        }
        failures.extend(self.lower_guards(system).err());
        if failures.is_empty() {
            return Undo::Undone;
        }
        let lines: Vec<String> = failures
            .iter()
            .map(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
            .collect();
        Undo::Failed(lines.join("; "))
    }
}

/// The guard, which is in a table of its own, must outlast this: it is not among what was there before, and is lifted
/// by itself.
fn bring_back(
    system: &dyn System,
    programs: &Iptables,
    family: Family,
    before: &Saved,
) -> Result<(), ApplyError> {
    let mut now = programs.save(system, family)?;
    if transaction::has_guard(&now) {
        now.tables.remove("filter");
    }
    programs.restore(system, family, transaction::previous(before, &now))
}
