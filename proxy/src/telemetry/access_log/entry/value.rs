//! Addresses, times and metadata as protobuf has them.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sampan_filters_api::Address;
use sampan_filters_api::info::{DynamicMetadata, MetadataValue};

use crate::telemetry::access_log::wire::Fields;

/// `envoy.config.core.v3.Address`
pub(super) fn address(field: u32, address: &Address, fields: &mut Fields<'_>) {
    fields.message(field, |fields| match address {
        Address::Socket(address) => fields.message(1, |socket| {
            ip(address.ip(), socket);
            socket.some_number(3, address.port().into());
        }),
        Address::Pipe(path) => fields.message(2, |pipe| pipe.text(1, path.as_bytes())),
    });
}

fn ip(ip: IpAddr, socket: &mut Fields<'_>) {
    use std::io::Write as _;
    // The longest address takes 45 characters.
    let mut text = [0; 48];
    let mut rest = &mut text[..];
    let room = rest.len();
    if write!(rest, "{ip}").is_ok() {
        let length = room - rest.len();
        socket.text(2, text.get(..length).unwrap_or_default());
    }
}

/// `google.protobuf.Timestamp`; nothing for a clock before 1970.
pub(super) fn timestamp(field: u32, time: SystemTime, fields: &mut Fields<'_>) {
    if let Ok(since) = time.duration_since(UNIX_EPOCH) {
        span(field, since, fields);
    }
}

/// `google.protobuf.Duration`
pub(super) fn span(field: u32, span: Duration, fields: &mut Fields<'_>) {
    fields.message(field, |fields| {
        fields.number(1, span.as_secs());
        fields.number(2, span.subsec_nanos().into());
    });
}

/// `envoy.config.core.v3.Metadata`; nothing if there is none.
pub(super) fn metadata(field: u32, metadata: &DynamicMetadata, fields: &mut Fields<'_>) {
    let mut namespaces = metadata.iter().peekable();
    if namespaces.peek().is_none() {
        return;
    }
    fields.message(field, |fields| {
        for (name, space) in namespaces {
            if let MetadataValue::Struct(members) = space {
                fields.entry(1, name, |fields| structure(members, fields));
            }
        }
    });
}

/// A `google.protobuf.Any` of a `StringValue`, the form in which Envoy serialises its string objects.
pub(super) fn string_any(text: &str, any: &mut Fields<'_>) {
    any.text(1, b"type.googleapis.com/google.protobuf.StringValue");
    any.message(2, |wrapper| wrapper.text(1, text.as_bytes()));
}

/// `google.protobuf.Struct`
fn structure(members: &[(std::sync::Arc<str>, MetadataValue)], fields: &mut Fields<'_>) {
    for (key, member) in members {
        fields.entry(1, key, |fields| value(member, fields));
    }
}

/// `google.protobuf.Value`, which tells every default from absence.
fn value(value: &MetadataValue, fields: &mut Fields<'_>) {
    match value {
        MetadataValue::Null => fields.some_number(1, 0),
        MetadataValue::Number(number) => fields.some_double(2, *number),
        MetadataValue::String(text) => fields.some_text(3, text.as_bytes()),
        MetadataValue::Bool(truth) => fields.some_number(4, u64::from(*truth)),
        MetadataValue::Struct(members) => fields.message(5, |fields| structure(members, fields)),
        MetadataValue::List(items) => fields.message(6, |list| {
            for item in items {
                list.message(1, |fields| self::value(item, fields));
            }
        }),
    }
}
