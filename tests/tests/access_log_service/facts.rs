//! From recorded messages to entries, and from entries to facts that can be compared.

use std::collections::{BTreeMap, BTreeSet};

use sampan_api::Message as Dynamic;
use sampan_api::envoy::service::accesslog::v3::stream_access_logs_message::LogEntries;
use sampan_tests::harness::access_log_service::Told;
use serde_json::Value;

/// Facts of one entry: the path of each field, and its value.
pub type Facts = BTreeMap<String, String>;

/// Every entry with its log's name, stream by stream and in order.
pub fn entries(told: &[Told]) -> Vec<(String, Value)> {
    let mut names: BTreeMap<usize, String> = BTreeMap::new();
    let mut all = Vec::new();
    for Told { stream, message, .. } in told {
        if let Some(identifier) = &message.identifier {
            names.insert(*stream, identifier.log_name.clone());
        }
        let name = names.get(stream).expect("the first message of a stream says whose log it is");
        let kept: Vec<Value> = match &message.log_entries {
            Some(LogEntries::HttpLogs(logs)) => logs.log_entry.iter().map(json).collect(),
            Some(LogEntries::TcpLogs(logs)) => logs.log_entry.iter().map(json).collect(),
            None => panic!("a message without entries"),
        };
        all.extend(kept.into_iter().map(|entry| (name.clone(), entry)));
    }
    all
}

fn json<M: prost::Message + prost::Name>(message: &M) -> Value {
    sampan_api::message_to_json(&Dynamic::from_prost(message).unwrap().message, true)
}

/// Who every stream says that it is; an identifier anywhere but in the first message fails the test.
pub fn identifiers(told: &[Told]) -> BTreeSet<String> {
    let mut streams = BTreeSet::new();
    let mut said = BTreeSet::new();
    for Told { stream, method, message } in told {
        assert_eq!(streams.insert(*stream), message.identifier.is_some(), "once for each stream");
        if let Some(identifier) = &message.identifier {
            let node = identifier.node.clone().unwrap_or_default();
            let zone = node.locality.map(|locality| locality.zone);
            said.insert(format!("{method} {} {} {} {zone:?}", identifier.log_name, node.id, node.cluster));
        }
    }
    said
}

/// Puts every leaf under its path. Times and identities are reduced to their being there, ports to names.
pub fn flatten(value: &Value, path: &str, ports: &[(&str, u16)], facts: &mut Facts) {
    match value {
        Value::Object(fields) => {
            if fields.is_empty() && !path.is_empty() {
                facts.insert(path.to_owned(), "{}".to_owned());
            }
            for (name, field) in fields {
                flatten(field, &format!("{path}/{name}"), ports, facts);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                flatten(item, &format!("{path}/{i}"), ports, facts);
            }
        }
        leaf => {
            let text = leaf.as_str().map_or_else(|| leaf.to_string(), str::to_owned);
            let name = path.rsplit('/').next().unwrap_or_default();
            let text = match name {
                "start_time" | "duration" => "a time".to_owned(),
                _ if name.starts_with("time_to_") => "a time".to_owned(),
                "stream_id" | "request_id" => format!("{} characters", text.len()),
                "port_value" => {
                    let known = ports.iter().find(|(_, port)| port.to_string() == text);
                    known.map_or("another port", |(name, _)| name).to_owned()
                }
                _ => text,
            };
            facts.insert(path.to_owned(), text);
        }
    }
}
