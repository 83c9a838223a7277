//! Tracing: what is configured, what a span holds, and its way from the workers to a collector.
//!
//! ```text
//! http/trace: request     --decision--> ids, headers for the upstream
//!                  sampled? --yes--> Span, filled when the stream ends --SpanSink, try_send--> bounded channel
//!                                                                                                │
//!                                     control/trace: batches --> OTLP by gRPC or HTTP, Zipkin <---┘ SpanOutlet
//! ```
//!
//! A request that is not sampled costs its ids and headers; without `tracing` in the connection manager it costs a look at a pointer.
//! What may wait is bounded by `max_cache_size`; beyond that, spans are dropped and counted.

mod config;
mod sink;
mod span;

pub use config::{Decorator, Dialect, RouteTracing, SpanTags, Tracer, Tracing, Zipkin};
pub use sink::{Export, HttpCollector, MOST, Otlp, OtlpWay, SpanOutlet, SpanSink, SpanSinks, ZipkinExport};
pub use span::{Span, SpanKind, is_server_fault, tag};
