//! From option text to a typed [`Config`]: defaults filled in, every wrong value reported, every value that has no
//! effect named. After this, nothing is text any more and nothing can be wrong. Called by [`crate::run`].

use std::net::IpAddr;
use std::time::Duration;

use crate::args::RawOptions;
use crate::environment::Environment;
use crate::error::ArgumentErrors;
use crate::value::{Cidr, Interface, Owner, Ports, Rejection, parse_number, parse_port};

mod reader;
mod warnings;

use reader::Reader;

/// More owner groups than this do not fit into one rule, in which they must all stand.
const MAX_OWNER_GROUPS: usize = 64;
/// The user and group the proxy runs as unless told otherwise.
const DEFAULT_PROXY_ID: u32 = 1337;
/// Programs that may be forced.
const IPTABLES_PROGRAMS: [&str; 6] =
    ["iptables", "iptables-nft", "iptables-legacy", "ip6tables", "ip6tables-nft", "ip6tables-legacy"];

/// How inbound traffic reaches the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Destination rewritten (nat); the proxy sees its own address as the peer's target.
    Redirect,
    /// Transparent proxying (mangle); source and destination stay as they were.
    Tproxy,
}

/// All of something, or a list, which may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection<T> {
    /// Written `*`.
    All,
    /// Written as a comma list.
    Only(Vec<T>),
}

/// Which groups' outbound traffic is redirected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnerGroups {
    /// All but these.
    AllExcept(Vec<Owner>),
    /// These alone.
    Only(Vec<Owner>),
}

/// Which DNS traffic is redirected to the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsCapture {
    /// None.
    Off,
    /// All that goes to port 53.
    All,
    /// What goes to port 53 of these servers.
    Servers(Vec<IpAddr>),
}

/// What the rules shall do. All of it is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Port to which outbound TCP is redirected.
    pub proxy_port: u16,
    /// Port to which inbound TCP is redirected.
    pub inbound_capture_port: u16,
    /// Port of the HBONE tunnel.
    pub inbound_tunnel_port: u16,
    /// Users that are the proxy.
    pub proxy_uids: Vec<Owner>,
    /// Groups that are the proxy.
    pub proxy_gids: Vec<Owner>,
    /// How inbound traffic is intercepted.
    pub mode: Mode,
    /// Inbound ports that are redirected.
    pub inbound_ports: Selection<Ports>,
    /// Inbound ports that are not, when `inbound_ports` is all.
    pub inbound_ports_exclude: Vec<Ports>,
    /// Outbound ports that are redirected wherever they go.
    pub outbound_ports: Vec<Ports>,
    /// Outbound ports that are left alone.
    pub outbound_ports_exclude: Vec<Ports>,
    /// Outbound destinations that are redirected.
    pub outbound_ranges: Selection<Cidr>,
    /// Outbound destinations that are left alone.
    pub outbound_ranges_exclude: Vec<Cidr>,
    /// Interfaces whose traffic is left alone.
    pub exclude_interfaces: Vec<Interface>,
    /// Interfaces of virtual machines.
    pub kube_virt_interfaces: Vec<Interface>,
    /// Packet mark for TPROXY.
    pub tproxy_mark: u32,
    /// Routing table for TPROXY.
    pub tproxy_route_table: u32,
    /// Whose outbound traffic is redirected.
    pub owner_groups: OwnerGroups,
    /// The IPv4 destinations that count as loopback.
    pub ipv4_loopback: Cidr,
    /// DNS capture.
    pub dns: DnsCapture,
    /// Whether invalid packets are dropped.
    pub drop_invalid: bool,
    /// Whether there are rules for IPv6.
    pub ipv6: bool,
    /// The pod's own addresses, loopback and link-local ones left out.
    pub pod_addresses: Vec<IpAddr>,
    /// How the program goes about it.
    pub conduct: Conduct,
}

/// What the program is to do with the rules, rather than what they say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conduct {
    /// Print, change nothing.
    pub dry_run: bool,
    /// Do not apply rules.
    pub skip_rule_apply: bool,
    /// Prove that traffic is redirected.
    pub run_validation: bool,
    /// Port for that proof.
    pub probe_port: u16,
    /// Time for that proof.
    pub probe_timeout: Duration,
    /// Network namespace to work in.
    pub network_namespace: Option<String>,
    /// Run by the CNI plugin.
    pub cni_mode: bool,
    /// Replace differing rules.
    pub reconcile: bool,
    /// Take rules away.
    pub cleanup_only: bool,
    /// Apply in any case.
    pub force_apply: bool,
    /// Use nftables.
    pub native_nftables: bool,
    /// Program to use.
    pub iptables_binary: Option<String>,
}

