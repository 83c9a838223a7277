//! The two directions of an exchange: the request on its way up, the response on its way down.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use sampan_filters_api::http::Phases;
use sampan_filters_api::{Headers, Known, LocalReply, Protocol, RequestHead, ResponseHead};

use super::attempt::{Attempt, Complete};
use super::body::{BodyError, BodyReader, BodyWriter, Frame};
use super::chain;
use super::extras::Extras;
use super::h1::Framing;
use super::h1::encode::Connection;
use super::h1::syntax::content_length;
use super::pump::{PumpError, pump};
use super::relay::End;
use super::retries::Next;
use super::tail::Ending;
use super::taps::{RequestTap, ResponseTap};
use super::upstream::{self, Answer, Receiver};
use super::{header_ops, held_response, internal_redirect};
use crate::failure::{Failure, Kind};
use crate::telemetry::stats::kinds::HttpCounter;

/// The HTTP status that the gRPC status in a response head stands for, where the request is gRPC.
fn grpc_as_http(request: &RequestHead, response: &ResponseHead) -> Option<u16> {
    let status = response.headers.value("grpc-status").filter(|_| request.is_grpc())?;
    let status = std::str::from_utf8(status).ok()?.parse::<u32>().ok()?;
    Some(match status {
        0 => 200,
        3 => 400,
        16 => 401,
        7 => 403,
        5 => 404,
        6 | 10 => 409,
        8 => 429,
        1 => 499,
        12 => 501,
        14 => 503,
        4 => 504,
        _ => 500,
    })
}

impl Attempt<'_, '_, '_, '_> {
    /// Sends the body up, then watches the client.
    pub(super) async fn request_side(
        &self,
        body: &mut BodyReader<'_>,
        writer: &mut BodyWriter<'_>,
    ) -> Result<(), End> {
        if self.relay.switch.is_some() {
            // The head goes now; anything else waits until the other side agrees.
            if poll_fn(|cx| writer.poll_flush(cx)).await.is_err() {
                return Ok(());
            }
            poll_fn(|_| if self.relay.progress.switched.get() { Poll::Ready(()) } else { Poll::Pending })
                .await;
            body.switch_to_raw();
            writer.switch_to_raw();
        }
        if self.relay.progress.request_done.get().is_none() {
            self.relay.progress.awaits_body(true);
        }
        let mut tap = {
            let shared = self.relay.shared.borrow();
            let (active, tail) = (shared.wants(REQUEST_BODY), shared.wants(Phases::TAIL));
            RequestTap { attempt: self, active, tail, counted: body.held_bytes() }
        };
        let pumped = match self.relay.extras.as_deref() {
            None => pump(body, writer, &mut tap).await,
            Some(extras) => match Box::pin(send_again(extras, writer)).await {
                Ok(true) => Ok(()),
                Ok(false) => pump(body, writer, &mut tap).await,
                Err(error) => Err(PumpError::Writer(error)),
            },
        };
        match pumped {
            Ok(()) => {}
            // The upstream may have answered before it closed; the response side will tell.
            Err(PumpError::Writer(_)) => return Ok(()),
            Err(PumpError::Filter(reply)) => return Err(End::Reply(reply)),
            Err(PumpError::Reader(error)) => return Err(downstream_failure(&error).into()),
        }
        let now = Instant::now();
        if self.relay.progress.request_done.get().is_none() {
            self.relay.progress.request_done.set(Some(now));
            self.relay.progress.begin_try(&self.tried);
        }
        if self.relay.switch.is_some() {
            writer.close().await;
            return Ok(());
        }
        if self.relay.context.config.needs_facts {
            let mut shared = self.relay.shared.borrow_mut();
            shared.info.request_complete.get_or_insert(now);
            shared.info.upstream.request_sent.1 = Some(now);
        }
        poll_fn(|cx| body.poll_closed(cx)).await;
        Err(Failure::from(Kind::DownstreamClosed).into())
    }

