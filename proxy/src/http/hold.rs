//! A request that a filter holds until its whole body has come ([`Flow::Hold`](sampan_filters_api::http::Flow)).
//!
//! ```text
//! head -> filter -> filter says Hold -> the body is read, as much as the filter wants -> filter is asked again -> next filter ...
//! ```
//! What was read is then the body of the request, so each filter sees it in its data hooks, in the order of the chain. Called by
//! [`super::stream`]; a chain in which nobody holds costs one comparison.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use sampan_filters_api::http::{HeldBody, Hold};
use sampan_filters_api::{Headers, Known, LocalReply, ResponseHead};

use super::body::{BodyReader, Frame, Held};
use super::chain::{self, Shared};
use super::connection::HttpContext;
use super::exchange::Exchange;
use super::h1::Framing;
use super::relay::take_arrived;
use super::sides::downstream_failure;
use crate::failure::{Failure, Kind};
use crate::telemetry::stats::kinds::HttpCounter;

/// Why a request goes no further.
pub enum Stop {
    /// A filter answered, or the body is too long.
    Reply(Box<LocalReply>),
    /// The client left, or broke the protocol.
    Failure(Failure),
}

impl From<Box<LocalReply>> for Stop {
    fn from(reply: Box<LocalReply>) -> Self {
        Stop::Reply(reply)
    }
}

/// The request head passes the chain, and waits for its body where a filter wants it to.
pub async fn request_head(
    context: &HttpContext,
    shared: &RefCell<Shared<'_>>,
    exchange: &mut Exchange<'_>,
) -> Result<(), Stop> {
    let upgrades = shared.borrow().request.upgrade().is_some();
    let end = exchange.framing.is_empty() && !upgrades;
    // Most filters let most requests pass, and then there is no future to be made.
    let mut stopped = chain::request_head(shared, 0, end);
    let mut read: Option<Box<Read>> = None;
    while let Some(at) = stopped {
        let rest = chain::request_head_from(shared, at, end);
        let Some((index, hold)) = while_client_waits(context, shared, exchange, rest).await? else { break };
        // There is nothing to wait for; a tunnel has no end to wait for.
        if !(end || upgrades) {
            let mut held = read.take().unwrap_or_default();
            Box::pin(more(context, shared, exchange, &mut held, hold)).await?;
            while_client_waits(context, shared, exchange, chain::held(shared, index, &mut held.body)).await?;
            read = Some(held);
        }
        stopped = chain::request_head(shared, index + 1, end);
    }
    if let Some(read) = read {
        give_back(exchange, &shared.borrow(), *read);
    }
    Ok(())
}

/// What was read.
#[derive(Default)]
struct Read {
    body: HeldBody,
    trailers: Option<Headers>,
}

/// What was read is what is read next.
fn give_back(exchange: &mut Exchange<'_>, shared: &Shared<'_>, read: Read) {
    let whole = read.body.is_whole();
    if whole {
        let length = read.body.length() as u64;
        let told = shared.request.headers.has(Known::ContentLength);
        exchange.framing = if told { Framing::Length(length) } else { Framing::Chunked };
    }
    let mut frames: VecDeque<Frame> =
        read.body.into_pieces().into_iter().map(|piece| Frame::Data(piece, false)).collect();
    match (read.trailers, frames.back_mut()) {
        (Some(trailers), _) => frames.push_back(Frame::Trailers(trailers)),
        (None, Some(Frame::Data(_, end))) => *end = whole,
        (None, _) if whole => frames.push_back(Frame::End),
        (None, _) => {}
    }
    let rest = std::mem::replace(&mut exchange.body, BodyReader::Empty);
    exchange.body = BodyReader::Held(Box::new(Held { frames, rest }));
}

/// Waits for a filter while the client may leave. How long a stream may be silent holds here, too.
async fn while_client_waits<T>(
    context: &HttpContext,
    shared: &RefCell<Shared<'_>>,
    exchange: &mut Exchange<'_>,
    work: impl Future<Output = Result<T, Box<LocalReply>>>,
) -> Result<T, Stop> {
    let mut work = pin!(work);
    // Made when there is something to wait for, which for most requests there is not.
    let mut idle = None;
    let mut waited = false;
    let ended = poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(done.map_err(Stop::Reply));
        }
        waited = true;
        let complete = exchange.body.is_done();
        if complete && exchange.body.poll_closed(cx).is_ready() {
            return Poll::Ready(Err(Stop::Failure(Kind::DownstreamClosed.into())));
        }
        if let Poll::Ready(kind) = exchange.responder.poll_reset(cx) {
            return Poll::Ready(Err(Stop::Failure(kind.into())));
        }
        let Some(limit) = context.config.timeouts.stream_idle else { return Poll::Pending };
        let idle = idle.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        let late = || Err(Stop::Failure(Kind::StreamIdle { request_complete: complete }.into()));
        idle.as_mut().poll(cx).map(|()| late())
    })
    .await;
    if waited && matches!(ended, Err(Stop::Reply(_))) {
        // The body had time to come, and a request that is complete counts as that.
        Box::pin(take_arrived(shared, &mut exchange.body)).await;
    }
    ended
}

/// Reads the body to its end, unless it is longer than the filter wants.
async fn more(
    context: &HttpContext,
    shared: &RefCell<Shared<'_>>,
    exchange: &mut Exchange<'_>,
    read: &mut Read,
    hold: Hold,
) -> Result<(), Stop> {
    if std::mem::take(&mut exchange.expects_continue) {
        let go_on = ResponseHead { status: 100, headers: Headers::new() };
        let sent = exchange.responder.interim(&go_on).await;
        sent.map_err(|_| Stop::Failure(Kind::DownstreamClosed.into()))?;
    }
    let timeouts = &context.config.timeouts;
    let idle = timeouts.body_idle.or(timeouts.stream_idle);
    loop {
        let length = read.body.length();
        if length > hold.most && !hold.partial {
            exchange.responder.close_after();
            return Err(too_large(context));
        }
        if read.body.is_whole() || (hold.partial && length >= hold.most) {
            return Ok(());
        }
        let next = poll_fn(|cx| exchange.body.poll_next(cx));
        let frame = match idle {
            None => next.await,
            Some(idle) => tokio::time::timeout(idle, next)
                .await
                .map_err(|_| Stop::Failure(Kind::StreamIdle { request_complete: false }.into()))?,
        };
        match frame.map_err(|error| Stop::Failure(downstream_failure(&error)))? {
            Frame::Data(data, end) => {
                // As it came; a filter may put something else in its place.
                shared.borrow_mut().info.bytes.received += data.len() as u64;
                if !data.is_empty() {
                    read.body.push(data);
                }
                if end {
                    read.body.complete();
                }
            }
            Frame::Trailers(trailers) => {
                read.trailers = Some(trailers);
                read.body.complete();
            }
            Frame::End => read.body.complete(),
        }
    }
}

fn too_large(context: &HttpContext) -> Stop {
    context.stats.http.inc(HttpCounter::DownstreamRqTooLarge);
    Stop::Reply(Box::new(LocalReply::new(413, "request_payload_too_large").body("Payload Too Large")))
}
