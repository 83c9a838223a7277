//! The retries of one request on the data path: the model's decision, the circuit breaker, what is kept, what is counted.
//!
//! Made by [`super::extras`] for requests whose route, or whose client by its headers, asks for retries; no other request has one.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use sampan_filters_api::{Flag, Headers, Known, ResponseHead};
use sampan_model::cluster::{Host, Member};
use sampan_model::lb::Within;
use sampan_model::retry::{Attempted, Decision, HostPredicate, RetryPolicy, RetryState, Wishes};
use sampan_model::route::{HeaderName, RequestView};

use super::chain::Shared;
use super::connection::HttpContext;
use super::relay::Plan;
use super::route::View;
use super::target::Target;
use crate::failure::{Failure, Kind};
use crate::telemetry::stats::kinds::ClusterCounter;
use crate::upstream::cluster::{BreakerPermit, WorkerCluster};

static STANDARD: LazyLock<RetryPolicy> = LazyLock::new(RetryPolicy::default);

/// The retries of one request.
pub(super) struct Retries<'p> {
    policy: &'p RetryPolicy,
    state: RefCell<RetryState>,
    tried: RefCell<Vec<Arc<Host>>>,
    /// How many of them no longer count for the choice of a priority.
    forgotten: Cell<usize>,
    permit: RefCell<Option<BreakerPermit>>,
}

/// What follows a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is thrown away for another attempt, after this time.
    Again(Duration),
    /// It would be, but there may be no other attempt.
    Enough,
    /// It is what the client gets.
    Fine,
}

/// A response head as conditions on headers read it.
pub(super) struct Answered<'r>(pub &'r ResponseHead);

impl RequestView for Answered<'_> {
    fn path(&self) -> &[u8] {
        b""
    }

    fn method(&self) -> &[u8] {
        b""
    }

    fn authority(&self) -> &[u8] {
        b""
    }

    fn scheme(&self) -> &[u8] {
        b""
    }

    fn header_values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.0.headers.values(name.as_bytes())
    }
}

impl<'p> Retries<'p> {
    /// The retries that a request may have; `None` if nobody asks for any.
    pub(super) fn new(plan: &'p Plan<'p>, shared: &Shared<'_>) -> Option<Self> {
        let policy = plan.retry_policy();
        let headers = &shared.request.headers;
        if policy.is_none() && !headers.has(Known::XEnvoyRetryOn) && !headers.has(Known::XEnvoyRetryGrpcOn) {
            return None;
        }
        let view = View { request: shared.request, tls: None };
        let state = RetryState::new(policy, &view, &wishes(headers))?;
        Some(Self {
            policy: policy.unwrap_or(&STANDARD),
            state: RefCell::new(state),
            tried: RefCell::default(),
            forgotten: Cell::new(0),
            permit: RefCell::default(),
        })
    }

    /// How many hosts are looked at for a retry, to find one that may serve it.
    pub(super) fn host_attempts(&self) -> u32 {
        if self.policy.predicates.is_empty() { 0 } else { self.policy.host_attempts }
    }

    /// The priority for a retry, where the policy would rather have another one than those that were tried.
    pub(super) fn priority(&self, cluster: &WorkerCluster, rng: &mut fastrand::Rng) -> Option<Within> {
        let every = self.policy.priority_update? as usize;
        let tried = self.tried.borrow();
        let tried = &tried[self.forgotten.get()..];
        // Between two updates nothing changes.
        let counted = tried.len() - tried.len() % every;
        if counted == 0 {
            return None;
        }
        let (within, again) = cluster.untried_priority(&tried[..counted], rng.u64(..));
        if again {
            self.forgotten.set(self.forgotten.get() + tried.len());
        }
        within
    }

    /// Whether a retry would rather not go to a host.
    pub(super) fn avoids(&self, member: &Member) -> bool {
        self.policy.predicates.iter().any(|predicate| match predicate {
            HostPredicate::Previous => self.tried.borrow().iter().any(|host| Arc::ptr_eq(host, &member.host)),
            HostPredicate::Canary => member.canary,
            HostPredicate::Metadata(wanted) => {
                !wanted.is_empty() && member.labels.as_ref().is_some_and(|labels| labels.has_all(wanted))
            }
        })
    }

    /// Whether an attempt that failed is followed by another one, and after how long.
    pub(super) fn after_failure(
        &self,
        context: &HttpContext,
        shared: &RefCell<Shared<'_>>,
        target: &Target<'_>,
        failure: &Failure,
    ) -> Option<Duration> {
        let attempted = attempted(failure, target)?;
        let decide =
            |rng: &mut fastrand::Rng| self.state.borrow_mut().after_reset(self.policy, attempted, rng);
        match self.settle(context.worker.with_rng(decide), shared, target) {
            Next::Again(wait) => Some(wait),
            Next::Enough | Next::Fine => None,
        }
    }

    /// Whether the policy is there for a failure, and has a retry left.
    pub(super) fn cover(&self, failure: &Failure, target: &Target<'_>) -> bool {
        attempted(failure, target).is_some_and(|attempted| self.state.borrow().covers(attempted))
    }

