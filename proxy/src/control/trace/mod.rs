//! Sends spans to their collectors: OTLP by gRPC or HTTP, Zipkin by HTTP.
//!
//! ```text
//! spans come -> a batch: at min_flush_spans, or every flush_interval_ms -> sent; meanwhile spans wait in the channel
//!                                  ^                                         |
//!                                  +---- OTLP: the collector is away: again with back-off
//! ```
//!
//! One task for each sink of the configuration, started by [`start`] for the [`SpanOutlet`]s that compiling opened. Nothing is
//! connected before there is something to send. A batch for OTLP is kept while its collector cannot be reached, so spans wait, up to
//! `max_cache_size`; a report to Zipkin that fails is gone, as with Envoy.

mod otlp;
mod zipkin;

use std::sync::Arc;
use std::time::Duration;

use sampan_model::fraction::RuntimeValues as _;
use tokio::time::{MissedTickBehavior, interval};

use super::publish::Publisher;
use crate::telemetry::stats::kinds::{OpenTelemetryCounter, ZipkinTracingCounter};
use crate::telemetry::stats::{Stats, Writer};
use crate::telemetry::trace::{Export, Span, SpanOutlet, SpanSinks};

/// What sending needs.
#[derive(Clone)]
pub struct Collectors {
    /// By which clusters are found, and runtime values.
    pub publisher: Arc<Publisher>,
    /// Where is counted.
    pub stats: Arc<Stats>,
}

/// `tracing.*.min_flush_spans`, `tracing.*.flush_interval_ms` and `tracing.zipkin.request_timeout` where the runtime says nothing.
const MIN_SPANS: u64 = 5;
const INTERVAL_MS: u64 = 5_000;
const TIMEOUT_MS: u64 = 5_000;

/// The most of an answer's body that is read.
const ANSWER: usize = 64 * 1024;

/// Starts the task that starts a task for each sink.
pub fn start(sinks: &SpanSinks, collectors: Collectors) {
    let Some(mut outlets) = sinks.outlets() else { return };
    tokio::spawn(async move {
        while let Some(outlet) = outlets.recv().await {
            let collectors = collectors.clone();
            match &*outlet.export {
                Export::Otlp(otlp) => {
                    let exporter = otlp::Exporter::new(otlp.clone(), &collectors);
                    tokio::spawn(run(outlet, exporter, collectors.publisher));
                }
                Export::Zipkin(export) => {
                    let exporter = zipkin::Exporter::new(export.clone(), &collectors);
                    tokio::spawn(run(outlet, exporter, collectors.publisher));
                }
            }
        }
    });
}

/// One way to send spans.
trait Exporter {
    /// What its runtime keys begin with: `tracing.zipkin`.
    const KEYS: &str;

    /// Sends a batch; it may wait, and then spans do too.
    #[expect(clippy::vec_box, reason = "spans come boxed, and are not moved again")]
    async fn send(&mut self, batch: Vec<Box<Span>>, outlet: &mut SpanOutlet);

    /// Counts a tick of the timer.
    fn ticked(&self);

    /// Counts spans that nobody will see.
    fn dropped(&self, count: u64);
}

async fn run(mut outlet: SpanOutlet, mut exporter: impl Exporter, publisher: Arc<Publisher>) {
    let number = |name: &str, otherwise: u64, keys: &str| {
        let snapshot = publisher.published().load();
        snapshot.runtime.integer(&format!("{keys}.{name}")).unwrap_or(otherwise)
    };
    let mut batch = Vec::new();
    let keys = keys_of(&exporter);
    let every = number("flush_interval_ms", INTERVAL_MS, keys).max(1);
    let mut ticks = interval(Duration::from_millis(every));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        tokio::select! {
            span = outlet.next() => {
                let ended = span.is_none();
                batch.extend(span);
                let full = batch.len() as u64 >= number("min_flush_spans", MIN_SPANS, keys).max(1);
                if (ended || full) && !batch.is_empty() {
                    exporter.send(std::mem::take(&mut batch), &mut outlet).await;
                }
                if ended {
                    exporter.dropped(outlet.take_dropped());
                    return;
                }
            }
            _ = ticks.tick() => {
                exporter.ticked();
                if !batch.is_empty() {
                    exporter.send(std::mem::take(&mut batch), &mut outlet).await;
                }
            }
        }
        exporter.dropped(outlet.take_dropped());
    }
}

const fn keys_of<E: Exporter>(_: &E) -> &'static str {
    E::KEYS
}
