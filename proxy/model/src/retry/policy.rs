//! `RetryPolicy` of routes and virtual hosts, as the compile step makes it.

use std::time::Duration;

use super::conditions::Conditions;
use crate::route::{HeaderMatch, HeaderName, RequestView};

/// A retry policy.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// `retry_on`
    pub on: Conditions,
    /// `num_retries`
    pub retries: u32,
    /// `per_try_timeout`
    pub per_try_timeout: Option<Duration>,
    /// `per_try_idle_timeout`
    pub per_try_idle_timeout: Option<Duration>,
    /// `retriable_status_codes`
    pub status_codes: Vec<u16>,
    /// `retriable_headers`, of which one must match the response.
    pub headers: Vec<HeaderMatch>,
    /// `retriable_request_headers`, of which one must match the request, if there are any.
    pub request_headers: Vec<HeaderMatch>,
    /// `retry_back_off.base_interval`
    pub base_interval: Duration,
    /// `retry_back_off.max_interval`
    pub max_interval: Duration,
    /// `rate_limited_retry_back_off`
    pub rate_limited: Option<RateLimitedBackOff>,
    /// `retry_host_predicate`
    pub predicates: Vec<HostPredicate>,
    /// `retry_priority`, `previous_priorities`: after how many attempts the priorities that were tried are left out.
    pub priority_update: Option<u32>,
    /// `host_selection_retry_max_attempts`
    pub host_attempts: u32,
}

/// Which hosts a retry does not go to, as long as there are others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPredicate {
    /// Those that were tried.
    Previous,
    /// Canaries.
    Canary,
    /// Those with all of this `envoy.lb` metadata.
    Metadata(Vec<(Box<str>, Box<str>)>),
}

/// `RateLimitedRetryBackOff`: the response says when.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimitedBackOff {
    /// `reset_headers`, of which the first that says something counts.
    pub headers: Vec<ResetHeader>,
    /// `max_interval`: what is later does not count.
    pub max_interval: Duration,
}

/// `ResetHeader`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetHeader {
    /// Its name.
    pub name: HeaderName,
    /// What its value means.
    pub format: ResetFormat,
}

/// What the value of a header means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetFormat {
    /// Seconds from now.
    Seconds,
    /// Seconds since 1970.
    UnixTimestamp,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let base_interval = Duration::from_millis(25);
        Self {
            on: Conditions::default(),
            retries: 1,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            status_codes: Vec::new(),
            headers: Vec::new(),
            request_headers: Vec::new(),
            base_interval,
            max_interval: base_interval * 10,
            rate_limited: None,
            predicates: Vec::new(),
            priority_update: None,
            host_attempts: 1,
        }
    }
}

impl RateLimitedBackOff {
    /// When the response says that another attempt is welcome. `now` is the time since 1970.
    pub fn wait(&self, now: Duration, response: &impl RequestView) -> Option<Duration> {
        self.headers.iter().find_map(|header| {
            let text = std::str::from_utf8(response.header_values(&header.name).next()?).ok()?;
            let number: u64 = text.trim().parse().ok()?;
            let wait = match header.format {
                ResetFormat::Seconds => Duration::from_secs(number),
                ResetFormat::UnixTimestamp => Duration::from_secs(number.checked_sub(now.as_secs())?),
            };
            (wait <= self.max_interval).then_some(wait)
        })
    }
}
