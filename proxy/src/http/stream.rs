//! The life of a request, from its head to its access log line. Read from top to bottom.
//!
//! ```text
//!  serve: count, admit (normalise, trust), route, filters
//!    reply      redirect, direct response, refusal, failure --> local reply
//!    forward    pick cluster and host, take a connection, send the head, then both directions side by side (`attempt`)
//!  finish: counters, filters told, access logs
//! ```

use std::cell::RefCell;
use std::time::{Instant, SystemTime};

use sampan_filters_api::{Known, LocalReply, Protocol, RequestHead, ResponseHead, StreamInfo};
use sampan_model::route::RouteHit;

use super::attempt;
use super::chain::{self, Shared};
use super::connection::HttpContext;
use super::exchange::{Exchange, Responder};
use super::reply;
use super::route::{Action, RouteConfig, RoutePayload, VirtualHostPayload};
use super::{forwarding, normalize, request_id};
use crate::failure::{Failure, Kind, Verdict};
use crate::net::alarm::Alarm;
use crate::telemetry::stats::kinds::{HttpCounter, HttpGauge, HttpHistogram, HttpRouterCounter};

/// Memory that one request hands on to the next.
#[derive(Default)]
pub struct Scratch {
    /// The request head; filled by the codec.
    pub request: RequestHead,
    /// The response head on its way down.
    response: ResponseHead,
    /// The response head while it comes in.
    incoming: ResponseHead,
    /// The stream's deadlines.
    alarm: Alarm,
}

impl Scratch {
    /// Whether keeping its memory costs little.
    pub fn is_small(&self) -> bool {
        const MOST: usize = 16 * 1024;
        self.request.headers.capacity() <= MOST && self.response.headers.capacity() <= MOST
    }
}

/// A match in the route table.
pub type Hit<'t> = RouteHit<'t, VirtualHostPayload, RoutePayload>;

/// How a stream ended.
pub struct Ended {
    /// Whether the downstream connection may serve another request.
    pub keep: bool,
}

/// Serves one request; whether its connection may serve another. `refusal` is what the codec found wrong with it.
pub async fn serve(
    context: &HttpContext,
    scratch: &mut Scratch,
    exchange: Exchange<'_>,
    started: Instant,
    refusal: Option<Failure>,
) -> bool {
    let _active = Active::enter(context, exchange.version);
    let mut info = StreamInfo::new(context.info.clone(), started, SystemTime::now());
    info.protocol = Some(exchange.version);
    let Scratch { request, response, incoming, alarm } = scratch;
    response.clear();
    info.bytes.request_headers = request.headers.byte_size() as u64;
    let wire = exchange.wire;
    let shared = Shared::new(request, response, &mut info);
    let shared = RefCell::new(shared);
    let ended = run(context, &shared, incoming, alarm, exchange, refusal).await;
    if let Some(wire) = wire {
        let (received, sent) = (wire.io.received() - wire.received, wire.io.sent() - wire.sent);
        let mut shared = shared.borrow_mut();
        shared.info.bytes.downstream_wire_received = received;
        shared.info.bytes.downstream_wire_sent = sent;
        context.stats.http.add(HttpCounter::DownstreamCxRxBytesTotal, received);
        context.stats.http.add(HttpCounter::DownstreamCxTxBytesTotal, sent);
    }
    finish(context, &mut shared.borrow_mut());
    ended.keep
}

