//! The life of a request, from its head to its access log line. Read from top to bottom.
//!
//! ```text
//!  serve: count, admit (normalise, trust), route, filters
//!    reply      redirect, direct response, refusal, failure --> local reply
//!    forward    pick cluster and host, take a connection, send the head, then both directions side by side (`relay`)
//!  finish: counters, filters told, access logs
//! ```

use std::cell::RefCell;
use std::time::{Instant, SystemTime};

use sampan_filters_api::{Flag, Headers, Known, LocalReply, Protocol, RequestHead, ResponseHead, StreamInfo};
use sampan_model::route::{ClusterRef, ClusterSpecifier, Redirect, RouteHit, WeightedTarget};

use super::body::BodyReader;
use super::chain::{Discovered, Shared};
use super::config::HeaderOps;
use super::connection::{CurrentRoutes, HttpContext};
use super::demand;
use super::exchange::{Exchange, Responder};
use super::h1::Framing;
use super::hashing;
use super::hold::{self, Stop};
use super::relay;
use super::reply::{self, Levels};
use super::route::{Action, HeaderLevels, RouteConfig, RoutePayload, VirtualHostPayload, WeightedPayload};
use super::{forwarding, normalize, request_id, sides, trace};
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
pub struct Ended<'c> {
    /// Whether the downstream connection may serve another request.
    pub keep: bool,
    /// The way back to the client that nothing went by: a filter has put another request in the place of this one.
    pub anew: Option<Box<Responder<'c>>>,
}

impl Ended<'_> {
    /// The connection goes with it.
    pub fn closed() -> Self {
        Self { keep: false, anew: None }
    }
}

/// What became of a request.
pub enum Outcome<'c> {
    /// Its stream is over.
    Ended(Ended<'c>),
    /// A redirect has made another request of it.
    Again(Box<Exchange<'c>>),
}

impl<'c> From<Ended<'c>> for Outcome<'c> {
    fn from(ended: Ended<'c>) -> Self {
        Outcome::Ended(ended)
    }
}

/// How a request was served.
pub struct Served {
    /// Whether its connection may serve another.
    pub keep: bool,
    /// Whether a response was begun.
    pub responded: bool,
    /// When it was over.
    pub end: Instant,
}

/// Serves one request. `refusal` is what the codec found wrong with it.
pub async fn serve(
    context: &HttpContext,
    scratch: &mut Scratch,
    exchange: Exchange<'_>,
    started: Instant,
    refusal: Option<Failure>,
) -> Served {
    let _active = Active::enter(context, exchange.version);
    let mut info = StreamInfo::new(context.info.clone(), started, SystemTime::now());
    info.protocol = Some(exchange.version);
    let Scratch { request, response, incoming, alarm } = scratch;
    response.clear();
    info.bytes.request_headers = request.headers.byte_size() as u64;
    let (wire, version) = (exchange.wire, exchange.version);
    let discovered = Discovered::new();
    let shared = RefCell::new(Shared::new(request, response, &mut info, &discovered));
    let mut next = run(context, &shared, incoming, alarm, exchange, refusal).await;
    let ended = loop {
        match next {
            // An answer of our own, given before the request went anywhere.
            Outcome::Ended(Ended { anew: Some(responder), .. }) => {
                next = Outcome::Again(Box::new(Exchange {
                    version,
                    body: BodyReader::Empty,
                    framing: Framing::None,
                    responder: *responder,
                    head_complete: None,
                    expects_continue: false,
                    wire,
                }));
            }
            Outcome::Ended(ended) => break ended,
            Outcome::Again(exchange) => {
                begin_anew(context, &mut shared.borrow_mut(), &exchange);
                next = Box::pin(run(context, &shared, incoming, alarm, *exchange, None)).await;
            }
        }
    };
    if let Some(wire) = wire {
        let (received, sent) = (wire.io.received() - wire.received, wire.io.sent() - wire.sent);
        let mut shared = shared.borrow_mut();
        shared.info.bytes.downstream_wire_received = received;
        shared.info.bytes.downstream_wire_sent = sent;
        context.count_wire(wire.io);
    }
    let mut shared = shared.borrow_mut();
    finish(context, &mut shared);
    let end = shared.info.end.unwrap_or_else(Instant::now);
    Served { keep: ended.keep, responded: shared.info.response_code > 0, end }
}

/// Counts and logs a request that ended before anyone saw it: refused by the codec, or never complete. `status` is what the
/// codec answered; 0 is nothing.
pub fn unseen(context: &HttpContext, version: Protocol, flag: Flag, details: &'static str, status: u16) {
    let _active = Active::enter(context, version);
    let mut info = StreamInfo::new(context.info.clone(), Instant::now(), SystemTime::now());
    info.protocol = Some(version);
    info.flags.set(flag);
    info.details = details.into();
    info.response_code = status;
    context.stats.http.inc(HttpCounter::DownstreamRqRxReset);
    let (mut request, mut response) = (RequestHead::default(), ResponseHead::default());
    finish(context, &mut Shared::new(&mut request, &mut response, &mut info, &Discovered::new()));
}

