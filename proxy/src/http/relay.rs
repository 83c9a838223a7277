//! A request on its way to an upstream, through all of its attempts: what they have in common, and how it ends.
//!
//! ```text
//! forward: cluster and host --> attempt --'-- the response is complete -------------------------> the stream's end
//!                                  ^      |-- its idle connection closed as it came (`again`) --> the same host again
//!                                  |      |-- another attempt is worth it (`retries`) ----------> back off, another host
//!                                  |      |-- the upstream redirects (`internal_redirect`) -----> the stream begins anew
//!                                  '------'-- it takes too long (`hedge`) ----------------------> another one beside it
//! ```
//! Called by [`super::stream`]. Most requests have one attempt and none of [`Extras`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use sampan_filters_api::{Headers, Known, LocalReply, Protocol, ResponseHead};
use sampan_model::retry::RetryPolicy;

use super::attempt::Attempt;
use super::body::{BodyReader, Frame};
use super::chain::{Interrupt, Shared};
use super::connection::HttpContext;
use super::exchange::{Exchange, Responder, Wire};
use super::extras::Extras;
use super::h1::Framing;
use super::progress::{Progress, Try};
use super::route::{Forward, HeaderLevels, RouteConfig, Special};
use super::stream::{self, Ended, Hit, Outcome};
use super::target::Target;
use super::{again, hedge, timeouts, upgrade};
use crate::failure::{Failure, Kind};
use crate::net::alarm::Alarm;
use crate::telemetry::stats::kinds::{HttpCounter, HttpRouterCounter};

/// What the route says about a request.
pub struct Plan<'p> {
    /// The route configuration.
    pub routes: &'p RouteConfig,
    /// The matched route.
    pub hit: Hit<'p>,
    /// Its action.
    pub forward: &'p Forward,
    /// The stream's random value.
    pub random: u64,
    /// The number of the weighted cluster that was chosen, where the route has such.
    pub share: usize,
}

impl<'p> Plan<'p> {
    /// The retries that the route allows, or else its virtual host.
    pub(super) fn retry_policy(&self) -> Option<&'p RetryPolicy> {
        self.forward.retry.as_ref().or(self.hit.host.payload().retry.as_ref())
    }

    /// What few routes ask for.
    pub(super) fn special(&self) -> Option<&'p Special> {
        self.forward.special.as_deref()
    }

    /// Whether a try that takes too long goes on beside another one; an internal client may say so by a header.
    pub(super) fn hedges(&self, headers: &Headers) -> bool {
        match headers.known(Known::XEnvoyHedgeOnPerTryTimeout) {
            Some(b"true") => true,
            Some(b"false") => false,
            _ => self.special().is_some_and(|special| special.hedge),
        }
    }

    /// Header changes of the route, its weighted cluster included, for answers of our own.
    pub(super) fn levels(&self) -> HeaderLevels<'_> {
        stream::forward_levels(self.routes, &self.hit, self.share).unwrap_or_default()
    }

    /// `include_attempt_count_in_response`, for failures: the count, once there was an attempt.
    pub(super) fn attempts(&self, shared: &RefCell<Shared<'_>>) -> Headers {
        let mut headers = Headers::new();
        let attempts = shared.borrow().info.upstream.attempts;
        if attempts > 0 && self.hit.host.payload().attempt_count_in_response {
            headers.set_known(Known::XEnvoyAttemptCount, itoa::Buffer::new().format(attempts));
        }
        headers
    }
}

/// Forwards a request and its response.
pub async fn forward<'c>(
    context: &HttpContext,
    shared: &RefCell<Shared<'_>>,
    incoming: &mut ResponseHead,
    alarm: &mut Alarm,
    exchange: Exchange<'c>,
    plan: &Plan<'_>,
) -> Outcome<'c> {
    let target = match Target::find(context, shared, plan, None) {
        Ok(target) => target,
        Err(failure) => {
            let (responder, more) = (exchange.into_responder(), plan.attempts(shared));
            let levels = plan.levels();
            return stream::fail_with(context, shared, responder, &failure, &levels, more).await.into();
        }
    };
    // In a statement of its own: as what is matched on, the borrow would last until the reply is sent.
    let decided = upgrade::decide(&context.config, plan.forward, shared.borrow().request);
    let switch = match decided {
        Ok(switch) => switch,
        Err(reply) => {
            shared.borrow_mut().info.upstream.attempts = 0;
            let responder = exchange.into_responder();
            return Outcome::Ended(stream::answer(context, shared, responder, *reply, &plan.levels()).await);
        }
    };
    let Exchange { version, mut body, framing, responder, expects_continue, wire, .. } = exchange;
    let deadlines = timeouts::deadlines(context, plan, &target.cluster, &mut shared.borrow_mut());
    let progress = Progress::new(deadlines, framing.is_empty() && switch.is_none(), target.since);
    let extras =
        if switch.is_none() { Extras::of(plan, &shared.borrow(), &body, context.buffer_limit) } else { None };
    let responder = RefCell::new(Some(responder));
    let relay = Relay {
        context,
        shared,
        plan,
        progress,
        responder,
        switch,
        version,
        framing,
        expects_continue,
        wire,
        extras,
    };
    if relay.hedges() {
        return Box::pin(hedge::forward(relay, target, alarm, body)).await;
    }
    let attempt = Attempt::new(&relay, &target);
    let mut outcome = attempt.run(incoming, alarm, &mut body).await;
    if outcome.is_err() && attempt.has_raced(&outcome, &body) {
        outcome = Box::pin(again::replay(&attempt, incoming, alarm, &mut body)).await;
    }
    attempt.ended(&outcome, incoming);
    let Err(end) = &outcome else { return finish(&relay, &target, outcome, body).await };
    let Some(wait) = attempt.again(end) else { return finish(&relay, &target, outcome, body).await };
    // What it took of the cluster is given back first.
    drop(attempt);
    drop(target);
    Box::pin(again::retry(relay, wait, incoming, alarm, body)).await
}

