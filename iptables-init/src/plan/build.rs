//! Builds the rules of one family: what is left alone first, then inbound, then outbound, then DNS and TPROXY.
//! The order of steps is the contract: iptables takes the first rule that matches. Called by [`Plan::new`](super::Plan).

use std::net::{IpAddr, Ipv6Addr};

use super::model::{Chain, ConnectionState, Family, Match, Protocol, Rule, RuleSet, Step, Table, Target};
use crate::config::{Config, DnsCapture, Mode, Selection};
use crate::value::{Cidr, Interface, Ports};

/// Collects the steps of one family.
pub(super) struct Builder<'c> {
    pub(super) config: &'c Config,
    pub(super) family: Family,
    steps: Vec<Step>,
}

impl<'c> Builder<'c> {
    pub(super) fn new(config: &'c Config, family: Family) -> Self {
        Self { config, family, steps: Vec::new() }
    }

    /// All steps, in order.
    pub(super) fn build(mut self) -> RuleSet {
        self.excluded_interfaces();
        self.virtual_machines_own_traffic();
        self.invalid_packets();
        self.redirect_chains();
        self.inbound_ports();
        self.outbound();
        if self.config.mode == Mode::Tproxy {
            self.tproxy_marks();
        }
        RuleSet { family: self.family, steps: self.steps }
    }

    /// Adds a rule at a chain's end.
    pub(super) fn append(
        &mut self,
        table: Table,
        chain: Chain,
        matches: Vec<Match>,
        target: Target,
        why: &'static str,
    ) {
        self.steps.push(Step { table, chain, position: None, rule: Rule { matches, target, why } });
    }

    /// Puts a rule at a chain's `position`, from 1 on.
    pub(super) fn insert(
        &mut self,
        table: Table,
        chain: Chain,
        position: usize,
        matches: Vec<Match>,
        target: Target,
        why: &'static str,
    ) {
        self.steps.push(Step { table, chain, position: Some(position), rule: Rule { matches, target, why } });
    }

    /// The destinations that count as loopback in this family.
    pub(super) fn loopback(&self) -> Cidr {
        match self.family {
            Family::V4 => self.config.ipv4_loopback,
            Family::V6 => Cidr::host(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        }
    }

    /// The ranges of this family among those of both.
    pub(super) fn of_family<'r>(&self, ranges: &'r [Cidr]) -> impl Iterator<Item = Cidr> + use<'r> {
        let family = self.family;
        ranges.iter().copied().filter(move |range| Family::of(range.address()) == family)
    }

    /// Whether DNS is captured at all.
    pub(super) fn captures_dns(&self) -> bool {
        self.config.dns != DnsCapture::Off
    }

    fn excluded_interfaces(&mut self) {
        let tables: &[Table] =
            if self.config.mode == Mode::Tproxy { &[Table::Nat, Table::Mangle] } else { &[Table::Nat] };
        let why = "traffic of an excluded interface is left alone";
        for table in tables {
            for name in &self.config.exclude_interfaces {
                let (arrives, leaves) = (Match::InInterface(name.clone()), Match::OutInterface(name.clone()));
                self.append(*table, Chain::Prerouting, vec![arrives], Target::Return, why);
                self.append(*table, Chain::Output, vec![leaves], Target::Return, why);
            }
        }
    }

    /// What comes from a virtual machine never counts as inbound. The rules that take it as outbound are inserted
    /// before these, later.
    fn virtual_machines_own_traffic(&mut self) {
        let why = "what comes from a virtual machine's interface is not inbound traffic";
        for name in &self.config.kube_virt_interfaces {
            let arrives = vec![Match::InInterface(name.clone())];
            self.insert(Table::Nat, Chain::Prerouting, 1, arrives, Target::Return, why);
        }
    }

    /// Without this, a packet out of its window would be answered with a reset that kills the connection.
    fn invalid_packets(&mut self) {
        if self.config.drop_invalid {
            let invalid = vec![Match::State(ConnectionState::Invalid)];
            let why = "packets that belong to no connection are dropped, not answered";
            self.append(Table::Mangle, Chain::Prerouting, invalid, Target::Jump(Chain::Drop), why);
            self.append(Table::Mangle, Chain::Drop, vec![], Target::Drop, why);
        }
    }

    fn redirect_chains(&mut self) {
        let tunnel = tcp_to(Ports::single(self.config.inbound_tunnel_port));
        let why = "the tunnel port is the proxy's own, it is reached directly";
        self.append(Table::Nat, Chain::Inbound, tunnel, Target::Return, why);
        let to = Target::Redirect(self.config.proxy_port);
        self.append(Table::Nat, Chain::Redirect, vec![tcp()], to, "to the proxy's outbound listener");
        let to = Target::Redirect(self.config.inbound_capture_port);
        self.append(Table::Nat, Chain::InRedirect, vec![tcp()], to, "to the proxy's inbound listener");
    }

    fn inbound_ports(&mut self) {
        let config = self.config;
        if config.inbound_ports == Selection::Only(Vec::new()) {
            return;
        }
        let (table, capture) = match config.mode {
            Mode::Redirect => (Table::Nat, Chain::InRedirect),
            Mode::Tproxy => {
                self.tproxy_chains();
                (Table::Mangle, Chain::Tproxy)
            }
        };
        let why = "TCP that arrives is looked at";
        self.append(table, Chain::Prerouting, vec![tcp()], Target::Jump(Chain::Inbound), why);
        match &config.inbound_ports {
            Selection::All => {
                for ports in &config.inbound_ports_exclude {
                    let why = "an excluded inbound port is reached directly";
                    self.append(table, Chain::Inbound, tcp_to(*ports), Target::Return, why);
                }
                self.capture_inbound(table, capture, vec![tcp()]);
            }
            Selection::Only(list) => {
                for ports in list {
                    self.capture_inbound(table, capture, tcp_to(*ports));
                }
            }
        }
    }

    fn capture_inbound(&mut self, table: Table, capture: Chain, matches: Vec<Match>) {
        if capture == Chain::Tproxy {
            let mut known = matches.clone();
            known.push(Match::State(ConnectionState::Established));
            let why = "a packet of a known connection goes to the socket that has it";
            self.append(table, Chain::Inbound, known, Target::Jump(Chain::Divert), why);
        }
        self.append(table, Chain::Inbound, matches, Target::Jump(capture), "inbound TCP goes to the proxy");
    }
}

/// TCP.
pub(super) fn tcp() -> Match {
    Match::Protocol(Protocol::Tcp)
}

/// UDP.
pub(super) fn udp() -> Match {
    Match::Protocol(Protocol::Udp)
}

/// TCP to these ports.
pub(super) fn tcp_to(ports: Ports) -> Vec<Match> {
    vec![tcp(), to_port(ports)]
}

/// To these ports.
pub(super) fn to_port(ports: Ports) -> Match {
    Match::DestinationPort { ports, negated: false }
}

/// Arrives on an interface.
pub(super) fn arrives_on(name: &Interface) -> Match {
    Match::InInterface(name.clone())
}
