//! `RetryPolicy` of routes and virtual hosts.

use std::time::Duration;

use sampan_api::envoy::config::route::v3::RetryPolicy as Proto;
use sampan_api::envoy::config::route::v3::retry_policy::retry_host_predicate::ConfigType;
use sampan_api::envoy::config::route::v3::retry_policy::retry_priority::ConfigType as PriorityType;
use sampan_api::envoy::config::route::v3::retry_policy::{
    RateLimitedRetryBackOff, ResetHeaderFormat, RetryBackOff, RetryHostPredicate, RetryPriority,
};
use sampan_api::envoy::extensions::retry::host::omit_host_metadata::v3::OmitHostMetadataConfig;
use sampan_api::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use sampan_api::{MessageSupport, Support, type_url};
use sampan_model::retry::{
    Condition, Conditions, HostPredicate, RateLimitedBackOff, ResetFormat, ResetHeader, RetryPolicy,
};
use sampan_model::route::HeaderName;

use super::super::{Scope, extension, labels, matcher, value};

const YES: Support = Support::Supported;

const PREVIOUS_PRIORITIES: &str =
    "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig";

pub(super) const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.config.route.v3.RetryPolicy",
        &[
            ("retry_on", YES),
            ("num_retries", YES),
            ("per_try_timeout", YES),
            ("per_try_idle_timeout", YES),
            ("retry_priority", YES),
            ("retry_host_predicate", YES),
            ("retry_options_predicates", Support::Later("options of the connection stay for a retry")),
            ("host_selection_retry_max_attempts", YES),
            ("retriable_status_codes", YES),
            ("retry_back_off", YES),
            ("rate_limited_retry_back_off", YES),
            ("retriable_headers", YES),
            ("retriable_request_headers", YES),
            ("refresh_cluster_on_retry", Support::Later("a retry goes to the cluster of the first attempt")),
        ],
    ),
    ("envoy.config.route.v3.RetryPolicy.RetryHostPredicate", &[("name", YES), ("typed_config", YES)]),
    ("envoy.config.route.v3.RetryPolicy.RetryBackOff", &[("base_interval", YES), ("max_interval", YES)]),
    (
        "envoy.config.route.v3.RetryPolicy.RateLimitedRetryBackOff",
        &[("reset_headers", YES), ("max_interval", YES)],
    ),
    ("envoy.config.route.v3.RetryPolicy.ResetHeader", &[("name", YES), ("format", YES)]),
    ("envoy.config.route.v3.RetryPolicy.RetryPriority", &[("name", YES), ("typed_config", YES)]),
    (
        "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
        &[("update_frequency", YES)],
    ),
    ("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate", &[]),
    ("envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate", &[]),
    ("envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig", &[("metadata_match", YES)]),
];

/// The policy; `None` if there is none, or after the scope was told why not.
pub(super) fn compile(proto: Option<&Proto>, at: &Scope<'_>) -> Option<RetryPolicy> {
    let proto = proto?;
    let standard = RetryPolicy::default();
    let matchers = |protos: &[_], field: &str| {
        let list = at.field(field);
        let each = protos.iter().enumerate();
        each.filter_map(|(index, proto)| matcher::header(proto, &list.index(index))).collect::<Vec<_>>()
    };
    let mut on = Conditions::parse(&proto.retry_on);
    if !proto.retriable_status_codes.is_empty() && !proto.retry_on.is_empty() {
        on = on.with(Condition::StatusCodes);
    }
    let (base_interval, max_interval) = back_off(proto.retry_back_off.as_ref(), &at.field("retry_back_off"))?;
    let list = at.field("retry_host_predicate");
    let each = proto.retry_host_predicate.iter().enumerate();
    let predicates: Option<Vec<_>> = each.map(|(at, proto)| predicate(proto, &list.index(at))).collect();
    let attempts = proto.host_selection_retry_max_attempts;
    Some(RetryPolicy {
        on,
        retries: value::number_or(proto.num_retries.as_ref(), standard.retries),
        per_try_timeout: value::timeout(proto.per_try_timeout.as_ref(), None, &at.field("per_try_timeout")),
        per_try_idle_timeout: value::timeout(
            proto.per_try_idle_timeout.as_ref(),
            None,
            &at.field("per_try_idle_timeout"),
        ),
        status_codes: proto
            .retriable_status_codes
            .iter()
            .filter_map(|code| u16::try_from(*code).ok())
            .collect(),
        headers: matchers(&proto.retriable_headers, "retriable_headers"),
        request_headers: matchers(&proto.retriable_request_headers, "retriable_request_headers"),
        base_interval,
        max_interval,
        rate_limited: proto
            .rate_limited_retry_back_off
            .as_ref()
            .map(|limited| rate_limited(limited, &at.field("rate_limited_retry_back_off"))),
        predicates: predicates?,
        priority_update: match &proto.retry_priority {
            Some(priority) => Some(self::priority(priority, &at.field("retry_priority"))?),
            None => None,
        },
        host_attempts: if attempts > 0 { attempts.min(64) as u32 } else { standard.host_attempts },
    })
}

