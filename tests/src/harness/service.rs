//! gRPC services that filters ask: what is asked of them as facts, and scripted answers in YAML.
//!
//! | fact | meaning |
//! |---|---|
//! | `up:m:<path of the field>` | a field of the message that a filter sent, in place of `up:body` |

use std::collections::BTreeMap;

use sampan_api::envoy::service::auth::v3::CheckResponse;
use sampan_api::envoy::service::ratelimit::v3::RateLimitResponse;
use sampan_api::{Descriptors, Document, Format, Policy, decode, to_json};
use serde_json::Value;

use super::upstream::Play;
use super::upstream::h2::Answer;

/// The methods that are known, and what they are asked with.
const METHODS: &[(&str, &str)] = &[
    ("/envoy.service.auth.v3.Authorization/Check", "type.googleapis.com/envoy.service.auth.v3.CheckRequest"),
    (
        "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit",
        "type.googleapis.com/envoy.service.ratelimit.v3.RateLimitRequest",
    ),
];

/// The compressed flag and the length.
const PREFIX: usize = 5;

/// The fields of a message that was sent to a known method: path and value.
pub fn fields(line: &str, body: &[u8]) -> Option<BTreeMap<String, String>> {
    let (_, message) = METHODS.iter().find(|(method, _)| line.contains(method))?;
    let json = to_json(Descriptors::load(), message, body.get(PREFIX..)?).ok()?;
    let mut found = BTreeMap::new();
    flatten("", &json, &mut found);
    found.remove("@type");
    Some(found)
}

fn flatten(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    let under = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(fields) if fields.is_empty() => {
            found.insert(path.to_owned(), "{}".to_owned());
        }
        Value::Object(fields) => fields.iter().for_each(|(key, value)| flatten(&under(key), value, found)),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| flatten(&under(&index.to_string()), item, found));
        }
        Value::String(text) => {
            found.insert(path.to_owned(), text.clone());
        }
        other => {
            found.insert(path.to_owned(), other.to_string());
        }
    }
}

/// An answer of the authorization service.
pub fn check(yaml: &str) -> Play {
    answer(&encoded::<CheckResponse>(yaml))
}

/// An answer of the rate limit service.
pub fn limit(yaml: &str) -> Play {
    answer(&encoded::<RateLimitResponse>(yaml))
}

/// A call that fails with a status.
pub fn failure(status: &'static str) -> Play {
    let headers = vec![("content-type", "application/grpc"), ("grpc-status", status)];
    Play::H2(Answer { headers, ..Answer::default() })
}

fn encoded<M: prost::Message + prost::Name + Default>(yaml: &str) -> Vec<u8> {
    let document = Document::parse(yaml, Format::Yaml).expect("YAML");
    let decoded = decode::<M>(Descriptors::load(), &document, Policy::default()).expect("a message");
    decoded.value.encode_to_vec()
}

fn answer(message: &[u8]) -> Play {
    let length = u32::try_from(message.len()).expect("a short message");
    // A script lives as long as its test.
    let body = [&[0], &length.to_be_bytes()[..], message].concat().leak();
    Play::H2(Answer {
        headers: vec![("content-type", "application/grpc")],
        body,
        trailers: vec![("grpc-status", "0")],
        ..Answer::default()
    })
}