/// A checked configuration, and what the user should hear about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The configuration.
    pub config: Config,
    /// Options that have no effect, and guesses that were made; one sentence each.
    pub warnings: Vec<String>,
}

impl Config {
    /// Checks all options.
    ///
    /// # Errors
    /// Every option whose value cannot be used.
    pub fn check(options: &RawOptions, environment: &Environment) -> Result<Checked, ArgumentErrors> {
        let mut read = Reader::new(options);
        let proxy_uids = read.proxy_uids(environment);
        let proxy_gids = read.list("proxy-gid", |text| Owner::parse(text, |name| environment.gid_of(name)));
        let pod_addresses = read.pod_addresses(environment);
        let dual_stack = read.switch("dual-stack");
        let config = Config {
            proxy_port: read.one("envoy-port", 15001, parse_port),
            inbound_capture_port: read.one("inbound-capture-port", 15006, parse_port),
            inbound_tunnel_port: read.one("inbound-tunnel-port", 15008, parse_port),
            proxy_gids: if proxy_gids.is_empty() { proxy_uids.clone() } else { proxy_gids },
            proxy_uids,
            mode: read.mode(),
            inbound_ports: read.selection("istio-inbound-ports", Ports::parse),
            inbound_ports_exclude: read.list("istio-local-exclude-ports", Ports::parse),
            outbound_ports: read.list("istio-outbound-ports", Ports::parse),
            outbound_ports_exclude: read.list("istio-local-outbound-ports-exclude", Ports::parse),
            outbound_ranges: read.selection("istio-service-cidr", Cidr::parse),
            outbound_ranges_exclude: read.list("istio-service-exclude-cidr", Cidr::parse),
            exclude_interfaces: read.list("istio-exclude-interfaces", Interface::parse),
            kube_virt_interfaces: read.list("kube-virt-interfaces", Interface::parse),
            tproxy_mark: read.one("istio-inbound-tproxy-mark", 1337, parse_number),
            tproxy_route_table: read.one("istio-inbound-tproxy-route-table", 133, parse_route_table),
            owner_groups: read.owner_groups(environment),
            ipv4_loopback: read.one(
                "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR",
                Cidr::host(IpAddr::from([127, 0, 0, 1])),
                parse_ipv4_loopback,
            ),
            dns: read.dns(environment),
            drop_invalid: read.switch("drop-invalid"),
            ipv6: has_ipv6_rules(&pod_addresses, dual_stack),
            pod_addresses,
            conduct: read.conduct(),
        };
        let mut warnings = read.finish()?;
        warnings::add(&mut warnings, &config, options);
        Ok(Checked { config, warnings })
    }

    /// Whether a range names loopback addresses to be redirected, which lifts the rules that protect them.
    pub fn redirects_loopback(&self) -> bool {
        match &self.outbound_ranges {
            Selection::All => false,
            Selection::Only(ranges) => ranges.iter().any(|range| range.address().is_loopback()),
        }
    }
}

/// `istio-iptables` looks at the first address only, and the kernel lists IPv4 before IPv6: so without dual stack IPv6
/// counts when there is no IPv4 at all.
fn has_ipv6_rules(addresses: &[IpAddr], dual_stack: bool) -> bool {
    let any_ipv6 = addresses.iter().any(IpAddr::is_ipv6);
    any_ipv6 && (dual_stack || !addresses.iter().any(IpAddr::is_ipv4))
}

/// Tables 253 to 255 are the kernel's own (default, main, local): a route there would catch all traffic of the pod.
fn parse_route_table(text: &str) -> Result<u32, Rejection> {
    match parse_number(text)? {
        253..=255 => Err(Rejection::new(
            format!("table {text} is one of the kernel's own"),
            "choose another, e.g. 133",
        )),
        table => Ok(table),
    }
}

fn parse_ipv4_loopback(text: &str) -> Result<Cidr, Rejection> {
    let range = Cidr::parse(text)?;
    if range.address().is_ipv4() && range.address().is_loopback() && range.length() >= 8 {
        Ok(range)
    } else {
        Err(Rejection::new(
            format!("{text:?} is not a range of IPv4 loopback addresses"),
            "write 127.0.0.1/32 or a range within 127.0.0.0/8",
        ))
    }
}

#[cfg(test)]
mod tests;
