//! Further attempts of a side call: the `RetryPolicy` of a service that filters ask.
//!
//! The same decisions, circuit breaker and counters as for requests of clients (`http::retries`), but for what belongs to routes: such a
//! policy names no hosts to avoid, and its call has no headers that ask for more.

use std::cell::RefCell;
use std::time::Duration;

use sampan_filters_api::ResponseHead;
use sampan_filters_api::call::Retry;
use sampan_model::retry::{Conditions, Decision, RetryPolicy, RetryState, Wishes};

use super::super::retries::{Answered, Granted, attempted, granted, since_epoch};
use super::super::target::Target;
use crate::failure::Failure;
use crate::upstream::cluster::BreakerPermit;
use crate::worker::Worker;

/// The attempts that one call may have after its first.
pub(super) struct Again<'w> {
    worker: &'w Worker,
    policy: RetryPolicy,
    state: RefCell<RetryState>,
    permit: RefCell<Option<BreakerPermit>>,
}

impl<'w> Again<'w> {
    /// `None` where no condition is one to try again on.
    pub(super) fn new(worker: &'w Worker, retry: &Retry) -> Option<Self> {
        let policy = RetryPolicy {
            on: Conditions::parse(&retry.on),
            retries: retry.retries,
            base_interval: retry.base_interval,
            max_interval: retry.max_interval,
            ..RetryPolicy::default()
        };
        let state = RetryState::new(Some(&policy), &Answered(&ResponseHead::default()), &Wishes::default())?;
        Some(Self { worker, policy, state: RefCell::new(state), permit: RefCell::default() })
    }

    /// Whether an attempt that failed is followed by another one, and after how long.
    pub(super) fn after_failure(&self, target: &Target<'_>, failure: &Failure) -> Option<Duration> {
        let attempted = attempted(failure, target)?;
        let mut state = self.state.borrow_mut();
        let decision = self.worker.with_rng(|rng| state.after_reset(&self.policy, attempted, rng));
        self.settle(decision, state.done(), target)
    }

    /// Whether a response is thrown away for another attempt, and after how long.
    pub(super) fn after_response(&self, target: &Target<'_>, head: &ResponseHead) -> Option<Duration> {
        let mut state = self.state.borrow_mut();
        let decision = self.worker.with_rng(|rng| {
            state.after_response(&self.policy, head.status, &Answered(head), since_epoch(), rng)
        });
        self.settle(decision, state.done(), target)
    }

    fn settle(&self, decision: Decision, done: u32, target: &Target<'_>) -> Option<Duration> {
        // What the last attempt took is given back before it is asked for anew.
        *self.permit.borrow_mut() = None;
        let Granted::Again(wait, permit) = granted(decision, done, target) else { return None };
        *self.permit.borrow_mut() = Some(permit);
        Some(wait)
    }
}