/// A request that was redirected is over, and logged; the one that it has become begins.
fn begin_anew(context: &HttpContext, shared: &mut Shared<'_>, exchange: &Exchange<'_>) {
    conclude(context, shared, false);
    shared.begin_anew();
    // As in Envoy, the body counts again where it goes up again.
    shared.info.bytes.received += exchange.body.held_bytes() as u64;
    count_request(context, exchange.version);
}

async fn run<'c, 's>(
    context: &'s HttpContext,
    shared: &RefCell<Shared<'s>>,
    incoming: &mut ResponseHead,
    alarm: &mut Alarm,
    mut exchange: Exchange<'c>,
    refusal: Option<Failure>,
) -> Outcome<'c> {
    if let Some(failure) = refusal {
        // The request never came to its end: it is answered before that, and given up.
        context.stats.http.inc(HttpCounter::DownstreamRqResponseBeforeRqComplete);
        context.stats.http.inc(HttpCounter::DownstreamRqRxReset);
        return fail(context, shared, exchange.into_responder(), &failure, &[]).await.into();
    }
    if context.config.needs_facts
        && exchange.framing.is_empty()
        && shared.borrow().request.upgrade().is_none()
    {
        let mut shared = shared.borrow_mut();
        shared.info.request_complete = Some(exchange.head_complete.unwrap_or(shared.info.start));
    }
    let routes = routes(context, shared).await;
    let routes: &RouteConfig = &routes;
    // Bound first: a borrow within the condition would last through the block.
    let again = shared.borrow().redirects.is_some();
    let admitted = if again { Ok(()) } else { admit(context, routes, &mut shared.borrow_mut()) };
    if let Err(reply) = admitted {
        if reply.details.starts_with("http1.") {
            // A head that breaks the protocol is not logged as if it were understood.
            shared.borrow_mut().request.clear();
        }
        return answer(context, shared, exchange.into_responder(), *reply, &[]).await.into();
    }
    let random = context.worker.with_rng(|rng| rng.u64(..));
    let mut hit = find(context, routes, &shared.borrow(), random);
    let share_of = |hit: &Option<Hit<'_>>| {
        hit.as_ref().map_or(0, |hit| hashing::share(context, &shared.borrow(), hit, random))
    };
    let mut share = share_of(&hit);
    trace::begin(context, &mut shared.borrow_mut(), hit.as_ref());
    let mut noted = false;
    if !context.config.filters.is_empty() {
        shared.borrow_mut().create_filters(&context.worker, &context.config.filters, hit.as_ref(), share);
        if let Some(hit) = &hit {
            note_route(context, &mut shared.borrow_mut(), hit);
            noted = true;
        }
        let passed = hold::request_head(context, shared, &mut exchange).await;
        if let Err(Stop::Failure(failure)) = passed {
            return fail(context, shared, exchange.into_responder(), &failure, &[]).await.into();
        }
        if let Err(Stop::Reply(reply)) = passed {
            if let Some(hit) = &hit {
                note_cluster(context, &mut shared.borrow_mut(), hit, share);
            }
            let levels = hit.as_ref().and_then(|hit| forward_levels(routes, hit, share)).unwrap_or_default();
            return answer(context, shared, exchange.into_responder(), *reply, &levels).await.into();
        }
        exchange.framing = sides::reframed(exchange.framing, &shared.borrow().request.headers);
        if std::mem::take(&mut shared.borrow_mut().clear_route) {
            hit = find(context, routes, &shared.borrow(), random);
            share = share_of(&hit);
            noted = false;
        }
    }
    // It has come to the router, whatever the router makes of it.
    context.stats.router.inc(HttpRouterCounter::RqTotal);
    let Some(hit) = hit else {
        context.stats.router.inc(HttpRouterCounter::NoRoute);
        return fail(context, shared, exchange.into_responder(), &Kind::NoRoute.into(), &[]).await.into();
    };
    if !noted {
        note_route(context, &mut shared.borrow_mut(), &hit);
    }
    let to_https = require_tls(&hit, &shared.borrow());
    if let Some(reply) = to_https {
        context.stats.router.inc(HttpRouterCounter::RqDirectResponse);
        return answer(context, shared, exchange.into_responder(), reply, &[]).await.into();
    }
    match &hit.route.payload.action {
        Action::Redirect(redirect) => {
            context.stats.router.inc(HttpRouterCounter::RqDirectResponse);
            let reply = reply::redirect(redirect, &hit.route.matcher, shared.borrow().request);
            show_rewritten(&mut shared.borrow_mut(), redirect, &hit);
            answer_routed(context, shared, exchange.into_responder(), reply, routes, &hit).await.into()
        }
        Action::Direct(direct) => {
            context.stats.router.inc(HttpRouterCounter::RqDirectResponse);
            let reply = reply::direct(direct);
            answer_routed(context, shared, exchange.into_responder(), reply, routes, &hit).await.into()
        }
        Action::NonForwarding => {
            // It names no cluster, and that is what Envoy says.
            let levels = routes.header_levels(None, &hit.route.payload, hit.host.payload());
            fail(context, shared, exchange.into_responder(), &Kind::NoCluster(503).into(), &levels)
                .await
                .into()
        }
        Action::Forward(forward) => {
            let plan = relay::Plan { routes, hit, forward, random, share };
            relay::forward(context, shared, incoming, alarm, exchange, &plan).await
        }
    }
}

