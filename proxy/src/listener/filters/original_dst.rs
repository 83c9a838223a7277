//! `envoy.filters.listener.original_dst`: where a redirected connection wanted to go.
//!
//! The kernel's connection tracking knows the destination of what iptables REDIRECT changed (SO_ORIGINAL_DST). With
//! TPROXY nothing is changed: the socket is transparent, and its local address is the destination.

use std::net::{IpAddr, SocketAddr};

use rustix::net::sockopt::{ip_original_dst, ipv6_original_dst};
use sampan_filters_api::{Address, ConnectionInfo};

use crate::listener::accepted::Accepted;

/// Restores the local address, where the connection was redirected.
pub(crate) fn restore(socket: &Accepted, info: &mut ConnectionInfo) {
    let Some(local) = info.local.socket() else { return };
    if let Some(original) = original(socket, local) {
        info.restore_local(Address::Socket(original));
    }
}

fn original(socket: &Accepted, local: SocketAddr) -> Option<SocketAddr> {
    let fd = socket.as_fd();
    // An IPv6 socket that took an IPv4 client is tracked as IPv4: the address at hand is canonical.
    let tracked = match local.ip() {
        IpAddr::V4(_) => ip_original_dst(fd).map(SocketAddr::V4),
        IpAddr::V6(_) => ipv6_original_dst(fd).map(SocketAddr::V6),
    };
    match tracked {
        Ok(address) => Some(SocketAddr::new(address.ip().to_canonical(), address.port())),
        Err(_) => is_transparent(socket, local).then_some(local),
    }
}

fn is_transparent(socket: &Accepted, local: SocketAddr) -> bool {
    let fd = socket.as_fd();
    let socket = socket2::SockRef::from(&fd);
    let answer = match local {
        SocketAddr::V4(_) => socket.ip_transparent_v4(),
        SocketAddr::V6(_) => socket.ip_transparent_v6(),
    };
    answer.unwrap_or(false)
}