fn back_off(proto: Option<&RetryBackOff>, at: &Scope<'_>) -> Option<(Duration, Duration)> {
    let standard = RetryPolicy::default();
    let Some(proto) = proto else { return Some((standard.base_interval, standard.max_interval)) };
    let base = value::duration(proto.base_interval.as_ref(), &at.field("base_interval"));
    let base = base.unwrap_or(standard.base_interval).max(Duration::from_millis(1));
    let most = value::duration(proto.max_interval.as_ref(), &at.field("max_interval"));
    let most = most.unwrap_or(base.saturating_mul(10));
    if most < base {
        return at
            .field("max_interval")
            .reject("retry_policy.max_interval must greater than or equal to the base_interval");
    }
    Some((base, most))
}

fn rate_limited(proto: &RateLimitedRetryBackOff, at: &Scope<'_>) -> RateLimitedBackOff {
    let header = |header: &sampan_api::envoy::config::route::v3::retry_policy::ResetHeader| ResetHeader {
        name: HeaderName::new(&header.name),
        format: match header.format() {
            ResetHeaderFormat::Seconds => ResetFormat::Seconds,
            ResetHeaderFormat::UnixTimestamp => ResetFormat::UnixTimestamp,
        },
    };
    let most = value::duration(proto.max_interval.as_ref(), &at.field("max_interval"));
    RateLimitedBackOff {
        headers: proto.reset_headers.iter().map(header).collect(),
        max_interval: most.unwrap_or(Duration::from_mins(5)),
    }
}

fn priority(proto: &RetryPriority, at: &Scope<'_>) -> Option<u32> {
    let any = proto.config_type.as_ref().map(|PriorityType::TypedConfig(any)| any);
    let Some(any) = any.filter(|any| extension::is(any, PREVIOUS_PRIORITIES)) else {
        return at.field("name").reject_value(
            &proto.name,
            "there is no such retry priority",
            "previous_priorities is",
        );
    };
    let at = at.field("typed_config");
    let config: PreviousPrioritiesConfig = value::payload(any, &at)?;
    match u32::try_from(config.update_frequency) {
        Ok(frequency) if frequency > 0 => Some(frequency),
        _ => at.field("update_frequency").reject("must be greater than 0"),
    }
}

fn predicate(proto: &RetryHostPredicate, at: &Scope<'_>) -> Option<HostPredicate> {
    let any = proto.config_type.as_ref().map(|ConfigType::TypedConfig(any)| any);
    let full = any.map_or("", |any| type_url::full_name(&any.type_url));
    match (full.strip_prefix("envoy.extensions.retry.host.").unwrap_or(full), proto.name.as_str(), any) {
        ("previous_hosts.v3.PreviousHostsPredicate", ..)
        | ("", "envoy.retry_host_predicates.previous_hosts", _) => Some(HostPredicate::Previous),
        ("omit_canary_hosts.v3.OmitCanaryHostsPredicate", ..)
        | ("", "envoy.retry_host_predicates.omit_canary_hosts", _) => Some(HostPredicate::Canary),
        ("omit_host_metadata.v3.OmitHostMetadataConfig", _, Some(any)) => {
            let config: OmitHostMetadataConfig = value::payload(any, &at.field("typed_config"))?;
            let wanted = labels::criteria(config.metadata_match.as_ref(), None).unwrap_or_default();
            Some(HostPredicate::Metadata(wanted.entries))
        }
        _ => at.field("name").reject_value(
            &proto.name,
            "there is no such retry host predicate",
            "previous_hosts, omit_canary_hosts and omit_host_metadata are",
        ),
    }
}