/// The routes in force. Where virtual hosts are fetched on demand, that of the request has been asked for.
async fn routes<'c>(context: &'c HttpContext, shared: &RefCell<Shared<'_>>) -> CurrentRoutes<'c> {
    let routes = context.routes(shared.borrow().request);
    if !context.config.on_demand || routes.virtual_hosts.is_none() {
        return routes;
    }
    let host = shared.borrow().request.authority().to_vec();
    if routes.table.find_host(&host).is_some() || !Box::pin(demand::wait(context, &routes, &host)).await {
        return routes;
    }
    context.routes(shared.borrow().request)
}

/// The facts of a route, for filters, logs and header formatters.
pub(super) fn note_route(context: &HttpContext, shared: &mut Shared<'_>, hit: &Hit<'_>) {
    if context.config.needs_facts {
        shared.info.route = Some(hit.route.payload.facts.clone());
    }
}

/// The cluster of a request that a filter has answered: it would have gone there.
fn note_cluster(context: &HttpContext, shared: &mut Shared<'_>, hit: &Hit<'_>, share: usize) {
    let Some(reference) = named_cluster(hit, share) else { return };
    if context.config.needs_facts && context.worker.snapshot_ref().clusters.entry(reference.slot).is_some() {
        shared.info.upstream.cluster = Some(reference.name.clone());
        shared.info.upstream.facts = context.worker.cluster(reference.slot).map(|cluster| cluster.facts());
    }
}

/// The cluster that a route names; none where a header does, or where nothing is forwarded.
pub(super) fn named_cluster<'h>(hit: &Hit<'h>, share: usize) -> Option<&'h ClusterRef> {
    let Action::Forward(forward) = &hit.route.payload.action else { return None };
    match &forward.action.cluster {
        ClusterSpecifier::Cluster(reference) => Some(reference),
        ClusterSpecifier::Weighted(clusters) => match &clusters.entry(share).target {
            WeightedTarget::Cluster(reference) => Some(reference),
            WeightedTarget::Header(_) => None,
        },
        ClusterSpecifier::Header(_) => None,
    }
}

/// What the weighted cluster of a route carries, where the route has such.
pub(super) fn weighted<'h>(hit: &Hit<'h>, share: usize) -> Option<&'h WeightedPayload> {
    let Action::Forward(forward) = &hit.route.payload.action else { return None };
    match &forward.action.cluster {
        ClusterSpecifier::Weighted(clusters) => Some(&clusters.entry(share).payload),
        _ => None,
    }
}

/// Logs show the path that a redirect rewrites as it will be, and the old one beside it.
fn show_rewritten(shared: &mut Shared<'_>, redirect: &Redirect, hit: &Hit<'_>) {
    if let Some(path) = redirect.rewritten(shared.request.path(), &hit.route.matcher) {
        let original = shared.request.path().to_vec();
        shared.request.headers.set_known(Known::XEnvoyOriginalPath, original);
        shared.request.set_path(&path);
    }
}

/// The header changes that hold for every answer of a route that forwards, the proxy's own ones included.
pub(super) fn forward_levels<'l>(
    routes: &'l RouteConfig,
    hit: &Hit<'l>,
    share: usize,
) -> Option<HeaderLevels<'l>> {
    let Action::Forward(_) = &hit.route.payload.action else { return None };
    Some(routes.header_levels(weighted(hit, share), &hit.route.payload, hit.host.payload()))
}

/// What the connection manager does to every request before it is routed.
fn admit(
    context: &HttpContext,
    routes: &RouteConfig,
    shared: &mut Shared<'_>,
) -> Result<(), Box<LocalReply>> {
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
    forwarding::apply(config, &routes.internal_only_headers, &context.info, shared.info, head);
    context.worker.with_rng(|rng| request_id::apply(config, rng, shared.info, head));
    Ok(())
}

