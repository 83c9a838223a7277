//! One attempt at a request: a connection to the chosen host, and the exchange itself.
//!
//! One task drives both directions. The request side pumps the body up and then watches the client; the response side
//! reads the head, starts the response and pumps the body down ([`super::sides`]). The response side's end is the attempt's end.
//! What ends it earlier: the client leaves, a deadline passes, a filter replies.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use sampan_filters_api::info::UpstreamInfo;
use sampan_filters_api::{Headers, Protocol, ResponseHead};

use super::body::{BodyReader, BodyWriter, H1Writer};
use super::h1::Framing;
use super::h1::encode::{self, Connection, NameCase};
use super::h1::response::RequestKind;
use super::progress::Try;
use super::relay::{End, Relay};
use super::target::Target;
use super::upstream::{self, H1Receiver, H1Settings, H2Receiver, Receiver};
use super::{h2, header_ops, mirror, trace, upgrade};
use crate::failure::{Failure, Kind};
use crate::net::alarm::Alarm;
use crate::telemetry::trace::Span;
use crate::upstream::connect::{self, Guard, address_of};
use crate::upstream::pool;
use crate::upstream::transport::Offer;

/// A response that came to its end.
pub(super) struct Complete {
    /// The downstream connection may serve another request.
    pub keep: bool,
    /// So may the upstream one.
    pub upstream_reusable: bool,
}

/// One attempt at a request.
pub(super) struct Attempt<'a, 'w, 'c, 's> {
    /// The request.
    pub relay: &'a Relay<'w, 'c, 's>,
    /// The cluster and host.
    pub target: &'a Target<'w>,
    /// Its time limits.
    pub tried: Try,
    /// Its connection has served others, and has said nothing to this request yet: it may have been closing when it was sent.
    pub unheard: Cell<bool>,
    /// It took too long, and another one was begun beside it.
    pub late: Cell<bool>,
    /// Its response is not passed on and had no body, so that its connection may serve another request.
    pub spent: Cell<bool>,
    /// What is known of its upstream, where attempts overlap: the response that is passed on decides what is logged.
    facts: Cell<Option<Box<UpstreamInfo>>>,
    /// Its own span, where tries have one.
    span: Cell<Option<Box<Span>>>,
}

impl Drop for Attempt<'_, '_, '_, '_> {
    fn drop(&mut self) {
        if let Some(span) = self.span.take()
            && let Ok(shared) = self.relay.shared.try_borrow()
        {
            // Others did better, or the client left.
            let nothing = ResponseHead::default();
            trace::end_try(self.relay.context, self.target, &shared, span, &nothing, Some(&End::Outdone));
        }
    }
}

impl<'a, 'w, 'c, 's> Attempt<'a, 'w, 'c, 's> {
    /// An attempt that has not begun.
    pub(super) fn new(relay: &'a Relay<'w, 'c, 's>, target: &'a Target<'w>) -> Self {
        Self {
            relay,
            target,
            tried: Try::default(),
            unheard: Cell::new(false),
            late: Cell::new(false),
            spent: Cell::new(false),
            facts: Cell::new(None),
            span: Cell::new(None),
        }
    }
}

impl Attempt<'_, '_, '_, '_> {
    /// Whether another attempt follows what ended this one, and after how long.
    pub(super) fn again(&self, end: &End) -> Option<Duration> {
        let relay = self.relay;
        if relay.responder.borrow().is_none() {
            // The response has begun.
            return None;
        }
        let wait = match end {
            End::Again(wait) => Some(*wait),
            End::Failure(failure) => {
                let extras = relay.extras.as_deref()?;
                let retries = extras.retries.as_ref().filter(|_| extras.is_whole() && !self.late.get())?;
                let wait = retries.after_failure(relay.context, relay.shared, self.target, failure);
                if wait.is_some() {
                    self.target.failed(failure, 0);
                }
                wait
            }
            End::Reply(_) | End::Outdone | End::Redirected | End::Anew => None,
        }?;
        let late = matches!(end, End::Failure(failure) if failure.is_try_timeout());
        relay.note_retry(late);
        Some(wait)
    }

    /// It is over, and so is its span. `answer` is the head that came, if one did.
    pub(super) fn ended(&self, outcome: &Result<bool, End>, answer: &ResponseHead) {
        if let Some(span) = self.span.take() {
            let shared = self.relay.shared.borrow();
            trace::end_try(self.relay.context, self.target, &shared, span, answer, outcome.as_ref().err());
        }
    }

    /// Makes the attempt; whether the downstream connection may serve another request.
    pub(super) async fn run(
        &self,
        incoming: &mut ResponseHead,
        alarm: &mut Alarm,
        body: &mut BodyReader<'_>,
    ) -> Result<bool, End> {
        let relay = self.relay;
        let host = self.target.host();
        {
            let mut shared = relay.shared.borrow_mut();
            if relay.context.config.needs_facts {
                let address = address_of(host);
                shared.info.upstream.attempted.push(address.clone());
                shared.info.upstream.address = Some(address);
                if !host.hostname.is_empty() {
                    shared.info.upstream.hostname = Some(host.hostname.clone());
                }
            }
            header_ops::finish_request(relay.context, relay.plan, self.target.weighted, host, &mut shared);
            self.span.set(trace::begin_try(relay.context, self.target, &mut shared));
        }
        if relay.extras.is_some() {
            mirror::start(relay);
        }
        self.send(incoming, alarm, body).await
    }

