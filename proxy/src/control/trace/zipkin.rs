//! Zipkin (zipkin-api, version 2 in JSON): a list of spans, posted.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use sampan_model::fraction::RuntimeValues as _;
use serde_json::{Map, Value, json};

use super::otlp::add;
use super::{ANSWER, Collectors, TIMEOUT_MS, Writer, ZipkinTracingCounter};
use crate::control::discovery::connector;
use crate::control::publish::Publisher;
use crate::logging::target;
use crate::net::own;
use crate::telemetry::stats::Block;
use crate::telemetry::stats::kinds::ZipkinTracing;
use crate::telemetry::trace::{Span, SpanKind, SpanOutlet, ZipkinExport};

/// Sends reports to one collector.
pub(super) struct Exporter {
    export: ZipkinExport,
    publisher: Arc<Publisher>,
    counts: Arc<Block<ZipkinTracing>>,
}

impl Exporter {
    pub(super) fn new(export: ZipkinExport, collectors: &Collectors) -> Self {
        let publisher = Arc::clone(&collectors.publisher);
        Self { export, publisher, counts: collectors.stats.block("", Writer::CONTROL) }
    }

    fn timeout(&self) -> Duration {
        let own = self.export.collector.timeout.filter(|timeout| !timeout.is_zero());
        own.unwrap_or_else(|| {
            let snapshot = self.publisher.published().load();
            let millis = snapshot.runtime.integer("tracing.zipkin.request_timeout");
            Duration::from_millis(millis.unwrap_or(TIMEOUT_MS))
        })
    }
}

impl super::Exporter for Exporter {
    const KEYS: &str = "tracing.zipkin";

    async fn send(&mut self, batch: Vec<Box<Span>>, outlet: &mut SpanOutlet) {
        self.dropped(outlet.take_dropped());
        self.counts.add(ZipkinTracingCounter::SpansSent, batch.len() as u64);
        let collector = &self.export.collector;
        let Some(to) = connector::http(&self.publisher, &collector.cluster, &collector.host) else {
            return self.counts.inc(ZipkinTracingCounter::ReportsSkippedNoCluster);
        };
        let here = own::address();
        let spans = batch.iter().map(|span| json(span, &self.export, here)).collect();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        add(&mut headers, collector);
        let body = Value::Array(spans).to_string().into();
        match sampan_xds::send(&to, &collector.path, headers, body, self.timeout(), ANSWER).await {
            Ok((StatusCode::ACCEPTED, _)) => self.counts.inc(ZipkinTracingCounter::ReportsSent),
            Ok((status, _)) => {
                tracing::debug!(target: target::TRACING, "a Zipkin collector answers {status}");
                self.counts.inc(ZipkinTracingCounter::ReportsDropped);
            }
            Err(error) => {
                tracing::debug!(target: target::TRACING, "a report to Zipkin failed: {error}");
                self.counts.inc(ZipkinTracingCounter::ReportsFailed);
            }
        }
    }

    fn ticked(&self) {
        self.counts.inc(ZipkinTracingCounter::TimerFlushed);
    }

    fn dropped(&self, count: u64) {
        self.counts.add(ZipkinTracingCounter::SpansDropped, count);
    }
}

fn json(span: &Span, export: &ZipkinExport, here: IpAddr) -> Value {
    let context = span.context;
    let mut all = Map::new();
    let mut put = |name: &str, value: Value| drop(all.insert(name.to_owned(), value));
    put("traceId", context.trace.short().to_string().into());
    if context.parent != 0 {
        put("parentId", format!("{:016x}", context.parent).into());
    }
    put("id", format!("{:016x}", context.span).into());
    if !span.name.is_empty() {
        put("name", span.name.as_str().into());
    }
    put("timestamp", microseconds(span.start).into());
    put("duration", (span.duration.as_micros() as u64).into());
    let (kind, end) = match span.kind {
        SpanKind::Client => ("CLIENT", "cr"),
        SpanKind::Server => ("SERVER", "ss"),
    };
    put("kind", kind.into());
    if span.kind == SpanKind::Server && export.shared {
        put("shared", true.into());
    }
    let family = if here.is_ipv4() { "ipv4" } else { "ipv6" };
    let mut endpoint = json!({ family: here.to_string(), "port": 0 });
    if !export.service.is_empty() {
        endpoint["serviceName"] = (&*export.service).into();
    }
    put("localEndpoint", endpoint);
    // Envoy's tags of Zipkin have values.
    let tags = span.tags.iter().filter(|(_, value)| !value.is_empty());
    let tags: Map<_, _> = tags.map(|(name, value)| (name.to_string(), value.as_str().into())).collect();
    put("tags", tags.into());
    let ended = (span.start + span.duration, end);
    let moments = span.events.iter().copied().chain([ended]);
    let annotations = moments.map(|(at, value)| json!({ "timestamp": microseconds(at), "value": value }));
    put("annotations", annotations.collect());
    all.into()
}

fn microseconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use sampan_model::trace::{Context, TraceId};

    use super::*;
    use crate::telemetry::trace::HttpCollector;

    fn export(shared: bool) -> ZipkinExport {
        let collector = HttpCollector {
            cluster: "z".into(),
            host: "z".into(),
            path: "/".into(),
            headers: Vec::new(),
            timeout: None,
        };
        ZipkinExport { collector, shared, service: "svc".into() }
    }

    #[test]
    fn a_span_as_zipkin_has_it() {
        let mut span = Span {
            context: Context { trace: TraceId(1), span: 2, parent: 0, sampled: true },
            remote_parent: false,
            state: None,
            name: "n".to_owned(),
            kind: SpanKind::Server,
            start: UNIX_EPOCH + Duration::from_micros(10),
            duration: Duration::from_micros(5),
            tags: vec![(Cow::Borrowed("a"), "1".to_owned()), (Cow::Borrowed("b"), String::new())],
            events: vec![(UNIX_EPOCH + Duration::from_micros(12), "e")],
        };
        let here = IpAddr::from([192, 0, 2, 1]);
        let expected = json!({
            "traceId": "0000000000000001", "id": "0000000000000002", "name": "n", "timestamp": 10, "duration": 5,
            "kind": "SERVER", "shared": true,
            "localEndpoint": {"ipv4": "192.0.2.1", "port": 0, "serviceName": "svc"},
            "tags": {"a": "1"},
            "annotations": [{"timestamp": 12, "value": "e"}, {"timestamp": 15, "value": "ss"}],
        });
        assert_eq!(json(&span, &export(true), here), expected);
        (span.kind, span.context.parent) = (SpanKind::Client, 7);
        let told = json(&span, &export(true), here);
        assert_eq!(
            (&told["kind"], &told["parentId"], &told["shared"]),
            (&json!("CLIENT"), &json!("0000000000000007"), &Value::Null)
        );
        assert_eq!(told["annotations"][1]["value"], "cr");
    }
}
