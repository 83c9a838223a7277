//! An explanation in words: each rule that matched, the one that decided, and what becomes of the packet. Rules are
//! printed as the back-end in use has them.

use std::fmt::{self, Display};

use super::{Direction, Explanation, Outcome, Packet, Visit};
use crate::config::Config;
use crate::nftables::render::{chain_name, rule_lines, table_name};

/// Whose words rules are printed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// iptables.
    Iptables,
    /// nft.
    Nftables,
}

impl Dialect {
    /// The one of the back-end that a configuration chooses.
    pub fn of(config: &Config) -> Self {
        if config.conduct.native_nftables { Self::Nftables } else { Self::Iptables }
    }
}

impl Explanation<'_> {
    /// The explanation as text.
    pub fn to_text(&self, dialect: Dialect) -> String {
        let mut lines = Vec::new();
        for visit in &self.visits {
            lines.push(format!("  {}", visit.to_text(dialect)));
            lines.push(format!("      {}", visit.rule.why));
        }
        let deciding = self.deciding.as_ref().map(|visit| visit.to_text(dialect));
        lines.push(format!("decides: {}", deciding.as_deref().unwrap_or("no rule")));
        lines.extend(self.zone.map(|zone| format!("connection tracking zone: {zone}")));
        lines.extend(self.mark.map(|mark| format!("mark: {mark}")));
        lines.push(format!("outcome: {}\n", self.outcome));
        lines.join("\n")
    }
}

impl Visit<'_> {
    /// Numbers are left out for nftables, where chains hold the rules of both families.
    fn to_text(self, dialect: Dialect) -> String {
        match dialect {
            Dialect::Iptables => {
                format!("{} {} rule {}: {}", self.table, self.chain, self.number, self.rule)
            }
            Dialect::Nftables => {
                let (table, chain) = (table_name(self.table), chain_name(self.chain));
                let lines = rule_lines(self.rule);
                format!("inet {table} {chain}: {}", lines.first().map(String::as_str).unwrap_or_default())
            }
        }
    }
}

impl Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redirected(port) => write!(f, "redirected to port {port} of the pod"),
            Self::Intercepted(port) => {
                write!(f, "handed to the listener on port {port}, addresses unchanged (TPROXY)")
            }
            Self::Diverted => f.write_str("handed to the local socket that has the connection"),
            Self::Dropped => f.write_str("dropped"),
            Self::Untouched => f.write_str("not intercepted, it goes where it was going"),
            Self::NoRules => {
                f.write_str("not intercepted: there are no rules for IPv6 (see --dual-stack, --pod-ip)")
            }
            Self::AsConnection => {
                f.write_str("follows what was decided for the first packet of its connection")
            }
        }
    }
}

impl Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (direction, verb) = match self.direction {
            Direction::Outbound => ("outbound", "leaving by"),
            Direction::Inbound => ("inbound", "arriving on"),
        };
        write!(f, "{direction} {} to {}, {verb} {}", self.protocol, self.destination, self.interface)?;
        if let Some(source) = self.source {
            write!(f, ", from {source}")?;
        }
        for (name, id) in [("uid", self.uid), ("gid", self.gid)] {
            if let Some(id) = id {
                write!(f, ", {name} {id}")?;
            }
        }
        Ok(())
    }
}