    /// Reads the response head, starts the response, sends the body down.
    pub(super) async fn response_side(
        &self,
        incoming: &mut ResponseHead,
        mut receiver: Receiver<'_>,
        protocol: Protocol,
    ) -> Result<Complete, End> {
        let mut answer = self.final_head(incoming, &mut receiver, protocol).await?;
        if let Some(extras) = self.relay.extras.as_deref()
            && let Some(end) = self.passed_over(extras, incoming)
        {
            let complete = self.relay.progress.request_done.get().is_some();
            self.spent.set(complete && answer.persistent && answer.framing.is_empty());
            return Err(end);
        }
        self.tried.answered();
        self.wins();
        if protocol == Protocol::Http2 && incoming.status == 200 && self.relay.switch.is_some() {
            answer.switched = true;
            if self.relay.switch.as_ref().is_some_and(|s| !s.is_connect()) {
                // What HTTP/2 grants with 200 is 101 in HTTP/1.1, and so within the proxy.
                incoming.status = 101;
            }
        }
        if protocol != Protocol::Http2 && !answer.switched && self.refuses_websocket(incoming.status) {
            self.target.responded(incoming.status, || None);
            let reply = LocalReply::new(incoming.status, "websocket_handshake_unsuccessful").closing();
            return Err(End::Reply(Box::new(reply)));
        }
        let end = answer.framing.is_empty() && !answer.switched;
        let mut body = receiver.body(answer.framing);
        let held = self.accept_head(incoming, &answer, &mut body, protocol).await?;
        let whole = held.is_some();
        let (framing, end) = match held {
            None => (reframed(answer.framing, &self.relay.shared.borrow().response.headers), end),
            Some(held) => {
                let end = held.is_empty();
                (whole_framing(&held, &mut self.relay.shared.borrow_mut().response.headers), {
                    body = BodyReader::held(held.into_frames(), body);
                    end
                })
            }
        };
        let Some(responder) = self.relay.responder.borrow_mut().take() else {
            return Err(Failure::from(Kind::FilterFailed).into());
        };
        let started = {
            let shared = self.relay.shared.borrow();
            if answer.switched {
                self.relay.progress.switched.set(true);
                let upgrade = self.relay.switch.as_ref().and_then(|s| s.protocol());
                responder.start_switched(shared.response, upgrade, Connection::upgrade(protocol))
            } else {
                let now = self.relay.progress.last_activity();
                // An answer before the end of the request ends the connection: what is left of the request is not read.
                let early = self.relay.progress.request_done.get().is_none();
                if early {
                    self.relay.context.stats.http.inc(HttpCounter::DownstreamRqResponseBeforeRqComplete);
                }
                let close = early || self.relay.context.should_close(now);
                responder.start(shared.response, framing, end, close)
            }
        };
        let mut started = started.map_err(|_| Failure::from(Kind::DownstreamClosed).after_head())?;
        self.relay.progress.head_sent.set(true);
        let mut tap = {
            let shared = self.relay.shared.borrow();
            // What was held has passed the filters already.
            let (active, tail) =
                (!whole && shared.wants(RESPONSE_BODY), !whole && shared.wants(Phases::TAIL));
            ResponseTap { attempt: self, active, tail }
        };
        let result = pump(&mut body, &mut started.body, &mut tap).await;
        match result {
            Ok(()) => {
                if self.relay.progress.switched.get() {
                    started.body.close().await;
                    self.record_tunnel_end();
                }
                Ok(Complete {
                    keep: started.keep,
                    upstream_reusable: answer.persistent
                        && !answer.switched
                        && self.relay.progress.request_done.get().is_some(),
                })
            }
            Err(PumpError::Reader(error)) => {
                let failure = upstream::failure(error, protocol, true);
                // What has arrived is passed on before the message is cut.
                let _ = poll_fn(|cx| started.body.poll_flush(cx)).await;
                // An HTTP/2 connection writes in its own task, and a reset takes back what it has not written.
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                started.body.abort();
                Err(failure.into())
            }
            Err(PumpError::Writer(error)) => Err(downstream_failure(&error).after_head().into()),
            Err(PumpError::Filter(_)) => {
                started.body.abort();
                Err(Failure::from(Kind::FilterFailed).after_head().into())
            }
        }
    }

    /// Why a response does not go to the client, where it does not.
    fn passed_over(&self, extras: &Extras<'_>, head: &ResponseHead) -> Option<End> {
        let relay = self.relay;
        let grpc = || grpc_as_http(relay.shared.borrow().request, head);
        let next = match &extras.retries {
            Some(retries) if self.late.get() && retries.would_retry(head) => Next::Enough,
            Some(retries) if extras.is_whole() && !self.late.get() => {
                retries.after_response(relay.context, relay.shared, self.target, head)
            }
            _ => Next::Fine,
        };
        if let Next::Again(wait) = next {
            self.target.retried(head.status, grpc());
            return Some(End::Again(wait));
        }
        if let Some(rules) = extras.redirects
            && internal_redirect::follow(relay, extras, rules, self.target, head)
        {
            self.target.redirected(head.status, grpc());
            return Some(End::Redirected);
        }
        if next == Next::Enough && extras.hedge.has_others() {
            self.target.outdone(head.status, grpc());
            return Some(End::Outdone);
        }
        None
    }

    /// Whether a response is no answer to a WebSocket handshake: a success that does not switch.
    fn refuses_websocket(&self, status: u16) -> bool {
        let websocket = self.relay.switch.as_ref().and_then(|s| s.protocol()) == Some(b"websocket");
        websocket && (200..400).contains(&status)
    }

    /// A tunnel has no end of its own: whoever left first ended it.
    fn record_tunnel_end(&self) {
        let kind = if self.relay.progress.request_done.get().is_some() {
            Kind::DownstreamClosed
        } else {
            Kind::UpstreamClosed
        };
        let verdict = Failure::from(kind).after_head().verdict();
        super::stream::record(&mut self.relay.shared.borrow_mut(), &verdict);
    }

