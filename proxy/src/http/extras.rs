//! What only some requests have: retries, copies for mirrors, a body that is kept, redirects that are followed.
//!
//! Made by [`super::relay`]. A request without any costs one look at its route and headers, and nothing after that.

use std::cell::RefCell;
use std::collections::VecDeque;

use sampan_filters_api::Known;

use super::body::{BodyReader, Frame};
use super::chain::Shared;
use super::hedge::Hedge;
use super::mirror::Feed;
use super::relay::Plan;
use super::replay::Replay;
use super::retries::Retries;
use super::route::InternalRedirects;
use super::target::Target;
use crate::telemetry::stats::kinds::ClusterCounter;

/// What a request has beside its one attempt.
pub(super) struct Extras<'p> {
    /// What may come after a failure.
    pub retries: Option<Retries<'p>>,
    /// Redirects of the upstream that are followed here.
    pub redirects: Option<&'p InternalRedirects>,
    /// How many attempts are under way at once.
    pub hedge: Hedge,
    /// The body, where it may be needed again.
    pub(super) replay: Option<RefCell<Replay>>,
    /// Where copies of the request go.
    pub(super) mirrors: RefCell<Vec<Feed>>,
    /// How much may be kept.
    pub limit: usize,
}

impl<'p> Extras<'p> {
    /// What a request has; `None` for most. `buffer` is what the connection may keep of it.
    #[inline]
    pub(super) fn of(
        plan: &'p Plan<'p>,
        shared: &Shared<'_>,
        body: &BodyReader<'_>,
        buffer: usize,
    ) -> Option<Box<Self>> {
        let headers = &shared.request.headers;
        let asks = headers.has(Known::XEnvoyRetryOn) || headers.has(Known::XEnvoyRetryGrpcOn);
        let held = matches!(body, BodyReader::Held(_));
        if plan.special().is_none() && plan.retry_policy().is_none() && !asks && !held {
            return None;
        }
        Some(Box::new(Self::new(plan, shared, held, buffer)))
    }

    fn new(plan: &'p Plan<'p>, shared: &Shared<'_>, held: bool, buffer: usize) -> Self {
        let retries = Retries::new(plan, shared);
        let redirects = plan.special().and_then(|special| special.redirects.as_ref());
        let limit = plan.forward.buffer_limit.or(plan.hit.host.payload().buffer_limit);
        let limit = limit.map_or(buffer, |limit| buffer.min(limit as usize));
        let wanted = retries.is_some() || redirects.is_some();
        // What a filter held is in memory already, within its limit; keeping it costs no copy.
        let most = if held { Some(usize::MAX) } else { wanted.then_some(limit) };
        Self {
            retries,
            redirects,
            hedge: Hedge::default(),
            replay: most.map(|most| RefCell::new(Replay::new(most))),
            mirrors: RefCell::default(),
            limit,
        }
    }

    /// Whether everything that was sent can be sent again.
    pub(super) fn is_whole(&self) -> bool {
        self.replay.as_ref().is_some_and(|replay| replay.borrow().is_whole())
    }

    /// A frame goes into the filters, which may keep it.
    pub(super) fn hold(&self) {
        if let Some(replay) = &self.replay {
            replay.borrow_mut().hold();
        }
    }

    /// It came out, and goes up.
    pub(super) fn record(&self, frame: &Frame, target: &Target<'_>) {
        let abandoned = || target.cluster.stats().inc(ClusterCounter::RetryOrShadowAbandoned);
        if let Some(replay) = &self.replay
            && replay.borrow_mut().record(frame)
        {
            abandoned();
        }
        self.mirrors.borrow_mut().retain(|feed| {
            let taken = feed.push(frame);
            if !taken {
                abandoned();
            }
            taken
        });
    }

    /// The frame of the body at a place, if so many went up.
    pub(super) fn frame(&self, at: usize) -> Option<Frame> {
        self.replay.as_ref()?.borrow().frame(at)
    }

    /// Takes the body that was kept.
    pub(super) fn take_body(&self) -> VecDeque<Frame> {
        self.replay.as_ref().map(|replay| replay.borrow_mut().take()).unwrap_or_default()
    }
}