pub(super) fn find<'t>(
    context: &HttpContext,
    routes: &'t RouteConfig,
    shared: &Shared<'_>,
    random: u64,
) -> Option<Hit<'t>> {
    let snapshot = context.worker.snapshot_ref();
    let runtime: &crate::runtime::Runtime = &snapshot.runtime;
    let matching = sampan_model::route::MatchContext { random, runtime };
    let view = super::route::View { request: shared.request, tls: context.info.tls.as_deref() };
    routes.table.find(&view, &matching)
}

/// `require_tls` of the virtual host: a redirect to https.
fn require_tls(hit: &Hit<'_>, shared: &Shared<'_>) -> Option<LocalReply> {
    let internal = shared.request.headers.has(Known::XEnvoyInternal);
    let proto = shared.request.headers.known(Known::XForwardedProto).unwrap_or_default();
    hit.host.tls_requirement().redirects(proto, internal).then(|| reply::https_redirect(shared.request))
}

/// Answers with what a failure means; `levels` are the route's header changes, where one was chosen.
pub(super) async fn fail<'c>(
    context: &HttpContext,
    shared: &RefCell<Shared<'_>>,
    responder: Responder<'c>,
    failure: &Failure,
    levels: &[&HeaderOps],
) -> Ended<'c> {
    fail_with(context, shared, responder, failure, levels, Headers::new()).await
}

/// As [`fail`], with more headers.
pub(super) async fn fail_with<'c>(
    context: &HttpContext,
    shared: &RefCell<Shared<'_>>,
    responder: Responder<'c>,
    failure: &Failure,
    levels: &[&HeaderOps],
    more: Headers,
) -> Ended<'c> {
    let verdict = failure.verdict();
    if verdict.status == 0 {
        record(&mut shared.borrow_mut(), &verdict);
        return Ended::closed();
    }
    let mut reply = local_reply(verdict);
    if failure.kind == Kind::Overflow && !context.config.suppress_envoy_headers {
        reply.headers.append_known(Known::XEnvoyOverloaded, "true");
    }
    reply.headers.extend_from(&more);
    answer(context, shared, responder, reply, levels).await
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

/// Sends a local reply; see [`fail`] for `levels`.
pub(super) async fn answer<'c>(
    context: &HttpContext,
    shared: &RefCell<Shared<'_>>,
    responder: Responder<'c>,
    reply: LocalReply,
    levels: &[&HeaderOps],
) -> Ended<'c> {
    // Boxed, here and below: few streams end so, and all would carry the room for it.
    Box::pin(reply::send(context, shared, responder, reply, Levels::Before(levels))).await
}

/// Sends a local reply that a route asked for, with the route's header changes.
async fn answer_routed<'c>(
    context: &HttpContext,
    shared: &RefCell<Shared<'_>>,
    responder: Responder<'c>,
    reply: LocalReply,
    routes: &RouteConfig,
    hit: &Hit<'_>,
) -> Ended<'c> {
    let levels = routes.header_levels(None, &hit.route.payload, hit.host.payload());
    Box::pin(reply::send(context, shared, responder, reply, Levels::After(&levels))).await
}

/// Counters, filters, access logs.
fn finish(context: &HttpContext, shared: &mut Shared<'_>) {
    conclude(context, shared, true);
}

/// As [`finish`]; `answered` unless the client got nothing, for its request goes on as another one.
fn conclude(context: &HttpContext, shared: &mut Shared<'_>, answered: bool) {
    let now = Instant::now();
    shared.info.end = Some(now);
    if context.config.needs_facts {
        shared.info.bytes.request_headers = request_size(shared.request);
        if shared.has_response {
            shared.info.bytes.response_headers =
                (":status200".len() + shared.response.headers.byte_size()) as u64;
        }
    }
    shared.complete();
    let http = &context.stats.http;
    http.record(HttpHistogram::DownstreamRqTime, now.duration_since(shared.info.start).as_millis() as u64);
    // Health checks that the filter of that name knows are left out of the counts of responses, as in Envoy.
    if answered && shared.info.response_code > 0 && !shared.info.health_check {
        context.stats.response(shared.info.response_code);
    }
    trace::finish(context, shared, now);
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

fn count_request(context: &HttpContext, version: Protocol) {
    let http = &context.stats.http;
    http.inc(HttpCounter::DownstreamRqTotal);
    http.inc(if version == Protocol::Http2 {
        HttpCounter::DownstreamRqHttp2Total
    } else {
        HttpCounter::DownstreamRqHttp1Total
    });
}

/// A stream that is counted as under way.
struct Active<'c>(&'c HttpContext);

impl<'c> Active<'c> {
    fn enter(context: &'c HttpContext, version: Protocol) -> Self {
        count_request(context, version);
        context.stats.http.raise(HttpGauge::DownstreamRqActive);
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
