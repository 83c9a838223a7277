//! An explanation in words: each rule that matched, the one that decided, and what becomes of the packet.

use std::fmt::{self, Display};

use super::{Direction, Explanation, Outcome, Packet, Visit};

impl Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for visit in &self.visits {
            writeln!(f, "  {visit}")?;
            writeln!(f, "      {}", visit.rule.why)?;
        }
        match &self.deciding {
            Some(visit) => writeln!(f, "decides: {visit}")?,
            None => writeln!(f, "decides: no rule")?,
        }
        if let Some(zone) = self.zone {
            writeln!(f, "connection tracking zone: {zone}")?;
        }
        if let Some(mark) = self.mark {
            writeln!(f, "mark: {mark}")?;
        }
        writeln!(f, "outcome: {}", self.outcome)
    }
}

impl Display for Visit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} rule {}: {}", self.table, self.chain, self.number, self.rule)
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
