//! Where a listener listens, and the options of its sockets.

use std::sync::Arc;

use sampan_api::envoy::config::core::v3 as core;
use sampan_api::envoy::config::core::v3::address::Address as ProtoAddress;
use sampan_api::envoy::config::core::v3::socket_address::Protocol;
use sampan_api::envoy::config::listener::v3 as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::Address;
use sampan_model::cluster::config::SocketOptionValue;

use super::super::{Scope, value};
use crate::listener::config::ListenAddress;
use crate::net::socket::{KeepAlive, ListenOptions, SocketOption};

const YES: Support = Support::Supported;

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.config.listener.v3.AdditionalAddress",
        &[("address", YES), ("socket_options", YES), ("tcp_keepalive", YES)],
    ),
    ("envoy.config.core.v3.SocketOptionsOverride", &[("socket_options", YES)]),
    (
        "envoy.config.core.v3.TcpKeepalive",
        &[("keepalive_probes", YES), ("keepalive_time", YES), ("keepalive_interval", YES)],
    ),
];

/// `listen(2)` takes an `int`.
const MOST_BACKLOG: u32 = i32::MAX as u32;

/// All addresses of a listener; the first is the one that names its stats.
pub fn addresses(proto: &pb::Listener, at: &Scope<'_>) -> Vec<ListenAddress> {
    let common = options(proto, at);
    let mut found = Vec::new();
    match &proto.address {
        Some(address) => found.extend(one(address, common.clone(), &at.field("address"))),
        None if proto.listener_specifier.is_some() || proto.api_listener.is_some() => {}
        None => {
            at.field("address").reject::<()>("a listener needs an address");
        }
    }
    let list = at.field("additional_addresses");
    for (index, additional) in proto.additional_addresses.iter().enumerate() {
        let at = list.index(index);
        let mut options = common.clone();
        if let Some(overriding) = &additional.socket_options {
            let at = at.field("socket_options");
            options.options = socket_options(&overriding.socket_options, &at.field("socket_options"));
        }
        if let Some(overriding) = &additional.tcp_keepalive {
            options.keepalive = keepalive(overriding);
        }
        match &additional.address {
            Some(address) => found.extend(one(address, options, &at.field("address"))),
            None => {
                at.field("address").reject::<()>("no address is given");
            }
        }
    }
    found
}

fn one(proto: &core::Address, mut options: ListenOptions, at: &Scope<'_>) -> Option<ListenAddress> {
    match &proto.address {
        Some(ProtoAddress::SocketAddress(socket)) => {
            let at = at.field("socket_address");
            if socket.protocol() != Protocol::Tcp {
                return at.field("protocol").reject("only TCP is supported yet");
            }
            options.ipv4_compat = socket.ipv4_compat;
            let address = Address::Socket(value::socket_address(socket, &at)?);
            Some(ListenAddress { address, pipe_mode: None, options })
        }
        Some(ProtoAddress::Pipe(pipe)) => {
            let at = at.field("pipe");
            if pipe.path.is_empty() {
                return at.field("path").reject("a unix socket needs a path");
            }
            let pipe_mode = (pipe.mode != 0).then_some(pipe.mode);
            let address = Address::Pipe(Arc::from(pipe.path.as_str()));
            Some(ListenAddress { address, pipe_mode, options })
        }
        Some(ProtoAddress::EnvoyInternalAddress(_)) => {
            at.field("envoy_internal_address").reject("internal addresses are not supported yet")
        }
        None => at.reject("no address is given"),
    }
}

fn options(proto: &pb::Listener, at: &Scope<'_>) -> ListenOptions {
    let defaults = ListenOptions::default();
    ListenOptions {
        backlog: value::number_or(proto.tcp_backlog_size.as_ref(), defaults.backlog).min(MOST_BACKLOG),
        reuse_port: value::switch(proto.enable_reuse_port.as_ref()).unwrap_or(true),
        freebind: value::switch(proto.freebind.as_ref()).unwrap_or(false),
        transparent: value::switch(proto.transparent.as_ref()).unwrap_or(false),
        ipv4_compat: false,
        keepalive: proto.tcp_keepalive.as_ref().and_then(keepalive),
        options: socket_options(&proto.socket_options, &at.field("socket_options")),
    }
}

/// Keep-alive, unless a zero in any of its fields turns it off.
fn keepalive(proto: &core::TcpKeepalive) -> Option<KeepAlive> {
    let numbers = [&proto.keepalive_probes, &proto.keepalive_time, &proto.keepalive_interval]
        .map(|field| value::number(field.as_ref()));
    if numbers.contains(&Some(0)) {
        return None;
    }
    let [probes, time, interval] = numbers;
    let seconds = |n: u32| std::time::Duration::from_secs(u64::from(n));
    Some(KeepAlive { probes, time: time.map(seconds), interval: interval.map(seconds) })
}

/// Options by number. All that are known take effect the same before `bind` as after `listen`.
fn socket_options(protos: &[core::SocketOption], at: &Scope<'_>) -> Vec<SocketOption> {
    let mut known = Vec::new();
    for (index, proto) in protos.iter().enumerate() {
        let at = at.index(index);
        for option in value::socket_options(std::slice::from_ref(proto), &at) {
            let SocketOptionValue::Int(number) = option.value else { continue };
            let parts = (option.level.into(), option.name.into(), number.into());
            match SocketOption::from_numbers(parts.0, parts.1, parts.2) {
                Some(option) => known.push(option),
                None => {
                    at.reject_value::<()>(
                        format!("level {} name {} value {number}", option.level, option.name),
                        "this socket option is not supported",
                        "keep-alive, marks, buffers, TOS, TCP_NODELAY and TCP_USER_TIMEOUT are",
                    );
                }
            }
        }
    }
    known
}
