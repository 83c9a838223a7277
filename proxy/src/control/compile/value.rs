//! Small proto values that many messages share: durations, percentages, addresses, socket options, metadata.
//!
//! Used by every compile module. Ranges that the API's validation rules give are checked when a message is loaded; what
//! is checked here is what only the meaning of a field can tell.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sampan_api::envoy::config::core::v3 as core;
use sampan_api::envoy::config::core::v3::socket_address::PortSpecifier;
use sampan_api::envoy::r#type::v3::fractional_percent::DenominatorType;
use sampan_api::google::protobuf;
use sampan_api::google::protobuf::value::Kind;
use sampan_api::{MessageSupport, Support, envoy::r#type::v3 as types};
use sampan_filters_api::info::MetadataValue;
use sampan_model::cluster::Http2Keepalive;
use sampan_model::cluster::config::{SocketOption, SocketOptionState, SocketOptionValue};
use sampan_model::fraction::{Denominator, FractionalPercent};

use super::Scope;

const YES: Support = Support::Supported;

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    ("envoy.config.core.v3.Address", &[("socket_address", YES), ("pipe", YES)]),
    (
        "envoy.config.core.v3.SocketAddress",
        &[
            ("protocol", YES),
            ("address", YES),
            ("port_value", YES),
            ("named_port", Support::Later("ports are numbers")),
            (
                "resolver_name",
                Support::Later("addresses are IP addresses, or names where a cluster resolves by DNS"),
            ),
            ("ipv4_compat", Support::Later("an IPv6 address takes IPv6 only")),
        ],
    ),
    ("envoy.config.core.v3.Pipe", &[("path", YES), ("mode", YES)]),
    (
        "envoy.config.core.v3.SocketOption",
        &[
            ("description", YES),
            ("level", YES),
            ("name", YES),
            ("int_value", YES),
            ("buf_value", Support::Later("only whole numbers can be set")),
            ("state", YES),
        ],
    ),
    (
        "envoy.config.core.v3.Metadata",
        &[
            ("filter_metadata", YES),
            ("typed_filter_metadata", Support::Ignored("nothing reads typed metadata")),
        ],
    ),
    ("envoy.config.core.v3.TypedExtensionConfig", &[("name", YES), ("typed_config", YES)]),
    ("envoy.type.v3.Percent", &[("*", YES)]),
];

/// A duration; `None` if it is not set. A negative one is refused.
pub fn duration(proto: Option<&protobuf::Duration>, at: &Scope<'_>) -> Option<Duration> {
    let proto = proto?;
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(proto.seconds), u32::try_from(proto.nanos)) else {
        return at.reject_value(format!("{}s", proto.seconds), "a duration cannot be negative", "");
    };
    if nanos >= 1_000_000_000 {
        return at.reject("nanos must be below 1000000000");
    }
    Some(Duration::new(seconds, nanos))
}

/// `KeepaliveSettings`, of either side.
pub fn http2_keepalive(proto: &core::KeepaliveSettings, at: &Scope<'_>) -> Option<Http2Keepalive> {
    let Some(timeout) = timeout(proto.timeout.as_ref(), None, &at.field("timeout")) else {
        return at.field("timeout").reject("must be at least 1 ms");
    };
    Some(Http2Keepalive {
        interval: self::timeout(proto.interval.as_ref(), None, &at.field("interval")),
        timeout,
        interval_jitter_percent: percent(proto.interval_jitter.as_ref())
            .map_or(15, |p| p.clamp(0.0, 100.0) as u32),
        connection_idle_interval: self::timeout(
            proto.connection_idle_interval.as_ref(),
            None,
            &at.field("connection_idle_interval"),
        ),
    })
}

/// A duration where zero means "never"; `default` if it is not set.
pub fn timeout(
    proto: Option<&protobuf::Duration>,
    default: Option<Duration>,
    at: &Scope<'_>,
) -> Option<Duration> {
    if proto.is_none() { default } else { duration(proto, at).filter(|d| !d.is_zero()) }
}

