//! Tracing of requests: whether one is traced, its ids, the headers that carry them on, and its spans.
//!
//! Called by [`super::stream`] and [`super::attempt`] at these moments, each of which costs a look at a pointer where the connection
//! manager has no `tracing`:
//!
//! ```text
//! begin      the route is known: decision, digit of x-request-id, ids of the caller or new ones, decorator
//! begin_try  a host is chosen: headers for the upstream; a span of the try, where configured
//! end_try    that span
//! respond    a response head goes down: the decorator's name is passed on or taken over
//! finish     the stream's span
//! ```
//!
//! What a span says is in [`spans`]; ids and headers are made in [`ids`].

mod ids;
mod spans;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use sampan_filters_api::info::{StreamId, TraceIds};
use sampan_filters_api::{Known, ResponseHead};
use sampan_model::trace::{Asked, Context, Rates, Reason};
use smallvec::SmallVec;

use super::chain::Shared;
use super::connection::HttpContext;
use super::relay::End;
use super::stream::Hit;
use super::target::Target;
use crate::runtime::Runtime;
use crate::telemetry::stats::kinds::HttpTracingCounter;
use crate::telemetry::trace::{Decorator, Dialect, RouteTracing, Span, Tracing};

/// The tracing of one stream.
pub struct Trace {
    /// Its own span; none if the caller's headers cannot be understood, or nobody asks for spans.
    own: Option<Own>,
    /// The operation that the response is to name.
    decorator: Option<Arc<Decorator>>,
    /// What the route says.
    route: Option<Arc<RouteTracing>>,
}

/// What is known of the stream's own span while the stream goes by.
struct Own {
    context: Context,
    remote_parent: bool,
    state: Option<Box<str>>,
    /// The caller uses the single header of B3, so the upstream gets that too.
    single: bool,
    /// As the decorator, or another process, calls it.
    name: Option<Box<str>>,
}

/// The route of a request is known.
#[inline]
pub fn begin(context: &HttpContext, shared: &mut Shared<'_>, hit: Option<&Hit<'_>>) {
    if let Some(tracing) = &context.config.tracing {
        start(context, tracing, shared, hit);
    }
}

#[inline(never)]
fn start(context: &HttpContext, tracing: &Tracing, shared: &mut Shared<'_>, hit: Option<&Hit<'_>>) {
    let payload = hit.map(|hit| &hit.route.payload);
    let route = payload.and_then(|payload| payload.tracing.as_ref());
    let reason = decide(context, tracing, route.map_or(&tracing.rates, |route| &route.rates), shared);
    context.stats.tracing().inc(match reason {
        Reason::NotTraceable => HttpTracingCounter::NotTraceable,
        Reason::Sampling => HttpTracingCounter::RandomSampling,
        Reason::ServiceForced => HttpTracingCounter::ServiceForced,
        Reason::ClientForced => HttpTracingCounter::ClientEnabled,
    });
    shared.info.force_traced = reason == Reason::ServiceForced;
    let request = &mut *shared.request;
    let mut own = tracing.tracer.as_ref().and_then(|tracer| {
        let server = tracing.separate_hop || !context.is_outbound();
        context.worker.with_rng(|rng| {
            ids::adopt(&tracer.dialect, &request.headers, reason.is_traced(), server, rng, SystemTime::now())
        })
    });
    let named = tracing.tags.operation.is_some() || route.is_some_and(|route| route.tags.operation.is_some());
    let decorator = payload.and_then(|payload| payload.decorator.as_ref()).filter(|_| !named);
    let mut name = decorator.map(|decorator| &*decorator.operation);
    let mut passed_on = decorator.filter(|decorator| decorator.propagates);
    let given;
    if context.is_outbound() {
        if let Some(decorator) = passed_on.take() {
            request.headers.set_known(Known::XEnvoyDecoratorOperation, &*decorator.operation);
        }
    } else if !named && let Some(operation) = request.headers.known(Known::XEnvoyDecoratorOperation) {
        given = String::from_utf8_lossy(operation).into_owned();
        if !given.is_empty() {
            (name, passed_on) = (Some(given.as_str()), None);
        }
        request.headers.remove_known(Known::XEnvoyDecoratorOperation);
    }
    let mut recorded = false;
    if let Some(own) = &mut own {
        recorded = own.context.sampled;
        own.name = name.filter(|_| recorded).map(Into::into);
        shared.info.trace = tracing.tracer.as_ref().map(|tracer| shown(&tracer.dialect, &own.context));
    }
    if own.is_some() || passed_on.is_some() {
        let route = route.filter(|_| recorded).cloned();
        shared.trace = Some(Box::new(Trace { own, decorator: passed_on.cloned(), route }));
    }
}

