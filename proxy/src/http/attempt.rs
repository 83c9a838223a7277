//! A request on its way to an upstream: the choice of cluster, host and connection, and the exchange itself.
//!
//! One task drives both directions. The request side pumps the body up and then watches the client; the response side
//! reads the head, starts the response and pumps the body down. The response side's end is the stream's end. What ends it
//! earlier: the client leaves, a deadline passes, a filter replies.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use sampan_filters_api::{Headers, LocalReply, Protocol, ResponseHead};

use super::body::{BodyReader, BodyWriter, H1Writer};
use super::chain::Shared;
use super::connection::HttpContext;
use super::exchange::{Exchange, Responder};
use super::h1::encode::{self, Connection, NameCase};
use super::h1::response::RequestKind;
use super::h1::{Framing, HeadLimits};
use super::progress::Progress;
use super::route::{Forward, RouteConfig};
use super::stream::{self, Ended, Hit};
use super::target::Target;
use super::upstream::{self, H1Receiver, H2Receiver, Receiver};
use super::{h2, header_ops, timeouts, upgrade};
use crate::failure::{Failure, Kind};
use crate::net::alarm::Alarm;
use crate::telemetry::stats::kinds::{HttpCounter, HttpRouterCounter};
use crate::upstream::connect::{self, Guard, address_of};
use crate::upstream::pool;

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
}

/// Forwards a request and its response.
pub async fn forward(
    context: &HttpContext,
    shared: &RefCell<Shared<'_>>,
    incoming: &mut ResponseHead,
    alarm: &mut Alarm,
    exchange: Exchange<'_>,
    plan: &Plan<'_>,
) -> Ended {
    let target = match Target::find(context, shared, plan) {
        Ok(target) => target,
        Err(failure) => return stream::fail(context, shared, exchange.into_responder(), &failure).await,
    };
    // In a statement of its own: as what is matched on, the borrow would last until the reply is sent.
    let decided = upgrade::decide(&context.config, plan.forward, shared.borrow().request);
    let switch = match decided {
        Ok(switch) => switch,
        Err(reply) => {
            shared.borrow_mut().info.upstream.attempts = 0;
            return stream::answer(context, shared, exchange.into_responder(), *reply).await;
        }
    };
    let Exchange { version, mut body, framing, responder, expects_continue, .. } = exchange;
    let deadlines = timeouts::deadlines(context, plan, &target.cluster, &mut shared.borrow_mut());
    let progress = Progress::new(deadlines, framing.is_empty() && switch.is_none());
    let mut way = Way {
        context,
        shared,
        plan,
        target: &target,
        progress: &progress,
        responder: RefCell::new(Some(responder)),
        switch,
        version,
        framing,
        expects_continue,
    };
    let outcome = way.attempt(incoming, alarm, &mut body).await;
    let mut responder = way.responder.take();
    if let Some(responder) = &mut responder
        && (!body.is_done() || way.switch.is_some())
    {
        responder.close_after();
    }
    match outcome {
        Ok(keep) => Ended { keep: keep && body.is_done() },
        Err(end) => way.end(end, responder).await,
    }
}

/// What ends a stream before its response does.
pub(super) enum End {
    /// It failed.
    Failure(Failure),
    /// A filter replied.
    Reply(Box<LocalReply>),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        End::Failure(failure)
    }
}

/// A response that came to its end.
pub(super) struct Complete {
    /// The downstream connection may serve another request.
    pub keep: bool,
    /// So may the upstream one.
    pub upstream_reusable: bool,
}

/// Everything that an attempt needs.
pub(super) struct Way<'w, 'c, 's> {
    /// The connection.
    pub context: &'w HttpContext,
    /// The stream.
    pub shared: &'w RefCell<Shared<'s>>,
    /// The route.
    pub plan: &'w Plan<'w>,
    /// The cluster and host.
    pub target: &'w Target<'w>,
    /// How far it has come.
    pub progress: &'w Progress,
    /// The way back; gone once the response has begun.
    pub responder: RefCell<Option<Responder<'c>>>,
    /// The protocol to switch to, if the request asks and the configuration allows.
    pub switch: Option<upgrade::Switch>,
    version: Protocol,
    framing: Framing,
    /// The client waits for 100.
    pub expects_continue: bool,
}

