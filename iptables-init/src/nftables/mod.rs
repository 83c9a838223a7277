//! The native nftables back-end (`--native-nftables`): one transaction, which the kernel carries out as a whole or not
//! at all, by way of the program `nft`. Called by [`crate::apply`].

pub mod render;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use crate::apply::{ApplyError, Difference, Missing, Place};
use crate::plan::{Plan, Rule, Table};
use crate::system::{Answer, Call, System};
use render::{Chains, TABLES, chains, rule_lines, table_name, table_text};

/// Our tables as they are in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing(Vec<(Table, Chains)>);

impl Plan {
    /// What a run would do: `ip` commands as comments, then the tables.
    pub fn to_nftables_dry_run(&self) -> String {
        let steps = self.host_steps.iter().map(ToString::to_string);
        commented(steps, Listing::default().transaction(Some(self)))
    }

    /// What takes all of it away.
    pub fn to_nftables_cleanup_text(&self) -> String {
        let steps = self.host_steps.iter().rev().map(|step| step.to_undo_line());
        commented(steps, Listing(TABLES.map(|table| (table, Chains::new())).into()).transaction(None))
    }

    /// The rules as nftables tables.
    pub fn to_nftables_text(&self) -> String {
        let tables = TABLES.iter().map(|table| (*table, chains(self, *table)));
        tables
            .filter(|(_, chains)| !chains.is_empty())
            .map(|(table, chains)| table_text(table, &chains))
            .collect()
    }
}

impl Listing {
    /// Reads our tables from the kernel.
    ///
    /// # Errors
    /// `nft` is missing or fails.
    pub fn read(system: &dyn System) -> Result<Self, ApplyError> {
        let listed = nft(system, "list tables", String::new())?;
        if !listed.success {
            return Err(ApplyError::refused("nft list tables", listed.complaint(), None));
        }
        let mut found = Vec::new();
        for table in TABLES {
            let name = table_name(table);
            if !listed.output.lines().any(|line| line.trim() == format!("table inet {name}")) {
                continue;
            }
            let line = format!("-s -y list table inet {name}");
            let answer = nft(system, &line, String::new())?;
            if !answer.success {
                return Err(ApplyError::refused(&format!("nft {line}"), answer.complaint(), None));
            }
            found.push((table, parse(&answer.output)));
        }
        Ok(Self(found))
    }

    /// Whether there is any of our tables.
    pub fn has_residue(&self) -> bool {
        !self.0.is_empty()
    }

    /// The transaction that makes the tables the plan's, or takes them away.
    pub fn transaction(&self, plan: Option<&Plan>) -> String {
        let planned: Vec<(Table, Chains)> =
            plan.into_iter().flat_map(|plan| TABLES.map(|table| (table, chains(plan, table)))).collect();
        self.transaction_to(&planned)
    }

    /// The transaction that leads from `now` back to this.
    pub fn transaction_back(&self, now: &Self) -> String {
        now.transaction_to(&self.0)
    }

    /// A table is deleted and made again rather than flushed, or chains of an earlier run would stay. Adding it first
    /// makes the deletion of a table that is not there no error.
    fn transaction_to(&self, planned: &[(Table, Chains)]) -> String {
        let mut text = String::new();
        for table in TABLES {
            let wanted = planned.iter().find(|(name, chains)| *name == table && !chains.is_empty());
            let exists = self.0.iter().any(|(name, _)| *name == table);
            if wanted.is_some() || exists {
                let name = table_name(table);
                let _ = writeln!(text, "add table inet {name}\ndelete table inet {name}");
            }
            if let Some((_, chains)) = wanted {
                text.push_str(&table_text(table, chains));
            }
        }
        text
    }

    /// How the kernel differs from the plan, or from nothing.
    pub fn compare(&self, plan: Option<&Plan>) -> Vec<Difference> {
        let mut differences = Vec::new();
        for table in TABLES {
            let wanted = plan.map(|plan| chains(plan, table)).unwrap_or_default();
            let present = self.0.iter().find(|(name, _)| *name == table).map(|(_, chains)| chains.as_slice());
            compare_table(&table_name(table), &wanted, present.unwrap_or_default(), &mut differences);
        }
        differences
    }
}