/// The end of a stream, after its last attempt.
pub(super) async fn finish<'c>(
    relay: &Relay<'_, 'c, '_>,
    target: &Target<'_>,
    outcome: Result<bool, End>,
    mut body: BodyReader<'c>,
) -> Outcome<'c> {
    if let Err(End::Failure(failure)) = &outcome
        && failure.is_connect()
    {
        Box::pin(take_arrived(relay.shared, &mut body)).await;
    }
    let mut responder = relay.responder.take();
    if let Some(responder) = &mut responder
        && (!body.is_done() || relay.switch.is_some())
    {
        responder.close_after();
    }
    match (outcome, responder) {
        (Ok(keep), _) => Outcome::Ended(Ended { keep: keep && body.is_done(), anew: None }),
        (Err(End::Redirected), Some(responder)) => Outcome::Again(Box::new(relay.anew(responder, body))),
        (Err(end), responder) => match Box::pin(relay.end(target, end, responder)).await {
            // The body is over; it is kept to see a client that leaves.
            Ended { anew: Some(responder), .. } => Outcome::Again(Box::new(Exchange {
                version: relay.version,
                framing: Framing::None,
                body: BodyReader::kept(VecDeque::new(), body),
                responder: *responder,
                head_complete: None,
                expects_continue: false,
                wire: relay.wire,
            })),
            ended => Outcome::Ended(ended),
        },
    }
}

/// Takes in what has arrived of a body that has nowhere to go, so that a request that is complete counts as that.
pub(super) async fn take_arrived(shared: &RefCell<Shared<'_>>, body: &mut BodyReader<'_>) {
    const MOST: u64 = 64 * 1024;
    let mut taken = 0;
    while taken < MOST && !body.is_done() {
        let next = poll_fn(|cx| Poll::Ready(body.poll_next(cx))).await;
        let Poll::Ready(Ok(Frame::Data(data, _))) = next else { break };
        taken += data.len() as u64;
    }
    shared.borrow_mut().info.bytes.received += taken;
}

/// What ends an attempt before its response does.
pub(super) enum End {
    /// It failed.
    Failure(Failure),
    /// A filter replied.
    Reply(Box<LocalReply>),
    /// The response is not passed on: another attempt follows after this time.
    Again(Duration),
    /// The response is not passed on: other attempts are under way, and may come to something better.
    Outdone,
    /// The response is not passed on: the request is made into the one that it asks for.
    Redirected,
    /// The response is not passed on: a filter has put another request in the place of this one.
    Anew,
}

impl From<Interrupt> for End {
    fn from(interrupt: Interrupt) -> Self {
        match interrupt {
            Interrupt::Reply(reply) => End::Reply(reply),
            Interrupt::Anew => End::Anew,
        }
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        End::Failure(failure)
    }
}

/// A request that is forwarded.
pub(super) struct Relay<'w, 'c, 's> {
    /// The connection.
    pub context: &'w HttpContext,
    /// The stream.
    pub shared: &'w RefCell<Shared<'s>>,
    /// The route.
    pub plan: &'w Plan<'w>,
    /// How far it has come.
    pub progress: Progress,
    /// The way back; gone once the response has begun.
    pub responder: RefCell<Option<Responder<'c>>>,
    /// The protocol to switch to, if the request asks and the configuration allows.
    pub switch: Option<upgrade::Switch>,
    /// The client's protocol.
    pub version: Protocol,
    /// How the request's body is framed.
    pub framing: Framing,
    /// The client waits for 100.
    pub expects_continue: bool,
    /// Where bytes are counted.
    pub wire: Option<Wire<'c>>,
    /// Retries, mirrors, redirects: for requests that have any.
    pub extras: Option<Box<Extras<'w>>>,
}

impl<'c> Relay<'_, 'c, '_> {
    /// Whether a try that takes too long goes on beside another one.
    fn hedges(&self) -> bool {
        self.progress.hedges() && self.extras.as_ref().is_some_and(|extras| extras.retries.is_some())
    }

