//! `AccessLogCommon`: what HTTP and TCP entries have in common.

use std::time::Instant;

use sampan_filters_api::format::FormatContext;
use sampan_filters_api::{Flag, Flags, StreamInfo};

use super::{EntryFormat, tls, value};
use crate::telemetry::access_log::wire::Fields;

pub(super) fn write(format: &EntryFormat, context: &FormatContext<'_>, fields: &mut Fields<'_>) {
    let info = context.info;
    let connection = &info.connection;
    value::address(2, info.remote(), fields);
    value::address(3, &connection.local, fields);
    value::address(20, &connection.direct_remote, fields);
    if let Some(session) = connection.tls.as_deref() {
        fields.message(4, |properties| {
            tls::write(session, connection.requested_server_name.as_deref(), properties);
        });
    }
    value::timestamp(5, info.start_time, fields);
    times(info, fields);
    upstream(info, fields);
    if !info.flags.is_empty() {
        fields.message(16, |set| flags(info.flags, set));
    }
    value::metadata(17, &info.metadata, fields);
    fields.text(19, info.route_name().unwrap_or_default().as_bytes());
    for key in &format.filter_state {
        if let Some(object) = info.state(key) {
            fields.entry(21, key, |any| value::string_any(&object.plain(), any));
        }
    }
    for tag in &format.tags {
        fields.text_entry(22, &tag.name, |out| tag.write(context, out));
    }
    value::span(23, info.duration(context.now), fields);
    fields.number(24, info.upstream.attempts.into());
    fields.text(25, info.termination_details.as_bytes());
    fields.text(26, info.stream_id.as_deref().unwrap_or_default());
    fields.text(28, connection.transport_failure.as_bytes());
    fields.number(29, info.bytes.downstream_wire_sent);
    fields.number(30, info.bytes.downstream_wire_received);
    fields.number(31, info.bytes.upstream_wire_sent);
    fields.number(32, info.bytes.upstream_wire_received);
    fields.number(33, context.log_type as u64);
}

/// The moments of the stream, counted from its beginning.
fn times(info: &StreamInfo, fields: &mut Fields<'_>) {
    let upstream = &info.upstream;
    let moments: [(u32, Option<Instant>); 7] = [
        (6, info.request_complete),
        (7, upstream.request_sent.0),
        (8, upstream.request_sent.1),
        (9, upstream.response_received.0),
        (10, upstream.response_received.1),
        (11, info.response_sent.0),
        (12, info.response_sent.1),
    ];
    for (field, moment) in moments {
        if let Some(moment) = moment {
            value::span(field, moment.saturating_duration_since(info.start), fields);
        }
    }
}

fn upstream(info: &StreamInfo, fields: &mut Fields<'_>) {
    let upstream = &info.upstream;
    // Envoy's entry names a cluster only with a host of it.
    if let Some(address) = &upstream.address {
        value::address(13, address, fields);
        fields.text(15, upstream.cluster.as_deref().unwrap_or_default().as_bytes());
    }
    if let Some(address) = &upstream.local {
        value::address(14, address, fields);
    }
    fields.text(18, upstream.transport_failure.as_deref().unwrap_or_default().as_bytes());
}

/// `ResponseFlags`: one truth value for each flag. The last two flags of the list are younger than the message.
fn flags(flags: Flags, fields: &mut Fields<'_>) {
    for flag in flags.iter() {
        match flag {
            // Unauthorized { reason: EXTERNAL_SERVICE }
            Flag::UnauthorizedExternalService => fields.message(13, |details| details.number(1, 1)),
            Flag::DownstreamRemoteReset => fields.number(28, 1),
            Flag::DropOverload | Flag::UnconditionalDropOverload => {}
            // The others are numbered as Envoy prints them.
            flag => fields.number(flag as u32 + 1, 1),
        }
    }
}