async fn run(
    context: &HttpContext,
    shared: &RefCell<Shared<'_>>,
    incoming: &mut ResponseHead,
    alarm: &mut Alarm,
    exchange: Exchange<'_>,
    refusal: Option<Failure>,
) -> Ended {
    if let Some(failure) = refusal {
        // The request never came to its end: it is answered before that, and given up.
        context.stats.http.inc(HttpCounter::DownstreamRqResponseBeforeRqComplete);
        context.stats.http.inc(HttpCounter::DownstreamRqRxReset);
        return fail(context, shared, exchange.into_responder(), &failure).await;
    }
    // Bound first: a borrow within the condition would last through the block.
    let admitted = admit(context, &mut shared.borrow_mut());
    if let Err(reply) = admitted {
        if reply.details.starts_with("http1.") {
            // A head that breaks the protocol is not logged as if it were understood.
            shared.borrow_mut().request.clear();
        }
        return answer(context, shared, exchange.into_responder(), *reply).await;
    }
    let routes = context.config.routes.current();
    let random = context.worker.with_rng(|rng| rng.u64(..));
    let mut hit = find(context, routes, &shared.borrow(), random);
    if !context.config.filters.is_empty() {
        shared.borrow_mut().create_filters(&context.config.filters, hit.as_ref());
        let end = exchange.framing.is_empty() && shared.borrow().request.upgrade().is_none();
        if let Err(reply) = chain::request_head(shared, end).await {
            return answer(context, shared, exchange.into_responder(), *reply).await;
        }
        if std::mem::take(&mut shared.borrow_mut().clear_route) {
            hit = find(context, routes, &shared.borrow(), random);
        }
    }
    let Some(hit) = hit else {
        context.stats.router.inc(HttpRouterCounter::NoRoute);
        return fail(context, shared, exchange.into_responder(), &Kind::NoRoute.into()).await;
    };
    if context.config.needs_facts {
        let mut shared = shared.borrow_mut();
        shared.info.route_name.clone_from(&hit.route.payload.name);
        shared.info.virtual_host = Some(hit.host.payload().name.clone());
    }
    let to_https = require_tls(&hit, &shared.borrow());
    if let Some(reply) = to_https {
        return answer(context, shared, exchange.into_responder(), reply).await;
    }
    match &hit.route.payload.action {
        Action::Redirect(redirect) => {
            context.stats.router.inc(HttpRouterCounter::RqRedirect);
            let reply = reply::redirect(redirect, &hit.route.matcher, shared.borrow().request);
            answer_routed(context, shared, exchange.into_responder(), reply, routes, &hit).await
        }
        Action::Direct(direct) => {
            context.stats.router.inc(HttpRouterCounter::RqDirectResponse);
            let reply = reply::direct(direct);
            answer_routed(context, shared, exchange.into_responder(), reply, routes, &hit).await
        }
        Action::NonForwarding => {
            fail(context, shared, exchange.into_responder(), &Kind::NoRoute.into()).await
        }
        Action::Forward(forward) => {
            context.stats.router.inc(HttpRouterCounter::RqTotal);
            let plan = attempt::Plan { routes, hit, forward, random };
            attempt::forward(context, shared, incoming, alarm, exchange, &plan).await
        }
    }
}

/// What the connection manager does to every request before it is routed.
fn admit(context: &HttpContext, shared: &mut Shared<'_>) -> Result<(), Box<LocalReply>> {
    let config = &context.config;
    let head = &mut *shared.request;
    if head.authority().is_empty() {
        return Err(Box::new(reply::missing_host()));
    }
    let port = context.info.local.socket().map(|a| a.port());
    normalize::apply(&config.normalize, config.underscores, head, port).map_err(|refusal| {
        context.stats.http.inc(HttpCounter::DownstreamRqFailedPathNormalization);
        refusal.into_reply()
    })?;
    forwarding::apply(config, &context.info, shared.info, head);
    context.worker.with_rng(|rng| request_id::apply(config, rng, shared.info, head));
    Ok(())
}

fn find<'t>(
    context: &HttpContext,
    routes: &'t RouteConfig,
    shared: &Shared<'_>,
    random: u64,
) -> Option<Hit<'t>> {
    let snapshot = context.worker.snapshot_ref();
    let runtime: &crate::runtime::Runtime = &snapshot.runtime;
    let matching = sampan_model::route::MatchContext { random, runtime };
    routes.table.find(&super::route::View(shared.request), &matching)
}

/// `require_tls` of the virtual host: a redirect to https.
fn require_tls(hit: &Hit<'_>, shared: &Shared<'_>) -> Option<LocalReply> {
    let internal = shared.request.headers.has(Known::XEnvoyInternal);
    let proto = shared.request.headers.known(Known::XForwardedProto).unwrap_or_default();
    hit.host.tls_requirement().redirects(proto, internal).then(|| reply::https_redirect(shared.request))
}

/// Answers with what a failure means.
pub(super) async fn fail(
    context: &HttpContext,
    shared: &RefCell<Shared<'_>>,
    responder: Responder<'_>,
    failure: &Failure,
) -> Ended {
    if failure.kind == Kind::Overflow && !context.config.suppress_envoy_headers {
        let mut reply = local_reply(failure.verdict());
        reply.headers.append_known(Known::XEnvoyOverloaded, "true");
        return answer(context, shared, responder, reply).await;
    }
    answer_verdict(context, shared, responder, failure.verdict()).await
}

