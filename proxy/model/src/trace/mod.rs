//! Distributed tracing: which requests are traced, and how a trace goes on from one process to the next.
//!
//! ```text
//! x-request-id, rates --decision--> Reason --+--> sampled?
//! B3 or traceparent ----extract---> Context -+--> child of it, or a new trace --inject--> the same headers for the upstream
//! ```
//!
//! [`decision`] has Envoy's sampling rules and the trace digit of request ids, [`b3`] and [`w3c`] the two formats of headers, and
//! [`sampler`] the samplers of OpenTelemetry. Nothing here knows what a span holds: that is `telemetry/trace` of the proxy.

pub mod b3;
pub mod context;
pub mod decision;
pub mod sampler;
pub mod w3c;

pub use context::{Context, InvalidContext, TraceId};
pub use decision::{Asked, Decision, Rates, Reason};
pub use sampler::Sampler;
