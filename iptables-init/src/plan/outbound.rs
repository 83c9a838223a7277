//! Outbound rules: what applications of the pod send. Part of [`Builder`], in the order of the contract: excluded
//! ports, the proxy itself, excluded groups, DNS, loopback, excluded ranges, and then what is redirected.

use super::build::{Builder, arrives_on, tcp, tcp_to, to_port, udp};
use super::dns::DNS_PORT;
use super::model::{Chain, Match, Table, Target};
use crate::config::{OwnerGroups, Selection};
use crate::value::{Cidr, Owner, Ports};

/// Whether the proxy is told by its user or by its group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnerKind {
    User,
    Group,
}

impl Builder<'_> {
    pub(super) fn outbound(&mut self) {
        let why = "whatever leaves the pod is looked at";
        self.append(Table::Nat, Chain::Output, vec![], Target::Jump(Chain::Outbound), why);
        self.excluded_outbound_ports();
        let from_inbound_side =
            vec![Match::OutLoopback, Match::Source(Cidr::host(self.family.inbound_source()))];
        let why = "the proxy's inbound side reaches the application directly";
        self.append(Table::Nat, Chain::Outbound, from_inbound_side, Target::Return, why);
        for (kind, owner) in self.proxy_owners() {
            self.proxy_itself(kind, &owner);
        }
        self.owner_groups();
        self.dns();
        let to_loopback = vec![Match::Destination { range: self.loopback(), negated: false }];
        let why = "traffic to loopback stays between the containers of the pod";
        self.append(Table::Nat, Chain::Outbound, to_loopback, Target::Return, why);
        self.excluded_ranges();
        self.included_ports();
        self.included_ranges();
    }

    /// The proxy's users, then its groups.
    pub(super) fn proxy_owners(&self) -> Vec<(OwnerKind, Owner)> {
        let users = self.config.proxy_uids.iter().map(|owner| (OwnerKind::User, owner.clone()));
        let groups = self.config.proxy_gids.iter().map(|owner| (OwnerKind::Group, owner.clone()));
        users.chain(groups).collect()
    }

    fn excluded_outbound_ports(&mut self) {
        let why = "an excluded outbound port is reached directly";
        for ports in &self.config.outbound_ports_exclude {
            self.append(Table::Nat, Chain::Outbound, tcp_to(*ports), Target::Return, why);
            self.append(Table::Nat, Chain::Outbound, vec![udp(), to_port(*ports)], Target::Return, why);
        }
    }

    fn proxy_itself(&mut self, kind: OwnerKind, owner: &Owner) {
        let tunnel = self.config.inbound_tunnel_port;
        let mut to_itself =
            vec![Match::OutLoopback, Match::Destination { range: self.loopback(), negated: true }, tcp()];
        // Without the exception for DNS, a lookup by the agent would come back through the inbound listener. The
        // agent's user decides that; the group's rule has never had it.
        to_itself.push(if self.captures_dns() && kind == OwnerKind::User {
            Match::NoDestinationPort(vec![DNS_PORT, tunnel])
        } else {
            Match::DestinationPort { ports: Ports::single(tunnel), negated: true }
        });
        to_itself.push(kind.is(owner, false));
        let why =
            "an application that calls its own service by the service's address comes in through the proxy";
        self.append(Table::Nat, Chain::Outbound, to_itself, Target::Jump(Chain::InRedirect), why);

        if !self.config.redirects_loopback() {
            let mut within = vec![Match::OutLoopback];
            if self.captures_dns() {
                // A name server on loopback is still to be captured, so its port goes on to the next rules.
                let ports = Ports::single(DNS_PORT);
                within.extend([tcp(), Match::DestinationPort { ports, negated: true }]);
            }
            within.push(kind.is(owner, true));
            let why = "an application that calls the pod's own address talks to itself directly";
            self.append(Table::Nat, Chain::Outbound, within, Target::Return, why);
        }

        let why = "what the proxy sends is never redirected, or it would loop";
        self.append(Table::Nat, Chain::Outbound, vec![kind.is(owner, false)], Target::Return, why);
    }

    fn owner_groups(&mut self) {
        match &self.config.owner_groups {
            OwnerGroups::AllExcept(groups) => {
                for owner in groups {
                    let group = vec![Match::Group { owner: owner.clone(), negated: false }];
                    let why = "traffic of an excluded group is left alone";
                    self.append(Table::Nat, Chain::Outbound, group, Target::Return, why);
                }
            }
            OwnerGroups::Only(groups) => {
                let none =
                    groups.iter().map(|owner| Match::Group { owner: owner.clone(), negated: true }).collect();
                let why = "only traffic of the included groups is redirected";
                self.append(Table::Nat, Chain::Outbound, none, Target::Return, why);
            }
        }
    }

    fn excluded_ranges(&mut self) {
        for range in self.of_family(&self.config.outbound_ranges_exclude) {
            let to = vec![Match::Destination { range, negated: false }];
            let why = "an excluded range is reached directly";
            self.append(Table::Nat, Chain::Outbound, to, Target::Return, why);
        }
    }

    fn included_ports(&mut self) {
        for ports in &self.config.outbound_ports {
            let why = "an included outbound port goes through the proxy";
            self.append(Table::Nat, Chain::Outbound, tcp_to(*ports), Target::Jump(Chain::Redirect), why);
        }
    }

    fn included_ranges(&mut self) {
        let config = self.config;
        let redirect = Target::Jump(Chain::Redirect);
        let machines = "what a virtual machine sends counts as outbound";
        match &config.outbound_ranges {
            Selection::All => {
                let why = "all other outbound TCP goes through the proxy";
                self.append(Table::Nat, Chain::Outbound, vec![], redirect, why);
                for name in &config.kube_virt_interfaces {
                    let from = vec![arrives_on(name)];
                    self.insert(Table::Nat, Chain::Prerouting, 1, from, redirect, machines);
                }
            }
            Selection::Only(ranges) => {
                for range in self.of_family(ranges) {
                    let to = Match::Destination { range, negated: false };
                    for name in &config.kube_virt_interfaces {
                        let from = vec![arrives_on(name), to.clone()];
                        self.insert(Table::Nat, Chain::Prerouting, 1, from, redirect, machines);
                    }
                    let why = "an included range goes through the proxy";
                    self.append(Table::Nat, Chain::Outbound, vec![to], redirect, why);
                }
            }
        }
    }
}

impl OwnerKind {
    /// The condition that a packet is, or is not, sent by `owner`.
    pub(super) fn is(self, owner: &Owner, negated: bool) -> Match {
        let owner = owner.clone();
        match self {
            Self::User => Match::User { owner, negated },
            Self::Group => Match::Group { owner, negated },
        }
    }
}
