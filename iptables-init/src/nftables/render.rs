//! A plan as nftables tables. One table of the family `inet` holds the rules of both families; rules that are the same
//! in both stand there once. The words are chosen to be those that `nft list` prints, so that a listing can be compared.
//!
//! ```text
//! inet istio-proxy-nat     prerouting, output (priority -100)   istio-inbound, istio-output, istio-redirect ...
//! inet istio-proxy-mangle  prerouting, output (priority -150)   istio-divert, istio-tproxy, istio-drop ...
//! inet istio-proxy-raw     prerouting, output (priority -300)   istio-output-dns, istio-inbound
//! ```

use crate::plan::{Chain, ConnectionState, Family, Match, Plan, Protocol, Rule, RuleSet, Table, Target};
use crate::value::{Cidr, Interface};

/// The tables in which rules of ours can be.
pub const TABLES: [Table; 3] = [Table::Mangle, Table::Nat, Table::Raw];

/// A table: its chains with their lines, in order.
pub type Chains = Vec<(String, Vec<String>)>;

/// A table's name in nftables.
pub fn table_name(table: Table) -> String {
    format!("istio-proxy-{table}")
}

/// A chain's name in nftables.
pub fn chain_name(chain: Chain) -> String {
    chain.to_string().to_ascii_lowercase().replace('_', "-")
}

/// The chains of a table; none if the plan has no rule in it.
pub fn chains(plan: &Plan, table: Table) -> Chains {
    let families: Vec<&RuleSet> = [Some(&plan.ipv4), plan.ipv6.as_ref()].into_iter().flatten().collect();
    let mut names: Vec<Chain> = Vec::new();
    for built_in in [Chain::Prerouting, Chain::Output] {
        if families.iter().any(|rules| !rules.rules(table, built_in).is_empty()) {
            names.push(built_in);
        }
    }
    for chain in families.iter().flat_map(|rules| rules.chains(table)) {
        if !names.contains(&chain) {
            names.push(chain);
        }
    }
    names.into_iter().map(|chain| (chain_name(chain), lines(plan, table, chain))).collect()
}

/// The table as text for `nft -f`.
pub fn table_text(table: Table, chains: &Chains) -> String {
    let mut text = vec![format!("table inet {} {{", table_name(table))];
    for (name, lines) in chains {
        text.push(format!("\tchain {name} {{"));
        text.extend(lines.iter().map(|line| format!("\t\t{line}")));
        text.push("\t}".to_owned());
    }
    text.push("}\n".to_owned());
    text.join("\n")
}

/// A rule's lines: mostly one. A packet that TPROXY finds no listener for is dropped by iptables, while nftables would
/// go on to the next rule and so past the proxy; a second line drops it.
pub fn rule_lines(rule: &Rule) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for (index, condition) in rule.matches.iter().enumerate() {
        // A condition on ports says its protocol itself.
        let port_follows = matches!(
            rule.matches.get(index + 1),
            Some(Match::SourcePort(_) | Match::DestinationPort { .. } | Match::NoDestinationPort(_))
        );
        if !(matches!(condition, Match::Protocol(_)) && port_follows) {
            words.extend(condition_words(condition, protocol_of(rule)));
        }
    }
    words.push("counter".to_owned());
    let conditions = words.join(" ");
    let line = format!("{conditions} {}", target_words(rule));
    match rule.target {
        Target::Tproxy { .. } => vec![line, format!("{conditions} drop")],
        _ => vec![line],
    }
}

/// A chain's lines: for a chain of the kernel its hook first.
fn lines(plan: &Plan, table: Table, chain: Chain) -> Vec<String> {
    let mut lines: Vec<String> = hook(table, chain).into_iter().collect();
    let ipv4 = plan.ipv4.rules(table, chain);
    let ipv6 = plan.ipv6.as_ref().map(|rules| rules.rules(table, chain));
    let (mut first, mut second) = (ipv4.as_slice(), ipv6.as_deref().unwrap_or_default());
    // The order within each family counts, the order between rules of different families does not.
    loop {
        match (first.split_first(), second.split_first()) {
            (Some((one, rest)), Some((other, others))) if same(one, other) => {
                lines.extend(rule_lines(one));
                (first, second) = (rest, others);
            }
            (Some((one, rest)), other) if other.is_none() || !second.iter().any(|other| same(one, other)) => {
                lines.extend(alone(one, Family::V4, plan, chain));
                first = rest;
            }
            (_, Some((other, others))) => {
                lines.extend(alone(other, Family::V6, plan, chain));
                second = others;
            }
            _ => return lines,
        }
    }
}

fn same(one: &Rule, other: &Rule) -> bool {
    one.matches == other.matches && one.target == other.target
}

/// A rule of one family only. It must say so unless an address in it does, or unless only packets of this family come
/// to its chain: without IPv6 rules, that is settled where the kernel's chains jump.
fn alone(rule: &Rule, family: Family, plan: &Plan, chain: Chain) -> Vec<String> {
    let has_address = rule
        .matches
        .iter()
        .any(|condition| matches!(condition, Match::Source(_) | Match::Destination { .. }));
    let settled = plan.ipv6.is_none() && !chain.is_built_in();
    let prefix = match family {
        _ if has_address || settled => "",
        Family::V4 => "meta nfproto ipv4 ",
        Family::V6 => "meta nfproto ipv6 ",
    };
    rule_lines(rule).into_iter().map(|line| format!("{prefix}{line}")).collect()
}

