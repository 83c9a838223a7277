//! Further attempts at a request, one after the other.
//!
//! Two reasons, apart from each other:
//!
//! - [`retry`]: the policy says so ([`super::retries`]). The host is chosen anew, after a wait.
//! - [`replay`]: the keep-alive race. An idle connection was closed by its upstream just as the request was sent on it; the request
//!   never met a reader. It goes out again at once, on another connection to the same host, and nobody needs to configure that.
//!   Where a retry policy covers it, that goes first. Only where nothing of a response came, only for connections that had served others, only a few times, and only where sending
//!   again is harmless: what a stream refused (HTTP/2 says so) always, anything else by idempotent methods (RFC 9110 §9.2.2).
//!
//! Called by [`super::relay`] after the first attempt.

use std::time::Duration;

use sampan_filters_api::{Headers, Known, RequestHead, ResponseHead};

use super::attempt::Attempt;
use super::body::BodyReader;
use super::extras::Extras;
use super::progress::Progress;
use super::relay::{End, Relay, finish};
use super::stream::Outcome;
use super::target::Target;
use crate::failure::{Failure, Kind};
use crate::net::alarm::Alarm;
use crate::telemetry::stats::kinds::ClusterCounter;

/// Replays after lost races; each takes another connection, and one that was just opened cannot lose.
const MOST_REPLAYS: u32 = 3;

/// Further attempts, until one succeeds or none is left.
pub(super) async fn retry<'c>(
    relay: Relay<'_, 'c, '_>,
    mut wait: Duration,
    incoming: &mut ResponseHead,
    alarm: &mut Alarm,
    mut body: BodyReader<'c>,
) -> Outcome<'c> {
    loop {
        let target = match next_target(&relay, wait, alarm, &mut body).await {
            Ok(target) => target,
            Err(failure) => return Outcome::Ended(relay.give_up(failure, &body).await),
        };
        let attempt = Attempt::new(&relay, &target);
        let mut outcome = attempt.run(incoming, alarm, &mut body).await;
        if attempt.has_raced(&outcome, &body) {
            outcome = replay(&attempt, incoming, alarm, &mut body).await;
        }
        attempt.ended(&outcome, incoming);
        let next = match &outcome {
            Err(end) => attempt.again(end),
            Ok(_) => None,
        };
        match next {
            Some(next) => wait = next,
            None => return finish(&relay, &target, outcome, body).await,
        }
    }
}

/// Waits, and chooses the host of another attempt.
async fn next_target<'w>(
    relay: &Relay<'w, '_, '_>,
    wait: Duration,
    alarm: &mut Alarm,
    body: &mut BodyReader<'_>,
) -> Result<Target<'w>, Failure> {
    let sleep = async {
        tokio::time::sleep(wait).await;
        Ok(())
    };
    relay.while_client_waits(alarm, body, sleep).await?;
    retry_target(relay)
}

/// The host of another attempt. Tells the upstream what is left of the time.
pub(super) fn retry_target<'w>(relay: &Relay<'w, '_, '_>) -> Result<Target<'w>, Failure> {
    let retries = relay.extras.as_ref().and_then(|extras| extras.retries.as_ref());
    let target = Target::find(relay.context, relay.shared, relay.plan, retries)?;
    announce(&relay.progress, &mut relay.shared.borrow_mut().request.headers);
    Ok(target)
}

/// Sends the request again on another connection, until one has not closed under it.
pub(super) async fn replay(
    attempt: &Attempt<'_, '_, '_, '_>,
    incoming: &mut ResponseHead,
    alarm: &mut Alarm,
    body: &mut BodyReader<'_>,
) -> Result<bool, End> {
    for replays in 1.. {
        attempt.target.cluster.stats().inc(ClusterCounter::UpstreamRqKeepaliveReplay);
        attempt.unheard.set(false);
        let outcome = attempt.send(incoming, alarm, body).await;
        if replays >= MOST_REPLAYS || !attempt.has_raced(&outcome, body) {
            return outcome;
        }
    }
    Err(Failure::from(Kind::UpstreamClosed).into())
}

impl Attempt<'_, '_, '_, '_> {
    /// Whether the attempt failed because its connection was closing, and can be made again.
    pub(super) fn has_raced(&self, outcome: &Result<bool, End>, body: &BodyReader<'_>) -> bool {
        let Err(End::Failure(failure)) = outcome else { return false };
        let relay = self.relay;
        if !self.unheard.get() || failure.after_head || relay.switch.is_some() {
            return false;
        }
        let shared = relay.shared.borrow();
        let harmless = match failure.kind {
            Kind::UpstreamReset { refused } => refused,
            Kind::UpstreamClosed => is_idempotent(shared.request),
            _ => false,
        };
        let extras = relay.extras.as_deref();
        let retries = extras.and_then(|extras| extras.retries.as_ref());
        if retries.is_some_and(|retries| retries.cover(failure, self.target)) {
            // Its limits and waits are the configuration's.
            return false;
        }
        let untouched = relay.framing.is_empty() || shared.info.bytes.received == 0 && !body.is_done();
        harmless && (untouched || extras.is_some_and(Extras::is_whole))
    }
}

/// RFC 9110 §9.2.2. A proxy must not repeat anything else by itself.
fn is_idempotent(request: &RequestHead) -> bool {
    matches!(request.method(), b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE")
}

/// Tells the upstream what is left of the time, where it was told before.
fn announce(progress: &Progress, headers: &mut Headers) {
    if let Some(left) = progress.left_for_try()
        && headers.has(Known::XEnvoyExpectedRqTimeoutMs)
    {
        let millis = left.as_millis().max(1);
        headers.set_known(Known::XEnvoyExpectedRqTimeoutMs, itoa::Buffer::new().format(millis));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_proxy_may_repeat() {
        let idempotent = |method: &[u8]| {
            let mut head = RequestHead::default();
            head.set_method(method);
            is_idempotent(&head)
        };
        for method in [&b"GET"[..], b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"] {
            assert!(idempotent(method));
        }
        for method in [&b"POST"[..], b"PATCH", b"CONNECT", b"get", b"MOVE", b""] {
            assert!(!idempotent(method));
        }
    }
}
