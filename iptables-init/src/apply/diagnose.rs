//! Finds out what a kernel lacks after it has refused a transaction, for its own message rarely says so: the plan's
//! rules are tried one by one in a scratch chain that nothing jumps to. Called by [`super`] once all is undone.

use std::collections::BTreeSet;

use super::error::Missing;
use crate::iptables::Iptables;
use crate::plan::{Family, Match, Rule, RuleSet, Table, Target};
use crate::system::System;

/// The scratch chain. One of our names, so that a later run removes it should this one be killed.
const SCRATCH: &str = "ISTIO_PROBE";

/// Something of the kernel that a rule needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Need {
    /// What it is, with the module that has it.
    what: &'static str,
    /// The option that does without.
    instead: &'static str,
}

/// A rule in a table that may be tried by itself.
type Trial<'t> = dyn Fn(Table, Option<&Rule>) -> bool + 't;

/// What iptables rules of a family need and do not get; `None` if each works by itself.
pub(crate) fn iptables(system: &dyn System, programs: &Iptables, rules: &RuleSet) -> Option<Missing> {
    let family = rules.family;
    let send = |text: String| programs.restore(system, family, text).is_ok();
    let found = first_missing(rules, &|table, rule| {
        let rule =
            rule.map(|rule| format!("-A {SCRATCH} {}\n", by_itself(rule).numeric())).unwrap_or_default();
        // Two transactions: what is added and deleted in one never reaches the kernel.
        let works = send(format!("*{table}\n-N {SCRATCH}\n{rule}COMMIT\n"));
        let _ = send(format!("*{table}\n-F {SCRATCH}\n-X {SCRATCH}\nCOMMIT\n"));
        works
    });
    found.map(|(table, needs)| {
        missing(family, table, &needs, "--native-nftables, or another --force-iptables-binary")
    })
}

/// What a kernel lacks for nftables rules, each tried by `check`, which changes nothing.
pub(crate) fn nftables(rules: &RuleSet, check: &Trial<'_>) -> Option<Missing> {
    let found = first_missing(rules, check);
    found.map(|(table, needs)| missing(rules.family, table, &needs, "leaving out --native-nftables"))
}

/// The first needs that are not met: those of a rule that fails, less those of rules that work.
fn first_missing(rules: &RuleSet, works: &Trial<'_>) -> Option<(Table, Vec<Need>)> {
    let mut met = BTreeSet::new();
    for table in rules.tables() {
        if !works(table, None) {
            return Some((table, Vec::new()));
        }
        let mut trials: Vec<(Vec<Need>, &Rule)> = rules
            .steps
            .iter()
            .filter(|step| step.table == table)
            .map(|step| (needs(&step.rule), &step.rule))
            .collect();
        trials.sort_by_key(|(needs, _)| needs.len());
        for (needs, rule) in trials {
            if !needs.iter().any(|need| !met.contains(need)) {
                continue;
            }
            if !works(table, Some(rule)) {
                return Some((table, needs.into_iter().filter(|need| !met.contains(need)).collect()));
            }
            met.extend(needs);
        }
    }
    None
}

/// The rule without its way into chains that are not there.
pub(crate) fn by_itself(rule: &Rule) -> Rule {
    let target = if matches!(rule.target, Target::Jump(_)) { Target::Return } else { rule.target };
    Rule { target, ..rule.clone() }
}

fn missing(family: Family, table: Table, needs: &[Need], other_back_end: &str) -> Missing {
    let (what, mut instead): (Vec<&str>, Vec<&str>) = if needs.is_empty() {
        let what = match table {
            Table::Nat => "the table nat (iptable_nat, ip6table_nat, nft_chain_nat)",
            Table::Mangle => "the table mangle (iptable_mangle, ip6table_mangle)",
            Table::Raw => "the table raw (iptable_raw, ip6table_raw)",
        };
        (vec![what], table_instead(table).into_iter().collect())
    } else {
        (needs.iter().map(|need| need.what).collect(), needs.iter().map(|need| need.instead).collect())
    };
    instead.retain(|text| !text.is_empty());
    instead.dedup();
    if family == Family::V6 {
        instead.push("leaving out --dual-stack, if the pod can do without IPv6");
    }
    instead.push(other_back_end);
    Missing {
        what: format!("{family}: {} in this kernel", what.join(", ")),
        hint: format!(
            "load the module on the node (modprobe), or do without it by {}; or --skip-rule-apply where the Istio CNI plugin \
             makes the rules",
            instead.join(", or ")
        ),
    }
}

