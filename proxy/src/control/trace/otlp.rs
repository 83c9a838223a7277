//! OTLP (opentelemetry.io, "OTLP Specification"): by gRPC as a unary call for each batch, or by HTTP in protobuf.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind as Kind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as Outcome;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Message, Status};
use prost::Message as _;
use sampan_xds::{Backoff, Channel, Limits};

use super::{ANSWER, Collectors, OpenTelemetryCounter, Writer};
use crate::control::discovery::connector;
use crate::control::publish::Publisher;
use crate::logging::target;
use crate::telemetry::stats::Block;
use crate::telemetry::stats::kinds::OpenTelemetry;
use crate::telemetry::trace::{HttpCollector, Otlp, OtlpWay, Span, SpanKind, SpanOutlet};

const METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const USER_AGENT: &str = concat!("OTel-OTLP-Exporter-Sampan/", env!("CARGO_PKG_VERSION"));

/// The name of the instrumentation scope that the API documents.
const SCOPE: &str = "envoy";

/// How long a collector may take to answer, where nothing is configured.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Flags of a span: the ids are W3C's, and whether the parent is another process's is known, and true.
const SAMPLED: u32 = 0x1;
const REMOTE_IS_KNOWN: u32 = 0x100;
const REMOTE: u32 = 0x200;

/// Sends batches to one collector.
pub(super) struct Exporter {
    otlp: Otlp,
    channel: Option<Channel>,
    publisher: Arc<Publisher>,
    counts: Arc<Block<OpenTelemetry>>,
    back_off: Backoff,
}

/// What became of a batch.
enum Sent {
    /// The collector has it, or will never take it.
    Done,
    /// It may take it later.
    Again(String),
}

impl Exporter {
    pub(super) fn new(otlp: Otlp, collectors: &Collectors) -> Self {
        let channel = match &otlp.way {
            OtlpWay::Grpc(grpc) => {
                let target = connector::target(&collectors.publisher, grpc);
                let message_cap = grpc.message_cap.unwrap_or(ANSWER);
                let limits = Limits { message_cap };
                Some(Channel::new(target, limits))
            }
            OtlpWay::Http(_) => None,
        };
        let (base, longest) = (Duration::from_millis(500), Duration::from_secs(30));
        Self {
            otlp,
            channel,
            publisher: Arc::clone(&collectors.publisher),
            counts: collectors.stats.block("", Writer::CONTROL),
            back_off: Backoff::new(base, longest, fastrand::Rng::new()),
        }
    }

    async fn attempt(&self, request: &ExportTraceServiceRequest) -> Sent {
        match (&self.otlp.way, &self.channel) {
            (OtlpWay::Http(collector), _) => self.post(collector, request).await,
            (OtlpWay::Grpc(_), Some(channel)) => {
                let metadata = HeaderMap::new();
                let call = channel.unary::<_, ExportTraceServiceResponse>(METHOD, request.clone(), &metadata);
                match tokio::time::timeout(TIMEOUT, call).await {
                    Ok(Ok(_)) => Sent::Done,
                    Ok(Err(error)) if RETRYABLE.contains(&error.code) => Sent::Again(error.reason),
                    Ok(Err(error)) => {
                        tracing::warn!(target: target::TRACING, "a collector refuses spans: {error}");
                        Sent::Done
                    }
                    Err(_) => Sent::Again("no answer".to_owned()),
                }
            }
            (OtlpWay::Grpc(_), None) => Sent::Done,
        }
    }

    async fn post(&self, collector: &HttpCollector, request: &ExportTraceServiceRequest) -> Sent {
        let Some(to) = connector::http(&self.publisher, &collector.cluster, &collector.host) else {
            return Sent::Again(format!("there is no cluster {:?}", &*collector.cluster));
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        add(&mut headers, collector);
        let timeout = collector.timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(TIMEOUT);
        let body = request.encode_to_vec().into();
        match sampan_xds::send(&to, &collector.path, headers, body, timeout, ANSWER).await {
            Ok((status, _)) if status.is_success() => Sent::Done,
            Ok((status, _)) if is_retryable(status) => Sent::Again(format!("status {status}")),
            Ok((status, _)) => {
                tracing::warn!(target: target::TRACING, "a collector refuses spans with status {status}");
                Sent::Done
            }
            Err(error) => Sent::Again(error.to_string()),
        }
    }
}

/// gRPC statuses that say "later": cancelled, deadline exceeded, aborted, out of range, unavailable, data loss.
const RETRYABLE: [i32; 6] = [1, 4, 10, 11, 14, 15];

fn is_retryable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// Headers of the configuration; those that cannot be sent were told when they were compiled.
pub(super) fn add(headers: &mut HeaderMap, collector: &HttpCollector) {
    for (name, value) in &collector.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            headers.insert(name, value);
        }
    }
}

