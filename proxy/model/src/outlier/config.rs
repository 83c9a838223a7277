//! The settings of outlier detection (`envoy.config.cluster.v3.OutlierDetection`).

use std::time::Duration;

use super::Reason;

/// Settings.
#[derive(Clone, Debug, PartialEq)]
pub struct OutlierConfig {
    /// `consecutive_5xx`
    pub consecutive_5xx: u32,
    /// `consecutive_gateway_failure`
    pub consecutive_gateway_failure: u32,
    /// `consecutive_local_origin_failure`
    pub consecutive_local_origin_failure: u32,
    /// `split_external_local_origin_errors`: failures to reach a host are not counted as its answers.
    pub split: bool,
    /// `interval`
    pub interval: Duration,
    /// `base_ejection_time`
    pub base_ejection_time: Duration,
    /// `max_ejection_time`
    pub max_ejection_time: Duration,
    /// `max_ejection_time_jitter`
    pub max_ejection_time_jitter: Duration,
    /// `max_ejection_percent`
    pub max_ejection_percent: u32,
    /// `always_eject_one_host`
    pub always_eject_one_host: bool,
    /// `success_rate_minimum_hosts`
    pub success_rate_minimum_hosts: u32,
    /// `success_rate_request_volume`
    pub success_rate_request_volume: u32,
    /// `success_rate_stdev_factor`, in thousandths.
    pub success_rate_stdev_factor: u32,
    /// `failure_percentage_threshold`
    pub failure_percentage_threshold: u32,
    /// `failure_percentage_minimum_hosts`
    pub failure_percentage_minimum_hosts: u32,
    /// `failure_percentage_request_volume`
    pub failure_percentage_request_volume: u32,
    /// `successful_active_health_check_uneject_host`
    pub health_check_unejects: bool,
    /// How often a detected outlier is ejected, in percent.
    pub enforcing: Enforcing,
}

/// `enforcing_*`, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enforcing {
    /// `enforcing_consecutive_5xx`
    pub consecutive_5xx: u32,
    /// `enforcing_consecutive_gateway_failure`
    pub consecutive_gateway_failure: u32,
    /// `enforcing_consecutive_local_origin_failure`
    pub consecutive_local_origin_failure: u32,
    /// `enforcing_success_rate`
    pub success_rate: u32,
    /// `enforcing_local_origin_success_rate`
    pub local_origin_success_rate: u32,
    /// `enforcing_failure_percentage`
    pub failure_percentage: u32,
    /// `enforcing_failure_percentage_local_origin`
    pub failure_percentage_local_origin: u32,
}

impl Enforcing {
    /// The percentage for a reason.
    pub fn of(&self, reason: Reason) -> u32 {
        match reason {
            Reason::ConsecutiveGatewayFailure => self.consecutive_gateway_failure,
            Reason::Consecutive5xx => self.consecutive_5xx,
            Reason::ConsecutiveLocalOriginFailure => self.consecutive_local_origin_failure,
            Reason::SuccessRate => self.success_rate,
            Reason::LocalOriginSuccessRate => self.local_origin_success_rate,
            Reason::FailurePercentage => self.failure_percentage,
            Reason::LocalOriginFailurePercentage => self.failure_percentage_local_origin,
        }
    }
}

impl Default for OutlierConfig {
    fn default() -> Self {
        Self {
            consecutive_5xx: 5,
            consecutive_gateway_failure: 5,
            consecutive_local_origin_failure: 5,
            split: false,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_mins(5),
            max_ejection_time_jitter: Duration::ZERO,
            max_ejection_percent: 10,
            always_eject_one_host: false,
            success_rate_minimum_hosts: 5,
            success_rate_request_volume: 100,
            success_rate_stdev_factor: 1900,
            failure_percentage_threshold: 85,
            failure_percentage_minimum_hosts: 5,
            failure_percentage_request_volume: 50,
            health_check_unejects: true,
            enforcing: Enforcing::default(),
        }
    }
}

impl Default for Enforcing {
    fn default() -> Self {
        Self {
            consecutive_5xx: 100,
            consecutive_gateway_failure: 0,
            consecutive_local_origin_failure: 100,
            success_rate: 100,
            local_origin_success_rate: 100,
            failure_percentage: 0,
            failure_percentage_local_origin: 0,
        }
    }
}