    /// Whether another attempt is begun beside one that takes too long, and after how long.
    pub(super) fn beside(
        &self,
        context: &HttpContext,
        shared: &RefCell<Shared<'_>>,
        target: &Target<'_>,
    ) -> Option<Duration> {
        let decide =
            |rng: &mut fastrand::Rng| self.state.borrow_mut().after_reset(self.policy, Attempted::Late, rng);
        match self.settle(context.worker.with_rng(decide), shared, target) {
            Next::Again(wait) => Some(wait),
            Next::Enough | Next::Fine => None,
        }
    }

    /// Whether a response would be thrown away for another attempt, if that had not been begun.
    pub(super) fn would_retry(&self, head: &ResponseHead) -> bool {
        self.state.borrow().is_worth_it(self.policy, head.status, &Answered(head))
    }

    /// Whether a response is thrown away for another attempt.
    pub(super) fn after_response(
        &self,
        context: &HttpContext,
        shared: &RefCell<Shared<'_>>,
        target: &Target<'_>,
        head: &ResponseHead,
    ) -> Next {
        let now = since_epoch();
        let decide = |rng: &mut fastrand::Rng| {
            self.state.borrow_mut().after_response(self.policy, head.status, &Answered(head), now, rng)
        };
        self.settle(context.worker.with_rng(decide), shared, target)
    }

    fn settle(&self, decision: Decision, shared: &RefCell<Shared<'_>>, target: &Target<'_>) -> Next {
        // What the last retry took is given back before it is asked for anew.
        *self.permit.borrow_mut() = None;
        match granted(decision, self.state.borrow().done(), target) {
            Granted::Fine => Next::Fine,
            Granted::LimitExceeded => {
                shared.borrow_mut().info.flags.set_retry_limit();
                Next::Enough
            }
            Granted::Overflow => {
                shared.borrow_mut().info.flags.set(Flag::UpstreamOverflow);
                Next::Enough
            }
            Granted::Again(wait, permit) => {
                *self.permit.borrow_mut() = Some(permit);
                self.tried.borrow_mut().push(target.host().clone());
                Next::Again(wait)
            }
        }
    }
}

/// What becomes of a decision in view of the circuit breaker of retries.
pub(super) enum Granted {
    /// Another attempt, after this time; the place in the breaker is for as long as it takes.
    Again(Duration, BreakerPermit),
    /// There were enough of them.
    LimitExceeded,
    /// The breaker is open.
    Overflow,
    /// No other attempt is wanted.
    Fine,
}

/// Asks the circuit breaker, and counts what comes of it. `done` is how many retries there were.
pub(super) fn granted(decision: Decision, done: u32, target: &Target<'_>) -> Granted {
    let stats = target.cluster.stats();
    let (wait, counter) = match decision {
        Decision::Retry(wait) => (wait, ClusterCounter::UpstreamRqRetryBackoffExponential),
        Decision::RetryWhenTold(wait) => (wait, ClusterCounter::UpstreamRqRetryBackoffRatelimited),
        Decision::No => {
            if done > 0 {
                stats.inc(ClusterCounter::UpstreamRqRetrySuccess);
            }
            return Granted::Fine;
        }
        Decision::LimitExceeded => {
            stats.inc(ClusterCounter::UpstreamRqRetryLimitExceeded);
            return Granted::LimitExceeded;
        }
    };
    let Ok(permit) = target.cluster.try_acquire_retry(target.priority) else {
        stats.inc(ClusterCounter::UpstreamRqRetryOverflow);
        return Granted::Overflow;
    };
    stats.inc(ClusterCounter::UpstreamRqRetry);
    stats.inc(counter);
    Granted::Again(wait, permit)
}

/// The time since 1970, for answers that tell when they want to be asked again.
pub(super) fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn wishes(headers: &Headers) -> Wishes<'_> {
    let text =
        |known| headers.known(known).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
    Wishes {
        on: text(Known::XEnvoyRetryOn),
        grpc_on: text(Known::XEnvoyRetryGrpcOn),
        max_retries: text(Known::XEnvoyMaxRetries),
        status_codes: text(Known::XEnvoyRetriableStatusCodes),
        header_names: text(Known::XEnvoyRetriableHeaderNames),
    }
}

/// What a failure is to the policy; nothing if it is not an attempt's.
pub(super) fn attempted(failure: &Failure, target: &Target<'_>) -> Option<Attempted> {
    Some(match failure.kind {
        _ if failure.after_head => return None,
        _ if failure.is_connect() => Attempted::ConnectFailure,
        Kind::UpstreamReset { refused: true } => Attempted::RefusedStream,
        Kind::UpstreamClosed | Kind::UpstreamReset { .. } | Kind::UpstreamProtocol(_) => {
            Attempted::Reset { sent: target.is_attached() }
        }
        Kind::PerTryTimeout | Kind::PerTryIdleTimeout => Attempted::PerTryTimeout,
        // Given up by this side, which counts as a reset.
        Kind::UpstreamMaxDuration => Attempted::Reset { sent: target.is_attached() },
        Kind::Overflow => Attempted::Refused,
        _ => return None,
    })
}