/// Changing a mark on the way out must route the packet again, which only a chain of the type `route` does.
fn hook(table: Table, chain: Chain) -> Option<String> {
    let hook = match chain {
        Chain::Prerouting => "prerouting",
        Chain::Output => "output",
        _ => return None,
    };
    let (kind, priority) = match (table, chain) {
        (Table::Nat, _) => ("nat", -100),
        (Table::Mangle, Chain::Output) => ("route", -150),
        (Table::Mangle, _) => ("filter", -150),
        (Table::Raw, _) => ("filter", -300),
    };
    Some(format!("type {kind} hook {hook} priority {priority}; policy accept;"))
}

fn protocol_of(rule: &Rule) -> &'static str {
    let udp = rule.matches.contains(&Match::Protocol(Protocol::Udp));
    if udp { "udp" } else { "tcp" }
}

fn condition_words(condition: &Match, protocol: &str) -> Vec<String> {
    let not = |negated: &bool| if *negated { "!= " } else { "" };
    let word = match condition {
        Match::InInterface(name) => format!("iifname {}", interface(name)),
        Match::OutInterface(name) => format!("oifname {}", interface(name)),
        Match::InLoopback => "iifname \"lo\"".to_owned(),
        Match::OutLoopback => "oifname \"lo\"".to_owned(),
        Match::Source(range) => format!("{} saddr {}", address_family(*range), network(*range)),
        Match::Destination { range, negated: false } if range.length() == 0 => {
            match Family::of(range.address()) {
                Family::V4 => "meta nfproto ipv4".to_owned(),
                Family::V6 => "meta nfproto ipv6".to_owned(),
            }
        }
        Match::Destination { range, negated } => {
            format!("{} daddr {}{}", address_family(*range), not(negated), network(*range))
        }
        Match::Protocol(protocol) => format!("meta l4proto {protocol}"),
        Match::SourcePort(port) => format!("{protocol} sport {port}"),
        Match::DestinationPort { ports, negated } => {
            let (first, last) = ports.bounds();
            let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
            format!("{protocol} dport {}{range}", not(negated))
        }
        Match::NoDestinationPort(ports) => {
            let mut ports = ports.clone();
            ports.sort_unstable();
            ports.dedup();
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            match ports.as_slice() {
                [port] => format!("{protocol} dport != {port}"),
                ports => format!("{protocol} dport != {{ {} }}", ports.join(", ")),
            }
        }
        Match::User { owner, negated } => format!("meta skuid {}{}", not(negated), owner.id()),
        Match::Group { owner, negated } => format!("meta skgid {}{}", not(negated), owner.id()),
        Match::Mark { mark, negated } => format!("meta mark {}{}", not(negated), hex(*mark)),
        Match::ConnectionMark(mark) => format!("ct mark {}", hex(*mark)),
        Match::State(ConnectionState::New) => "ct state new".to_owned(),
        Match::State(ConnectionState::Established) => "ct state established,related".to_owned(),
        Match::State(ConnectionState::Invalid) => "ct state invalid".to_owned(),
    };
    vec![word]
}

fn target_words(rule: &Rule) -> String {
    match rule.target {
        Target::Return => "return".to_owned(),
        Target::Accept => "accept".to_owned(),
        Target::Drop => "drop".to_owned(),
        Target::Jump(chain) => format!("jump {}", chain_name(chain)),
        Target::Redirect(port) => format!("redirect to :{port}"),
        Target::Tproxy { port, mark } => {
            let family = rule.matches.iter().find_map(|condition| match condition {
                Match::Destination { range, .. } => Some(address_family(*range)),
                _ => None,
            });
            let family = family.map(|name| format!("{name} ")).unwrap_or_default();
            format!("tproxy {family}to :{port} meta mark set {} accept", hex(mark))
        }
        Target::SetMark(mark) => format!("meta mark set {}", hex(mark)),
        Target::SaveMark => "ct mark set meta mark".to_owned(),
        Target::RestoreMark => "meta mark set ct mark".to_owned(),
        Target::Zone(zone) => format!("ct zone set {zone}"),
    }
}

fn hex(mark: u32) -> String {
    format!("{mark:#010x}")
}

fn address_family(range: Cidr) -> &'static str {
    match Family::of(range.address()) {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// A range as nft prints it: masked, a single address without its length.
fn network(range: Cidr) -> String {
    if range == Cidr::host(range.address()) {
        range.address().to_string()
    } else {
        range.network().to_string()
    }
}

fn interface(name: &Interface) -> String {
    let (name, wildcard) = name.parts();
    // A star at the end would be a wildcard here, and is a plain letter in a plan.
    let name = name.strip_suffix('*').map_or_else(|| name.to_owned(), |rest| format!("{rest}\\*"));
    format!("\"{name}{}\"", if wildcard { "*" } else { "" })
}
