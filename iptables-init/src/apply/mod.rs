//! From the plan to the kernel and back: apply, compare, clean up. Called by [`crate::run`].
//!
//! ```text
//! privileges -> observe (rules of ours in every back-end, host steps) -> differences
//!   none, not forced                  -> done, nothing is touched
//!   none of ours there                -> host steps, rules
//!   ours there, --reconcile           -> host steps, guard up, old rules out and new ones in, guard down, leftovers out
//!   ours there, no --reconcile        -> host steps, rules on top, with a warning
//! any step refused                    -> everything done is undone, in reverse, and the error says what is missing
//! ```

mod diagnose;
mod difference;
mod error;
mod host;
mod observe;
mod undo;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod written;

pub(crate) use diagnose::by_itself;
pub use difference::{Difference, Place};
pub use error::{ApplyError, Missing, Undo};

use crate::config::Config;
use crate::iptables::saved::Saved;
use crate::iptables::{Iptables, transaction};
use crate::nftables;
use crate::plan::{Family, HostStep, Plan};
use crate::system::System;
use observe::{BackEnd, Observed};
use undo::Journal;

/// What is to be done, and with what.
#[derive(Clone, Copy)]
pub struct Work<'w> {
    /// The options.
    pub config: &'w Config,
    /// The plan that follows from them.
    pub plan: &'w Plan,
    /// The machine.
    pub system: &'w dyn System,
}

/// What a run has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// One sentence.
    pub done: String,
    /// What the user should know: leftovers that stay.
    pub warnings: Vec<String>,
}

/// The answer of `check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The back-end whose rules were compared.
    pub back_end: String,
    /// The differences; none means that the kernel has what the plan says.
    pub differences: Vec<Difference>,
}

/// A step that was refused, and the family whose rules it was about.
struct Failed {
    error: Box<ApplyError>,
    family: Family,
}

impl Failed {
    fn about(family: Family, error: ApplyError) -> Self {
        Self { error: Box::new(error), family }
    }

    fn in_general(error: ApplyError) -> Self {
        Self::about(Family::V4, error)
    }
}

/// How the kernel differs from the plan; with `--cleanup-only`, from having nothing of ours.
///
/// # Errors
/// The process may not look, or no back-end works.
pub fn check(work: Work<'_>) -> Result<Comparison, ApplyError> {
    allowed(work.system)?;
    let observed = Observed::of(work)?;
    let plan = (!work.config.conduct.cleanup_only).then_some(work.plan);
    Ok(Comparison { back_end: observed.back_end.to_string(), differences: observed.differences(work, plan) })
}

/// Makes the kernel have what the plan says; with `--cleanup-only`, nothing of ours.
///
/// # Errors
/// A step was refused. Unless the error says otherwise, the kernel is then as it was.
pub fn apply(work: Work<'_>) -> Result<Report, ApplyError> {
    allowed(work.system)?;
    let mut observed = Observed::of(work)?;
    let conduct = &work.config.conduct;
    if conduct.cleanup_only {
        return clean_up(work, &observed);
    }
    observed.lift_old_guard(work.system)?;
    let differences = observed.differences(work, Some(work.plan));
    if differences.is_empty() && !conduct.force_apply {
        let done = format!("rules are in place already ({}), nothing was changed", observed.back_end);
        return Ok(Report { done, warnings: Vec::new() });
    }
    let residue = observed.has_residue();
    let replaces = residue && conduct.reconcile;
    let mut journal = Journal::default();
    match carry_out(work, &observed, replaces, &mut journal) {
        Ok(()) => {
            let replaced = replaces || matches!(observed.back_end, BackEnd::Nftables) && residue;
            let warnings = if residue && !replaces { leftovers(work) } else { Vec::new() };
            Ok(Report { done: done(work, &observed.back_end, replaced), warnings })
        }
        Err(Failed { error, family }) => {
            let undo = journal.undo(work.system, &observed);
            let found = error.is_unexplained().then(|| diagnosed(work, &observed.back_end, family)).flatten();
            Err(error.after(undo, found))
        }
    }
}

/// The steps, each written into the journal before it is done. An error names the family it is about.
fn carry_out(
    work: Work<'_>,
    observed: &Observed,
    replaces: bool,
    journal: &mut Journal,
) -> Result<(), Failed> {
    let (system, plan) = (work.system, work.plan);
    let general = Failed::in_general;
    for step in plan.host_steps.iter().filter(|step| !observed.host_steps.contains(step)) {
        host::add(system, *step).map_err(general)?;
        journal.added(*step);
    }
    match &observed.back_end {
        BackEnd::Iptables(programs) => {
            put_rules(work, programs, observed, replaces, journal)?;
        }
        BackEnd::Nftables => {
            nftables::commit(system, observed.tables.transaction(Some(plan))).map_err(general)?;
            journal.committed_tables();
        }
    }
    if replaces {
        remove_elsewhere(work, observed, journal).map_err(general)?;
        for step in observed.host_steps.iter().filter(|step| !plan.host_steps.contains(step)) {
            host::remove(system, *step).map_err(general)?;
            journal.removed(*step);
        }
    }
    journal.lower_guards(system).map_err(general)
}

