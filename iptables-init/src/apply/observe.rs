//! Everything in the kernel that is of an earlier run, in every back-end: what a run is measured against, and what it is
//! rolled back to. Called by [`super`] before anything is changed.

use std::fmt;

use super::difference::Difference;
use super::error::ApplyError;
use super::{Work, host};
use crate::iptables::compare::compare;
use crate::iptables::saved::Saved;
use crate::iptables::{Iptables, transaction};
use crate::nftables::Listing;
use crate::plan::{Family, HostStep, Plan};
use crate::system::System;

/// What puts the rules into the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BackEnd {
    Iptables(Iptables),
    Nftables,
}

/// The kernel before a run.
#[derive(Debug)]
pub(super) struct Observed {
    /// The back-end to work with.
    pub(super) back_end: BackEnd,
    /// Its rules by family, if it is iptables. IPv6 is absent where the kernel has none and the plan wants none.
    pub(super) saved: Vec<(Family, Saved)>,
    /// Our native nftables tables.
    pub(super) tables: Listing,
    /// Iptables variants besides the back-end that hold rules of ours.
    pub(super) elsewhere: Vec<(Iptables, Family, Saved)>,
    /// The host steps that are done.
    pub(super) host_steps: Vec<HostStep>,
}

impl Observed {
    /// Looks at everything.
    ///
    /// # Errors
    /// The back-end does not work. Other back-ends that do not work hold nothing.
    pub(super) fn of(work: Work<'_>) -> Result<Self, ApplyError> {
        let (system, conduct) = (work.system, &work.config.conduct);
        let lock_file = conduct.cni_mode.then(|| conduct.network_namespace.clone()).flatten();
        let host_steps = host::present(system, work.config, work.plan)?;
        let mut observed = if conduct.native_nftables {
            let tables = Listing::read(system)?;
            let elsewhere = Iptables::with_residue(system, lock_file);
            let back_end = BackEnd::Nftables;
            Self { back_end, saved: Vec::new(), tables, elsewhere: residue(system, elsewhere), host_steps }
        } else {
            let forced = conduct.iptables_binary.as_deref();
            let (chosen, other) = Iptables::detect(system, forced, lock_file)?;
            let saved = families(work, &chosen)?;
            let tables = Listing::read(system).unwrap_or_default();
            let elsewhere = residue(system, other);
            Self { back_end: BackEnd::Iptables(chosen), saved, tables, elsewhere, host_steps }
        };
        observed.elsewhere.retain(|(_, _, saved)| saved.has_residue());
        Ok(observed)
    }

    /// Whether any rule of ours is there.
    pub(super) fn has_residue(&self) -> bool {
        self.saved.iter().any(|(_, saved)| saved.has_residue())
            || self.tables.has_residue()
            || !self.elsewhere.is_empty()
    }

    /// How it differs from the plan, or from nothing.
    pub(super) fn differences(&self, work: Work<'_>, plan: Option<&Plan>) -> Vec<Difference> {
        let mut found = Vec::new();
        match &self.back_end {
            BackEnd::Iptables(programs) => {
                for (family, saved) in &self.saved {
                    let holds =
                        |table, chain, rule: &_| programs.holds(work.system, *family, (table, chain), rule);
                    let planned = plan.and_then(|plan| plan.rules(*family));
                    found.extend(compare(*family, planned, saved, &holds));
                }
                if self.tables.has_residue() {
                    found.push(Difference::Elsewhere("nft".to_owned()));
                }
            }
            BackEnd::Nftables => found.extend(self.tables.compare(plan)),
        }
        for (programs, family, _) in &self.elsewhere {
            found.push(Difference::Elsewhere(programs.program(*family, "")));
        }
        let planned = plan.map(|plan| plan.host_steps.as_slice()).unwrap_or_default();
        let missing = planned.iter().filter(|step| !self.host_steps.contains(step));
        found.extend(missing.map(|step| Difference::MissingStep(*step)));
        let extra = self.host_steps.iter().filter(|step| !planned.contains(step));
        found.extend(extra.map(|step| Difference::ExtraStep(*step)));
        found
    }

    /// A run that was killed may have left its guard, which lets nothing through: it goes whatever the options say.
    pub(super) fn lift_old_guard(&mut self, system: &dyn System) -> Result<(), ApplyError> {
        if let BackEnd::Iptables(programs) = &self.back_end {
            for (family, saved) in self.saved.iter_mut().filter(|(_, saved)| transaction::has_guard(saved)) {
                programs.restore(system, *family, transaction::guard_down())?;
                *saved = programs.save(system, *family)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for BackEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iptables(programs) => f.write_str(&programs.program(Family::V4, "")),
            Self::Nftables => f.write_str("nft"),
        }
    }
}

fn families(work: Work<'_>, programs: &Iptables) -> Result<Vec<(Family, Saved)>, ApplyError> {
    let mut saved = vec![(Family::V4, programs.save(work.system, Family::V4)?)];
    match programs.save(work.system, Family::V6) {
        Ok(ipv6) => saved.push((Family::V6, ipv6)),
        Err(error) if work.plan.ipv6.is_some() => return Err(error),
        // No IPv6 in this kernel, or no program for it: then there are no rules either.
        Err(_) => {}
    }
    Ok(saved)
}

fn residue(
    system: &dyn System,
    variants: impl IntoIterator<Item = Iptables>,
) -> Vec<(Iptables, Family, Saved)> {
    let mut found = Vec::new();
    for programs in variants {
        for family in [Family::V4, Family::V6] {
            if let Ok(saved) = programs.save(system, family) {
                found.push((programs.clone(), family, saved));
            }
        }
    }
    found
}