    /// Sends the request as it is by now, and receives its response.
    pub(super) async fn send(
        &self,
        incoming: &mut ResponseHead,
        alarm: &mut Alarm,
        body: &mut BodyReader<'_>,
    ) -> Result<bool, End> {
        let target = self.target;
        let protocol = if let Some(protocol) = target.protocol(self.relay.version) {
            protocol
        } else {
            let settling = Box::pin(pool::settle(&target.cluster, &target.pool, target.priority));
            self.relay.while_client_waits(alarm, body, settling).await?
        };
        match protocol {
            _ if self.relay.switch == Some(upgrade::Switch::Terminate) => {
                Box::pin(self.over_tcp(incoming, alarm, body)).await
            }
            Protocol::Http2 => Box::pin(self.over_h2(incoming, alarm, body)).await,
            _ => self.over_h1(incoming, alarm, body).await,
        }
    }

    async fn over_h1(
        &self,
        incoming: &mut ResponseHead,
        alarm: &mut Alarm,
        body: &mut BodyReader<'_>,
    ) -> Result<bool, End> {
        let (relay, target) = (self.relay, self.target);
        let taking = pool::h1::take(&target.cluster, &target.pool, target.priority);
        let mut connection = relay.while_client_waits(alarm, body, taking).await?;
        self.unheard.set(connection.requests() > 1);
        self.pool_ready(&connection.connection.guard, Protocol::Http11);
        let settings = H1Settings::of(&target.cluster.config());
        let trailers;
        let kind;
        let framing = {
            let shared = relay.shared.borrow();
            let request = &*shared.request;
            trailers = settings.trailers || request.is_grpc();
            kind = RequestKind {
                head: request.is_head(),
                connect: relay.switch.as_ref().is_some_and(upgrade::Switch::is_connect),
                upgrade: relay.switch.as_ref().is_some_and(|s| !s.is_connect()),
            };
            let framing = if relay.switch.is_some() { Framing::None } else { relay.framing };
            let upgrading = if kind.upgrade { Connection::upgrade(relay.version) } else { Connection::Keep };
            encode::request(request, framing, upgrading, settings.case, &mut connection.write);
            framing
        };
        let complete = {
            let io = &connection.connection.io;
            let mut writer =
                BodyWriter::H1(H1Writer::new(io, &mut connection.write, framing, settings.case, trailers));
            let receiver = Receiver::H1(H1Receiver {
                io,
                read: &mut connection.read,
                limits: settings.limits,
                kind,
                buffer: settings.buffer,
                trailers,
            });
            let counted = Some(&connection.connection);
            let exchange =
                self.exchange(incoming, alarm, body, &mut writer, receiver, Protocol::Http11, counted);
            exchange.await.map(|complete| Complete {
                upstream_reusable: complete.upstream_reusable && writer.is_done(),
                ..complete
            })
        };
        if complete.is_err() {
            if !connection.read.is_empty() {
                // A part of a response came.
                self.unheard.set(false);
            } else if self.spent.get() {
                pool::h1::give_back(&target.cluster, connection);
                return complete.map(|complete| complete.keep);
            }
        }
        let complete = complete?;
        if complete.upstream_reusable {
            pool::h1::give_back(&target.cluster, connection);
        }
        Ok(complete.keep)
    }

    /// CONNECT that ends here: its payload is the upstream connection's.
    async fn over_tcp(
        &self,
        incoming: &mut ResponseHead,
        alarm: &mut Alarm,
        body: &mut BodyReader<'_>,
    ) -> Result<bool, End> {
        let (relay, target) = (self.relay, self.target);
        let connecting = async {
            let permit = connect::permit(&target.cluster, target.priority, false).ok_or(Kind::Overflow)?;
            connect::connect(&target.cluster, &target.pool, permit, Offer::Nothing).await
        };
        let connection = relay.while_client_waits(alarm, body, connecting).await?;
        self.pool_ready(&connection.guard, Protocol::Http11);
        relay.shared.borrow_mut().info.upstream.protocol = None;
        let (mut read, mut out) = (relay.context.worker.buffers.take(), Vec::new());
        let mut writer = BodyWriter::H1(H1Writer::new(
            &connection.io,
            &mut out,
            Framing::UntilClose,
            NameCase::Lower,
            false,
        ));
        let receiver = Receiver::Raw(&connection.io, &mut read);
        let counted = Some(&connection);
        let complete =
            self.exchange(incoming, alarm, body, &mut writer, receiver, Protocol::Http11, counted).await?;
        Ok(complete.keep)
    }

