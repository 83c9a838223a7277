//! The ids of a request's span, and the headers that carry them.

use std::time::{SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use sampan_filters_api::Headers;
use sampan_model::trace::{Context, TraceId, b3, w3c};

use super::Own;
use crate::telemetry::trace::{Dialect, Zipkin};

/// Goes on with the caller's trace, or begins one. `traced` is the decision where the caller does not decide; `server` says that the
/// span is the called side of the request. None if the caller says something that cannot be understood.
pub(super) fn adopt(
    dialect: &Dialect,
    headers: &Headers,
    traced: bool,
    server: bool,
    rng: &mut Rng,
    now: SystemTime,
) -> Option<Own> {
    match dialect {
        Dialect::OpenTelemetry(sampler) => {
            let parent = match headers.value(w3c::TRACEPARENT) {
                Some(value) => Some(w3c::extract(value).ok()?),
                None => None,
            };
            let trace = parent.map_or_else(|| TraceId(rng.u128(1..)), |parent| parent.trace);
            let sampled = match (sampler, &parent) {
                // A trace begins only where the connection manager wants it.
                (Some(sampler), None) => traced && sampler.samples(None, trace),
                (Some(sampler), Some(parent)) => sampler.samples(Some(parent), trace),
                (None, parent) => parent.map_or(traced, |parent| parent.sampled),
            };
            let parent_id = parent.map_or(0, |parent| parent.span);
            let context = Context { trace, span: rng.u64(1..), parent: parent_id, sampled };
            let state = parent.and_then(|_| state(headers));
            Some(Own { context, remote_parent: parent.is_some(), state, single: false, name: None })
        }
        Dialect::Zipkin(zipkin) => {
            let first = |name: &str| headers.value(name);
            let (parent, sampled) = b3::extract(&first, zipkin.with_w3c, traced).ok()?;
            let context = match parent {
                None => root(*zipkin, sampled, rng, now),
                Some(parent) if zipkin.shared && (server || zipkin.split) => parent,
                Some(parent) => Context { span: rng.u64(1..), parent: parent.span, ..parent },
            };
            let single = first(b3::B3).is_some();
            Some(Own { context, remote_parent: parent.is_some(), state: None, single, name: None })
        }
    }
}

/// The first span of a trace: it has the trace's id, or its lower half.
fn root(zipkin: Zipkin, sampled: bool, rng: &mut Rng, now: SystemTime) -> Context {
    let timed = |random: u64| {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if zipkin.timed_ids { seconds << 32 | random & 0xffff_ffff } else { random }
    };
    let span = rng.u64(1..);
    let trace = if zipkin.wide_ids {
        u128::from(timed(rng.u64(1..))) << 64 | u128::from(span)
    } else {
        timed(span).into()
    };
    Context { trace: TraceId(trace), span, parent: 0, sampled }
}

/// All of `tracestate`.
fn state(headers: &Headers) -> Option<Box<str>> {
    let mut all = String::new();
    for value in headers.values(w3c::TRACESTATE.as_bytes()) {
        if !all.is_empty() {
            all.push(',');
        }
        all.push_str(std::str::from_utf8(value).ok()?);
    }
    (!all.is_empty()).then(|| all.into())
}

/// Tells the upstream.
pub(super) fn inject(dialect: &Dialect, context: &Context, own: &Own, headers: &mut Headers) {
    let mut put = |name: &str, value: &str| {
        headers.remove(name);
        headers.append(name, value);
    };
    match dialect {
        Dialect::OpenTelemetry(_) => {
            put(w3c::TRACEPARENT, &w3c::traceparent(context));
            put(w3c::TRACESTATE, own.state.as_deref().unwrap_or_default());
        }
        Dialect::Zipkin(zipkin) => {
            let sampled = if context.sampled { "1" } else { "0" };
            if own.single {
                put(b3::B3, &b3::single(context));
            } else {
                put(b3::TRACE_ID, &context.trace.short().to_string());
                put(b3::SPAN_ID, &format!("{:016x}", context.span));
                if context.parent != 0 {
                    put(b3::PARENT_ID, &format!("{:016x}", context.parent));
                }
                put(b3::SAMPLED, sampled);
            }
            if zipkin.with_w3c {
                put(w3c::TRACEPARENT, &w3c::traceparent(context));
            }
        }
    }
}

/// Whether the stream's span is the called side's whatever the direction (`split_spans_for_request`).
pub(super) fn is_split(dialect: &Dialect) -> bool {
    matches!(dialect, Dialect::Zipkin(zipkin) if zipkin.split)
}
