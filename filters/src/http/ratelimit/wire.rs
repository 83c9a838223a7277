//! `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`: what is asked and answered, on the wire.

use prost::Message;
use sampan_api::envoy::config::core::v3::HeaderValue;
use sampan_api::envoy::extensions::common::ratelimit::v3 as common;
use sampan_api::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor as descriptor;
use sampan_api::envoy::service::ratelimit::v3 as pb;
use sampan_api::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit;
use sampan_api::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus};
use sampan_api::envoy::r#type::v3::RateLimitUnit;
use sampan_api::google::protobuf;
use sampan_filters_api::info::MetadataValue;

use super::{Answer, Status};
use crate::config::value::structure;
use crate::rate_limit::Descriptor;

/// The method.
pub(super) const METHOD: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// Asks about descriptors.
pub(super) fn request(domain: &str, descriptors: &[Descriptor]) -> Vec<u8> {
    let descriptors = descriptors.iter().map(|one| common::RateLimitDescriptor {
        entries: one
            .entries
            .iter()
            .map(|(key, value)| descriptor::Entry { key: key.to_string(), value: value.to_string() })
            .collect(),
        limit: one.limit.as_ref().and_then(|(requests, unit)| {
            Some(descriptor::RateLimitOverride {
                requests_per_unit: *requests,
                unit: RateLimitUnit::from_str_name(unit)?.into(),
            })
        }),
        hits_addend: one.hits.map(|hits| protobuf::UInt64Value { value: hits.abs() as u64 }),
        is_negative_hits: one.hits.is_some_and(|hits| hits < 0.0),
    });
    let descriptors = descriptors.collect();
    pb::RateLimitRequest { domain: domain.to_owned(), descriptors, hits_addend: 0 }.encode_to_vec()
}

/// What the service answered; none where that cannot be read.
pub(super) fn answer(message: &[u8]) -> Option<Answer> {
    let response = pb::RateLimitResponse::decode(message).ok()?;
    let metadata = match response.dynamic_metadata.as_ref().map(structure) {
        Some(MetadataValue::Struct(fields)) => fields,
        _ => Vec::new(),
    };
    Some(Answer {
        over: response.overall_code() == Code::OverLimit,
        statuses: response.statuses.iter().map(status).collect(),
        response_headers: fields(response.response_headers_to_add),
        request_headers: fields(response.request_headers_to_add),
        body: response.raw_body.into(),
        metadata,
    })
}

fn status(proto: &DescriptorStatus) -> Status {
    let limit = proto.current_limit.as_ref();
    Status {
        over: proto.code() == Code::OverLimit,
        limit: limit
            .map(|limit| (limit.requests_per_unit, seconds(limit.unit()), limit.name.as_str().into())),
        remaining: proto.limit_remaining,
        reset: proto.duration_until_reset.as_ref().map(|left| u64::try_from(left.seconds).unwrap_or(0)),
    }
}

/// The length of a unit; as in Envoy, a month has 30 days and a year 365.
fn seconds(unit: Unit) -> u32 {
    const DAY: u32 = 24 * 60 * 60;
    match unit {
        Unit::Unknown => 0,
        Unit::Second => 1,
        Unit::Minute => 60,
        Unit::Hour => 60 * 60,
        Unit::Day => DAY,
        Unit::Week => 7 * DAY,
        Unit::Month => 30 * DAY,
        Unit::Year => 365 * DAY,
    }
}

fn fields(protos: Vec<HeaderValue>) -> Vec<(Box<str>, Vec<u8>)> {
    let each = protos.into_iter().map(|header| {
        let value = if header.value.is_empty() { header.raw_value } else { header.value.into_bytes() };
        (header.key.to_ascii_lowercase().into(), value)
    });
    each.collect()
}