async fn answer_verdict(
    context: &HttpContext,
    shared: &RefCell<Shared<'_>>,
    responder: Responder<'_>,
    verdict: Verdict,
) -> Ended {
    if verdict.status == 0 {
        record(&mut shared.borrow_mut(), &verdict);
        return Ended { keep: false };
    }
    answer(context, shared, responder, local_reply(verdict)).await
}

fn local_reply(verdict: Verdict) -> LocalReply {
    let mut reply = LocalReply::new(verdict.status, verdict.details).flags(verdict.flags);
    reply.body = match verdict.body {
        std::borrow::Cow::Borrowed(text) => text.into(),
        std::borrow::Cow::Owned(text) => text.into(),
    };
    reply.close = verdict.close;
    reply.grpc_status = verdict.grpc_status;
    reply
}

/// Notes in the stream's facts how it ended.
pub(super) fn record(shared: &mut Shared<'_>, verdict: &Verdict) {
    shared.info.flags.merge(verdict.flags);
    shared.info.details.clone_from(&verdict.details);
}

/// Sends a local reply.
pub(super) async fn answer(
    context: &HttpContext,
    shared: &RefCell<Shared<'_>>,
    responder: Responder<'_>,
    reply: LocalReply,
) -> Ended {
    reply::send(context, shared, responder, reply, &[]).await
}

/// Sends a local reply that a route asked for, with the route's header changes.
async fn answer_routed(
    context: &HttpContext,
    shared: &RefCell<Shared<'_>>,
    responder: Responder<'_>,
    reply: LocalReply,
    routes: &RouteConfig,
    hit: &Hit<'_>,
) -> Ended {
    let levels = routes.header_levels(None, &hit.route.payload, hit.host.payload());
    reply::send(context, shared, responder, reply, &levels).await
}

/// Counters, filters, access logs.
fn finish(context: &HttpContext, shared: &mut Shared<'_>) {
    let now = Instant::now();
    shared.info.end = Some(now);
    shared.complete();
    if context.config.needs_facts {
        shared.info.bytes.request_headers = request_size(shared.request);
        if shared.has_response {
            shared.info.bytes.response_headers =
                (":status200".len() + shared.response.headers.byte_size()) as u64;
        }
    }
    let http = &context.stats.http;
    http.record(HttpHistogram::DownstreamRqTime, now.duration_since(shared.info.start).as_millis() as u64);
    if shared.info.response_code > 0 {
        context.stats.response(shared.info.response_code);
    }
    if !context.config.access_logs.is_empty() {
        crate::telemetry::log_stream(
            &context.worker,
            &context.config.access_logs,
            shared.request,
            shared.has_response.then_some(&*shared.response),
            shared.trailers.as_ref(),
            shared.info,
            now,
        );
    }
}

/// Bytes of all names and values, pseudo-headers included, as Envoy counts them.
fn request_size(head: &RequestHead) -> u64 {
    let pseudo = [
        (":authority", head.authority()),
        (":path", head.path()),
        (":method", head.method()),
        (":scheme", head.scheme()),
    ];
    let pseudo: usize = pseudo.iter().filter(|(_, v)| !v.is_empty()).map(|(n, v)| n.len() + v.len()).sum();
    (pseudo + head.headers.byte_size()) as u64
}

/// A stream that is counted as under way.
struct Active<'c>(&'c HttpContext);

impl<'c> Active<'c> {
    fn enter(context: &'c HttpContext, version: Protocol) -> Self {
        let http = &context.stats.http;
        http.inc(HttpCounter::DownstreamRqTotal);
        http.inc(if version == Protocol::Http2 {
            HttpCounter::DownstreamRqHttp2Total
        } else {
            HttpCounter::DownstreamRqHttp1Total
        });
        http.raise(HttpGauge::DownstreamRqActive);
        context.active.set(context.active.get() + 1);
        Self(context)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.stats.http.lower(HttpGauge::DownstreamRqActive);
        self.0.active.set(self.0.active.get() - 1);
    }
}