impl super::Exporter for Exporter {
    const KEYS: &str = "tracing.opentelemetry";

    async fn send(&mut self, batch: Vec<Box<Span>>, outlet: &mut SpanOutlet) {
        let count = batch.len() as u64;
        let request = request(&self.otlp, batch);
        self.counts.add(OpenTelemetryCounter::SpansSent, count);
        let mut told = false;
        while let Sent::Again(reason) = self.attempt(&request).await {
            self.dropped(outlet.take_dropped());
            if outlet.is_closing() {
                self.dropped(count);
                return;
            }
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(target: target::TRACING, "spans wait for their collector: {reason}");
            }
            let delay = self.back_off.delay();
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = outlet.closing() => {}
            }
        }
        self.back_off.reset();
    }

    fn ticked(&self) {
        self.counts.inc(OpenTelemetryCounter::TimerFlushed);
    }

    fn dropped(&self, count: u64) {
        self.counts.add(OpenTelemetryCounter::SpansDropped, count);
    }
}

/// A batch as one message.
#[expect(clippy::vec_box, reason = "spans come boxed, and are not moved again")]
fn request(otlp: &Otlp, batch: Vec<Box<Span>>) -> ExportTraceServiceRequest {
    let attributes = otlp.resource.iter().map(|(key, value)| pair(key.clone(), value.clone())).collect();
    let scope = otlp.scope.then(|| InstrumentationScope {
        name: SCOPE.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    });
    let spans = batch.into_iter().map(|span| message(*span)).collect();
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_spans: vec![ScopeSpans { scope, spans, schema_url: String::new() }],
            schema_url: String::new(),
        }],
    }
}

fn message(span: Span) -> Message {
    let context = span.context;
    let parent = (context.parent != 0).then(|| context.parent.to_be_bytes().to_vec());
    let remote = if span.remote_parent { REMOTE } else { 0 };
    let status = span.is_error().then(|| Status { code: Outcome::Error.into(), message: String::new() });
    Message {
        trace_id: context.trace.0.to_be_bytes().to_vec(),
        span_id: context.span.to_be_bytes().to_vec(),
        trace_state: span.state.map_or_else(String::new, String::from),
        parent_span_id: parent.unwrap_or_default(),
        flags: SAMPLED | REMOTE_IS_KNOWN | remote,
        name: span.name,
        kind: match span.kind {
            SpanKind::Server => Kind::Server.into(),
            SpanKind::Client => Kind::Client.into(),
        },
        start_time_unix_nano: nanoseconds(span.start),
        end_time_unix_nano: nanoseconds(span.start + span.duration),
        attributes: span.tags.into_iter().map(|(key, value)| pair(key.into_owned(), value)).collect(),
        events: span.events.into_iter().map(event).collect(),
        status,
        ..Message::default()
    }
}

fn event((at, name): (SystemTime, &'static str)) -> Event {
    Event { time_unix_nano: nanoseconds(at), name: name.to_owned(), ..Event::default() }
}

fn nanoseconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

fn pair(key: String, value: String) -> KeyValue {
    KeyValue { key, value: Some(AnyValue { value: Some(Value::StringValue(value)) }), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use sampan_model::trace::{Context, TraceId};

    use super::*;

    #[test]
    fn a_span_as_otlp_has_it() {
        let told = message(Span {
            context: Context { trace: TraceId(1), span: 2, parent: 3, sampled: true },
            remote_parent: true,
            state: Some("a=b".into()),
            name: "n".to_owned(),
            kind: SpanKind::Server,
            start: UNIX_EPOCH + Duration::from_nanos(10),
            duration: Duration::from_nanos(5),
            tags: vec![(Cow::Borrowed("http.status_code"), "503".to_owned())],
            events: vec![(UNIX_EPOCH + Duration::from_nanos(12), "e")],
        });
        assert_eq!(told.trace_id, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(
            (told.span_id, told.parent_span_id),
            (vec![0, 0, 0, 0, 0, 0, 0, 2], vec![0, 0, 0, 0, 0, 0, 0, 3])
        );
        assert_eq!((told.flags, told.kind, told.trace_state.as_str()), (0x301, 2, "a=b"));
        assert_eq!((told.start_time_unix_nano, told.end_time_unix_nano), (10, 15));
        assert_eq!(told.status.unwrap().code, 2);
        assert_eq!((told.events[0].time_unix_nano, told.events[0].name.as_str()), (12, "e"));
        assert_eq!(told.attributes, [pair("http.status_code".to_owned(), "503".to_owned())]);
    }
}
