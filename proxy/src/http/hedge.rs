//! Hedging (`hedge_policy.hedge_on_per_try_timeout`): a try that takes too long goes on, and another one is begun beside it. The first
//! good response goes to the client; the others are reset.
//!
//! ```text
//! attempt --over its time, retries left--> back off --> another attempt ... at once
//!    '-- head of a response --+-- good, or nothing else is under way --> the client's; all others are dropped
//!                             '-- would be tried again, if it had not been --> dropped; the others may do better
//! ```
//! The time of a try begins when the request is complete, so an attempt that is begun beside another one has all of its body at
//! hand. Called by [`super::relay`] for requests whose route, or whose client, wants it.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use sampan_filters_api::ResponseHead;
use tokio::time::Sleep;

use super::again::{replay, retry_target};
use super::attempt::Attempt;
use super::body::BodyReader;
use super::relay::{End, Relay, finish};
use super::stream::Outcome;
use super::target::Target;
use crate::failure::{Failure, Kind, Side};
use crate::net::alarm::Alarm;

/// What the attempts at one request know of each other.
#[derive(Default)]
pub(super) struct Hedge {
    /// Another attempt is wanted beside one that is late, after this time.
    wanted: Cell<Option<Duration>>,
    /// How many others are under way or about to be.
    others: Cell<usize>,
}

impl Hedge {
    /// Whether a response may be passed over.
    pub(super) fn has_others(&self) -> bool {
        self.others.get() > 0
    }
}

impl Attempt<'_, '_, '_, '_> {
    /// Whether an attempt goes on though its time is over. Another one is begun then, if there may be one.
    pub(super) fn outlives(&self, expired: &Failure) -> bool {
        let relay = self.relay;
        let Some(extras) = relay.extras.as_deref().filter(|_| relay.progress.hedges()) else { return false };
        let Some(retries) = extras.retries.as_ref().filter(|_| expired.is_try_timeout()) else {
            return false;
        };
        self.tried.outlive();
        self.target.late();
        if !expired.after_head
            && !self.late.get()
            && extras.is_whole()
            && let Some(wait) = retries.beside(relay.context, relay.shared, self.target)
        {
            self.late.set(true);
            extras.hedge.wanted.set(Some(wait));
            relay.note_retry(true);
        }
        true
    }
}

/// An attempt that has come to its end.
struct Landed<'w, 'c> {
    outcome: Result<bool, End>,
    /// Another one follows after this time.
    again: Option<Duration>,
    target: Target<'w>,
    body: Option<BodyReader<'c>>,
}

type Flight<'f, 'w, 'c> = Pin<Box<dyn Future<Output = Landed<'w, 'c>> + 'f>>;

/// Makes one attempt. The first that needs it has the body; the others have what was kept of it.
async fn fly<'w, 'c>(
    relay: &Relay<'w, 'c, '_>,
    target: Target<'w>,
    mut body: Option<BodyReader<'c>>,
) -> Landed<'w, 'c> {
    let (mut incoming, mut alarm) = (ResponseHead::default(), Alarm::default());
    let mut nothing = BodyReader::Empty;
    let reader = body.as_mut().unwrap_or(&mut nothing);
    let (outcome, again) = {
        let attempt = Attempt::new(relay, &target);
        let mut outcome = attempt.run(&mut incoming, &mut alarm, reader).await;
        if attempt.has_raced(&outcome, reader) {
            outcome = replay(&attempt, &mut incoming, &mut alarm, reader).await;
        }
        attempt.ended(&outcome, &incoming);
        let again = match &outcome {
            Err(end) => attempt.again(end),
            Ok(_) => None,
        };
        (outcome, again)
    };
    Landed { outcome, again, target, body }
}

/// What happens next.
enum Event<'w, 'c> {
    Landed(Box<Landed<'w, 'c>>),
    /// It is time for another attempt.
    Launch,
    /// The client left, or the time is over, while no attempt watched.
    Ended(Failure),
}

