//! The iptables programs: which variant to use, and the four things asked of it (save, restore, check one rule,
//! version). Called by [`crate::apply`].
//!
//! A kernel can hold two sets of rules, those of `iptables-legacy` and those of `iptables-nft`; both act, and neither
//! program shows the other's. So the one that already holds rules is used, ours before anybody's.

pub mod canonical;
pub mod compare;
pub mod saved;
pub mod transaction;

use std::io;

use crate::apply::{ApplyError, Missing};
use crate::plan::{Chain, Family, Rule, Table};
use crate::system::{Answer, Call, System};
use saved::Saved;

/// How long to wait for another program that holds the lock of iptables-legacy.
const LOCK_WAIT: &str = "30";

/// Where a variant keeps its rules in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// nf_tables.
    Nft,
    /// ip_tables.
    Legacy,
}

/// The programs of one variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Iptables {
    /// `-nft`, `-legacy`, or nothing.
    suffix: String,
    /// Where the rules are.
    pub flavor: Flavor,
    /// The file to lock instead of the machine's, for the CNI plugin.
    lock_file: Option<String>,
}

/// A variant that answered, and what IPv4 rules it shows.
#[derive(Debug, Clone)]
struct Candidate {
    programs: Iptables,
    saved: Saved,
}

impl Iptables {
    /// Chooses the variant: the forced one, else the one with rules of ours, else one with any rules, else the first
    /// that works of nft, legacy, and what `iptables` itself is. Also returns the other variant if that holds rules of
    /// ours, for both act.
    ///
    /// # Errors
    /// None works; says for each why.
    pub fn detect(
        system: &dyn System,
        forced: Option<&str>,
        lock_file: Option<String>,
    ) -> Result<(Self, Option<Self>), ApplyError> {
        let suffixes = match forced {
            Some(program) => vec![suffix_of(program)],
            None => vec!["-nft", "-legacy", ""],
        };
        let (mut found, mut tried) = (Vec::new(), Vec::new());
        for suffix in suffixes {
            // Plain `iptables` is one of the other two under another name, and worth asking only without them.
            if suffix.is_empty() && !found.is_empty() {
                continue;
            }
            match candidate(system, suffix, lock_file.clone()) {
                Ok(candidate) => found.push(candidate),
                Err(why) => tried.push(why),
            }
        }
        let at = [Saved::has_residue, Saved::is_used]
            .into_iter()
            .find_map(|holds: fn(&Saved) -> bool| found.iter().position(|one| holds(&one.saved)))
            .unwrap_or(0);
        if found.is_empty() {
            return Err(ApplyError::NoIptables { tried });
        }
        let chosen = found.swap_remove(at).programs;
        let mut others = found.into_iter().filter(|other| other.saved.has_residue());
        let mut other = others.next().map(|other| other.programs);
        if forced.is_some() {
            other = Self::residue_outside(system, &chosen, lock_file);
        }
        Ok((chosen, other))
    }

    /// The variants that hold rules of ours; none if no iptables is installed. For the native nftables back-end.
    pub fn with_residue(system: &dyn System, lock_file: Option<String>) -> Vec<Self> {
        let mut found: Vec<Candidate> = ["-nft", "-legacy"]
            .into_iter()
            .filter_map(|suffix| candidate(system, suffix, lock_file.clone()).ok())
            .collect();
        found.retain(|candidate| candidate.saved.has_residue());
        found.into_iter().map(|candidate| candidate.programs).collect()
    }

    fn residue_outside(system: &dyn System, chosen: &Self, lock_file: Option<String>) -> Option<Self> {
        Self::with_residue(system, lock_file).into_iter().find(|other| other.flavor != chosen.flavor)
    }

    /// The program for a family, with an ending such as `-save`.
    pub fn program(&self, family: Family, ending: &str) -> String {
        let name = match family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        format!("{name}{}{ending}", self.suffix)
    }

    /// Everything in the kernel of one family.
    ///
    /// # Errors
    /// The program is missing or fails; the answer is its own.
    pub fn save(&self, system: &dyn System, family: Family) -> Result<Saved, ApplyError> {
        let program = self.program(family, "-save");
        let answer = self.call(system, Call::new(&program, ""))?;
        if answer.success {
            Ok(Saved::parse(&answer.output))
        } else {
            Err(ApplyError::refused(&program, answer.complaint(), None))
        }
    }

