//! Rate limits of routes and filters: what requests are counted by, and token buckets.

#![expect(deprecated, reason = "1.40 accepts the older spelling of metadata")]

use std::time::Duration;

use sampan_api::envoy::config::route::v3 as pb;
use sampan_api::envoy::config::route::v3::rate_limit::action::ActionSpecifier;
use sampan_api::envoy::config::route::v3::rate_limit::action::meta_data::Source;
use sampan_api::envoy::config::route::v3::rate_limit::r#override::OverrideSpecifier;
use sampan_api::envoy::config::route::v3::rate_limit::{HitsAddend, XRateLimitOption};
use sampan_api::envoy::r#type::metadata::v3::MetadataKey;
use sampan_api::envoy::r#type::metadata::v3::metadata_key::path_segment::Segment;
use sampan_api::envoy::r#type::v3::TokenBucket;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::format::Template;

use super::matcher::{self, under};
use super::{ConfigError, FilterContext, duration};
use crate::matcher::Cidr;
use crate::rate_limit::bucket::Shape;
use crate::rate_limit::{Action, Hits, OwnLimit, RateLimit, Value};

const YES: Support = Support::Supported;
const REFUSED: Support = Support::Later("a rate limit that sets it is refused");
const LITERAL: Support = Support::Ignored("values are literal, as they are in Envoy by default");

macro_rules! action {
    ($name:literal) => {
        concat!("envoy.config.route.v3.RateLimit.Action.", $name)
    };
}

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.config.route.v3.RateLimit",
        &[
            ("stage", YES),
            ("disable_key", YES),
            ("actions", YES),
            ("limit", YES),
            ("hits_addend", YES),
            ("apply_on_stream_done", YES),
            ("x_ratelimit_option", YES),
        ],
    ),
    ("envoy.config.route.v3.RateLimit.HitsAddend", &[("*", YES)]),
    ("envoy.config.route.v3.RateLimit.Override", &[("*", YES)]),
    ("envoy.config.route.v3.RateLimit.Override.DynamicMetadata", &[("*", YES)]),
    ("envoy.config.route.v3.RateLimit.Override.RateLimitOverride", &[("*", YES)]),
    ("envoy.config.route.v3.RateLimit.Action", &[("*", YES), ("extension", REFUSED)]),
    (action!("SourceCluster"), &[]),
    (action!("DestinationCluster"), &[]),
    (action!("RequestHeaders"), &[("*", YES)]),
    (action!("QueryParameters"), &[("*", YES)]),
    (action!("RemoteAddress"), &[]),
    (action!("MaskedRemoteAddress"), &[("*", YES)]),
    (action!("GenericKey"), &[("*", YES), ("default_value", LITERAL)]),
    (action!("HeaderValueMatch"), &[("*", YES), ("default_value", LITERAL)]),
    (action!("QueryParameterValueMatch"), &[("*", YES), ("default_value", LITERAL)]),
    (action!("RemoteAddressMatch"), &[("*", YES), ("default_value", LITERAL)]),
    (action!("DynamicMetaData"), &[("*", YES)]),
    (action!("MetaData"), &[("*", YES), ("source", Support::Later("only DYNAMIC is known"))]),
    ("envoy.config.route.v3.QueryParameterMatcher", &[("*", YES)]),
    ("envoy.type.metadata.v3.MetadataKey", &[("*", YES)]),
    ("envoy.type.metadata.v3.MetadataKey.PathSegment", &[("key", YES), ("index", REFUSED)]),
    ("envoy.type.matcher.v3.AddressMatcher", &[("*", YES)]),
    ("xds.core.v3.CidrRange", &[("*", YES)]),
    ("envoy.type.v3.TokenBucket", &[("*", YES)]),
];

/// Buckets are filled no more often than this, as in Envoy.
const SHORTEST: Duration = Duration::from_millis(50);

/// A token bucket at `path`.
pub fn bucket(proto: &TokenBucket, path: &str) -> Result<Shape, ConfigError> {
    let at = under(path, "fill_interval");
    let interval = match &proto.fill_interval {
        Some(interval) => duration(interval, &at)?,
        None => return Err(ConfigError::new(at, "is required")),
    };
    if proto.max_tokens > 0 && interval < SHORTEST {
        let error = ConfigError::new(at, "local rate limit token bucket fill timer must be >= 50ms");
        return Err(error.value(format!("{interval:?}")));
    }
    let per_fill = proto.tokens_per_fill.map_or(1, |wrapper| wrapper.value);
    if per_fill == 0 {
        return Err(ConfigError::new(under(path, "tokens_per_fill"), "must be greater than 0"));
    }
    Ok(Shape::new(proto.max_tokens, per_fill, interval))
}

