//! The vocabulary of a plan: tables, chains, matches, targets, and the steps that put rules into chains.
//! Built by `build`, printed by `render`, interpreted by [`crate::explain`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::value::{Cidr, Interface, Owner, Ports};

/// IPv4 or IPv6: each has its own tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `iptables`.
    V4,
    /// `ip6tables`.
    V6,
}

/// A table, in the order in which they are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Marks, TPROXY, drops.
    Mangle,
    /// Address rewriting; sees only the first packet of a connection.
    Nat,
    /// Before connection tracking.
    Raw,
}

/// A chain: the two of the kernel that are hooked into, and our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// What arrives.
    Prerouting,
    /// What local processes send.
    Output,
    /// `ISTIO_INBOUND`.
    Inbound,
    /// `ISTIO_OUTPUT`.
    Outbound,
    /// `ISTIO_OUTPUT_DNS`.
    OutboundDns,
    /// `ISTIO_REDIRECT`: to the proxy's outbound listener.
    Redirect,
    /// `ISTIO_IN_REDIRECT`: to the proxy's inbound listener.
    InRedirect,
    /// `ISTIO_DIVERT`: to the socket that has the connection.
    Divert,
    /// `ISTIO_TPROXY`: to the proxy's inbound listener, addresses kept.
    Tproxy,
    /// `ISTIO_DROP`.
    Drop,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What connection tracking says about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionState {
    /// First packet of a connection.
    New,
    /// Of, or related to, a known connection.
    Established,
    /// Of no connection that there can be.
    Invalid,
}

/// One condition. All conditions of a rule must hold; `negated` turns one around.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// Arrives on this interface.
    InInterface(Interface),
    /// Leaves by this interface.
    OutInterface(Interface),
    /// Arrives on the loopback interface.
    InLoopback,
    /// Leaves by the loopback interface.
    OutLoopback,
    /// Comes from this range.
    Source(Cidr),
    /// Goes to this range.
    Destination {
        /// The range.
        range: Cidr,
        /// Goes elsewhere.
        negated: bool,
    },
    /// Is of this protocol.
    Protocol(Protocol),
    /// Comes from this port.
    SourcePort(u16),
    /// Goes to these ports.
    DestinationPort {
        /// The ports.
        ports: Ports,
        /// Goes to others.
        negated: bool,
    },
    /// Goes to none of these ports.
    NoDestinationPort(Vec<u16>),
    /// Is sent by this user.
    User {
        /// The user.
        owner: Owner,
        /// By another.
        negated: bool,
    },
    /// Is sent by this group.
    Group {
        /// The group.
        owner: Owner,
        /// By another.
        negated: bool,
    },
    /// Carries this mark.
    Mark {
        /// The mark.
        mark: u32,
        /// Another or none.
        negated: bool,
    },
    /// Its connection carries this mark.
    ConnectionMark(u32),
    /// Connection tracking says so.
    State(ConnectionState),
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Back to the calling chain; out of a kernel chain: the table is done.
    Return,
    /// The table is done.
    Accept,
    /// The packet is gone.
    Drop,
    /// On to a chain of ours.
    Jump(Chain),
    /// The destination becomes this port here.
    Redirect(u16),
    /// The socket that listens on the port gets it, addresses unchanged, and the mark is set.
    Tproxy {
        /// The port.
        port: u16,
        /// The mark.
        mark: u32,
    },
    /// The packet's mark is set.
    SetMark(u32),
    /// The packet's mark is stored with the connection.
    SaveMark,
    /// The connection's mark is put on the packet.
    RestoreMark,
    /// The connection tracking zone is set.
    Zone(u16),
}

/// Conditions, what is done if they hold, and why that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The conditions, in the order in which they are printed.
    pub matches: Vec<Match>,
    /// What is done.
    pub target: Target,
    /// Why, for a person.
    pub why: &'static str,
}

/// One command of the plan: put a rule into a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The table.
    pub table: Table,
    /// The chain.
    pub chain: Chain,
    /// Position from 1 on; at the end if there is none.
    pub position: Option<usize>,
    /// The rule.
    pub rule: Rule,
}

/// All rules of a family, as the steps that make them, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSet {
    /// The family.
    pub family: Family,
    /// The steps.
    pub steps: Vec<Step>,
}

/// What interception needs besides rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostStep {
    /// An address on the loopback interface.
    LoopbackAddress {
        /// The address.
        address: IpAddr,
    },
    /// Packets with this mark are routed by this table.
    MarkLookup {
        /// The family.
        family: Family,
        /// The mark.
        mark: u32,
        /// The table.
        table: u32,
    },
    /// In this table everything is local.
    LocalDefaultRoute {
        /// The family.
        family: Family,
        /// The table.
        table: u32,
    },
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The address that the proxy's inbound side connects to the application from, so that rules can tell it apart.
    pub fn inbound_source(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6)),
            Self::V6 => IpAddr::V6(Ipv6Addr::from_bits(6)),
        }
    }
}

impl Chain {
    /// Whether the kernel has it anyway, so that it is neither made nor deleted.
    pub fn is_built_in(self) -> bool {
        matches!(self, Self::Prerouting | Self::Output)
    }
}

impl Rule {
    /// The same rule with users and groups as numbers, which mean the same in every container.
    pub fn numeric(&self) -> Self {
        let matches = self.matches.iter().cloned().map(|condition| match condition {
            Match::User { owner, negated } => Match::User { owner: owner.numeric(), negated },
            Match::Group { owner, negated } => Match::Group { owner: owner.numeric(), negated },
            other => other,
        });
        Self { matches: matches.collect(), target: self.target, why: self.why }
    }
}

impl RuleSet {
    /// The tables that have rules, in the order in which they are printed.
    pub fn tables(&self) -> Vec<Table> {
        let mut tables: Vec<Table> = self.steps.iter().map(|step| step.table).collect();
        tables.sort_unstable();
        tables.dedup();
        tables
    }

    /// Our own chains of a table, in order of their first rule, then those that are only jumped to.
    pub fn chains(&self, table: Table) -> Vec<Chain> {
        let steps = || self.steps.iter().filter(move |step| step.table == table);
        let jumped_to = steps().filter_map(|step| match step.rule.target {
            Target::Jump(chain) => Some(chain),
            _ => None,
        });
        let mut chains = Vec::new();
        for chain in steps().map(|step| step.chain).chain(jumped_to) {
            if !chain.is_built_in() && !chains.contains(&chain) {
                chains.push(chain);
            }
        }
        chains
    }

    /// A chain's rules as they stand once all steps are done.
    pub fn rules(&self, table: Table, chain: Chain) -> Vec<&Rule> {
        let mut rules = Vec::new();
        for step in self.steps.iter().filter(|step| step.table == table && step.chain == chain) {
            match step.position {
                Some(position) => rules.insert((position - 1).min(rules.len()), &step.rule),
                None => rules.push(&step.rule),
            }
        }
        rules
    }
}