/// The value of a wrapper message.
pub fn number(proto: Option<&protobuf::UInt32Value>) -> Option<u32> {
    proto.map(|wrapper| wrapper.value)
}

/// The value of a wrapper message, or another.
pub fn number_or(proto: Option<&protobuf::UInt32Value>, otherwise: u32) -> u32 {
    proto.map_or(otherwise, |wrapper| wrapper.value)
}

/// The value of a wrapper message.
pub fn switch(proto: Option<&protobuf::BoolValue>) -> Option<bool> {
    proto.map(|wrapper| wrapper.value)
}

/// A share of all.
pub fn fraction(proto: &types::FractionalPercent) -> FractionalPercent {
    let denominator = match proto.denominator() {
        DenominatorType::Hundred => Denominator::Hundred,
        DenominatorType::TenThousand => Denominator::TenThousand,
        DenominatorType::Million => Denominator::Million,
    };
    FractionalPercent { numerator: proto.numerator, denominator }
}

/// A percentage.
pub fn percent(proto: Option<&types::Percent>) -> Option<f64> {
    proto.map(|percent| percent.value)
}

/// The IP address and port of a socket address.
pub fn socket_address(proto: &core::SocketAddress, at: &Scope<'_>) -> Option<SocketAddr> {
    let port = port(proto, at);
    let Ok(ip) = proto.address.parse::<IpAddr>() else {
        return at.field("address").reject_value(
            &proto.address,
            "malformed IP address",
            "names are resolved for clusters of type STRICT_DNS and LOGICAL_DNS only",
        );
    };
    port.map(|port| SocketAddr::new(ip, port))
}

/// The port of a socket address.
pub fn port(proto: &core::SocketAddress, at: &Scope<'_>) -> Option<u16> {
    if !proto.resolver_name.is_empty() {
        at.field("resolver_name").reject_value::<()>(
            &proto.resolver_name,
            "there is no such address resolver",
            "",
        );
    }
    match &proto.port_specifier {
        Some(PortSpecifier::PortValue(port)) => match u16::try_from(*port) {
            Ok(port) => Some(port),
            Err(_) => at.field("port_value").reject_value(port, "a port is at most 65535", ""),
        },
        Some(PortSpecifier::NamedPort(name)) => {
            at.field("named_port").reject_value(name, "ports cannot be given by name", "give port_value")
        }
        None => at.reject("no port is given"),
    }
}

/// Socket options. Those that are for UDP or other states are the caller's to judge.
pub fn socket_options(protos: &[core::SocketOption], at: &Scope<'_>) -> Vec<SocketOption> {
    protos.iter().enumerate().filter_map(|(index, proto)| socket_option(proto, &at.index(index))).collect()
}

fn socket_option(proto: &core::SocketOption, at: &Scope<'_>) -> Option<SocketOption> {
    use core::socket_option::{SocketState, Value};
    let int = |field: &str, value: i64| match i32::try_from(value) {
        Ok(value) => Some(value),
        Err(_) => at.field(field).reject_value(value, "is out of the range of an int", ""),
    };
    let value = match &proto.value {
        Some(Value::IntValue(value)) => int("int_value", *value).map(SocketOptionValue::Int)?,
        Some(Value::BufValue(_)) => {
            return at.field("buf_value").reject("socket options with a buffer are not supported");
        }
        None => return at.reject("the option has no value"),
    };
    Some(SocketOption {
        level: int("level", proto.level)?,
        name: int("name", proto.name)?,
        value,
        state: match proto.state() {
            SocketState::StatePrebind => SocketOptionState::Prebind,
            SocketState::StateBound => SocketOptionState::Bound,
            SocketState::StateListening => SocketOptionState::Listening,
        },
        description: proto.description.as_str().into(),
    })
}