/// The rate limits of a list at `path`.
pub fn limits(
    protos: &[pb::RateLimit],
    context: &FilterContext<'_>,
    path: &str,
    errors: &mut Vec<ConfigError>,
) -> Vec<RateLimit> {
    let each = protos.iter().enumerate();
    each.map(|(index, proto)| limit(proto, context, &format!("{path}[{index}]"), errors)).collect()
}

/// The rate limit at `path`.
pub fn limit(
    proto: &pb::RateLimit,
    context: &FilterContext<'_>,
    path: &str,
    errors: &mut Vec<ConfigError>,
) -> RateLimit {
    let mut actions = Vec::new();
    for (index, proto) in proto.actions.iter().enumerate() {
        match action(proto, context, &format!("{path}.actions[{index}]")) {
            Ok(action) => actions.push(action),
            Err(error) => errors.push(error),
        }
    }
    let hits = hits(proto.hits_addend.as_ref(), &under(path, "hits_addend")).unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    let limit = self::limit_of(proto, path).unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    RateLimit {
        stage: proto.stage.map_or(0, |wrapper| wrapper.value),
        disable_key: proto.disable_key.as_str().into(),
        actions,
        hits,
        limit,
        on_done: proto.apply_on_stream_done,
        told: match proto.x_ratelimit_option() {
            XRateLimitOption::Unspecified => None,
            XRateLimitOption::Off => Some(false),
            XRateLimitOption::DraftVersion03 => Some(true),
        },
    }
}

/// A limit that takes the place of the service's.
fn limit_of(proto: &pb::RateLimit, path: &str) -> Result<Option<OwnLimit>, ConfigError> {
    match proto.limit.as_ref().and_then(|limit| limit.override_specifier.as_ref()) {
        None => Ok(None),
        Some(OverrideSpecifier::RateLimit(fixed)) => {
            Ok(Some(OwnLimit::Fixed(fixed.requests_per_unit, fixed.unit().as_str_name().into())))
        }
        Some(OverrideSpecifier::DynamicMetadata(from)) => {
            let at = under(path, "limit.dynamic_metadata.metadata_key");
            let Some(key) = &from.metadata_key else { return Err(ConfigError::new(at, "is required")) };
            Ok(Some(OwnLimit::Metadata(key.key.as_str().into(), steps(key, &at)?)))
        }
    }
}

fn hits(proto: Option<&HitsAddend>, path: &str) -> Result<Option<Hits>, ConfigError> {
    let Some(proto) = proto else { return Ok(None) };
    let sign = if proto.is_negative_hits { -1.0 } else { 1.0 };
    match (&proto.number, &*proto.format) {
        (Some(number), "") => Ok(Some(Hits::Number(number.value as f64 * sign))),
        (None, "") => Ok(None),
        (None, format) => {
            let template = Template::parse(format).map_err(|error| {
                ConfigError::new(under(path, "format"), error.reason).value(error.operator).hint(error.hint)
            })?;
            Ok(Some(Hits::Format(template, proto.is_negative_hits)))
        }
        (Some(_), _) => Err(ConfigError::new(path, "only one of number and format may be given")),
    }
}