fn put_rules(
    work: Work<'_>,
    programs: &Iptables,
    observed: &Observed,
    replaces: bool,
    journal: &mut Journal,
) -> Result<(), Failed> {
    let texts: Vec<(Family, &Saved, String)> = observed
        .saved
        .iter()
        .map(|(family, saved)| {
            let text = match (work.plan.rules(*family), replaces) {
                (planned, true) => transaction::replace(planned, saved),
                (Some(planned), false) => transaction::on_top(planned, saved),
                (None, false) => String::new(),
            };
            (*family, saved, text)
        })
        .filter(|(_, _, text)| !text.is_empty())
        .collect();
    for (family, _, _) in texts.iter().filter(|_| replaces) {
        programs
            .restore(work.system, *family, transaction::guard_up())
            .map_err(|error| Failed::about(*family, error))?;
        journal.raised_guard(programs.clone(), *family);
    }
    for (family, saved, text) in texts {
        // The programs commit table by table: even a refused text may have been carried out in part.
        journal.touched(programs.clone(), family, saved.clone());
        programs.restore(work.system, family, text).map_err(|error| Failed::about(family, error))?;
    }
    Ok(())
}

/// Takes away what back-ends other than the chosen one hold of ours.
fn remove_elsewhere(work: Work<'_>, observed: &Observed, journal: &mut Journal) -> Result<(), ApplyError> {
    for (programs, family, saved) in &observed.elsewhere {
        journal.touched(programs.clone(), *family, saved.clone());
        programs.restore(work.system, *family, transaction::replace(None, saved))?;
    }
    if !matches!(observed.back_end, BackEnd::Nftables) && observed.tables.has_residue() {
        nftables::commit(work.system, observed.tables.transaction(None))?;
        journal.committed_tables();
    }
    Ok(())
}

/// Takes everything of ours away, wherever it is. A step that fails does not keep the others from being done.
fn clean_up(work: Work<'_>, observed: &Observed) -> Result<Report, ApplyError> {
    let system = work.system;
    let mut results = Vec::new();
    if let BackEnd::Iptables(programs) = &observed.back_end {
        for (family, saved) in &observed.saved {
            results.push(programs.restore(system, *family, transaction::replace(None, saved)));
        }
    }
    for (programs, family, saved) in &observed.elsewhere {
        results.push(programs.restore(system, *family, transaction::replace(None, saved)));
    }
    results.push(nftables::commit(system, observed.tables.transaction(None)));
    results.extend(observed.host_steps.iter().rev().map(|step| host::remove(system, *step)));
    results.into_iter().collect::<Result<(), _>>()?;
    let something = observed.has_residue() || !observed.host_steps.is_empty();
    let done = if something { "rules were taken away" } else { "there were no rules to take away" };
    Ok(Report { done: format!("{done} ({})", observed.back_end), warnings: Vec::new() })
}

fn allowed(system: &dyn System) -> Result<(), ApplyError> {
    if system.privileges().net_admin {
        Ok(())
    } else {
        Err(ApplyError::Privilege { capability: "CAP_NET_ADMIN" })
    }
}

/// What differs from the plan after a run without `--reconcile` that found rules: leftovers, and rules of ours behind
/// others that should be behind them.
fn leftovers(work: Work<'_>) -> Vec<String> {
    let now = Observed::of(work).map(|now| now.differences(work, Some(work.plan)));
    let stay: Vec<String> = now.unwrap_or_default().iter().map(ToString::to_string).collect();
    if stay.is_empty() {
        return stay;
    }
    let first = "rules of an earlier run were there, and the new ones were put on top of them; --reconcile would replace \
                 them; this is not as planned now:";
    std::iter::once(first.to_owned()).chain(stay).collect()
}

fn done(work: Work<'_>, back_end: &BackEnd, replaced: bool) -> String {
    let count = |family| work.plan.rules(family).map_or(0, |rules| rules.steps.len());
    let steps: Vec<String> = work.plan.host_steps.iter().map(HostStep::to_string).collect();
    let steps = if steps.is_empty() { String::new() } else { format!("; {}", steps.join("; ")) };
    let how = if replaced { "rules were replaced" } else { "rules were applied" };
    format!("{how} ({back_end}): {} for IPv4, {} for IPv6{steps}", count(Family::V4), count(Family::V6))
}

/// What the kernel lacks, once it has refused a plan without a reason that could be understood. A native transaction has
/// the rules of both families.
fn diagnosed(work: Work<'_>, back_end: &BackEnd, family: Family) -> Option<Missing> {
    match back_end {
        BackEnd::Iptables(programs) => diagnose::iptables(work.system, programs, work.plan.rules(family)?),
        BackEnd::Nftables => [Family::V4, Family::V6].into_iter().find_map(|family| {
            let takes = |table, rule: Option<&_>| nftables::would_take(work.system, table, rule);
            diagnose::nftables(work.plan.rules(family)?, &takes)
        }),
    }
}
