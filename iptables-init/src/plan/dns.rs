//! DNS capture: lookups of applications go to the agent, lookups of the agent go out. Part of [`Builder`].
//!
//! UDP lookups to one server from both sides would share a connection tracking entry (same addresses, often the same
//! port), and answers would reach the wrong one. So the two are kept in zones of their own, set in the raw table: zone
//! 1 for agent and server, zone 2 for application and agent.

use std::net::IpAddr;

use super::build::{Builder, tcp, to_port, udp};
use super::model::{Chain, Family, Match, Table, Target};
use crate::config::DnsCapture;
use crate::value::{Cidr, Ports};

/// Where name servers listen.
pub(super) const DNS_PORT: u16 = 53;
/// Where the agent answers for them.
const AGENT_DNS_PORT: u16 = 15053;
/// Connection tracking zone of agent and server.
const ZONE_SERVER: Target = Target::Zone(1);
/// Connection tracking zone of application and agent.
const ZONE_APPLICATION: Target = Target::Zone(2);

impl Builder<'_> {
    pub(super) fn dns(&mut self) {
        if !self.captures_dns() {
            return;
        }
        // One element for each server; `None` stands for any.
        let servers: Vec<Option<IpAddr>> = match &self.config.dns {
            DnsCapture::Off => return,
            DnsCapture::All => vec![None],
            DnsCapture::Servers(servers) => {
                let family = self.family;
                servers.iter().copied().filter(|server| Family::of(*server) == family).map(Some).collect()
            }
        };
        let jump = Target::Jump(Chain::OutboundDns);
        self.append(
            Table::Raw,
            Chain::Output,
            vec![],
            jump,
            "lookups are told apart before connection tracking",
        );
        if !servers.is_empty() {
            self.append(Table::Nat, Chain::Outbound, vec![], jump, "lookups of applications are looked for");
        }
        let why = "an application's lookup goes to the agent";
        for protocol in [tcp(), udp()] {
            for server in &servers {
                let mut matches = vec![protocol.clone(), to_port(Ports::single(DNS_PORT))];
                matches.extend(server.map(to_server));
                self.append(Table::Nat, Chain::OutboundDns, matches, Target::Redirect(AGENT_DNS_PORT), why);
            }
        }
        self.agent_zones();
        self.server_zones(&servers);
    }

    fn agent_zones(&mut self) {
        for (kind, owner) in self.proxy_owners() {
            let by_agent = kind.is(&owner, false);
            let query = vec![udp(), to_port(Ports::single(DNS_PORT)), by_agent.clone()];
            self.append(Table::Raw, Chain::OutboundDns, query, ZONE_SERVER, "the agent asks a server");
            let answer = vec![udp(), Match::SourcePort(AGENT_DNS_PORT), by_agent];
            self.append(Table::Raw, Chain::OutboundDns, answer, ZONE_APPLICATION, "the agent answers");
        }
    }

    fn server_zones(&mut self, servers: &[Option<IpAddr>]) {
        if !servers.is_empty() {
            let jump = Target::Jump(Chain::Inbound);
            self.append(Table::Raw, Chain::Prerouting, vec![], jump, "answers of servers are looked for");
        }
        for server in servers {
            let mut query = vec![udp(), to_port(Ports::single(DNS_PORT))];
            query.extend(server.map(to_server));
            self.append(Table::Raw, Chain::OutboundDns, query, ZONE_APPLICATION, "an application asks");
            let mut answer = vec![udp(), Match::SourcePort(DNS_PORT)];
            answer.extend(server.map(|server| Match::Source(Cidr::host(server))));
            self.append(Table::Raw, Chain::Inbound, answer, ZONE_SERVER, "a server answers the agent");
        }
    }
}

fn to_server(server: IpAddr) -> Match {
    Match::Destination { range: Cidr::host(server), negated: false }
}