fn action(
    proto: &pb::rate_limit::Action,
    context: &FilterContext<'_>,
    path: &str,
) -> Result<Action, ConfigError> {
    let plain = |key: &str, value| Action { key: key.into(), value, optional: false };
    let or = |key: &str, default: &str| -> String { if key.is_empty() { default } else { key }.to_owned() };
    let Some(specifier) = &proto.action_specifier else {
        return Err(ConfigError::new(path, "no action is given"));
    };
    Ok(match specifier {
        ActionSpecifier::SourceCluster(_) => {
            plain("source_cluster", Value::Literal(context.service_cluster.into()))
        }
        ActionSpecifier::DestinationCluster(_) => plain("destination_cluster", Value::DestinationCluster),
        ActionSpecifier::RemoteAddress(_) => plain("remote_address", Value::RemoteAddress),
        ActionSpecifier::RequestHeaders(by) => Action {
            key: by.descriptor_key.as_str().into(),
            value: Value::Header(by.header_name.to_ascii_lowercase().into()),
            optional: by.skip_if_absent,
        },
        ActionSpecifier::QueryParameters(by) => Action {
            key: by.descriptor_key.as_str().into(),
            value: Value::Query(by.query_parameter_name.as_str().into()),
            optional: by.skip_if_absent,
        },
        ActionSpecifier::GenericKey(by) => {
            let value = required(&by.descriptor_value, &under(path, "generic_key.descriptor_value"))?;
            plain(&or(&by.descriptor_key, "generic_key"), Value::Literal(value))
        }
        ActionSpecifier::HeaderValueMatch(by) => {
            let path = under(path, "header_value_match");
            let rules = by.headers.iter().enumerate();
            let rules = rules.map(|(i, rule)| matcher::header(rule, &format!("{path}.headers[{i}]")));
            let wanted = by.expect_match.is_none_or(|wrapper| wrapper.value);
            let value = required(&by.descriptor_value, &under(&path, "descriptor_value"))?;
            plain(
                &or(&by.descriptor_key, "header_match"),
                Value::Headers(rules.collect::<Result<_, _>>()?, wanted, value),
            )
        }
        ActionSpecifier::QueryParameterValueMatch(by) => {
            let path = under(path, "query_parameter_value_match");
            let rules = by.query_parameters.iter().enumerate();
            let rules = rules.map(|(i, rule)| matcher::query(rule, &format!("{path}.query_parameters[{i}]")));
            let wanted = by.expect_match.is_none_or(|wrapper| wrapper.value);
            let value = required(&by.descriptor_value, &under(&path, "descriptor_value"))?;
            plain(
                &or(&by.descriptor_key, "query_match"),
                Value::Queries(rules.collect::<Result<_, _>>()?, wanted, value),
            )
        }
        ActionSpecifier::RemoteAddressMatch(by) => {
            let path = under(path, "remote_address_match");
            let value = required(&by.descriptor_value, &under(&path, "descriptor_value"))?;
            let Some(matcher) = &by.address_matcher else {
                return Err(ConfigError::new(under(&path, "address_matcher"), "is required"));
            };
            let ranges = matcher.ranges.iter().map(|range| {
                let length = range.prefix_len.map_or(0, |wrapper| wrapper.value);
                Cidr::new(&range.address_prefix, length).ok_or_else(|| {
                    let error = ConfigError::new(format!("{path}.address_matcher.ranges"), "not a range");
                    error.value(&range.address_prefix)
                })
            });
            plain(
                &or(&by.descriptor_key, "remote_address_match"),
                Value::Addresses(ranges.collect::<Result<_, _>>()?, !matcher.invert_match, value),
            )
        }
        ActionSpecifier::MaskedRemoteAddress(by) => {
            let path = under(path, "masked_remote_address");
            let (v4, v6) = (
                by.v4_prefix_mask_len.map_or(32, |n| n.value),
                by.v6_prefix_mask_len.map_or(128, |n| n.value),
            );
            if v4 > 32 || v6 > 128 {
                return Err(ConfigError::new(path, "a prefix is longer than the address"));
            }
            plain("masked_remote_address", Value::MaskedAddress(v4, v6))
        }
        ActionSpecifier::DynamicMetadata(by) => metadata(
            &by.descriptor_key,
            by.metadata_key.as_ref(),
            &by.default_value,
            false,
            &under(path, "dynamic_metadata"),
        )?,
        ActionSpecifier::Metadata(by) => {
            let path = under(path, "metadata");
            if by.source() != Source::Dynamic {
                let error =
                    ConfigError::new(under(&path, "source"), "only dynamic metadata are supported yet");
                return Err(error.value(by.source().as_str_name()));
            }
            metadata(
                &by.descriptor_key,
                by.metadata_key.as_ref(),
                &by.default_value,
                by.skip_if_absent,
                &path,
            )?
        }
        ActionSpecifier::Extension(extension) => {
            let error =
                ConfigError::new(under(path, "extension"), "descriptor extensions are not supported yet");
            return Err(error.value(&extension.name));
        }
    })
}

fn required(text: &str, path: &str) -> Result<Box<str>, ConfigError> {
    if text.is_empty() { Err(ConfigError::new(path, "is required")) } else { Ok(text.into()) }
}

fn metadata(
    key: &str,
    from: Option<&MetadataKey>,
    default: &str,
    optional: bool,
    path: &str,
) -> Result<Action, ConfigError> {
    let at = under(path, "metadata_key");
    let Some(from) = from else { return Err(ConfigError::new(at, "is required")) };
    let value = Value::Metadata(from.key.as_str().into(), steps(from, &at)?, default.into());
    Ok(Action { key: key.into(), value, optional })
}

/// The path of a metadata key.
fn steps(from: &MetadataKey, at: &str) -> Result<Vec<Box<str>>, ConfigError> {
    let each = from.path.iter().map(|step| match &step.segment {
        Some(Segment::Key(key)) => Ok(key.as_str().into()),
        _ => Err(ConfigError::new(under(at, "path"), "only keys are supported")),
    });
    each.collect()
}
