//! Walks the plan for one packet and says which rule decides: a small interpreter of the rules as data. It is what
//! `sampan-init explain` prints, and the oracle of this crate's tests.
//!
//! ```text
//! outbound: raw OUTPUT -> mangle OUTPUT -> nat OUTPUT
//! inbound:  raw PREROUTING -> mangle PREROUTING -> nat PREROUTING
//! ```
//!
//! A table ends with a target that decides, or with `RETURN` out of its first chain, or with the last rule; then the
//! next table follows, unless the packet was dropped or handed to a socket. nat is walked for the first packet of a
//! connection only, as in the kernel; later packets follow what was decided then.

mod packet;
mod report;

#[cfg(test)]
mod tests;

pub use packet::{Direction, Packet};
pub use report::Dialect;

use crate::plan::{Chain, ConnectionState, Family, Match, Plan, Rule, RuleSet, Table, Target};

/// Deeper than any plan jumps: a bound, should one ever contain a loop.
const MAX_DEPTH: usize = 16;

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its destination becomes this port of the pod.
    Redirected(u16),
    /// The socket listening on this port gets it with its addresses unchanged.
    Intercepted(u16),
    /// It goes to the local socket that already has the connection.
    Diverted,
    /// It is gone.
    Dropped,
    /// It goes where it was going.
    Untouched,
    /// It goes where it was going, since its family has no rules.
    NoRules,
    /// Whatever was decided for the first packet of its connection.
    AsConnection,
}

/// A rule that matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit<'p> {
    /// Its table.
    pub table: Table,
    /// Its chain.
    pub chain: Chain,
    /// Its place in the chain, from 1 on.
    pub number: usize,
    /// The rule.
    pub rule: &'p Rule,
}

/// A packet's way through the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation<'p> {
    /// The rules that matched, in order.
    pub visits: Vec<Visit<'p>>,
    /// The one among them that decided, unless the packet ran through all.
    pub deciding: Option<Visit<'p>>,
    /// What becomes of it.
    pub outcome: Outcome,
    /// The mark it has in the end.
    pub mark: Option<u32>,
    /// The connection tracking zone it is put into.
    pub zone: Option<u16>,
}

/// How a chain ends for a packet.
#[derive(Clone, Copy)]
enum End {
    /// Nothing decided; the calling chain goes on.
    Returned,
    /// The table is done.
    Accepted,
    /// All is done.
    Final(Outcome),
}

/// Says what becomes of `packet` under `plan`. Pure.
pub fn explain<'p>(plan: &'p Plan, packet: &Packet) -> Explanation<'p> {
    let outcome = Outcome::NoRules;
    let mut walk = Walk {
        packet,
        found: Explanation { visits: Vec::new(), deciding: None, outcome, mark: packet.mark, zone: None },
        diverted: false,
    };
    if let Some(rules) = plan.rules(Family::of(packet.destination.ip())) {
        walk.found.outcome = walk.tables(rules);
    }
    walk.found
}

struct Walk<'p, 'q> {
    packet: &'q Packet,
    found: Explanation<'p>,
    /// `ISTIO_DIVERT` has accepted it.
    diverted: bool,
}

impl<'p> Walk<'p, '_> {
    fn tables(&mut self, rules: &'p RuleSet) -> Outcome {
        let hook = match self.packet.direction {
            Direction::Outbound => Chain::Output,
            Direction::Inbound => Chain::Prerouting,
        };
        for table in [Table::Raw, Table::Mangle] {
            if let End::Final(outcome) = self.chain(rules, table, hook, 0) {
                return outcome;
            }
        }
        if self.diverted {
            return Outcome::Diverted;
        }
        if self.packet.state != ConnectionState::New {
            return match self.packet.state {
                ConnectionState::Established => Outcome::AsConnection,
                _ => Outcome::Untouched,
            };
        }
        match self.chain(rules, Table::Nat, hook, 0) {
            End::Final(outcome) => outcome,
            End::Returned | End::Accepted => Outcome::Untouched,
        }
    }

    fn chain(&mut self, rules: &'p RuleSet, table: Table, chain: Chain, depth: usize) -> End {
        if depth >= MAX_DEPTH {
            return End::Returned;
        }
        for (index, rule) in rules.rules(table, chain).into_iter().enumerate() {
            if !rule.matches.iter().all(|condition| self.holds(condition)) {
                continue;
            }
            let visit = Visit { table, chain, number: index + 1, rule };
            self.found.visits.push(visit);
            let end = match rule.target {
                Target::Jump(to) => match self.chain(rules, table, to, depth + 1) {
                    End::Returned => continue,
                    end => return end,
                },
                Target::Return => End::Returned,
                Target::Accept => {
                    self.diverted |= chain == Chain::Divert;
                    End::Accepted
                }
                Target::Drop => End::Final(Outcome::Dropped),
                Target::Redirect(port) => End::Final(Outcome::Redirected(port)),
                Target::Tproxy { port, mark } => {
                    self.found.mark = Some(mark);
                    End::Final(Outcome::Intercepted(port))
                }
                Target::SetMark(mark) => {
                    self.found.mark = Some(mark);
                    continue;
                }
                Target::RestoreMark => {
                    self.found.mark = self.packet.connection_mark.or(self.found.mark);
                    continue;
                }
                // Kept for later packets; nothing changes for this one.
                Target::SaveMark => continue,
                Target::Zone(zone) => {
                    // The walk goes on, but the first zone stands: the kernel passes over a packet that has one.
                    self.found.zone.get_or_insert(zone);
                    continue;
                }
            };
            self.found.deciding = Some(visit);
            return end;
        }
        End::Returned
    }

    fn holds(&self, condition: &Match) -> bool {
        let packet = self.packet;
        let (source, destination) = (packet.source, packet.destination);
        match condition {
            Match::InInterface(name) => packet.arrives_on().is_some_and(|own| name.matches(own)),
            Match::OutInterface(name) => packet.leaves_by().is_some_and(|own| name.matches(own)),
            Match::InLoopback => packet.arrives_on() == Some("lo"),
            Match::OutLoopback => packet.leaves_by() == Some("lo"),
            Match::Source(range) => source.is_some_and(|address| range.contains(address)),
            Match::Destination { range, negated } => range.contains(destination.ip()) != *negated,
            Match::Protocol(protocol) => packet.protocol == *protocol,
            Match::SourcePort(port) => packet.source_port == Some(*port),
            Match::DestinationPort { ports, negated } => ports.contains(destination.port()) != *negated,
            Match::NoDestinationPort(ports) => !ports.contains(&destination.port()),
            Match::User { owner, negated } => (packet.uid == Some(owner.id())) != *negated,
            Match::Group { owner, negated } => (packet.gid == Some(owner.id())) != *negated,
            Match::Mark { mark, negated } => (self.found.mark.unwrap_or(0) == *mark) != *negated,
            Match::ConnectionMark(mark) => packet.connection_mark == Some(*mark),
            Match::State(state) => packet.state == *state,
        }
    }
}