/// Gives the kernel a transaction; an empty one is not sent.
///
/// # Errors
/// `nft` is missing or refuses: nothing of the transaction is carried out.
pub fn commit(system: &dyn System, text: String) -> Result<(), ApplyError> {
    if text.is_empty() {
        return Ok(());
    }
    let answer = nft(system, "-f -", text)?;
    if answer.success { Ok(()) } else { Err(ApplyError::refused("nft -f -", answer.complaint(), None)) }
}

/// Whether the kernel would take a rule, or with none the table's hooks. Nothing is changed.
pub fn would_take(system: &dyn System, table: Table, rule: Option<&Rule>) -> bool {
    let hooks = table_text(
        table,
        &vec![(
            "output".to_owned(),
            vec![
                match table {
                    Table::Nat => "type nat hook output priority -100; policy accept;",
                    Table::Mangle => "type route hook output priority -150; policy accept;",
                    Table::Raw => "type filter hook output priority -300; policy accept;",
                }
                .to_owned(),
            ],
        )],
    );
    let lines = rule.map(|rule| rule_lines(&crate::apply::by_itself(rule))).unwrap_or_default();
    let scratch = table_text(table, &vec![("istio-probe".to_owned(), lines)]);
    nft(system, "-c -f -", hooks + &scratch).is_ok_and(|answer| answer.success)
}

/// Commands of other programs as comments before a text for `nft`.
fn commented(steps: impl Iterator<Item = String>, text: String) -> String {
    steps.map(|step| format!("# {step}")).chain([text]).collect::<Vec<_>>().join("\n")
}

fn nft(system: &dyn System, line: &str, input: String) -> Result<Answer, ApplyError> {
    system.run(&Call::new("nft", line).reading(input)).map_err(|error| {
        ApplyError::refused("nft", error.to_string(), Some(Missing::program("nft", "nftables", &error)))
    })
}

/// A table as `nft list table` prints it, blank space aside. Protocols have numbers where `nft` finds no `/etc/protocols`.
fn parse(text: &str) -> Chains {
    let mut chains: Chains = Vec::new();
    for line in text.lines() {
        let mut line = line.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        for (number, name) in [("6", "tcp"), ("17", "udp")] {
            line = line.replace(&format!("meta l4proto {number} "), &format!("meta l4proto {name} "));
        }
        if let Some(name) = line.strip_prefix("chain ").and_then(|rest| rest.strip_suffix(" {")) {
            chains.push((name.to_owned(), Vec::new()));
        } else if let Some((_, lines)) = chains.last_mut()
            && !matches!(line.as_str(), "" | "}")
        {
            lines.push(line);
        }
    }
    chains
}

fn compare_table(
    name: &str,
    wanted: &[(String, Vec<String>)],
    present: &[(String, Vec<String>)],
    found: &mut Vec<Difference>,
) {
    let place = |chain: &str| Place { table: format!("inet {name}"), chain: chain.to_owned() };
    for (chain, lines) in wanted {
        let hooks = lines.iter().filter(|line| line.starts_with("type ")).count();
        let Some((_, there)) = present.iter().find(|(other, _)| other == chain) else {
            let rules = lines.len() - hooks;
            found.push(Difference::MissingChain { place: place(chain), rules });
            continue;
        };
        let mut extra: Vec<&String> = there.iter().collect();
        let mut missing = false;
        for (index, line) in lines.iter().enumerate() {
            if let Some(at) = extra.iter().position(|other| *other == line) {
                extra.remove(at);
                continue;
            }
            missing = true;
            found.push(Difference::MissingRule {
                place: place(chain),
                number: index + 1 - hooks,
                rule: line.clone(),
            });
        }
        if !missing && extra.is_empty() && lines != there {
            found.push(Difference::Order(place(chain)));
        }
        found.extend(
            extra.into_iter().map(|rule| Difference::ExtraRule { place: place(chain), rule: rule.clone() }),
        );
    }
    for (chain, lines) in present.iter().filter(|(chain, _)| !wanted.iter().any(|(other, _)| other == chain))
    {
        found.push(Difference::ExtraChain { place: place(chain), rules: lines.len() });
    }
}
