//! How the kernel differs from the plan, chain by chain. Called by [`crate::apply`] to know whether there is anything
//! to do, and by `sampan-init check` to say so.
//!
//! Chains of ours must hold the plan's rules and no others, in its order. In the kernel's own chains other people's
//! rules may stand between ours; the order of ours counts.

use std::collections::BTreeSet;

use super::canonical::Canonical;
use super::saved::{Saved, SavedTable, is_our_chain};
use crate::apply::{Difference, Place};
use crate::plan::{Chain, Family, Rule, RuleSet, Table};

/// A planned rule that does not look like any in its chain: whether the kernel has it all the same.
pub type Confirm<'c> = &'c dyn Fn(Table, Chain, &Rule) -> bool;

/// All differences of one family; `planned` is `None` if there shall be no rules.
pub fn compare(
    family: Family,
    planned: Option<&RuleSet>,
    saved: &Saved,
    confirm: Confirm<'_>,
) -> Vec<Difference> {
    let mut differences = Vec::new();
    let empty = SavedTable::default();
    let names = planned.map(RuleSet::tables).unwrap_or_default();
    for table in &names {
        let saved = saved.tables.get(&table.to_string()).unwrap_or(&empty);
        if let Some(rules) = planned {
            of_table(rules, *table, saved, confirm, &mut differences);
        }
    }
    for (name, table) in &saved.tables {
        if !names.iter().any(|planned| planned.to_string() == *name) {
            leftovers(&format!("{family} {name}"), table, &BTreeSet::new(), &mut differences);
        }
    }
    differences
}

fn of_table(
    planned: &RuleSet,
    table: Table,
    saved: &SavedTable,
    confirm: Confirm<'_>,
    differences: &mut Vec<Difference>,
) {
    let name = format!("{} {table}", planned.family);
    let mut known = BTreeSet::new();
    for chain in planned.chains(table).into_iter().chain([Chain::Prerouting, Chain::Output]) {
        let own = chain.to_string();
        let place = Place { table: name.clone(), chain: own.clone() };
        known.insert(own.clone());
        if !chain.is_built_in() && !saved.chains.contains(&own) {
            let rules = planned.rules(table, chain).len();
            differences.push(Difference::MissingChain { place, rules });
            continue;
        }
        let wanted: Vec<(Canonical, &Rule)> = planned
            .rules(table, chain)
            .into_iter()
            .map(|rule| (Canonical::of(&rule.numeric().to_string()), rule))
            .collect();
        let present = present_in(saved, chain, &wanted);
        of_chain(&place, &wanted, &present, |rule| confirm(table, chain, rule), differences);
    }
    leftovers(&name, saved, &known, differences);
}

/// The rules of a chain that are, or might be, ours, with their texts.
fn present_in<'s>(
    saved: &'s SavedTable,
    chain: Chain,
    wanted: &[(Canonical, &Rule)],
) -> Vec<(Canonical, &'s str)> {
    let name = chain.to_string();
    let ours: Vec<&str> = saved
        .our_rules_elsewhere()
        .filter(|rule| rule.chain == name)
        .map(|rule| rule.spec.as_str())
        .collect();
    let rules = saved.rules.iter().filter(|rule| rule.chain == name);
    rules
        .map(|rule| (Canonical::of(&rule.spec), rule.spec.as_str()))
        .filter(|(canonical, spec)| {
            !chain.is_built_in() || ours.contains(spec) || wanted.iter().any(|(other, _)| other == canonical)
        })
        .collect()
}

fn of_chain(
    place: &Place,
    wanted: &[(Canonical, &Rule)],
    present: &[(Canonical, &str)],
    confirm: impl Fn(&Rule) -> bool,
    differences: &mut Vec<Difference>,
) {
    let mut extra: Vec<&(Canonical, &str)> = present.iter().collect();
    let mut missing = Vec::new();
    for (index, (canonical, rule)) in wanted.iter().enumerate() {
        match extra.iter().position(|(other, _)| other == canonical) {
            Some(found) => drop(extra.remove(found)),
            None => missing.push((index + 1, *rule)),
        }
    }
    if missing.is_empty() && extra.is_empty() {
        if !wanted.iter().map(|(canonical, _)| canonical).eq(present.iter().map(|(canonical, _)| canonical)) {
            differences.push(Difference::Order(place.clone()));
        }
        return;
    }
    // As many too few as too many may be a spelling that this program does not know: the kernel is asked.
    if missing.len() == extra.len() && missing.iter().all(|(_, rule)| confirm(rule)) {
        return;
    }
    for (number, rule) in missing {
        differences.push(Difference::MissingRule { place: place.clone(), number, rule: rule.to_string() });
    }
    for (_, spec) in extra {
        differences.push(Difference::ExtraRule { place: place.clone(), rule: (*spec).to_owned() });
    }
}

