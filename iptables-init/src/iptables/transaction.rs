//! From what is in the kernel to what shall be, as text for `iptables-restore --noflush`. Pure. Each table of the text is
//! committed by the kernel as a whole, old rules out and new rules in, so no packet sees a table half done.
//! Called by [`crate::apply`].

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::saved::{Saved, SavedTable};
use crate::plan::{RuleSet, Step, Table};

/// The chain that drops everything while tables are replaced. One of our names, so that a later run finds and removes
/// it should this one be killed.
pub const GUARD: &str = "ISTIO_GUARD";
const GUARDED: [&str; 3] = ["INPUT", "FORWARD", "OUTPUT"];

/// What a table shall have of ours.
#[derive(Default)]
struct Wanted {
    chains: Vec<String>,
    lines: Vec<String>,
}

/// Takes all of ours away and puts the plan in its place; with no plan, just takes it away.
pub fn replace(planned: Option<&RuleSet>, now: &Saved) -> String {
    let tables = planned.map(RuleSet::tables).unwrap_or_default();
    each_table(tables.iter().map(Table::to_string), now, |name| {
        let table = tables.iter().find(|table| table.to_string() == name);
        table.zip(planned).map(|(table, rules)| wanted(rules, *table)).unwrap_or_default()
    })
}

/// Puts the plan on top of what is there: its chains get its rules, its rules in the kernel's chains are added where
/// they are missing, everything else stays.
pub fn on_top(planned: &RuleSet, now: &Saved) -> String {
    let mut text = String::new();
    let empty = SavedTable::default();
    for table in planned.tables() {
        let saved = now.tables.get(&table.to_string()).unwrap_or(&empty);
        let mut lines = Vec::new();
        for chain in planned.chains(table) {
            let exists = saved.chains.contains(&chain.to_string());
            lines.push(format!("{} {chain}", if exists { "-F" } else { "-N" }));
        }
        let steps = planned.steps.iter().filter(|step| step.table == table);
        lines.extend(steps.filter(|step| !is_there(step, saved)).map(Step::to_restore_line));
        block(&mut text, &table.to_string(), &lines);
    }
    text
}

/// Brings back what was there `before`, whatever of ours is there `now`: the undoing of a run that failed.
pub fn previous(before: &Saved, now: &Saved) -> String {
    let names = before.tables.iter().filter(|(_, table)| table.has_residue()).map(|(name, _)| name.clone());
    each_table(names, now, |name| before.tables.get(name).map(as_it_was).unwrap_or_default())
}

/// Puts the guard up: TCP and UDP are dropped.
pub fn guard_up() -> String {
    let mut lines = vec![
        format!("-N {GUARD}"),
        format!("-A {GUARD} -p tcp -j DROP"),
        format!("-A {GUARD} -p udp -j DROP"),
    ];
    lines.extend(GUARDED.map(|chain| format!("-I {chain} 1 -j {GUARD}")));
    let mut text = String::new();
    block(&mut text, "filter", &lines);
    text
}

/// Takes the guard away. Text for a kernel that has it.
pub fn guard_down() -> String {
    let mut lines: Vec<String> = GUARDED.map(|chain| format!("-D {chain} -j {GUARD}")).into();
    lines.extend(["-F", "-X"].map(|command| format!("{command} {GUARD}")));
    let mut text = String::new();
    block(&mut text, "filter", &lines);
    text
}

/// Whether the guard of a run that was killed still stands.
pub fn has_guard(saved: &Saved) -> bool {
    saved.tables.get("filter").is_some_and(|table| table.chains.iter().any(|chain| chain == GUARD))
}

/// A block for each table that is wanted or has something of ours.
fn each_table(
    wanted_in: impl Iterator<Item = String>,
    now: &Saved,
    wanted: impl Fn(&str) -> Wanted,
) -> String {
    let ours = now.tables.iter().filter(|(_, table)| table.has_residue()).map(|(name, _)| name.clone());
    let names: BTreeSet<String> = wanted_in.chain(ours).collect();
    let (mut text, empty) = (String::new(), SavedTable::default());
    for name in names {
        block(&mut text, &name, &rewrite(now.tables.get(&name).unwrap_or(&empty), wanted(&name)));
    }
    text
}

/// Ours out, the wanted in. A chain that stays is emptied rather than deleted and made again.
fn rewrite(now: &SavedTable, wanted: Wanted) -> Vec<String> {
    let mut lines: Vec<String> =
        now.our_rules_elsewhere().map(|rule| format!("-D {} {}", rule.chain, rule.spec)).collect();
    lines.extend(now.our_chains().map(|chain| format!("-F {chain}")));
    lines.extend(
        now.our_chains().filter(|chain| !wanted.chains.contains(chain)).map(|chain| format!("-X {chain}")),
    );
    lines.extend(
        wanted.chains.iter().filter(|chain| !now.chains.contains(chain)).map(|chain| format!("-N {chain}")),
    );
    lines.extend(wanted.lines);
    lines
}

