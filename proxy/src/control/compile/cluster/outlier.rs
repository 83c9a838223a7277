//! `outlier_detection`.

use std::sync::Arc;

use sampan_api::envoy::config::cluster::v3::OutlierDetection;
use sampan_api::google::protobuf::UInt32Value;
use sampan_api::{MessageSupport, Support};
use sampan_model::outlier::{Enforcing, OutlierConfig};

use super::super::{Scope, value};

const YES: Support = Support::Supported;

pub(super) const SUPPORT: &[MessageSupport] = &[(
    "envoy.config.cluster.v3.OutlierDetection",
    &[
        ("consecutive_5xx", YES),
        ("interval", YES),
        ("base_ejection_time", YES),
        ("max_ejection_percent", YES),
        ("enforcing_consecutive_5xx", YES),
        ("enforcing_success_rate", YES),
        ("success_rate_minimum_hosts", YES),
        ("success_rate_request_volume", YES),
        ("success_rate_stdev_factor", YES),
        ("consecutive_gateway_failure", YES),
        ("enforcing_consecutive_gateway_failure", YES),
        ("split_external_local_origin_errors", YES),
        ("consecutive_local_origin_failure", YES),
        ("enforcing_consecutive_local_origin_failure", YES),
        ("enforcing_local_origin_success_rate", YES),
        ("failure_percentage_threshold", YES),
        ("enforcing_failure_percentage", YES),
        ("enforcing_failure_percentage_local_origin", YES),
        ("failure_percentage_minimum_hosts", YES),
        ("failure_percentage_request_volume", YES),
        ("max_ejection_time", YES),
        ("max_ejection_time_jitter", YES),
        ("successful_active_health_check_uneject_host", YES),
        ("always_eject_one_host", YES),
        ("monitors", Support::Later("outliers are found by the fields beside it")),
        ("detect_degraded_hosts", Support::Later("a response cannot mark its host as degraded")),
    ],
)];

pub(super) fn compile(proto: &OutlierDetection, at: &Scope<'_>) -> Arc<OutlierConfig> {
    let standard = OutlierConfig::default();
    let rates = standard.enforcing;
    let or = |field: &Option<UInt32Value>, standard: u32| value::number_or(field.as_ref(), standard);
    let time =
        |field: Option<&_>, name: &str, standard| value::duration(field, &at.field(name)).unwrap_or(standard);
    let base = time(proto.base_ejection_time.as_ref(), "base_ejection_time", standard.base_ejection_time);
    let max_ejection_time = match &proto.max_ejection_time {
        Some(most) => time(Some(most), "max_ejection_time", standard.max_ejection_time),
        None => standard.max_ejection_time.max(base),
    };
    if max_ejection_time < base {
        at.field("max_ejection_time")
            .reject::<()>("outlier detector's max_ejection_time cannot be smaller than base_ejection_time");
    }
    Arc::new(OutlierConfig {
        consecutive_5xx: or(&proto.consecutive_5xx, standard.consecutive_5xx),
        consecutive_gateway_failure: or(
            &proto.consecutive_gateway_failure,
            standard.consecutive_gateway_failure,
        ),
        consecutive_local_origin_failure: or(
            &proto.consecutive_local_origin_failure,
            standard.consecutive_local_origin_failure,
        ),
        split: proto.split_external_local_origin_errors,
        interval: time(proto.interval.as_ref(), "interval", standard.interval),
        base_ejection_time: base,
        max_ejection_time,
        max_ejection_time_jitter: time(
            proto.max_ejection_time_jitter.as_ref(),
            "max_ejection_time_jitter",
            standard.max_ejection_time_jitter,
        ),
        max_ejection_percent: or(&proto.max_ejection_percent, standard.max_ejection_percent),
        always_eject_one_host: value::switch(proto.always_eject_one_host.as_ref()).unwrap_or(false),
        success_rate_minimum_hosts: or(
            &proto.success_rate_minimum_hosts,
            standard.success_rate_minimum_hosts,
        ),
        success_rate_request_volume: or(
            &proto.success_rate_request_volume,
            standard.success_rate_request_volume,
        ),
        success_rate_stdev_factor: or(&proto.success_rate_stdev_factor, standard.success_rate_stdev_factor),
        failure_percentage_threshold: or(
            &proto.failure_percentage_threshold,
            standard.failure_percentage_threshold,
        ),
        failure_percentage_minimum_hosts: or(
            &proto.failure_percentage_minimum_hosts,
            standard.failure_percentage_minimum_hosts,
        ),
        failure_percentage_request_volume: or(
            &proto.failure_percentage_request_volume,
            standard.failure_percentage_request_volume,
        ),
        health_check_unejects: value::switch(proto.successful_active_health_check_uneject_host.as_ref())
            .unwrap_or(true),
        enforcing: Enforcing {
            consecutive_5xx: or(&proto.enforcing_consecutive_5xx, rates.consecutive_5xx),
            consecutive_gateway_failure: or(
                &proto.enforcing_consecutive_gateway_failure,
                rates.consecutive_gateway_failure,
            ),
            consecutive_local_origin_failure: or(
                &proto.enforcing_consecutive_local_origin_failure,
                rates.consecutive_local_origin_failure,
            ),
            success_rate: or(&proto.enforcing_success_rate, rates.success_rate),
            local_origin_success_rate: or(
                &proto.enforcing_local_origin_success_rate,
                rates.local_origin_success_rate,
            ),
            failure_percentage: or(&proto.enforcing_failure_percentage, rates.failure_percentage),
            failure_percentage_local_origin: or(
                &proto.enforcing_failure_percentage_local_origin,
                rates.failure_percentage_local_origin,
            ),
        },
    })
}