/// `filter_metadata` as a struct of structs by namespace.
pub fn metadata(proto: &core::Metadata) -> MetadataValue {
    let mut namespaces: Vec<(Arc<str>, _)> = proto
        .filter_metadata
        .iter()
        .map(|(name, fields)| (Arc::from(name.as_str()), structure(fields)))
        .collect();
    namespaces.sort_by(|a, b| a.0.cmp(&b.0));
    MetadataValue::Struct(namespaces)
}

/// A `google.protobuf.Struct`.
pub fn structure(proto: &protobuf::Struct) -> MetadataValue {
    let mut fields: Vec<(Arc<str>, _)> =
        proto.fields.iter().map(|(name, value)| (Arc::from(name.as_str()), json(value))).collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    MetadataValue::Struct(fields)
}

/// A `google.protobuf.Value`.
pub fn json(proto: &protobuf::Value) -> MetadataValue {
    match &proto.kind {
        None | Some(Kind::NullValue(_)) => MetadataValue::Null,
        Some(Kind::BoolValue(on)) => MetadataValue::Bool(*on),
        Some(Kind::NumberValue(number)) => MetadataValue::Number(*number),
        Some(Kind::StringValue(text)) => MetadataValue::String(text.as_str().into()),
        Some(Kind::ListValue(list)) => MetadataValue::List(list.values.iter().map(json).collect()),
        Some(Kind::StructValue(fields)) => structure(fields),
    }
}

/// The payload of an `Any` as the type that its URL has been compared with.
pub fn payload<M: prost::Message + Default>(any: &protobuf::Any, at: &Scope<'_>) -> Option<M> {
    match M::decode(any.value.as_slice()) {
        Ok(message) => Some(message),
        Err(error) => at.reject_value(&any.type_url, format!("the payload is malformed: {error}"), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::super::scope::Rejects;
    use super::*;

    #[test]
    fn durations_have_a_meaning_or_a_reason() {
        let rejects = Rejects::default();
        let root = Scope::root("test", &rejects);
        let of = |seconds, nanos| protobuf::Duration { seconds, nanos };
        assert_eq!(duration(Some(&of(1, 500_000_000)), &root), Some(Duration::from_millis(1500)));
        assert_eq!(timeout(Some(&of(0, 0)), Some(Duration::from_secs(3)), &root), None);
        assert_eq!(timeout(None, Some(Duration::from_secs(3)), &root), Some(Duration::from_secs(3)));
        assert!(rejects.is_empty());
        assert_eq!(duration(Some(&of(-1, 0)), &root), None);
        assert_eq!(rejects.len(), 1);
    }

    #[test]
    fn an_address_is_an_ip_and_a_numbered_port() {
        let of = |address: &str, port| core::SocketAddress {
            address: address.into(),
            port_specifier: Some(port),
            ..core::SocketAddress::default()
        };
        let rejects = Rejects::default();
        let root = Scope::root("test", &rejects);
        let good = socket_address(&of("::1", PortSpecifier::PortValue(80)), &root);
        assert_eq!(good.map(|a| a.to_string()).as_deref(), Some("[::1]:80"));
        for (address, port, path) in [
            ("foo", PortSpecifier::PortValue(80), "address"),
            ("1.2.3.4", PortSpecifier::PortValue(70_000), "port_value"),
            ("1.2.3.4", PortSpecifier::NamedPort("http".into()), "named_port"),
        ] {
            let rejects = Rejects::default();
            assert_eq!(socket_address(&of(address, port), &Scope::root("test", &rejects)), None);
            assert_eq!(rejects.into_vec()[0].path, path);
        }
    }

    #[test]
    fn metadata_is_a_struct_by_namespace() {
        let number = protobuf::Value { kind: Some(Kind::NumberValue(2.0)) };
        let fields = protobuf::Struct { fields: [("k".to_owned(), number)].into_iter().collect() };
        let proto = core::Metadata {
            filter_metadata: [("ns".to_owned(), fields)].into_iter().collect(),
            ..core::Metadata::default()
        };
        assert_eq!(metadata(&proto).at(&["ns", "k"]), Some(&MetadataValue::Number(2.0)));
    }
}