/// Forwards a request whose attempts may overlap.
pub(super) async fn forward<'c>(
    relay: Relay<'_, 'c, '_>,
    target: Target<'_>,
    alarm: &mut Alarm,
    body: BodyReader<'c>,
) -> Outcome<'c> {
    let relay = &relay;
    let idle = Hedge::default();
    let hedge = relay.extras.as_deref().map_or(&idle, |extras| &extras.hedge);
    let mut flying: Vec<Flight<'_, '_, 'c>> = vec![Box::pin(fly(relay, target, Some(body)))];
    let mut waiting: Vec<Pin<Box<Sleep>>> = Vec::new();
    let mut spare: Option<BodyReader<'c>> = None;
    loop {
        let event = poll_fn(|cx| poll(cx, relay, hedge, &mut flying, &mut waiting, &mut spare, alarm)).await;
        match event {
            Event::Ended(failure) => {
                flying.clear();
                let body = spare.take().unwrap_or(BodyReader::Empty);
                return relay.give_up(failure, &body).await.into();
            }
            Event::Launch => match retry_target(relay) {
                Ok(target) => flying.push(Box::pin(fly(relay, target, spare.take()))),
                Err(_) if !flying.is_empty() || !waiting.is_empty() => {}
                Err(failure) => {
                    let body = spare.take().unwrap_or(BodyReader::Empty);
                    return relay.give_up(failure, &body).await.into();
                }
            },
            Event::Landed(landed) => {
                let Landed { outcome, again, target, body } = *landed;
                spare = spare.or(body);
                if let Some(wait) = again {
                    waiting.push(Box::pin(tokio::time::sleep(wait)));
                    continue;
                }
                let others = !flying.is_empty() || !waiting.is_empty();
                if let Err(end) = &outcome
                    && others
                    && passes_over(end, &target)
                {
                    continue;
                }
                if matches!(&outcome, Err(End::Failure(failure)) if failure.kind == Kind::ResponseTimeout) {
                    poll_fn(|cx| expire(cx, &mut flying)).await;
                }
                flying.clear();
                let body = spare.take().unwrap_or(BodyReader::Empty);
                return finish(relay, &target, outcome, body).await;
            }
        }
    }
}

/// The time of the whole response is over: for each attempt that is under way, and so each is counted.
fn expire(cx: &mut Context<'_>, flying: &mut [Flight<'_, '_, '_>]) -> Poll<()> {
    for flight in flying {
        if let Poll::Ready(Landed { outcome: Err(End::Failure(failure)), target, .. }) =
            flight.as_mut().poll(cx)
        {
            target.failed(&failure, failure.verdict().status);
        }
    }
    Poll::Ready(())
}

/// Whether the end of one attempt leaves the request to the others; it is counted then.
fn passes_over(end: &End, target: &Target<'_>) -> bool {
    match end {
        End::Outdone => true,
        End::Failure(failure) => {
            let its_own = failure.side() == Side::Upstream || failure.kind == Kind::Overflow;
            let left = its_own && !failure.after_head && failure.kind != Kind::ResponseTimeout;
            if left {
                target.failed(failure, failure.verdict().status);
            }
            left
        }
        End::Reply(_) | End::Again(_) | End::Redirected | End::Anew => false,
    }
}

fn poll<'w, 'c>(
    cx: &mut Context<'_>,
    relay: &Relay<'w, 'c, '_>,
    hedge: &Hedge,
    flying: &mut Vec<Flight<'_, 'w, 'c>>,
    waiting: &mut Vec<Pin<Box<Sleep>>>,
    spare: &mut Option<BodyReader<'c>>,
    alarm: &mut Alarm,
) -> Poll<Event<'w, 'c>> {
    for at in 0..flying.len() {
        hedge.others.set(flying.len() + waiting.len() - 1);
        if let Poll::Ready(landed) = flying[at].as_mut().poll(cx) {
            drop(flying.swap_remove(at));
            return Poll::Ready(Event::Landed(Box::new(landed)));
        }
        if relay.progress.head_sent.get() {
            // Its response is the client's. The others are reset.
            let winner = flying.swap_remove(at);
            flying.clear();
            flying.push(winner);
            waiting.clear();
            return Poll::Pending;
        }
    }
    if let Some(wait) = hedge.wanted.take() {
        waiting.push(Box::pin(tokio::time::sleep(wait)));
    }
    for at in 0..waiting.len() {
        if waiting[at].as_mut().poll(cx).is_ready() {
            drop(waiting.swap_remove(at));
            return Poll::Ready(Event::Launch);
        }
    }
    match spare {
        Some(body) => relay.poll_ended(cx, alarm, body).map(Event::Ended),
        None => Poll::Pending,
    }
}
