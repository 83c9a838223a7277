//! `--run-validation`: proves by a real connection that traffic is redirected. The program listens where the proxy will,
//! connects to a port where nobody listens, and asks the kernel of the accepted connection where it was going.
//! Called by [`crate::run`]; the error becomes exit code 126.
//!
//! Which connection to make is read off the plan: the first, of a few that need no network, that it redirects for a user
//! whom this process is or may become. [`crate::explain`] is the judge.

mod probe;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, capabilities};

use crate::config::Config;
use crate::explain::{Outcome, Packet, explain};
use crate::plan::{Family, Plan};
use crate::value::Owner;

/// Addresses of documentation (RFC 5737, RFC 3849): a connection there is redirected or goes nowhere.
const ELSEWHERE: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// Why traffic could not be shown to be redirected.
#[derive(Debug, thiserror::Error)]
pub enum ValidationError {
    /// Nothing that could be tried is redirected.
    #[error(
        "validation: the plan redirects no {family} connection that user {uid} of group {gid} could make for a proof; run as the \
         proxy's user (runAsUser {proxy}), or give CAP_SETUID and CAP_SETGID so that it can be taken on"
    )]
    NothingToTry {
        /// IPv4 or IPv6.
        family: Family,
        /// The present user.
        uid: u32,
        /// The present group.
        gid: u32,
        /// The proxy's user.
        proxy: u32,
    },
    /// The port is taken.
    #[error("validation: cannot listen on {address}: {reason}; the proxy must not run yet during validation")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        reason: std::io::Error,
    },
    /// The user cannot be taken on, or the connection not be begun.
    #[error("validation: {what}: {reason}")]
    Setup {
        /// What failed.
        what: String,
        /// Why.
        reason: std::io::Error,
    },
    /// It did not come.
    #[error(
        "validation: a connection to {destination} by user {uid} did not arrive at port {port} within {patience:?} ({fate}): \
         traffic of this pod is not redirected; `sampan-init check` with the same options shows which rules are missing; where \
         the Istio CNI plugin makes the rules, it has not done so (is it running on this node?)"
    )]
    NotRedirected {
        /// Where it was going.
        destination: SocketAddr,
        /// Who made it.
        uid: u32,
        /// Where it should have arrived.
        port: u16,
        /// How long was waited.
        patience: Duration,
        /// What became of it, as seen by who made it.
        fate: String,
    },
}

/// A user and a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    uid: u32,
    gid: u32,
}

/// A connection to make and what shall become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Probe {
    source: Option<IpAddr>,
    destination: SocketAddr,
    identity: Identity,
    /// Whether the identity is another than the process's.
    taken_on: bool,
    /// The port it is to arrive at.
    port: u16,
}

/// Makes a connection for each family that has rules. Returns a sentence for each.
///
/// # Errors
/// One of them cannot be made, or does not arrive where the plan says.
pub fn validate(config: &Config, plan: &Plan) -> Result<Vec<String>, ValidationError> {
    let own = Identity { uid: geteuid().as_raw(), gid: getegid().as_raw() };
    let may_change = capabilities(None).is_ok_and(|sets| {
        sets.effective.contains(CapabilitySet::SETUID) && sets.effective.contains(CapabilitySet::SETGID)
    });
    let families = [Some(Family::V4), plan.ipv6.as_ref().map(|_| Family::V6)];
    families
        .into_iter()
        .flatten()
        .map(|family| {
            let found = choose(config, plan, family, own, may_change);
            let probe = found.ok_or_else(|| ValidationError::NothingToTry {
                family,
                uid: own.uid,
                gid: own.gid,
                proxy: config.proxy_uids.first().map_or(own.uid, Owner::id),
            })?;
            probe.carry_out(config.conduct.probe_timeout)?;
            Ok(format!(
                "validation: a connection to {} by user {} arrived at port {}",
                probe.destination, probe.identity.uid, probe.port
            ))
        })
        .collect()
}

/// The first connection that the plan redirects: to the pod itself as oneself, to the pod itself as the proxy, out of the
/// pod as oneself.
fn choose(config: &Config, plan: &Plan, family: Family, own: Identity, may_change: bool) -> Option<Probe> {
    let here = || std::iter::once(family.inbound_source()).chain(config.pod_addresses.iter().copied());
    let here = || here().filter(move |address| Family::of(*address) == family);
    let elsewhere = match family {
        Family::V4 => IpAddr::V4(ELSEWHERE.0),
        Family::V6 => IpAddr::V6(ELSEWHERE.1),
    };
    let proxy = config.proxy_uids.first().zip(config.proxy_gids.first());
    let proxy = proxy.map(|(user, group)| Identity { uid: user.id(), gid: group.id() });
    let as_oneself = here().map(|address| (own, address));
    let as_proxy = proxy
        .filter(|_| may_change)
        .into_iter()
        .flat_map(|proxy| here().map(move |address| (proxy, address)));
    let mut all = as_oneself.chain(as_proxy).chain(std::iter::once((own, elsewhere)));
    all.find_map(|(identity, address)| {
        let destination = SocketAddr::new(address, config.conduct.probe_port);
        let mut packet = Packet::outbound(config, destination);
        (packet.uid, packet.gid) = (Some(identity.uid), Some(identity.gid));
        let source = (address == family.inbound_source()).then(|| loopback(family));
        packet.source = source.or(packet.source);
        match explain(plan, &packet).outcome {
            Outcome::Redirected(port) => {
                Some(Probe { source, destination, identity, taken_on: identity != own, port })
            }
            _ => None,
        }
    })
}

/// Where a redirected connection of this machine arrives.
fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{config, plan};

    const ROOT: Identity = Identity { uid: 0, gid: 0 };
    const PROXY: Identity = Identity { uid: 1337, gid: 1337 };

    fn chosen(line: &str, family: Family, own: Identity, may_change: bool) -> Option<String> {
        choose(&config(line), &plan(line), family, own, may_change)
            .map(|probe| format!("{} {} {}", probe.destination, probe.identity.uid, probe.port))
    }

    #[test]
    fn the_proxy_s_user_proves_it_by_the_pod_itself() {
        let line = "-b * -i * --dual-stack";
        assert_eq!(chosen(line, Family::V4, PROXY, false).unwrap(), "127.0.0.6:15002 1337 15006");
        assert_eq!(chosen(line, Family::V6, PROXY, false).unwrap(), "[::6]:15002 1337 15006");
        assert_eq!(chosen(line, Family::V4, ROOT, true).unwrap(), "127.0.0.6:15002 1337 15006");
        // Where that address counts as loopback, the pod's own does.
        let mut wide = config("-b *");
        wide.ipv4_loopback = crate::value::Cidr::parse("127.0.0.0/8").unwrap();
        let found = choose(&wide, &Plan::new(&wide), Family::V4, PROXY, false).unwrap();
        assert_eq!(found.destination, "10.0.0.5:15002".parse().unwrap());
    }

    #[test]
    fn others_prove_it_by_a_connection_out_of_the_pod() {
        assert_eq!(chosen("-i *", Family::V4, ROOT, false).unwrap(), "192.0.2.1:15002 0 15001");
        assert_eq!(chosen("-b *", Family::V4, ROOT, false), None);
        assert_eq!(
            chosen("-b * -i * --dual-stack", Family::V6, ROOT, false).unwrap(),
            "[2001:db8::1]:15002 0 15001"
        );
    }
}