    async fn over_h2(
        &self,
        incoming: &mut ResponseHead,
        alarm: &mut Alarm,
        body: &mut BodyReader<'_>,
    ) -> Result<bool, End> {
        let (relay, target) = (self.relay, self.target);
        let opening = upstream::open_stream(&target.cluster, &target.pool, target.priority);
        let (lease, mut sender) = relay.while_client_waits(alarm, body, opening).await?;
        self.unheard.set(lease.connection.has_served());
        self.pool_ready(&lease.connection.guard, Protocol::Http2);
        let end = relay.framing.is_empty() && relay.switch.is_none();
        let request = h2::request_into(relay.shared.borrow().request)
            .map_err(|error| Failure::from(Kind::Codec(error)))?;
        let (response, stream) = sender.send_request(request, end).map_err(|error| {
            if error.is_go_away() {
                lease.drain();
            }
            upstream::failure(upstream::stream_error(error), Protocol::Http2, false)
        })?;
        let mut writer = if end { BodyWriter::Empty } else { BodyWriter::H2(h2::Writer::new(stream)) };
        let receiver = Receiver::H2(H2Receiver::new(response));
        let complete =
            self.exchange(incoming, alarm, body, &mut writer, receiver, Protocol::Http2, None).await?;
        Ok(complete.keep)
    }

    fn pool_ready(&self, guard: &Guard, protocol: Protocol) {
        self.target.attach();
        let mut shared = self.relay.shared.borrow_mut();
        let upstream = &mut shared.info.upstream;
        upstream.protocol = Some(protocol);
        if self.relay.context.config.needs_facts {
            // What was waited for has touched it.
            let first = upstream.attempts <= 1;
            let now = if first { self.relay.progress.last_activity() } else { Instant::now() };
            upstream.pool_ready = Some(now);
            // The head follows at once.
            upstream.request_sent.0 = Some(now);
            upstream.local.clone_from(&guard.local);
            upstream.connection_id = Some(guard.id);
            upstream.tls.clone_from(&guard.tls);
            upstream.state.clone_from(&guard.state);
        }
        if self.relay.progress.hedges() {
            upstream.address = Some(address_of(self.target.host()));
            self.facts.set(Some(Box::new(upstream.clone())));
        }
    }

    /// Its response goes to the client.
    pub(super) fn wins(&self) {
        let Some(facts) = self.facts.take() else { return };
        let mut shared = self.relay.shared.borrow_mut();
        let upstream = &mut shared.info.upstream;
        let (attempts, attempted) = (upstream.attempts, std::mem::take(&mut upstream.attempted));
        *upstream = UpstreamInfo { attempts, attempted, ..*facts };
    }

    /// Both directions, side by side, until the response is complete or something ends it.
    async fn exchange(
        &self,
        incoming: &mut ResponseHead,
        alarm: &mut Alarm,
        body: &mut BodyReader<'_>,
        writer: &mut BodyWriter<'_>,
        receiver: Receiver<'_>,
        protocol: Protocol,
        counted: Option<&connect::Connection>,
    ) -> Result<Complete, End> {
        let relay = self.relay;
        let progress = &relay.progress;
        if progress.is_over() {
            return Err(relay.expired(&self.tried).into());
        }
        if relay.expects_continue
            && !relay.context.config.proxy_100_continue
            && !progress.continued.replace(true)
        {
            let go_on = ResponseHead { status: 100, headers: Headers::new() };
            Box::pin(self.interim(&go_on)).await?;
        }
        progress.begin_try(&self.tried);
        let mut request = pin!(self.request_side(body, writer));
        let mut response = pin!(self.response_side(incoming, receiver, protocol));
        let (mut request_open, mut begun) = (true, false);
        poll_fn(|cx| {
            // Once a whole request is on its way, its side only looks whether the client leaves: the response first.
            let watches = begun && progress.request_done.get().is_some();
            begun = true;
            if watches && let Poll::Ready(result) = response.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            if request_open {
                match request.as_mut().poll(cx) {
                    Poll::Ready(Err(end)) => return Poll::Ready(Err(end)),
                    Poll::Ready(Ok(())) => request_open = false,
                    Poll::Pending => {}
                }
            }
            if !watches && let Poll::Ready(result) = response.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            if request_open && progress.switched.get() {
                // The gate has just opened for the request side.
                if let Poll::Ready(Err(end)) = request.as_mut().poll(cx) {
                    return Poll::Ready(Err(end));
                }
            }
            if let Some(responder) = relay.responder.borrow_mut().as_mut()
                && let Poll::Ready(kind) = responder.poll_reset(cx)
            {
                return Poll::Ready(Err(Failure::from(kind).into()));
            }
            while alarm.poll(cx, progress.next(&self.tried)).is_ready() {
                let expired = relay.expired(&self.tried);
                if !self.outlives(&expired) {
                    return Poll::Ready(Err(expired.into()));
                }
            }
            self.count_bytes(counted);
            Poll::Pending
        })
        .await
    }

    /// Keeps the counters of bytes in step with a stream that may last long.
    fn count_bytes(&self, upstream: Option<&connect::Connection>) {
        if let Some(wire) = &self.relay.wire {
            self.relay.context.count_wire(wire.io);
        }
        if let Some(upstream) = upstream {
            upstream.count_bytes();
        }
    }
}
