//! A request on its way to an upstream: the choice of cluster, host and connection, and the exchange itself.
//!
//! One task drives both directions. The request side pumps the body up and then watches the client; the response side
//! reads the head, starts the response and pumps the body down. The response side's end is the stream's end. What ends it
//! earlier: the client leaves, a deadline passes, a filter replies.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Instant;

use sampan_filters_api::http::Phases;
use sampan_filters_api::{Headers, Known, LocalReply, Protocol, ResponseHead};
use sampan_model::cluster::{Host, Resource, UpstreamProtocol};
use sampan_model::route::{ClusterRef, ClusterSpecifier, Priority, WeightedTarget};

use super::body::{BodyReader, BodyWriter, Frame, H1Writer};
use super::chain::{self, Shared};
use super::connection::HttpContext;
use super::exchange::{Exchange, Responder};
use super::h1::encode::{self, Connection, NameCase};
use super::h1::response::RequestKind;
use super::h1::{Framing, HeadLimits};
use super::pump::{PumpError, Tap, pump};
use super::route::{Forward, RouteConfig, WeightedPayload};
use super::stream::{self, Ended, Hit};
use super::timeouts::{self, Deadlines};
use super::upstream::{self, Answer, H1Receiver, H2Receiver, Receiver};
use super::{h2, header_ops, upgrade};
use crate::failure::{Failure, Kind};
use crate::net::alarm::{Alarm, earlier};
use crate::telemetry::stats::Origin;
use crate::telemetry::stats::kinds::{ClusterCounter, ClusterGauge, ClusterHistogram, HttpRouterCounter};
use crate::upstream::cluster::{BreakerPermit, WorkerCluster};
use crate::upstream::connect::{Guard, address_of};
use crate::upstream::pool::{self, HostPool};

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
        Err(failure) => return stream::fail(context, shared, exchange.responder, &failure).await,
    };
    let switch = match upgrade::decide(&context.config, plan.forward, shared.borrow().request) {
        Ok(switch) => switch,
        Err(reply) => return stream::answer(context, shared, exchange.responder, *reply).await,
    };
    let Exchange { version, mut body, framing, responder, expects_continue } = exchange;
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
    let responder = way.responder.take();
    match outcome {
        Ok(keep) => Ended { keep: keep && body.is_done() },
        Err(end) => way.end(end, responder).await,
    }
}

/// The cluster and host for a request, counted.
struct Target<'p> {
    cluster: Rc<WorkerCluster>,
    pool: Rc<HostPool>,
    weighted: Option<&'p WeightedPayload>,
    priority: Priority,
    since: Instant,
    _permit: BreakerPermit,
}

impl<'p> Target<'p> {
    fn find(context: &HttpContext, shared: &RefCell<Shared<'_>>, plan: &Plan<'p>) -> Result<Self, Failure> {
        let action = &plan.forward.action;
        let missing = || {
            context.stats.router.inc(HttpRouterCounter::NoCluster);
            Failure::from(Kind::NoCluster(action.cluster_not_found_status))
        };
        let mut weighted = None;
        let named;
        let reference: &ClusterRef = match &action.cluster {
            ClusterSpecifier::Cluster(reference) => reference,
            ClusterSpecifier::Header(name) => {
                named = by_header(shared, plan.routes, name.as_bytes()).ok_or_else(missing)?;
                &named
            }
            ClusterSpecifier::Weighted(clusters) => {
                let chosen = clusters.choose(plan.random);
                weighted = Some(&chosen.payload);
                match &chosen.target {
                    WeightedTarget::Cluster(reference) => reference,
                    WeightedTarget::Header(name) => {
                        named = by_header(shared, plan.routes, name.as_bytes()).ok_or_else(missing)?;
                        &named
                    }
                }
            }
        };
        if context.config.needs_facts {
            shared.borrow_mut().info.upstream.cluster = Some(reference.name.clone());
        }
        let cluster = context.worker.cluster(reference.slot).ok_or_else(missing)?;
        if context.config.needs_facts {
            shared.borrow_mut().info.upstream.cluster_alt.clone_from(&cluster.config().alt_stat_name);
        }
        let priority = action.priority;
        let picked = context.worker.with_rng(|rng| cluster.pick(rng));
        let pool = picked.ok_or(Failure::from(Kind::NoHost))?;
        let permit = cluster.try_acquire(priority, Resource::Requests).map_err(|_| {
            cluster.stats().inc(ClusterCounter::UpstreamRqPendingOverflow);
            Failure::from(Kind::Overflow)
        })?;
        cluster.stats().inc(ClusterCounter::UpstreamRqTotal);
        cluster.stats().raise(ClusterGauge::UpstreamRqActive);
        let counters = &pool.host().counters;
        counters.rq_total.fetch_add(1, Relaxed);
        counters.rq_active.fetch_add(1, Relaxed);
        Ok(Self { cluster, pool, weighted, priority, since: Instant::now(), _permit: permit })
    }

