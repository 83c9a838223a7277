//! TPROXY mode: inbound packets reach the proxy with their addresses unchanged, by a mark that a routing rule sends to
//! the loopback interface. Part of [`Builder`].
//!
//! Marks: 1337 (configurable) is on what belongs to the proxy's inbound side, towards peer and application alike; 1338
//! is on what the proxy's outbound side sends to the pod itself, the one traffic on loopback that is to be intercepted.

use super::build::{Builder, tcp};
use super::model::{Chain, Match, Table, Target};
use crate::value::Cidr;

/// Mark of what the proxy's outbound side sends to the pod's own address.
const OUTBOUND_MARK: u32 = 1338;

impl Builder<'_> {
    /// The chains that inbound rules jump to.
    pub(super) fn tproxy_chains(&mut self) {
        let mark = self.config.tproxy_mark;
        let why = "marked packets are routed to the socket that has the connection";
        self.append(Table::Mangle, Chain::Divert, vec![], Target::SetMark(mark), why);
        self.append(Table::Mangle, Chain::Divert, vec![], Target::Accept, why);
        let matches = vec![Match::Destination { range: self.loopback(), negated: true }, tcp()];
        let to = Target::Tproxy { port: self.config.inbound_capture_port, mark };
        self.append(
            Table::Mangle,
            Chain::Tproxy,
            matches,
            to,
            "to the proxy's inbound listener, addresses kept",
        );
    }

    /// The marks that tell the proxy's connections apart, and the exceptions at the head of `ISTIO_INBOUND`.
    pub(super) fn tproxy_marks(&mut self) {
        let marked = Match::Mark { mark: self.config.tproxy_mark, negated: false };
        let why = "the mark that the proxy put on a packet is kept for its connection";
        self.append(Table::Mangle, Chain::Prerouting, vec![tcp(), marked.clone()], Target::SaveMark, why);
        let matches = vec![tcp(), Match::OutLoopback, marked.clone()];
        let why = "what the proxy sends to the application keeps its mark";
        self.append(Table::Mangle, Chain::Output, matches, Target::Return, why);
        for (kind, owner) in self.proxy_owners() {
            let matches = vec![
                Match::Destination { range: self.loopback(), negated: true },
                tcp(),
                Match::OutLoopback,
                kind.is(&owner, false),
            ];
            let why = "what the proxy sends to the pod's own address comes in through the proxy";
            self.append(Table::Mangle, Chain::Output, matches, Target::SetMark(OUTBOUND_MARK), why);
        }
        let matches = vec![tcp(), Match::ConnectionMark(self.config.tproxy_mark)];
        let why = "answers of the application are routed back to the proxy";
        self.append(Table::Mangle, Chain::Output, matches, Target::RestoreMark, why);
        self.inbound_exceptions(marked);
    }

    fn inbound_exceptions(&mut self, marked: Match) {
        let why = "a packet that the proxy has marked is not intercepted again";
        self.insert(Table::Mangle, Chain::Inbound, 1, vec![tcp(), marked], Target::Return, why);
        let source = Match::Source(Cidr::host(self.family.inbound_source()));
        let why = "the proxy's inbound side reaches the application directly";
        let matches = vec![tcp(), source, Match::InLoopback];
        self.insert(Table::Mangle, Chain::Inbound, 2, matches, Target::Return, why);
        let other = Match::Mark { mark: OUTBOUND_MARK, negated: true };
        let why = "an application that calls the pod's own address talks to itself directly";
        self.insert(
            Table::Mangle,
            Chain::Inbound,
            3,
            vec![tcp(), Match::InLoopback, other],
            Target::Return,
            why,
        );
    }
}
