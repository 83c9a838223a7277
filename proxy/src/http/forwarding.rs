//! Who the client is, and which of a request's headers are believed.
//!
//! This is Envoy's `mutateRequestHeaders`, step by step in its order, since the order is what the upstream sees. Called by
//! [`super::stream`] before routing, after [`super::normalize`].
//!
//! A request is *internal* if the client's address, taken from a single `x-forwarded-for` entry or from a connection without
//! one, lies in `internal_address_config`; by default nobody is. It is an *edge* request if it is not internal and
//! `use_remote_address` is set: then the connection is the border of the mesh, and what the client says about itself is
//! removed.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use sampan_filters_api::{Address, ConnectionInfo, Headers, Known, RequestHead, StreamInfo};
use smallvec::SmallVec;

use super::config::{Forwarding, HttpConfig, UserAgent};
use crate::net::own;

/// Works out the client's address and rewrites the headers that say who a request comes from. `internal_only` headers are
/// not believed from outside.
pub fn apply(
    config: &HttpConfig,
    internal_only: &[Box<str>],
    connection: &ConnectionInfo,
    info: &mut StreamInfo,
    head: &mut RequestHead,
) {
    let rules = &config.forwarding;
    let tls = connection.tls.is_some();
    head.headers.remove_known(Known::XEnvoyInternal);
    join_lines(&mut head.headers, Known::XForwardedFor);
    let client = if rules.use_remote_address {
        remote_address(rules, connection, tls, &mut head.headers)
    } else {
        forwarded_address(rules, connection, &mut head.headers)
    };
    set_scheme(config.overwrite_scheme.as_deref(), tls, head);
    let internal = client.trusted && is_internal(rules, client.address(connection));
    let edge = rules.use_remote_address && !internal;
    if internal {
        head.headers.append_known(Known::XEnvoyInternal, "true");
    } else {
        sanitize(edge, internal_only, &mut head.headers);
    }
    if let Some(agent) = &config.add_user_agent {
        add_user_agent(agent, &mut head.headers);
    }
    if !config.via.is_empty() {
        join(&mut head.headers, Known::Via, b", ", config.via.as_bytes());
    }
    if edge && let Some(address) = client.address(connection).socket() {
        with_text(address.ip(), |text| head.headers.set_known(Known::XEnvoyExternalAddress, text));
    }
    super::client_certificate::forward(config, connection, &mut head.headers);
    info.remote = client.forwarded;
}

/// The client, as far as it is known.
struct Client {
    /// From `x-forwarded-for`; the connection's peer if none.
    forwarded: Option<Address>,
    /// Whether the address may make a request internal.
    trusted: bool,
}

impl Client {
    fn address<'a>(&'a self, connection: &'a ConnectionInfo) -> &'a Address {
        self.forwarded.as_ref().unwrap_or(&connection.remote)
    }
}

/// `use_remote_address`: the peer is the client, unless trusted hops stand in between.
fn remote_address(
    rules: &Forwarding,
    connection: &ConnectionInfo,
    tls: bool,
    headers: &mut Headers,
) -> Client {
    let single = !headers.has(Known::XForwardedFor);
    let forwarded = match rules.trusted_hops {
        0 => None,
        hops => headers.known(Known::XForwardedFor).and_then(|value| hop(value, hops - 1)),
    };
    if !rules.skip_append
        && let Some(peer) = connection.remote.socket()
    {
        let ip = peer.ip().to_canonical();
        // A neighbour on the same machine says nothing by its loopback address; the machine's own does.
        let shown = if ip.is_loopback() { own::address() } else { ip };
        with_text(shown, |text| join(headers, Known::XForwardedFor, b",", text));
    }
    let trusts_hops = rules.trusted_hops > 0;
    if !trusts_hops || !headers.has(Known::XForwardedProto) {
        headers.set_known(Known::XForwardedProto, scheme_of(tls));
    }
    if rules.append_port && (!trusts_hops || !headers.has(Known::XForwardedPort)) {
        set_port(connection, headers);
    }
    Client { forwarded, trusted: single }
}

/// Without `use_remote_address`, `x-forwarded-for` is believed.
fn forwarded_address(rules: &Forwarding, connection: &ConnectionInfo, headers: &mut Headers) -> Client {
    let value = headers.known(Known::XForwardedFor);
    let forwarded = value.and_then(|value| hop(value, rules.trusted_hops));
    let single = value.is_some_and(|value| memchr::memchr(b',', value).is_none());
    let trusted = forwarded.is_some() && single;
    if rules.append_port && !headers.has(Known::XForwardedPort) {
        set_port(connection, headers);
    }
    Client { forwarded, trusted }
}

fn set_port(connection: &ConnectionInfo, headers: &mut Headers) {
    if let Some(local) = connection.local.socket() {
        headers.set_known(Known::XForwardedPort, itoa::Buffer::new().format(local.port()));
    }
}