    /// Gives the kernel a transaction; an empty one is not sent.
    ///
    /// # Errors
    /// The program is missing, or refuses: the tables before the refused one are committed.
    pub fn restore(&self, system: &dyn System, family: Family, text: String) -> Result<(), ApplyError> {
        if text.is_empty() {
            return Ok(());
        }
        let program = self.program(family, "-restore");
        let line = match &self.lock_file {
            Some(_) => "--noflush".to_owned(),
            None => format!("--noflush --wait={LOCK_WAIT}"),
        };
        let answer = self.call(system, Call::new(&program, &line).reading(text))?;
        if answer.success { Ok(()) } else { Err(ApplyError::refused(&program, answer.complaint(), None)) }
    }

    /// Whether the kernel has a rule, by the program's own comparison.
    pub fn holds(
        &self,
        system: &dyn System,
        family: Family,
        (table, chain): (Table, Chain),
        rule: &Rule,
    ) -> bool {
        let line = format!("--wait {LOCK_WAIT} -t {table} -C {chain} {}", rule.numeric());
        self.call(system, Call::new(self.program(family, ""), &line)).is_ok_and(|answer| answer.success)
    }

    fn call(&self, system: &dyn System, mut call: Call) -> Result<Answer, ApplyError> {
        if let Some(file) = &self.lock_file {
            call.variables.push(("XTABLES_LOCKFILE".to_owned(), file.clone()));
        }
        system.run(&call).map_err(|error| {
            let missing = Missing::program(&call.program, "iptables", &error);
            ApplyError::refused(&call.program, error.to_string(), Some(missing))
        })
    }
}

fn suffix_of(program: &str) -> &'static str {
    match program.rsplit_once('-') {
        Some((_, "nft")) => "-nft",
        Some((_, "legacy")) => "-legacy",
        _ => "",
    }
}

/// Asks a variant for its rules; the error says why it cannot be used.
fn candidate(system: &dyn System, suffix: &str, lock_file: Option<String>) -> Result<Candidate, String> {
    let flavor = if suffix == "-legacy" { Flavor::Legacy } else { Flavor::Nft };
    let mut programs = Iptables { suffix: suffix.to_owned(), flavor, lock_file };
    let name = programs.program(Family::V4, "-save");
    let asked = system.run(&Call::new(&name, "")).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("{name} is not on PATH"),
        _ => format!("{name} cannot be started: {error}"),
    })?;
    if !asked.success {
        return Err(format!("{name} failed: {}", asked.complaint()));
    }
    if suffix.is_empty() {
        let version = system.run(&Call::new(programs.program(Family::V4, ""), "--version"));
        if version.is_ok_and(|answer| !answer.output.contains("nf_tables")) {
            programs.flavor = Flavor::Legacy;
        }
    }
    Ok(Candidate { programs, saved: Saved::parse(&asked.output) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::written::Written;

    const OURS: &str = "*nat\n:ISTIO_OUTPUT - [0:0]\nCOMMIT\n";
    const FOREIGN: &str = "*nat\n:KUBE - [0:0]\nCOMMIT\n";

    fn detect(answers: &[(&str, &str)], forced: Option<&str>) -> Result<(String, Option<String>), String> {
        let system = Written::new(answers);
        let name = |programs: Iptables| programs.program(Family::V4, "");
        Iptables::detect(&system, forced, None)
            .map(|(chosen, other)| (name(chosen), other.map(name)))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_variant_that_holds_rules_is_used() {
        for (nft, legacy, expected) in [
            ("", "", ("iptables-nft", None)),
            ("", FOREIGN, ("iptables-legacy", None)),
            (FOREIGN, "", ("iptables-nft", None)),
            (FOREIGN, OURS, ("iptables-legacy", None)),
            (OURS, OURS, ("iptables-nft", Some("iptables-legacy"))),
        ] {
            let found =
                detect(&[("iptables-nft-save", nft), ("iptables-legacy-save", legacy)], None).unwrap();
            assert_eq!((found.0.as_str(), found.1.as_deref()), expected, "{nft:?} {legacy:?}");
        }
    }

    #[test]
    fn a_forced_program_wins_and_the_other_s_rules_are_seen() {
        let answers = [("iptables-nft-save", ""), ("iptables-legacy-save", OURS)];
        let found = detect(&answers, Some("ip6tables-nft")).unwrap();
        assert_eq!(found, ("iptables-nft".to_owned(), Some("iptables-legacy".to_owned())));
        assert_eq!(detect(&answers, Some("iptables-legacy")).unwrap().1, None);
    }

    #[test]
    fn plain_iptables_is_the_last_resort() {
        let answers =
            [("iptables-save", OURS), ("iptables", "iptables v1.8.9 (legacy)"), ("iptables-nft-save", "!no")];
        assert_eq!(detect(&answers, None).unwrap().0, "iptables");
        let error = detect(&[("iptables-nft-save", "!Protocol not supported")], None).unwrap_err();
        for part in ["Protocol not supported", "iptables-legacy-save is not on PATH", "--native-nftables"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