    fn host(&self) -> &Arc<Host> {
        self.pool.host()
    }

    /// The protocol to speak with it.
    fn protocol(&self, downstream: Protocol) -> Protocol {
        match self.cluster.config().http.protocol {
            UpstreamProtocol::Http2 => Protocol::Http2,
            UpstreamProtocol::UseDownstream if downstream == Protocol::Http2 => Protocol::Http2,
            UpstreamProtocol::Http1 | UpstreamProtocol::UseDownstream | UpstreamProtocol::Auto => {
                Protocol::Http11
            }
        }
    }

    /// Counts a response that the upstream gave.
    fn responded(&self, status: u16, head: &ResponseHead) {
        let canary = head.headers.known(Known::XEnvoyUpstreamCanary) == Some(b"true");
        let _ = canary;
        self.cluster.stats().response(status, Origin::External);
        let counters = &self.host().counters;
        if status >= 500 {
            counters.rq_error.fetch_add(1, Relaxed)
        } else {
            counters.rq_success.fetch_add(1, Relaxed)
        };
    }

    /// Counts a request that failed.
    fn failed(&self, failure: &Failure, status: u16) {
        let stats = self.cluster.stats();
        let counters = &self.host().counters;
        match failure.kind {
            Kind::ResponseTimeout => {
                stats.inc(ClusterCounter::UpstreamRqTimeout);
                counters.rq_timeout.fetch_add(1, Relaxed);
            }
            Kind::UpstreamReset { .. } => stats.inc(ClusterCounter::UpstreamRqRxReset),
            Kind::DownstreamClosed | Kind::DownstreamReset => {
                stats.inc(ClusterCounter::UpstreamRqCancelled);
                return;
            }
            _ => {}
        }
        counters.rq_error.fetch_add(1, Relaxed);
        if status > 0 && !failure.after_head {
            stats.response(status, Origin::External);
        }
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        self.cluster.stats().lower(ClusterGauge::UpstreamRqActive);
        self.cluster
            .stats()
            .record(ClusterHistogram::UpstreamRqTime, self.since.elapsed().as_millis() as u64);
        self.host().counters.rq_active.fetch_sub(1, Relaxed);
    }
}

fn by_header(shared: &RefCell<Shared<'_>>, routes: &RouteConfig, name: &[u8]) -> Option<ClusterRef> {
    let shared = shared.borrow();
    let value = shared.request.field(name)?;
    let (name, slot) = routes.clusters_by_name.slot(value)?;
    Some(ClusterRef { name, slot })
}

/// How far a stream has come; shared by its two directions.
pub(super) struct Progress {
    deadlines: Deadlines,
    request_done: Cell<Option<Instant>>,
    last_activity: Cell<Instant>,
    head_sent: Cell<bool>,
    switched: Cell<bool>,
}

impl Progress {
    fn new(deadlines: Deadlines, bodiless: bool) -> Self {
        let now = Instant::now();
        Self {
            deadlines,
            request_done: Cell::new(bodiless.then_some(now)),
            last_activity: Cell::new(now),
            head_sent: Cell::new(false),
            switched: Cell::new(false),
        }
    }

    /// The next deadline of the stream.
    fn next(&self) -> Option<Instant> {
        let d = &self.deadlines;
        let idle = d.idle.map(|limit| self.last_activity.get() + limit);
        let response = if self.switched.get() {
            None
        } else {
            d.response.zip(self.request_done.get()).map(|(limit, since)| since + limit)
        };
        let request = if self.request_done.get().is_none() { d.request } else { None };
        earlier(earlier(idle, response), earlier(request, earlier(d.max_stream, d.upstream_max)))
    }

