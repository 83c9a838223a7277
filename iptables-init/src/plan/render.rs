//! A plan as text: the input of `iptables-restore --noflush`, and its undoing. Called by [`crate::run`] for a dry run and
//! by [`crate::explain`] for single rules. The same plan gives the same bytes.

use std::fmt::{self, Display};

use super::Plan;
use super::model::{
    Chain, ConnectionState, Family, HostStep, Match, Protocol, Rule, RuleSet, Step, Table, Target,
};

impl Plan {
    /// What applies the plan: `ip` commands as comments, then the rules of each family.
    pub fn to_restore_text(&self) -> String {
        let mut text = String::new();
        for step in &self.host_steps {
            line(&mut text, &format!("# {step}"));
        }
        self.each_family(&mut text, RuleSet::to_restore_text);
        text
    }

    /// What takes the plan's rules away again, in reverse order, then its chains.
    pub fn to_cleanup_text(&self) -> String {
        let mut text = String::new();
        for step in self.host_steps.iter().rev() {
            line(&mut text, &format!("# {}", step.to_undo_line()));
        }
        self.each_family(&mut text, RuleSet::to_cleanup_text);
        text
    }

    fn each_family(&self, text: &mut String, render: impl Fn(&RuleSet) -> String) {
        line(text, "# IPv4, for iptables-restore --noflush");
        text.push_str(&render(&self.ipv4));
        match &self.ipv6 {
            Some(rules) => {
                line(text, "# IPv6, for ip6tables-restore --noflush");
                text.push_str(&render(rules));
            }
            None => line(text, "# IPv6: no rules, the pod has no IPv6 address that calls for them"),
        }
    }
}

impl RuleSet {
    /// The tables, chains and rules, for `iptables-restore --noflush` or its IPv6 twin.
    pub fn to_restore_text(&self) -> String {
        self.table_by_table(|text, table, steps| {
            for chain in self.chains(table) {
                line(text, &format!("-N {chain}"));
            }
            for step in steps {
                line(text, &step.line_with(&step.rule));
            }
        })
    }

    /// Takes the rules out of the kernel's chains, then flushes and deletes our own.
    pub fn to_cleanup_text(&self) -> String {
        self.table_by_table(|text, table, steps| {
            for step in steps.iter().rev().filter(|step| step.chain.is_built_in()) {
                line(text, &format!("-D {} {}", step.chain, step.rule));
            }
            let chains = self.chains(table);
            for command in ["-F", "-X"] {
                for chain in &chains {
                    line(text, &format!("{command} {chain}"));
                }
            }
        })
    }

    fn table_by_table(&self, render: impl Fn(&mut String, Table, Vec<&Step>)) -> String {
        let mut text = String::new();
        for table in self.tables() {
            line(&mut text, &format!("* {table}"));
            render(&mut text, table, self.steps.iter().filter(|step| step.table == table).collect());
            line(&mut text, "COMMIT");
        }
        text
    }
}

impl Step {
    /// The line that puts the rule into its chain, with owners as numbers: no program need look them up.
    pub fn to_restore_line(&self) -> String {
        self.line_with(&self.rule.numeric())
    }

    fn line_with(&self, rule: &Rule) -> String {
        match self.position {
            Some(position) => format!("-I {} {position} {rule}", self.chain),
            None => format!("-A {} {rule}", self.chain),
        }
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for condition in &self.matches {
            write!(f, "{condition} ")?;
        }
        write!(f, "-j {}", self.target)
    }
}

impl Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = |negated: bool| if negated { "! " } else { "" };
        match self {
            Self::InInterface(name) => write!(f, "-i {name}"),
            Self::OutInterface(name) => write!(f, "-o {name}"),
            Self::InLoopback => f.write_str("-i lo"),
            Self::OutLoopback => f.write_str("-o lo"),
            Self::Source(range) => write!(f, "-s {range}"),
            Self::Destination { range, negated } => write!(f, "{}-d {range}", not(*negated)),
            Self::Protocol(protocol) => write!(f, "-p {protocol}"),
            Self::SourcePort(port) => write!(f, "--sport {port}"),
            Self::DestinationPort { ports, negated } => write!(f, "{}--dport {ports}", not(*negated)),
            Self::NoDestinationPort(ports) => {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                write!(f, "-m multiport ! --dports {}", ports.join(","))
            }
            Self::User { owner, negated } => write!(f, "-m owner {}--uid-owner {owner}", not(*negated)),
            Self::Group { owner, negated } => write!(f, "-m owner {}--gid-owner {owner}", not(*negated)),
            Self::Mark { mark, negated } => write!(f, "-m mark {}--mark {mark}", not(*negated)),
            Self::ConnectionMark(mark) => write!(f, "-m connmark --mark {mark}"),
            Self::State(state) => write!(f, "-m conntrack --ctstate {state}"),
        }
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Return => f.write_str("RETURN"),
            Self::Accept => f.write_str("ACCEPT"),
            Self::Drop => f.write_str("DROP"),
            Self::Jump(chain) => write!(f, "{chain}"),
            Self::Redirect(port) => write!(f, "REDIRECT --to-ports {port}"),
            Self::Tproxy { port, mark } => {
                write!(f, "TPROXY --tproxy-mark {mark}/0xffffffff --on-port {port}")
            }
            Self::SetMark(mark) => write!(f, "MARK --set-mark {mark}"),
            Self::SaveMark => f.write_str("CONNMARK --save-mark"),
            Self::RestoreMark => f.write_str("CONNMARK --restore-mark"),
            Self::Zone(zone) => write!(f, "CT --zone {zone}"),
        }
    }
}

impl Display for HostStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoopbackAddress { address } => write!(f, "ip -6 addr add {address}/128 dev lo"),
            Self::MarkLookup { family, mark, table } => {
                write!(f, "ip {} rule add fwmark {mark} lookup {table}", family.ip_option())
            }
            Self::LocalDefaultRoute { family, table } => {
                write!(f, "ip {} route add local default dev lo table {table}", family.ip_option())
            }
        }
    }
}

impl HostStep {
    /// The command that undoes it.
    pub fn to_undo_line(self) -> String {
        self.to_string().replacen(" add ", " del ", 1)
    }
}

impl Family {
    /// The option by which `ip` tells the families apart.
    pub fn ip_option(self) -> &'static str {
        match self {
            Self::V4 => "-4",
            Self::V6 => "-6",
        }
    }
}

impl Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mangle => "mangle",
            Self::Nat => "nat",
            Self::Raw => "raw",
        })
    }
}

impl Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prerouting => "PREROUTING",
            Self::Output => "OUTPUT",
            Self::Inbound => "ISTIO_INBOUND",
            Self::Outbound => "ISTIO_OUTPUT",
            Self::OutboundDns => "ISTIO_OUTPUT_DNS",
            Self::Redirect => "ISTIO_REDIRECT",
            Self::InRedirect => "ISTIO_IN_REDIRECT",
            Self::Divert => "ISTIO_DIVERT",
            Self::Tproxy => "ISTIO_TPROXY",
            Self::Drop => "ISTIO_DROP",
        })
    }
}

impl Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "NEW",
            Self::Established => "RELATED,ESTABLISHED",
            Self::Invalid => "INVALID",
        })
    }
}

fn line(text: &mut String, content: &str) {
    text.push_str(content);
    text.push('\n');
}