    /// Reads heads until a final one; interim ones are passed on or dropped.
    async fn final_head(
        &self,
        incoming: &mut ResponseHead,
        receiver: &mut Receiver<'_>,
        protocol: Protocol,
    ) -> Result<Answer, End> {
        loop {
            let answer =
                receiver.head(incoming).await.map_err(|error| upstream::failure(error, protocol, false))?;
            self.relay.progress.touch();
            self.tried.hear();
            self.unheard.set(false);
            if incoming.status >= 200 || answer.switched {
                return Ok(answer);
            }
            if incoming.status == 100 && self.relay.context.config.proxy_100_continue {
                Box::pin(self.interim(incoming)).await?;
            }
        }
    }

    pub(super) async fn interim(&self, head: &ResponseHead) -> Result<(), End> {
        let Some(mut responder) = self.relay.responder.borrow_mut().take() else { return Ok(()) };
        let sent = responder.interim(head).await;
        *self.relay.responder.borrow_mut() = Some(responder);
        sent.map_err(|_| Failure::from(Kind::DownstreamClosed).into())
    }

    /// The head goes through filters and header changes; the whole response where a filter holds it.
    async fn accept_head(
        &self,
        incoming: &mut ResponseHead,
        answer: &Answer,
        body: &mut BodyReader<'_>,
        protocol: Protocol,
    ) -> Result<Option<Ending>, End> {
        let end = answer.framing.is_empty() && !answer.switched;
        let mut held = None;
        {
            let mut shared = self.relay.shared.borrow_mut();
            std::mem::swap(shared.response, incoming);
            shared.has_response = true;
            let status = shared.response.status;
            shared.info.response_code = status;
            shared.info.details = "via_upstream".into();
            shared.info.bytes.response_headers = shared.response.headers.byte_size() as u64;
            if self.relay.context.config.needs_facts {
                // When the head was read.
                shared.info.upstream.response_received.0 = Some(self.relay.progress.last_activity());
            }
            self.target.responded(status, || grpc_as_http(shared.request, shared.response));
            self.target.heard(&shared.response.headers, true);
            let now = self.relay.progress.last_activity();
            let took = self
                .relay
                .progress
                .request_done
                .get()
                .map(|_| now.saturating_duration_since(self.target.since));
            header_ops::route_response(self.relay.context, self.relay.plan, self.target, took, &mut shared);
        }
        let wanted = self.relay.shared.borrow().wants(Phases::RESPONSE_HEAD);
        if wanted
            // A tunnel has no end to wait for.
            && let Some(hold) =
                chain::response_head(self.relay.context, self.relay.shared, 0, end || answer.switched).await?
        {
            held = Some(Box::pin(held_response::held(self, body, protocol, hold)).await?);
        }
        let mut shared = self.relay.shared.borrow_mut();
        // A filter may have changed it.
        shared.info.response_code = shared.response.status;
        header_ops::finish_response(self.relay.context, &mut shared);
        if self.relay.context.config.needs_facts {
            let waited = held.is_some() || std::mem::take(&mut shared.waited);
            let now = if waited { Instant::now() } else { self.relay.progress.last_activity() };
            shared.info.response_sent.0 = Some(now);
            if end {
                (shared.info.upstream.response_received.1, shared.info.response_sent.1) =
                    (Some(now), Some(now));
            }
        }
        Ok(held)
    }
}

/// How a message is framed once filters have seen its head: one that has lost its length goes in chunks.
pub(super) fn reframed(framing: Framing, headers: &Headers) -> Framing {
    match framing {
        Framing::Length(length) if length > 0 => match headers.known(Known::ContentLength) {
            Some(value) => content_length(value).map_or(framing, Framing::Length),
            None => Framing::Chunked,
        },
        other => other,
    }
}

/// The framing of a response that has come whole; its length is told where it was told before.
fn whole_framing(held: &Ending, headers: &mut Headers) -> Framing {
    if !headers.has(Known::ContentLength) || !held.trailers.is_empty() {
        headers.remove_known(Known::ContentLength);
        return Framing::Chunked;
    }
    headers.set_known(Known::ContentLength, itoa::Buffer::new().format(held.data.len()));
    Framing::Length(held.data.len() as u64)
}

/// What became of the client, where its body cannot be read.
pub(super) fn downstream_failure(error: &BodyError) -> Failure {
    match error {
        BodyError::Closed => Kind::DownstreamClosed.into(),
        BodyError::Codec(error) => Kind::Codec(*error).into(),
        BodyError::Reset(_) => Kind::DownstreamReset.into(),
    }
}

const REQUEST_BODY: Phases = Phases::REQUEST_DATA.and(Phases::REQUEST_TRAILERS);
const RESPONSE_BODY: Phases = Phases::RESPONSE_DATA.and(Phases::RESPONSE_TRAILERS);

/// Sends what an earlier attempt sent; true if that was all.
async fn send_again(extras: &Extras<'_>, writer: &mut BodyWriter<'_>) -> Result<bool, BodyError> {
    for at in 0.. {
        let Some(frame) = extras.frame(at) else { break };
        let last = !matches!(frame, Frame::Data(_, false));
        writer.start(frame)?;
        poll_fn(|cx| writer.poll_ready(cx)).await?;
        if last {
            poll_fn(|cx| writer.poll_flush(cx)).await?;
            return Ok(true);
        }
    }
    Ok(false)
}