fn table_instead(table: Table) -> Option<&'static str> {
    match table {
        Table::Nat => None,
        Table::Mangle => Some("-m REDIRECT without --drop-invalid"),
        Table::Raw => Some("leaving out --redirect-dns"),
    }
}

fn needs(rule: &Rule) -> Vec<Need> {
    let need = |what, instead| Some(Need { what, instead });
    let mut needs: Vec<Need> = rule
        .matches
        .iter()
        .filter_map(|condition| match condition {
            Match::User { .. } | Match::Group { .. } => need("the match owner (xt_owner, nft_meta)", ""),
            Match::NoDestinationPort(_) => {
                need("the match multiport (xt_multiport, nft_set)", "leaving out --redirect-dns")
            }
            Match::Mark { .. } => need("the match mark (xt_mark, nft_meta)", "-m REDIRECT"),
            Match::ConnectionMark(_) => need("the match connmark (xt_connmark, nft_ct)", "-m REDIRECT"),
            Match::State(_) => {
                need("the match conntrack (xt_conntrack, nft_ct)", "-m REDIRECT without --drop-invalid")
            }
            _ => None,
        })
        .collect();
    needs.extend(match rule.target {
        Target::Redirect(_) => need("the target REDIRECT (xt_REDIRECT, nft_redir)", ""),
        Target::Tproxy { .. } => need("the target TPROXY (xt_TPROXY, nft_tproxy)", "-m REDIRECT"),
        Target::SetMark(_) => need("the target MARK (xt_mark, nft_meta)", "-m REDIRECT"),
        Target::SaveMark | Target::RestoreMark => {
            need("the target CONNMARK (xt_connmark, nft_ct)", "-m REDIRECT")
        }
        Target::Zone(_) => need("the target CT (xt_CT, nft_ct)", "leaving out --redirect-dns"),
        Target::Return | Target::Accept | Target::Drop | Target::Jump(_) => None,
    });
    needs.sort();
    needs.dedup();
    needs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan;

    fn found(line: &str, lacks: &str) -> Option<String> {
        let rules = plan(line).ipv4;
        first_missing(&rules, &|table, rule| match rule {
            None => lacks != table.to_string(),
            Some(rule) => !by_itself(rule).to_string().contains(lacks),
        })
        .map(|(table, needs)| missing(Family::V4, table, &needs, "the other"))
        .map(|missing| format!("{} / {}", missing.what, missing.hint))
    }

    #[test]
    fn what_is_missing_is_named_with_the_option_that_avoids_it() {
        const ALL: &str = "-b * -i * -m TPROXY --redirect-dns --capture-all-dns --drop-invalid";
        for (lacks, what, instead) in [
            ("nat", "the table nat", "the other"),
            ("mangle", "the table mangle", "-m REDIRECT without --drop-invalid"),
            ("raw", "the table raw", "leaving out --redirect-dns"),
            ("-m owner", "the match owner (xt_owner", "the other"),
            ("-m multiport", "the match multiport", "leaving out --redirect-dns"),
            ("-m conntrack", "the match conntrack", "-m REDIRECT without --drop-invalid"),
            ("-j TPROXY", "the target TPROXY", "-m REDIRECT"),
            ("-j CONNMARK", "the target CONNMARK", "-m REDIRECT"),
            ("-j CT", "the target CT", "leaving out --redirect-dns"),
            ("-j REDIRECT", "the target REDIRECT", "the other"),
        ] {
            let text = found(ALL, lacks).unwrap();
            assert!(text.contains(what) && text.contains(instead), "{lacks}: {text}");
            // One thing alone is named: whatever else the rule needs is known to work.
            assert_eq!(text.split(" / ").next().unwrap().matches('(').count(), 1, "{lacks}: {text}");
        }
        assert_eq!(found(ALL, "nothing at all"), None);
    }
}
