//! `local_reply_config` of the HTTP connection manager: what the proxy's own answers look like.

use sampan_api::envoy::config::core::v3::SubstitutionFormatString;
use sampan_api::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters::config::data_source;

use super::{Scope, access_log, format, headers, network, value};
use crate::http::local_reply::{Body, BodyFormat, LocalReplyConfig, Mapper};
use crate::telemetry::access_log::LineFormat;

const YES: Support = Support::Supported;

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig",
        &[("mappers", YES), ("body_format", YES)],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.ResponseMapper",
        &[
            ("filter", YES),
            ("status_code", YES),
            ("body", YES),
            ("body_format_override", YES),
            ("headers_to_add", YES),
        ],
    ),
];

/// The longest body of a mapper; it is kept in memory.
const BODY_LIMIT: usize = 1 << 20;

/// Compiles the configuration; nothing changes where there is none.
pub fn compile(proto: Option<&pb::LocalReplyConfig>, at: &Scope<'_>) -> LocalReplyConfig {
    let Some(proto) = proto else { return LocalReplyConfig::default() };
    let list = at.field("mappers");
    let each = proto.mappers.iter().enumerate();
    LocalReplyConfig {
        mappers: each.filter_map(|(index, mapper)| self::mapper(mapper, &list.index(index))).collect(),
        format: proto.body_format.as_ref().and_then(|format| body_format(format, &at.field("body_format"))),
    }
}

fn mapper(proto: &pb::ResponseMapper, at: &Scope<'_>) -> Option<Mapper> {
    let filter = match &proto.filter {
        Some(filter) => access_log::filter(filter, &at.field("filter")),
        None => at.field("filter").reject("is required"),
    };
    let status = value::number(proto.status_code.as_ref()).and_then(|status| match u16::try_from(status) {
        Ok(status) if (200..600).contains(&status) => Some(status),
        _ => at.field("status_code").reject_value(status, "a status is between 200 and 599", ""),
    });
    let body = proto.body.as_ref().and_then(|source| {
        let read = data_source(source, BODY_LIMIT, "body").map_err(|error| vec![error]);
        network::tell(read, at).map(Vec::into_boxed_slice)
    });
    let format = proto
        .body_format_override
        .as_ref()
        .and_then(|format| body_format(format, &at.field("body_format_override")));
    let headers = headers::adds(&proto.headers_to_add, &at.field("headers_to_add"));
    Some(Mapper { filter: filter?, status, body, headers, format })
}

fn body_format(proto: &SubstitutionFormatString, at: &Scope<'_>) -> Option<BodyFormat> {
    let body = match format::substitution(proto, at)? {
        LineFormat::Text(template) => Body::Text(template),
        LineFormat::Json(template) => Body::Json(template),
    };
    let content_type = (!proto.content_type.is_empty()).then(|| proto.content_type.as_str().into());
    Some(BodyFormat { content_type, body })
}