fn wanted(rules: &RuleSet, table: Table) -> Wanted {
    let steps = rules.steps.iter().filter(|step| step.table == table);
    Wanted {
        chains: rules.chains(table).iter().map(ToString::to_string).collect(),
        lines: steps.map(Step::to_restore_line).collect(),
    }
}

/// What a table had of ours, each rule of the kernel's chains at the place where it stood.
fn as_it_was(before: &SavedTable) -> Wanted {
    let chains: Vec<String> = before.our_chains().cloned().collect();
    let mut lines: Vec<String> = before
        .rules
        .iter()
        .filter(|rule| chains.contains(&rule.chain))
        .map(|rule| format!("-A {} {}", rule.chain, rule.spec))
        .collect();
    for rule in before.our_rules_elsewhere() {
        // Rules that are the same to the letter have the same place to us: the last one's is as good.
        let place = before.rules_of(&rule.chain).position(|other| std::ptr::eq(other, rule)).unwrap_or(0);
        lines.push(format!("-I {} {} {}", rule.chain, place + 1, rule.spec));
    }
    Wanted { chains, lines }
}

/// Whether a rule for a chain of the kernel is in it already.
fn is_there(step: &Step, saved: &SavedTable) -> bool {
    use super::canonical::Canonical;
    let wanted = Canonical::of(&step.rule.numeric().to_string());
    step.chain.is_built_in()
        && saved.rules_of(&step.chain.to_string()).any(|rule| Canonical::of(&rule.spec) == wanted)
}

fn block(text: &mut String, table: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "*{table}\n{}\nCOMMIT", lines.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan;

    const OLD: &str = "*nat\n:ISTIO_OUTPUT - [0:0]\n:ISTIO_OLD - [0:0]\n-A OUTPUT -j KUBE\n-A OUTPUT -j ISTIO_OUTPUT\n\
        -A ISTIO_OUTPUT -j RETURN\nCOMMIT\n*mangle\n:ISTIO_DROP - [0:0]\n-A ISTIO_DROP -j DROP\nCOMMIT\n*filter\n-A INPUT -j ACCEPT\nCOMMIT\n";

    #[test]
    fn a_fresh_kernel_gets_the_plan() {
        let plan = plan("-b * -i *").ipv4;
        let text = plan.to_restore_text().replace("* nat", "*nat");
        assert_eq!(replace(Some(&plan), &Saved::default()), text);
        assert_eq!(on_top(&plan, &Saved::default()), text);
        assert_eq!(replace(None, &Saved::default()), "");
    }

    #[test]
    fn old_rules_go_in_the_same_transaction() {
        let text = replace(Some(&plan("-i *").ipv4), &Saved::parse(OLD));
        assert!(text.starts_with("*mangle\n-F ISTIO_DROP\n-X ISTIO_DROP\nCOMMIT\n*nat\n-D OUTPUT -j ISTIO_OUTPUT\n-F ISTIO_OUTPUT\n-F ISTIO_OLD\n-X ISTIO_OLD\n-N ISTIO_INBOUND\n"), "{text}");
        assert!(!text.contains("-N ISTIO_OUTPUT\n") && !text.contains("KUBE") && !text.contains("filter"));
        let removal = replace(None, &Saved::parse(OLD));
        assert!(removal.ends_with("-F ISTIO_OUTPUT\n-F ISTIO_OLD\n-X ISTIO_OUTPUT\n-X ISTIO_OLD\nCOMMIT\n"));
    }

    #[test]
    fn on_top_leaves_what_it_does_not_know() {
        let text = on_top(&plan("-i *").ipv4, &Saved::parse(OLD));
        assert!(text.contains("-F ISTIO_OUTPUT\n") && text.contains("-N ISTIO_INBOUND\n"), "{text}");
        assert!(!text.contains("-A OUTPUT -j ISTIO_OUTPUT") && !text.contains("ISTIO_OLD"), "{text}");
    }

    #[test]
    fn what_was_there_comes_back_where_it_was() {
        let now = "*nat\n:ISTIO_NEW - [0:0]\n-A OUTPUT -j ISTIO_NEW\n-A OUTPUT -j KUBE\nCOMMIT\n";
        let text = previous(&Saved::parse(OLD), &Saved::parse(now));
        assert_eq!(
            text,
            "*mangle\n-N ISTIO_DROP\n-A ISTIO_DROP -j DROP\nCOMMIT\n\
             *nat\n-D OUTPUT -j ISTIO_NEW\n-F ISTIO_NEW\n-X ISTIO_NEW\n-N ISTIO_OUTPUT\n-N ISTIO_OLD\n-A ISTIO_OUTPUT -j RETURN\n\
             -I OUTPUT 2 -j ISTIO_OUTPUT\nCOMMIT\n"
        );
    }

    #[test]
    fn the_guard_is_found_again() {
        let saved = Saved::parse(&guard_up().replace("-N ISTIO_GUARD", ":ISTIO_GUARD - [0:0]"));
        assert!(has_guard(&saved) && saved.has_residue());
        assert!(guard_down().ends_with("-F ISTIO_GUARD\n-X ISTIO_GUARD\nCOMMIT\n"));
    }
}