/// What of ours is in chains that the plan does not have.
fn leftovers(name: &str, saved: &SavedTable, known: &BTreeSet<String>, differences: &mut Vec<Difference>) {
    let place = |chain: &str| Place { table: name.to_owned(), chain: chain.to_owned() };
    for rule in saved.our_rules_elsewhere().filter(|rule| !known.contains(&rule.chain)) {
        differences.push(Difference::ExtraRule { place: place(&rule.chain), rule: rule.spec.clone() });
    }
    for chain in saved.our_chains().filter(|chain| is_our_chain(chain) && !known.contains(*chain)) {
        let rules = saved.rules_of(chain).count();
        differences.push(Difference::ExtraChain { place: place(chain), rules });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan;

    /// The plan as a kernel would print it back.
    fn kernel(rules: &RuleSet) -> String {
        let mut text = rules.to_restore_text().replace("-N ", ":").replace("* ", "*");
        let chains: Vec<String> =
            text.lines().filter(|line| line.starts_with(':')).map(str::to_owned).collect();
        for chain in chains {
            text = text.replace(&format!("{chain}\n"), &format!("{chain} - [0:0]\n"));
        }
        text
    }

    fn differences(line: &str, kernel: &str) -> Vec<String> {
        let found = compare(Family::V4, Some(&plan(line).ipv4), &Saved::parse(kernel), &|_, _, _| false);
        found.iter().map(ToString::to_string).collect()
    }

    const LINE: &str = "-b * -i * -d 15020 -x 10.1.0.0/16 -c net1";

    #[test]
    fn nothing_differs_from_itself() {
        let text = kernel(&plan(LINE).ipv4);
        assert_eq!(differences(LINE, &text), Vec::<String>::new());
        // Other people's rules between ours do not matter.
        let shared =
            text.replace("-A OUTPUT -j ISTIO_OUTPUT", "-A OUTPUT -j KUBE\n-A OUTPUT -j ISTIO_OUTPUT");
        assert_ne!(shared, text);
        assert_eq!(differences(LINE, &shared), Vec::<String>::new());
    }

    #[test]
    fn every_kind_of_difference_is_named() {
        let text = kernel(&plan(LINE).ipv4);
        let without = text.replace("-A ISTIO_OUTPUT -d 10.1.0.0/16 -j RETURN\n", "");
        assert_eq!(
            differences(LINE, &without),
            ["missing: IPv4 nat ISTIO_OUTPUT rule 9: -d 10.1.0.0/16 -j RETURN"]
        );
        let added = text.replace("COMMIT", "-A ISTIO_OUTPUT -d 9.9.9.9/32 -j RETURN\nCOMMIT");
        assert_eq!(
            differences(LINE, &added),
            ["not planned: IPv4 nat ISTIO_OUTPUT has the rule: -d 9.9.9.9/32 -j RETURN"]
        );
        let twice = text.replace("COMMIT", "-A OUTPUT -j ISTIO_OUTPUT\nCOMMIT");
        assert_eq!(differences(LINE, &twice), ["not planned: IPv4 nat OUTPUT has the rule: -j ISTIO_OUTPUT"]);
        let swapped = text
            .replace("-A ISTIO_OUTPUT -d 10.1.0.0/16 -j RETURN\n", "")
            .replace("COMMIT", "-A ISTIO_OUTPUT -d 10.1.0.0/16 -j RETURN\nCOMMIT");
        assert_eq!(differences(LINE, &swapped), ["in another order: the rules of IPv4 nat ISTIO_OUTPUT"]);
        let other = text.replace("*nat\n", "*nat\n:ISTIO_OLD - [0:0]\n-A ISTIO_OLD -j RETURN\n");
        assert_eq!(
            differences(LINE, &other),
            ["not planned: IPv4 nat has the chain ISTIO_OLD with 1 rule(s)"]
        );
        let nothing = differences(LINE, "");
        assert_eq!(
            nothing.iter().filter(|line| line.starts_with("missing: IPv4 nat has no chain")).count(),
            4
        );
    }

    #[test]
    fn an_earlier_run_with_other_options_is_found() {
        let text = kernel(&plan("-b * -i * -m TPROXY -c old0").ipv4);
        let found = differences("-b * -i *", &text);
        for expected in [
            "not planned: IPv4 nat PREROUTING has the rule: -i old0 -j RETURN",
            "not planned: IPv4 mangle PREROUTING has the rule: -p tcp -m mark --mark 1337 -j CONNMARK --save-mark",
            "not planned: IPv4 mangle has the chain ISTIO_TPROXY with 1 rule(s)",
            "missing: IPv4 nat PREROUTING rule 1: -p tcp -j ISTIO_INBOUND",
        ] {
            assert!(found.iter().any(|line| line == expected), "{expected} in {found:#?}");
        }
        let none = compare(Family::V4, None, &Saved::parse(&text), &|_, _, _| false);
        assert!(none.iter().all(|difference| difference.to_string().starts_with("not planned")));
    }

    #[test]
    fn an_unknown_spelling_is_asked_for() {
        let text = kernel(&plan(LINE).ipv4).replace("--to-ports 15001", "--into 15001");
        assert_eq!(differences(LINE, &text).len(), 2);
        let found = compare(Family::V4, Some(&plan(LINE).ipv4), &Saved::parse(&text), &|_, _, _| true);
        assert_eq!(found, []);
    }
}
