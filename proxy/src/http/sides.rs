//! The two directions of an exchange: the request on its way up, the response on its way down.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use sampan_filters_api::http::Phases;
use sampan_filters_api::{LocalReply, Protocol, ResponseHead};

use super::attempt::{Complete, End, Way};
use super::body::{BodyError, BodyReader, BodyWriter, Frame};
use super::chain;
use super::header_ops;
use super::pump::{PumpError, Tap, pump};
use super::upstream::{self, Answer, Receiver};
use crate::failure::{Failure, Kind};
use crate::telemetry::stats::kinds::HttpCounter;

impl Way<'_, '_, '_> {
    /// Sends the body up, then watches the client.
    pub(super) async fn request_side(
        &self,
        body: &mut BodyReader<'_>,
        writer: &mut BodyWriter<'_>,
    ) -> Result<(), End> {
        if self.switch.is_some() {
            // The head goes now; anything else waits until the other side agrees.
            if poll_fn(|cx| writer.poll_flush(cx)).await.is_err() {
                return Ok(());
            }
            poll_fn(|_| if self.progress.switched.get() { Poll::Ready(()) } else { Poll::Pending }).await;
            body.switch_to_raw();
            writer.switch_to_raw();
        }
        let mut tap = RequestTap { way: self, active: self.shared.borrow().wants(REQUEST_BODY) };
        match pump(body, writer, &mut tap).await {
            Ok(()) => {}
            // The upstream may have answered before it closed; the response side will tell.
            Err(PumpError::Writer(_)) => return Ok(()),
            Err(PumpError::Filter(reply)) => return Err(End::Reply(reply)),
            Err(PumpError::Reader(error)) => return Err(downstream_failure(&error).into()),
        }
        let now = Instant::now();
        self.progress.request_done.set(Some(now));
        if self.switch.is_some() {
            writer.close().await;
            return Ok(());
        }
        if self.context.config.needs_facts {
            let mut shared = self.shared.borrow_mut();
            shared.info.request_complete = Some(now);
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
        if protocol == Protocol::Http2 && incoming.status == 200 && self.switch.is_some() {
            answer.switched = true;
            if self.switch.as_ref().is_some_and(|s| !s.is_connect()) {
                // What HTTP/2 grants with 200 is 101 in HTTP/1.1, and so within the proxy.
                incoming.status = 101;
            }
        }
        let end = answer.framing.is_empty() && !answer.switched;
        self.accept_head(incoming, end).await?;
        let Some(responder) = self.responder.borrow_mut().take() else {
            return Err(Failure::from(Kind::FilterFailed).into());
        };
        let started = {
            let shared = self.shared.borrow();
            if answer.switched {
                self.progress.switched.set(true);
                responder.start_switched(shared.response, self.switch.as_ref().and_then(|s| s.protocol()))
            } else {
                let now = Instant::now();
                // An answer before the end of the request ends the connection: what is left of the request is not read.
                let early = self.progress.request_done.get().is_none();
                if early {
                    self.context.stats.http.inc(HttpCounter::DownstreamRqResponseBeforeRqComplete);
                }
                let close = early || self.context.should_close(now);
                responder.start(shared.response, answer.framing, end, close)
            }
        };
        let mut started = started.map_err(|_| Failure::from(Kind::DownstreamClosed).after_head())?;
        self.progress.head_sent.set(true);
        let mut body = receiver.body(answer.framing);
        let mut tap = ResponseTap { way: self, active: self.shared.borrow().wants(RESPONSE_BODY) };
        let result = pump(&mut body, &mut started.body, &mut tap).await;
        match result {
            Ok(()) => {
                if self.progress.switched.get() {
                    started.body.close().await;
                    self.record_tunnel_end();
                }
                Ok(Complete {
                    keep: started.keep,
                    upstream_reusable: answer.persistent
                        && !answer.switched
                        && self.progress.request_done.get().is_some(),
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

    /// A tunnel has no end of its own: whoever left first ended it.
    fn record_tunnel_end(&self) {
        let kind = if self.progress.request_done.get().is_some() {
            Kind::DownstreamClosed
        } else {
            Kind::UpstreamClosed
        };
        let verdict = Failure::from(kind).after_head().verdict();
        super::stream::record(&mut self.shared.borrow_mut(), &verdict);
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
            self.progress.touch();
            if incoming.status >= 200 || answer.switched {
                return Ok(answer);
            }
            if incoming.status == 100 && self.context.config.proxy_100_continue {
                self.interim(incoming).await?;
            }
        }
    }

    pub(super) async fn interim(&self, head: &ResponseHead) -> Result<(), End> {
        let Some(mut responder) = self.responder.borrow_mut().take() else { return Ok(()) };
        let sent = responder.interim(head).await;
        *self.responder.borrow_mut() = Some(responder);
        sent.map_err(|_| Failure::from(Kind::DownstreamClosed).into())
    }

    /// The head goes through filters and header changes.
    async fn accept_head(&self, incoming: &mut ResponseHead, end: bool) -> Result<(), End> {
        {
            let mut shared = self.shared.borrow_mut();
            std::mem::swap(shared.response, incoming);
            shared.has_response = true;
            let status = shared.response.status;
            shared.info.response_code = status;
            shared.info.details = "via_upstream".into();
            shared.info.bytes.response_headers = shared.response.headers.byte_size() as u64;
            if self.context.config.needs_facts {
                shared.info.upstream.response_received.0 = Some(Instant::now());
            }
            self.target.responded(status);
            let took = self.progress.request_done.get().map(|_| self.target.since.elapsed());
            header_ops::route_response(self.context, self.plan, self.target.weighted, took, &mut shared);
        }
        if self.shared.borrow().wants(Phases::RESPONSE_HEAD) {
            chain::response_head(self.shared, end).await.map_err(End::Reply)?;
        }
        header_ops::finish_response(self.context, &mut self.shared.borrow_mut());
        Ok(())
    }
}

fn downstream_failure(error: &BodyError) -> Failure {
    match error {
        BodyError::Closed => Kind::DownstreamClosed.into(),
        BodyError::Codec(error) => Kind::Codec(*error).into(),
        BodyError::Reset(_) => Kind::DownstreamReset.into(),
    }
}

const REQUEST_BODY: Phases = Phases::REQUEST_DATA.and(Phases::REQUEST_TRAILERS);
const RESPONSE_BODY: Phases = Phases::RESPONSE_DATA.and(Phases::RESPONSE_TRAILERS);

struct RequestTap<'t, 'w, 'c, 's> {
    way: &'t Way<'w, 'c, 's>,
    active: bool,
}

impl Tap for RequestTap<'_, '_, '_, '_> {
    async fn frame(&mut self, frame: &mut Frame) -> Result<(), Box<LocalReply>> {
        if let Frame::Data(data, _) = frame {
            self.way.shared.borrow_mut().info.bytes.received += data.len() as u64;
            self.way.progress.touch();
        }
        if self.active {
            match frame {
                Frame::Data(data, end) => chain::request_data(self.way.shared, data, *end).await?,
                Frame::Trailers(trailers) => chain::request_trailers(self.way.shared, trailers).await?,
                Frame::End => {}
            }
        }
        Ok(())
    }
}

struct ResponseTap<'t, 'w, 'c, 's> {
    way: &'t Way<'w, 'c, 's>,
    active: bool,
}

impl Tap for ResponseTap<'_, '_, '_, '_> {
    async fn frame(&mut self, frame: &mut Frame) -> Result<(), Box<LocalReply>> {
        match frame {
            Frame::Data(data, _) => {
                self.way.shared.borrow_mut().info.bytes.sent += data.len() as u64;
                self.way.progress.touch();
            }
            Frame::Trailers(trailers) => {
                if self.way.context.config.needs_facts {
                    self.way.shared.borrow_mut().trailers = Some(trailers.clone());
                }
                self.way.shared.borrow_mut().info.bytes.response_trailers = trailers.byte_size() as u64;
            }
            Frame::End => {}
        }
        if self.active {
            match frame {
                Frame::Data(data, end) => chain::response_data(self.way.shared, data, *end).await?,
                Frame::Trailers(trailers) => chain::response_trailers(self.way.shared, trailers).await?,
                Frame::End => {}
            }
        }
        Ok(())
    }
}
