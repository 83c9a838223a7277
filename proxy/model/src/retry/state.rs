//! The retries of one request.

use std::time::Duration;

use super::conditions::{Condition, Conditions};
use super::policy::RetryPolicy;
use crate::route::{HeaderName, RequestView};

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempted {
    /// No connection.
    ConnectFailure,
    /// The host refused the stream before it looked at it.
    RefusedStream,
    /// The stream ended without a response.
    Reset {
        /// Whether a byte of the request was sent.
        sent: bool,
    },
    /// The response did not come within the time of one try.
    PerTryTimeout,
    /// It takes longer than one try may, and goes on: another one is begun beside it whatever the conditions are.
    Late,
    /// The circuit breaker was open, or there was no host.
    Refused,
}

/// Whether there is to be another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// There is, after this time.
    Retry(Duration),
    /// There is, after the time that the response has asked for.
    RetryWhenTold(Duration),
    /// What came is the answer.
    No,
    /// There would be, but there were enough (`upstream_rq_retry_limit_exceeded`).
    LimitExceeded,
}

/// The retries of one request.
#[derive(Clone, Debug)]
pub struct RetryState {
    on: Conditions,
    left: u32,
    done: u32,
    /// Statuses that the client names beside the route's.
    status_codes: Vec<u16>,
    /// Headers that the client names beside the route's.
    header_names: Vec<HeaderName>,
}

impl RetryState {
    /// What the policy and the request together allow; `None` if that is nothing.
    pub fn new(
        policy: Option<&RetryPolicy>,
        request: &impl RequestView,
        wishes: &Wishes<'_>,
    ) -> Option<Self> {
        let mut on = policy.map_or(Conditions::default(), |policy| policy.on);
        let mut left = policy.map_or(1, |policy| policy.retries);
        let asked = Conditions::parse(wishes.on).or(Conditions::parse(wishes.grpc_on));
        if wishes.on.is_empty() && wishes.grpc_on.is_empty() && on.is_empty() {
            return None;
        }
        on = on.or(asked);
        let rules = policy.map_or(&[][..], |policy| &policy.request_headers);
        if !rules.is_empty() && !rules.iter().any(|rule| rule.is_match(request)) {
            return None;
        }
        if let Ok(most) = wishes.max_retries.trim().parse() {
            left = most;
        }
        let codes = wishes.status_codes.split(',').filter_map(|code| code.trim().parse().ok());
        let names = wishes.header_names.split(',').map(str::trim).filter(|name| !name.is_empty());
        Some(Self {
            on,
            left,
            done: 0,
            status_codes: codes.collect(),
            header_names: names.map(HeaderName::new).collect(),
        })
    }

    /// How many retries there were.
    pub fn done(&self) -> u32 {
        self.done
    }

    /// Whether another attempt may follow; without, nothing need be kept for it.
    pub fn may_retry(&self) -> bool {
        self.left > 0 && !self.on.is_empty()
    }

    /// Whether another attempt would follow one that ended so.
    pub fn covers(&self, attempted: Attempted) -> bool {
        self.left > 0 && self.is_worth_trying(attempted)
    }

    fn is_worth_trying(&self, attempted: Attempted) -> bool {
        let on = self.on;
        let broken =
            on.has(Condition::Reset) || on.has(Condition::ServerError) || on.has(Condition::GatewayError);
        match attempted {
            Attempted::Refused => false,
            Attempted::ConnectFailure => {
                on.has(Condition::ConnectFailure) || on.has(Condition::ResetBeforeRequest) || broken
            }
            Attempted::RefusedStream => on.has(Condition::RefusedStream) || broken,
            Attempted::Reset { sent } => broken || !sent && on.has(Condition::ResetBeforeRequest),
            Attempted::PerTryTimeout => broken,
            Attempted::Late => true,
        }
    }

    /// What to do about an attempt without a response.
    pub fn after_reset(
        &mut self,
        policy: &RetryPolicy,
        attempted: Attempted,
        rng: &mut fastrand::Rng,
    ) -> Decision {
        let worth = self.is_worth_trying(attempted);
        self.decide(policy, worth, None, rng)
    }

    /// What to do about a response. `now` is the time since 1970.
    pub fn after_response(
        &mut self,
        policy: &RetryPolicy,
        status: u16,
        response: &impl RequestView,
        now: Duration,
        rng: &mut fastrand::Rng,
    ) -> Decision {
        let worth = self.is_worth_it(policy, status, response);
        let told = policy.rate_limited.as_ref().filter(|_| worth);
        let told = told.and_then(|limited| limited.wait(now, response));
        self.decide(policy, worth, told, rng)
    }

    /// Whether a condition holds for a response.
    pub fn is_worth_it(&self, policy: &RetryPolicy, status: u16, response: &impl RequestView) -> bool {
        static RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");
        static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
        let on = self.on;
        if response.header_values(&RATE_LIMITED).next().is_some() {
            return on.has(Condition::RateLimited);
        }
        let named = || {
            policy.headers.iter().any(|rule| rule.is_match(response))
                || self.header_names.iter().any(|name| response.header_values(name).next().is_some())
        };
        let listed = || policy.status_codes.contains(&status) || self.status_codes.contains(&status);
        let grpc = || {
            let value = response.header_values(&GRPC_STATUS).next()?;
            std::str::from_utf8(value).ok()?.parse::<u32>().ok()
        };
        on.has(Condition::ServerError) && (500..600).contains(&status)
            || on.has(Condition::GatewayError) && (502..=504).contains(&status)
            || on.has(Condition::Retriable4xx) && status == 409
            || on.has(Condition::StatusCodes) && listed()
            || on.has(Condition::Headers) && named()
            || grpc().is_some_and(|status| on.has_grpc(status))
    }

    fn decide(
        &mut self,
        policy: &RetryPolicy,
        worth: bool,
        told: Option<Duration>,
        rng: &mut fastrand::Rng,
    ) -> Decision {
        if !worth {
            return Decision::No;
        }
        if self.left == 0 {
            return Decision::LimitExceeded;
        }
        self.left -= 1;
        self.done += 1;
        if let Some(wait) = told {
            // Up to half as long again, so that not all come back at once.
            return Decision::RetryWhenTold(wait + wait.mul_f64(rng.f64() / 2.0));
        }
        let doublings = (self.done - 1).min(20);
        let most = policy.base_interval.saturating_mul(1 << doublings).min(policy.max_interval);
        Decision::Retry(most.mul_f64(rng.f64()))
    }
}

/// What the client's `x-envoy-*` headers ask for; empty where they do not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes<'w> {
    /// `x-envoy-retry-on`
    pub on: &'w str,
    /// `x-envoy-retry-grpc-on`
    pub grpc_on: &'w str,
    /// `x-envoy-max-retries`
    pub max_retries: &'w str,
    /// `x-envoy-retriable-status-codes`
    pub status_codes: &'w str,
    /// `x-envoy-retriable-header-names`
    pub header_names: &'w str,
}
