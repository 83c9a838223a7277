//! The rules as data: what tables, chains and rules there shall be, for each family of addresses.
//!
//! A [`Plan`] is made from a [`Config`] by pure code, and is all that the rest of the program works on: `render` prints
//! it for `iptables-restore`, [`crate::explain`] walks it for a packet, and a back-end that applies or compares rules
//! needs nothing else. The layout of chains is the one that `istio-iptables` makes:
//!
//! ```text
//! raw    OUTPUT -> ISTIO_OUTPUT_DNS        PREROUTING -> ISTIO_INBOUND                (DNS capture: conntrack zones)
//! mangle PREROUTING -> ISTIO_INBOUND -> ISTIO_DIVERT | ISTIO_TPROXY, ISTIO_DROP       (TPROXY, drop-invalid)
//! nat    PREROUTING -> ISTIO_INBOUND -> ISTIO_IN_REDIRECT                             (inbound, REDIRECT)
//!        OUTPUT -> ISTIO_OUTPUT -> ISTIO_OUTPUT_DNS | ISTIO_REDIRECT | ISTIO_IN_REDIRECT   (outbound)
//! ```

mod build;
mod dns;
mod model;
mod outbound;
mod render;
mod tproxy;

#[cfg(test)]
pub(crate) mod tests;

pub use model::{
    Chain, ConnectionState, Family, HostStep, Match, Protocol, Rule, RuleSet, Step, Table, Target,
};

use crate::config::{Config, Selection};
use build::Builder;

/// Everything that interception needs in one network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Rules for IPv4; always there.
    pub ipv4: RuleSet,
    /// Rules for IPv6, if the pod has it.
    pub ipv6: Option<RuleSet>,
    /// What is needed besides rules: addresses and routes.
    pub host_steps: Vec<HostStep>,
}

impl Plan {
    /// The plan for a configuration. Pure and total: the same configuration gives the same plan.
    pub fn new(config: &Config) -> Self {
        Self {
            ipv4: Builder::new(config, Family::V4).build(),
            ipv6: config.ipv6.then(|| Builder::new(config, Family::V6).build()),
            host_steps: host_steps(config),
        }
    }

    /// The rules for one family, if it has any.
    pub fn rules(&self, family: Family) -> Option<&RuleSet> {
        match family {
            Family::V4 => Some(&self.ipv4),
            Family::V6 => self.ipv6.as_ref(),
        }
    }
}

/// The address that inbound connections are made from cannot be bound on IPv6 unless it is added, for the loopback
/// interface has `::1/128` only there. TPROXY needs marked packets to be routed to the loopback interface.
fn host_steps(config: &Config) -> Vec<HostStep> {
    let mut steps = Vec::new();
    if config.ipv6 {
        steps.push(HostStep::LoopbackAddress { address: Family::V6.inbound_source() });
    }
    if config.mode == crate::config::Mode::Tproxy && config.inbound_ports != Selection::Only(Vec::new()) {
        for family in if config.ipv6 { &[Family::V4, Family::V6][..] } else { &[Family::V4] } {
            let (family, table) = (*family, config.tproxy_route_table);
            steps.push(HostStep::MarkLookup { family, mark: config.tproxy_mark, table });
            steps.push(HostStep::LocalDefaultRoute { family, table });
        }
    }
    steps
}