const fn scheme_of(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

/// `x-forwarded-proto`, and `:scheme` where the request came without one or is to have another.
fn set_scheme(overwrite: Option<&str>, tls: bool, head: &mut RequestHead) {
    if let Some(scheme) = overwrite {
        head.set_scheme(scheme.as_bytes());
        head.headers.set_known(Known::XForwardedProto, scheme);
        return;
    }
    let proto = head.headers.known(Known::XForwardedProto).filter(|proto| !proto.is_empty());
    let scheme = match proto {
        Some(b"https") => "https",
        Some(b"http") => "http",
        _ => scheme_of(tls),
    };
    if proto.is_none() {
        head.headers.set_known(Known::XForwardedProto, scheme);
    }
    if head.scheme().is_empty() {
        head.set_scheme(scheme.as_bytes());
    }
}

/// The entry of an `x-forwarded-for` that `skip` entries follow.
fn hop(value: &[u8], skip: u32) -> Option<Address> {
    let mut rest = value;
    for _ in 0..skip {
        rest = &rest[..memchr::memrchr(b',', rest)?];
    }
    let entry = match memchr::memrchr(b',', rest) {
        Some(comma) if comma + 1 < rest.len() => &rest[comma + 1..],
        _ => rest,
    };
    let ip: IpAddr = std::str::from_utf8(entry.trim_ascii()).ok()?.parse().ok()?;
    Some(Address::Socket(SocketAddr::new(ip, 0)))
}

fn is_internal(rules: &Forwarding, address: &Address) -> bool {
    match address {
        Address::Socket(address) => rules.internal_ranges.iter().any(|range| range.contains(address.ip())),
        Address::Pipe(_) => rules.internal_unix,
    }
}

/// Removes what only a trusted client may say.
fn sanitize(edge: bool, internal_only: &[Box<str>], headers: &mut Headers) {
    const EDGE: [Known; 5] = [
        Known::XEnvoyDecoratorOperation,
        Known::XEnvoyDownstreamServiceCluster,
        Known::XEnvoyDownstreamServiceNode,
        Known::XEnvoyOriginalPath,
        Known::XEnvoyOriginalHost,
    ];
    const EXTERNAL: [Known; 13] = [
        Known::XEnvoyRetriableStatusCodes,
        Known::XEnvoyRetriableHeaderNames,
        Known::XEnvoyRetryOn,
        Known::XEnvoyRetryGrpcOn,
        Known::XEnvoyMaxRetries,
        Known::XEnvoyUpstreamAltStatName,
        Known::XEnvoyUpstreamRqTimeoutMs,
        Known::XEnvoyUpstreamRqPerTryTimeoutMs,
        Known::XEnvoyUpstreamRqTimeoutAltResponse,
        Known::XEnvoyExpectedRqTimeoutMs,
        Known::XEnvoyForceTrace,
        Known::XEnvoyIpTags,
        Known::XEnvoyHedgeOnPerTryTimeout,
    ];
    if edge {
        for name in EDGE {
            headers.remove_known(name);
        }
    }
    for name in EXTERNAL {
        headers.remove_known(name);
    }
    for name in internal_only {
        headers.remove(name.as_bytes());
    }
}

fn add_user_agent(agent: &UserAgent, headers: &mut Headers) {
    headers.set_known(Known::XEnvoyDownstreamServiceCluster, agent.cluster.as_bytes());
    if headers.known(Known::UserAgent).is_none_or(<[u8]>::is_empty) {
        headers.set_known(Known::UserAgent, agent.cluster.as_bytes());
    }
    if !agent.node.is_empty() {
        headers.set_known(Known::XEnvoyDownstreamServiceNode, agent.node.as_bytes());
    }
}

/// Makes one field of several, so that the last entry is the last one of the field.
fn join_lines(headers: &mut Headers, known: Known) {
    if headers.count(known) < 2 {
        return;
    }
    let mut all = SmallVec::<[u8; 256]>::new();
    for value in headers.values(known.name().as_bytes()) {
        if !all.is_empty() {
            all.push(b',');
        }
        all.extend_from_slice(value);
    }
    headers.set_known(known, &all);
}

/// Appends to the list that a field holds.
pub(super) fn join(headers: &mut Headers, known: Known, separator: &[u8], value: &[u8]) {
    let Some(old) = headers.known(known).filter(|old| !old.is_empty()) else {
        return headers.set_known(known, value);
    };
    let mut all = SmallVec::<[u8; 256]>::from_slice(old);
    all.extend_from_slice(separator);
    all.extend_from_slice(value);
    headers.set_known(known, &all);
}

/// Appends this machine's address to `x-forwarded-for`, for a request of the proxy's own.
pub(super) fn append_own(headers: &mut Headers) {
    with_text(own::address(), |text| join(headers, Known::XForwardedFor, b",", text));
}

/// Writes an address to the stack.
fn with_text(ip: IpAddr, then: impl FnOnce(&[u8])) {
    const LONGEST: usize = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len() + 1;
    let mut text = [0; LONGEST];
    let mut left = &mut text[..];
    // An address fits; if it did not, no header would be better than half of one.
    if write!(left, "{ip}").is_err() {
        return;
    }
    let unused = left.len();
    then(&text[..LONGEST - unused]);
}

#[cfg(test)]
mod tests;