/// The ids as logs show them: Envoy's Zipkin tracer does not tell the span's.
fn shown(dialect: &Dialect, context: &Context) -> TraceIds {
    let open = matches!(dialect, Dialect::OpenTelemetry(_));
    TraceIds { trace: context.trace.0, short: !open, span: open.then_some(context.span) }
}

/// Whether the request is traced. Its id says so afterwards.
fn decide(context: &HttpContext, tracing: &Tracing, rates: &Rates, shared: &mut Shared<'_>) -> Reason {
    if !tracing.by_request_id {
        return Reason::Sampling;
    }
    let headers = &mut shared.request.headers;
    let Some(id) = headers.known(Known::XRequestId) else { return Reason::NotTraceable };
    let asked =
        Asked { client_id: headers.has(Known::XClientTraceId), forced: headers.has(Known::XEnvoyForceTrace) };
    let random = if asked.client_id { context.worker.with_rng(|rng| rng.u64(..)) } else { 0 };
    let snapshot = context.worker.snapshot_ref();
    let runtime: &Runtime = &snapshot.runtime;
    let decision = rates.decide(id, asked, runtime, random);
    if decision.is_news && context.config.request_id.pack_trace_reason {
        let given = id;
        let mut id: SmallVec<[u8; 40]> = SmallVec::from_slice(given);
        if decision.reason.pack(&mut id) && *id != *given {
            headers.set_known(Known::XRequestId, &id);
            if shared.info.stream_id.is_some() {
                shared.info.stream_id = Some(StreamId::from_slice(&id));
            }
        }
    }
    decision.reason
}

/// A host is chosen, and the request's head is what the upstream is to see but for the trace.
#[inline]
pub(super) fn begin_try(
    context: &HttpContext,
    target: &Target<'_>,
    shared: &mut Shared<'_>,
) -> Option<Box<Span>> {
    let mut span = None;
    if let Some(tracing) = &context.config.tracing
        && let Some(trace) = &shared.trace
        && let Some(tracer) = &tracing.tracer
        && let Some(own) = &trace.own
    {
        let mut current = own.context;
        if tracing.upstream_spans {
            let id = context.worker.with_rng(|rng| rng.u64(..));
            current = Context { span: id, parent: own.context.span, ..own.context };
            if current.sampled && tracer.sink.is_some() {
                let attempt = shared.info.upstream.attempts;
                span = Some(spans::attempt(current, own, target, attempt));
            }
        }
        if tracing.propagates {
            ids::inject(&tracer.dialect, &current, own, &mut shared.request.headers);
        }
    }
    span
}

/// A try is over. `answer` is the head that came, if one did.
pub(super) fn end_try(
    context: &HttpContext,
    target: &Target<'_>,
    shared: &Shared<'_>,
    span: Box<Span>,
    answer: &ResponseHead,
    end: Option<&End>,
) {
    if let Some(tracing) = &context.config.tracing
        && let Some(sink) = tracing.tracer.as_ref().and_then(|tracer| tracer.sink.as_ref())
    {
        let route = shared.trace.as_ref().and_then(|trace| trace.route.as_deref());
        sink.submit(spans::end_attempt(span, tracing, route, target, shared, answer, end));
    }
}

/// A response head is about to go down.
#[inline]
pub fn respond(context: &HttpContext, shared: &mut Shared<'_>) {
    if context.config.tracing.is_none() {
        return;
    }
    let headers = &mut shared.response.headers;
    if !context.is_outbound() {
        if let Some(decorator) = shared.trace.as_ref().and_then(|trace| trace.decorator.as_ref()) {
            headers.set_known(Known::XEnvoyDecoratorOperation, &*decorator.operation);
        }
        return;
    }
    if let Some(operation) = headers.known(Known::XEnvoyDecoratorOperation) {
        if let Some(own) = shared.trace.as_mut().and_then(|trace| trace.own.as_mut())
            && own.context.sampled
            && !operation.is_empty()
        {
            own.name = Some(String::from_utf8_lossy(operation).into());
        }
        headers.remove_known(Known::XEnvoyDecoratorOperation);
    }
}

/// The stream is over.
#[inline]
pub fn finish(context: &HttpContext, shared: &mut Shared<'_>, now: Instant) {
    if let Some(trace) = shared.trace.take()
        && let Some(own) = trace.own
        && own.context.sampled
        && let Some(tracing) = &context.config.tracing
        && let Some(tracer) = &tracing.tracer
        && let Some(sink) = &tracer.sink
    {
        let name = spans::default_name(&tracer.dialect, context.is_outbound(), shared.request);
        let client = context.is_outbound() && !tracing.separate_hop && !ids::is_split(&tracer.dialect);
        sink.submit(spans::stream(own, name, client, tracing, trace.route.as_deref(), shared, now));
    }
}