    /// Which deadline it was that passed.
    fn expired(&self) -> Kind {
        let now = Instant::now();
        let d = &self.deadlines;
        let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if passed(d.response.zip(self.request_done.get()).map(|(limit, since)| since + limit))
            && !self.switched.get()
        {
            Kind::ResponseTimeout
        } else if passed(d.max_stream) {
            Kind::MaxDuration
        } else if passed(d.upstream_max) {
            Kind::UpstreamMaxDuration
        } else if self.request_done.get().is_none() && passed(d.request) {
            Kind::RequestTimeout
        } else {
            Kind::StreamIdle
        }
    }

    fn touch(&self) {
        self.last_activity.set(Instant::now());
    }
}

/// What ends a stream before its response does.
enum End {
    Failure(Failure),
    Reply(Box<LocalReply>),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        End::Failure(failure)
    }
}

/// A response that came to its end.
struct Complete {
    keep: bool,
    upstream_reusable: bool,
}

/// Everything that an attempt needs.
struct Way<'w, 'c, 's> {
    context: &'w HttpContext,
    shared: &'w RefCell<Shared<'s>>,
    plan: &'w Plan<'w>,
    target: &'w Target<'w>,
    progress: &'w Progress,
    responder: RefCell<Option<Responder<'c>>>,
    /// The protocol to switch to, if the request asks and the configuration allows.
    switch: Option<upgrade::Switch>,
    version: Protocol,
    framing: Framing,
    expects_continue: bool,
}

impl<'c> Way<'_, 'c, '_> {
    async fn attempt(
        &mut self,
        incoming: &mut ResponseHead,
        alarm: &mut Alarm,
        body: &mut BodyReader<'_>,
    ) -> Result<bool, End> {
        let host = self.target.host();
        {
            let mut shared = self.shared.borrow_mut();
            shared.info.upstream.attempts += 1;
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
        if let Some(switch) = &self.switch {
            switch.shape_request(protocol, self.shared.borrow_mut().request);
        }
        match protocol {
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
                connect: self.switch.as_ref().is_some_and(|s| s.is_connect()),
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
            let receiver = Receiver::H1(H1Receiver { io, read: &mut connection.read, limits, kind, buffer });
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

    /// Sends the body up, then watches the client.
    async fn request_side(&self, body: &mut BodyReader<'_>, writer: &mut BodyWriter<'_>) -> Result<(), End> {
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
    async fn response_side(
        &self,
        incoming: &mut ResponseHead,
        mut receiver: Receiver<'_>,
        protocol: Protocol,
    ) -> Result<Complete, End> {
        let answer = self.final_head(incoming, &mut receiver, protocol).await?;
        let end = answer.framing.is_empty() && !answer.switched;
        self.accept_head(incoming, end).await?;
        let Some(responder) = self.responder.borrow_mut().take() else {
            return Err(Failure::from(Kind::FilterFailed).into());
        };
        let started = {
            let shared = self.shared.borrow();
            if answer.switched
                || (self.switch.is_some() && protocol == Protocol::Http2 && shared.response.status == 200)
            {
                self.progress.switched.set(true);
                responder.start_switched(shared.response, self.switch.as_ref().and_then(|s| s.protocol()))
            } else {
                let now = Instant::now();
                // An answer before the end of the request ends the connection: what is left of the request is not read.
                let early = self.progress.request_done.get().is_none() && end;
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
            if incoming.status == 100 && self.context.config.proxy_100_continue && self.expects_continue {
                self.interim(incoming).await?;
            }
        }
    }

    async fn interim(&self, head: &ResponseHead) -> Result<(), End> {
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
            self.target.responded(status, shared.response);
            let took = self.target.since.elapsed();
            header_ops::route_response(self.context, self.plan, self.target.weighted, took, &mut shared);
        }
        if self.shared.borrow().wants(Phases::RESPONSE_HEAD) {
            chain::response_head(self.shared, end).await.map_err(End::Reply)?;
        }
        header_ops::finish_response(self.context, &mut self.shared.borrow_mut());
        Ok(())
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

fn downstream_failure(error: &super::body::BodyError) -> Failure {
    match error {
        super::body::BodyError::Closed => Kind::DownstreamClosed.into(),
        super::body::BodyError::Codec(error) => Kind::Codec(*error).into(),
        super::body::BodyError::Reset(_) => Kind::DownstreamReset.into(),
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