    /// Waits for something upstream while the client may leave and deadlines may pass.
    pub(super) async fn while_client_waits<T>(
        &self,
        alarm: &mut Alarm,
        body: &mut BodyReader<'_>,
        waiting: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut waiting = pin!(waiting);
        let mut has_waited = false;
        poll_fn(|cx| {
            if let Poll::Ready(result) = waiting.as_mut().poll(cx) {
                if has_waited {
                    self.progress.touch();
                }
                return Poll::Ready(result);
            }
            has_waited = true;
            self.poll_ended(cx, alarm, body).map(Err)
        })
        .await
    }

    /// Ready when a deadline passes, or when a client leaves that has sent its whole request.
    pub(super) fn poll_ended(
        &self,
        cx: &mut std::task::Context<'_>,
        alarm: &mut Alarm,
        body: &mut BodyReader<'_>,
    ) -> Poll<Failure> {
        let progress = &self.progress;
        if progress.request_done.get().is_some() && body.poll_closed(cx).is_ready() {
            return Poll::Ready(Kind::DownstreamClosed.into());
        }
        if let Some(responder) = self.responder.borrow_mut().as_mut()
            && let Poll::Ready(kind) = responder.poll_reset(cx)
        {
            return Poll::Ready(kind.into());
        }
        // While nothing was sent there is no try to end.
        let tried = Try::default();
        if alarm.poll(cx, progress.next(&tried)).is_ready() {
            return Poll::Ready(self.expired(&tried));
        }
        Poll::Pending
    }

    /// The failure of a deadline that has passed.
    pub(super) fn expired(&self, tried: &Try) -> Failure {
        let progress = &self.progress;
        Failure {
            after_head: progress.head_sent.get(),
            alternative: progress.has_alternative(),
            ..progress.expired(tried).into()
        }
    }

    /// The answer where no host was found for another attempt.
    pub(super) async fn give_up(&self, failure: Failure, body: &BodyReader<'_>) -> Ended<'c> {
        if failure.is_departure() {
            self.context.stats.http.inc(HttpCounter::DownstreamRqRxReset);
        }
        let Some(mut responder) = self.responder.take() else { return Ended::closed() };
        if !body.is_done() {
            responder.close_after();
        }
        let (levels, more) = (self.plan.levels(), self.plan.attempts(self.shared));
        stream::fail_with(self.context, self.shared, responder, &failure, &levels, more).await
    }

    /// Tells the next attempt's upstream why it is made, where that is configured.
    pub(super) fn note_retry(&self, late: bool) {
        if self.plan.hit.host.payload().timeout_retry_header {
            let mut shared = self.shared.borrow_mut();
            shared.request.headers.set("x-envoy-is-timeout-retry", if late { "true" } else { "false" });
        }
    }

    /// The exchange for the request that a redirect has made of this one.
    fn anew(&self, responder: Responder<'c>, body: BodyReader<'c>) -> Exchange<'c> {
        // What ends a request without a body is no frame to be sent.
        let extras = self.extras.as_deref().filter(|_| !self.framing.is_empty());
        let frames = extras.map(Extras::take_body).unwrap_or_default();
        Exchange {
            version: self.version,
            framing: if frames.is_empty() { Framing::None } else { self.framing },
            body: BodyReader::kept(frames, body),
            responder,
            head_complete: None,
            expects_continue: false,
            wire: self.wire,
        }
    }

    /// The end of a stream whose response did not come to its own.
    async fn end(&self, target: &Target<'_>, end: End, responder: Option<Responder<'c>>) -> Ended<'c> {
        let failure = match (end, responder.is_some()) {
            (End::Failure(failure), _) => failure,
            (End::Anew, _) => return Ended { keep: false, anew: responder.map(Box::new) },
            (End::Reply(reply), true) => {
                let Some(responder) = responder else { return Ended::closed() };
                return stream::answer(self.context, self.shared, responder, *reply, &self.plan.levels())
                    .await;
            }
            _ => return Ended::closed(),
        };
        let failure = Failure { retried: self.shared.borrow().info.upstream.attempts > 1, ..failure };
        let verdict = failure.verdict();
        target.failed(&failure, verdict.status);
        if failure.is_departure() {
            self.context.stats.http.inc(HttpCounter::DownstreamRqRxReset);
        }
        if matches!(failure.kind, Kind::Codec(_)) {
            // The request never got as far as a protocol.
            self.shared.borrow_mut().info.upstream.protocol = None;
        }
        if let Kind::ConnectFailed(why) | Kind::BindFailed(why) = &failure.kind {
            self.shared.borrow_mut().info.upstream.transport_failure = Some(why.clone());
        }
        if let Some(responder) = responder
            && !failure.after_head
        {
            let (levels, more) = (self.plan.levels(), self.plan.attempts(self.shared));
            return stream::fail_with(self.context, self.shared, responder, &failure, &levels, more).await;
        }
        let router = &self.context.stats.router;
        router.inc(HttpRouterCounter::RqResetAfterDownstreamResponseStarted);
        stream::record(&mut self.shared.borrow_mut(), &verdict);
        Ended::closed()
    }
}
