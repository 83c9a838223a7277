//! Spans as collectors received them, in one form whatever the protocol, and what is compared of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::trace::v1::Span as Otlp;
use prost::Message as _;
use serde_json::Value;

/// A span.
#[derive(Clone, Debug)]
pub struct Span {
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub start: u64,
    /// Everything else, by name.
    pub facts: BTreeMap<String, String>,
}

/// The spans of an OTLP message, and the facts of its resource and scope.
pub fn otlp(message: &Bytes) -> (Vec<Span>, BTreeMap<String, String>) {
    let request = ExportTraceServiceRequest::decode(message.clone()).expect("an OTLP request");
    let (mut spans, mut facts) = (Vec::new(), BTreeMap::new());
    for resource in request.resource_spans {
        let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
        facts.extend(attributes.into_iter().map(|pair| (format!("resource/{}", pair.key), text(&pair))));
        for scope in resource.scope_spans {
            facts.extend(scope.scope.map(|scope| ("scope".to_owned(), scope.name)));
            spans.extend(scope.spans.iter().map(one));
        }
    }
    (spans, facts)
}

fn text(pair: &KeyValue) -> String {
    match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(AnyValue::StringValue(text)) => text.clone(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn one(span: &Otlp) -> Span {
    let mut facts: BTreeMap<String, String> =
        span.attributes.iter().map(|pair| (format!("tag/{}", pair.key), text(pair))).collect();
    let events: Vec<_> = span.events.iter().map(|event| event.name.as_str()).collect();
    let took = span.end_time_unix_nano.checked_sub(span.start_time_unix_nano);
    assert!(took.is_some_and(|took| took < 60_000_000_000), "{span:?}");
    facts.insert("name".to_owned(), span.name.clone());
    facts.insert("kind".to_owned(), span.kind.to_string());
    facts.insert("flags".to_owned(), format!("{:#x}", span.flags));
    facts.insert("state".to_owned(), span.trace_state.clone());
    facts.insert("events".to_owned(), events.join(" "));
    facts.insert("status".to_owned(), span.status.as_ref().map_or(0, |status| status.code).to_string());
    let (trace, id, parent) = (hex(&span.trace_id), hex(&span.span_id), hex(&span.parent_span_id));
    Span { trace, id, parent, start: span.start_time_unix_nano, facts }
}

/// The spans of a report to Zipkin.
pub fn zipkin(body: &[u8]) -> Vec<Span> {
    let report: Value = serde_json::from_slice(body).expect("a report is JSON");
    report.as_array().expect("a list of spans").iter().map(zipkin_span).collect()
}

fn zipkin_span(span: &Value) -> Span {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut facts = BTreeMap::new();
    for (key, value) in span.as_object().expect("a span is an object") {
        match (key.as_str(), value) {
            ("traceId" | "id" | "parentId" | "timestamp", _) => {}
            ("duration", value) => assert!(value.as_u64().is_some(), "{span}"),
            ("tags", Value::Object(tags)) => {
                facts.extend(tags.iter().map(|(name, value)| (format!("tag/{name}"), text(value))));
            }
            ("localEndpoint", Value::Object(fields)) => {
                facts.extend(fields.iter().map(|(name, value)| (format!("local/{name}"), text(value))));
            }
            ("annotations", Value::Array(moments)) => {
                let values: Vec<_> = moments.iter().filter_map(|moment| moment["value"].as_str()).collect();
                facts.insert("events".to_owned(), values.join(" "));
            }
            (key, value) => drop(facts.insert(key.to_owned(), text(value))),
        }
    }
    let field = |name: &str| span[name].as_str().unwrap_or_default().to_owned();
    let start = span["timestamp"].as_u64().expect("a span has a timestamp");
    Span { trace: field("traceId"), id: field("id"), parent: field("parentId"), start, facts }
}

/// The stream's span first, then its tries in order.
pub fn sort(spans: &mut [Span]) {
    spans.sort_by_key(|span| {
        let is_try = span.facts["name"].starts_with("router ") || span.facts["name"].starts_with("up-");
        (is_try, span.start, span.facts.get("tag/retry.count").cloned())
    });
}