impl Way<'_, '_, '_> {
    async fn attempt(
        &mut self,
        incoming: &mut ResponseHead,
        alarm: &mut Alarm,
        body: &mut BodyReader<'_>,
    ) -> Result<bool, End> {
        let host = self.target.host();
        {
            let mut shared = self.shared.borrow_mut();
            if self.context.config.needs_facts {
                let address = address_of(host);
                shared.info.upstream.attempted.push(address.clone());
                shared.info.upstream.address = Some(address);
                if !host.hostname.is_empty() {
                    shared.info.upstream.hostname = Some(host.hostname.as_ref().into());
                }
            }
            header_ops::finish_request(self.context, self.plan, self.target.weighted, host, &mut shared);
        }
        let protocol = self.target.protocol(self.version);
        match protocol {
            _ if self.switch == Some(upgrade::Switch::Terminate) => {
                self.over_tcp(incoming, alarm, body).await
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
        let target = self.target;
        let taking = pool::h1::take(&target.cluster, &target.pool, target.priority);
        let mut connection = self.while_client_waits(alarm, body, taking).await?;
        self.pool_ready(&connection.connection.guard, Protocol::Http11);
        let (limits, case, trailers, buffer) = {
            let config = target.cluster.config();
            let http1 = &config.http.http1;
            let case = match (http1.preserve_case, http1.proper_case) {
                (true, _) => NameCase::Preserve,
                (_, true) => NameCase::Proper,
                _ => NameCase::Lower,
            };
            let common = &config.http.common;
            let limits = HeadLimits {
                bytes: common.max_response_headers_kb as usize * 1024,
                fields: common.max_headers_count as usize,
            };
            (limits, case, http1.enable_trailers, config.per_connection_buffer_limit as usize)
        };
        let grpc;
        let kind;
        let framing = {
            let shared = self.shared.borrow();
            let request = &*shared.request;
            grpc = request.is_grpc();
            kind = RequestKind {
                head: request.is_head(),
                connect: self.switch.as_ref().is_some_and(upgrade::Switch::is_connect),
                upgrade: self.switch.as_ref().is_some_and(|s| !s.is_connect()),
            };
            let framing = if self.switch.is_some() { Framing::None } else { self.framing };
            let upgrading = if kind.upgrade { Connection::Upgrade } else { Connection::Keep };
            encode::request(request, framing, upgrading, case, &mut connection.write);
            framing
        };
        let reusable;
        let keep = {
            let io = &connection.connection.io;
            let mut writer =
                BodyWriter::H1(H1Writer::new(io, &mut connection.write, framing, case, trailers || grpc));
            let receiver = Receiver::H1(H1Receiver {
                io,
                read: &mut connection.read,
                limits,
                kind,
                buffer,
                trailers: trailers || grpc,
            });
            let complete =
                self.exchange(incoming, alarm, body, &mut writer, receiver, Protocol::Http11).await?;
            reusable = complete.upstream_reusable && writer.is_done();
            complete.keep
        };
        if reusable {
            pool::h1::give_back(&target.cluster, connection);
        }
        Ok(keep)
    }

    /// CONNECT that ends here: its payload is the upstream connection's.
    async fn over_tcp(
        &self,
        incoming: &mut ResponseHead,
        alarm: &mut Alarm,
        body: &mut BodyReader<'_>,
    ) -> Result<bool, End> {
        let target = self.target;
        let connecting = async {
            let permit = connect::permit(&target.cluster, target.priority, false).ok_or(Kind::Overflow)?;
            connect::connect(&target.cluster, target.host(), permit).await
        };
        let connection = self.while_client_waits(alarm, body, connecting).await?;
        self.pool_ready(&connection.guard, Protocol::Http11);
        self.shared.borrow_mut().info.upstream.protocol = None;
        let (mut read, mut out) = (self.context.worker.buffers.take(), Vec::new());
        let mut writer = BodyWriter::H1(H1Writer::new(
            &connection.io,
            &mut out,
            Framing::UntilClose,
            NameCase::Lower,
            false,
        ));
        let receiver = Receiver::Raw(&connection.io, &mut read);
        let complete = self.exchange(incoming, alarm, body, &mut writer, receiver, Protocol::Http11).await?;
        Ok(complete.keep)
    }

    async fn over_h2(
        &self,
        incoming: &mut ResponseHead,
        alarm: &mut Alarm,
        body: &mut BodyReader<'_>,
    ) -> Result<bool, End> {
        let target = self.target;
        let opening = async {
            let lease = pool::h2::take(&target.cluster, &target.pool, target.priority).await?;
            match lease.sender().ready().await {
                Ok(sender) => Ok((lease, sender)),
                Err(error) => {
                    lease.drain();
                    Err(upstream::failure(error.into(), Protocol::Http2, false))
                }
            }
        };
        let (lease, mut sender) = self.while_client_waits(alarm, body, opening).await?;
        self.pool_ready(&lease.connection.guard, Protocol::Http2);
        let end = self.framing.is_empty() && self.switch.is_none();
        let request = h2::request_into(self.shared.borrow().request)
            .map_err(|error| Failure::from(Kind::Codec(error)))?;
        let (response, stream) = sender.send_request(request, end).map_err(|error| {
            if error.is_go_away() {
                lease.drain();
            }
            upstream::failure(error.into(), Protocol::Http2, false)
        })?;
        let mut writer = if end { BodyWriter::Empty } else { BodyWriter::H2(h2::Writer::new(stream)) };
        let receiver = Receiver::H2(H2Receiver::new(response));
        let complete = self.exchange(incoming, alarm, body, &mut writer, receiver, Protocol::Http2).await?;
        Ok(complete.keep)
    }

    /// Waits for something upstream while the client may leave and deadlines may pass.
    async fn while_client_waits<T>(
        &self,
        alarm: &mut Alarm,
        body: &mut BodyReader<'_>,
        waiting: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, End> {
        let mut waiting = pin!(waiting);
        poll_fn(|cx| {
            if let Poll::Ready(result) = waiting.as_mut().poll(cx) {
                return Poll::Ready(result.map_err(End::from));
            }
            self.poll_ended(cx, alarm, body).map(|failure| Err(failure.into()))
        })
        .await
    }

    /// Ready when a deadline passes, or when a client leaves that has sent its whole request.
    fn poll_ended(
        &self,
        cx: &mut std::task::Context<'_>,
        alarm: &mut Alarm,
        body: &mut BodyReader<'_>,
    ) -> Poll<Failure> {
        if self.progress.request_done.get().is_some() && body.poll_closed(cx).is_ready() {
            return Poll::Ready(Kind::DownstreamClosed.into());
        }
        if let Some(responder) = self.responder.borrow_mut().as_mut()
            && responder.poll_reset(cx).is_ready()
        {
            return Poll::Ready(Kind::DownstreamReset.into());
        }
        if alarm.poll(cx, self.progress.next()).is_ready() {
            let failure =
                Failure { kind: self.progress.expired(), after_head: self.progress.head_sent.get() };
            return Poll::Ready(failure);
        }
        Poll::Pending
    }

    fn pool_ready(&self, guard: &Guard, protocol: Protocol) {
        self.target.attach();
        let mut shared = self.shared.borrow_mut();
        let upstream = &mut shared.info.upstream;
        upstream.protocol = Some(protocol);
        if self.context.config.needs_facts {
            upstream.pool_ready = Some(Instant::now());
            upstream.local.clone_from(&guard.local);
            upstream.connection_id = Some(guard.id);
        }
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
    ) -> Result<Complete, End> {
        if self.expects_continue && !self.context.config.proxy_100_continue {
            self.interim(&ResponseHead { status: 100, headers: Headers::new() }).await?;
        }
        self.progress.touch();
        let mut request = pin!(self.request_side(body, writer));
        let mut response = pin!(self.response_side(incoming, receiver, protocol));
        let mut request_open = true;
        poll_fn(|cx| {
            if request_open {
                match request.as_mut().poll(cx) {
                    Poll::Ready(Err(end)) => return Poll::Ready(Err(end)),
                    Poll::Ready(Ok(())) => request_open = false,
                    Poll::Pending => {}
                }
            }
            if let Poll::Ready(result) = response.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            if request_open && self.progress.switched.get() {
                // The gate has just opened for the request side.
                if let Poll::Ready(Err(end)) = request.as_mut().poll(cx) {
                    return Poll::Ready(Err(end));
                }
            }
            if let Some(responder) = self.responder.borrow_mut().as_mut()
                && responder.poll_reset(cx).is_ready()
            {
                return Poll::Ready(Err(Failure::from(Kind::DownstreamReset).into()));
            }
            if alarm.poll(cx, self.progress.next()).is_ready() {
                let failure =
                    Failure { kind: self.progress.expired(), after_head: self.progress.head_sent.get() };
                return Poll::Ready(Err(failure.into()));
            }
            Poll::Pending
        })
        .await
    }

    /// The end of a stream whose response did not come to its own.
    async fn end(&self, end: End, responder: Option<Responder<'_>>) -> Ended {
        match (end, responder) {
            (End::Reply(reply), Some(responder)) => {
                stream::answer(self.context, self.shared, responder, *reply).await
            }
            (End::Reply(_), None) => Ended { keep: false },
            (End::Failure(failure), responder) => {
                let verdict = failure.verdict();
                self.target.failed(&failure, verdict.status);
                if matches!(failure.kind, Kind::DownstreamClosed | Kind::DownstreamReset) {
                    self.context.stats.http.inc(HttpCounter::DownstreamRqRxReset);
                }
                if matches!(failure.kind, Kind::Codec(_)) {
                    // The request never got as far as a protocol.
                    self.shared.borrow_mut().info.upstream.protocol = None;
                }
                if let Kind::ConnectFailed(why) = &failure.kind {
                    self.shared.borrow_mut().info.upstream.transport_failure = Some(why.clone());
                }
                if let Some(responder) = responder
                    && !failure.after_head
                {
                    return stream::fail(self.context, self.shared, responder, &failure).await;
                }
                let router = &self.context.stats.router;
                router.inc(HttpRouterCounter::RqResetAfterDownstreamResponseStarted);
                stream::record(&mut self.shared.borrow_mut(), &verdict);
                Ended { keep: false }
            }
        }
    }
}
