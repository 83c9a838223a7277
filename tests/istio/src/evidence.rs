//! What is kept of a failure: what was applied, what each proxy has and counts, and what istiod meant to send. It is collected before what the scenario
//! has applied is taken away. The logs of all programs and containers are in `logs/` anyway.

use serde_json::Value;

use crate::world::World;

/// Writes it to `evidence/PROXY/SCENARIO`. What cannot be had is left out.
pub fn collect(world: &World, scenario: &str) {
    let Ok(folder) = world.evidence(scenario) else { return };
    let _ = std::fs::write(folder.join("applied.yaml"), world.applied().join("\n---\n"));
    let pods = world.kubernetes.get("/api/v1/pods").unwrap_or_default();
    for pod in pods["items"].as_array().into_iter().flatten() {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        for (page, kind) in
            [("config_dump", "json"), ("clusters", "txt"), ("stats?usedonly", "txt"), ("listeners", "txt")]
        {
            if let Ok(text) = world.admin_of(pod, page) {
                let name = format!("{name}-{}.{kind}", page.replace('?', "-"));
                let _ = std::fs::write(folder.join(name), text);
            }
        }
    }
    let text = serde_json::to_string_pretty(&pods).unwrap_or_default();
    let _ = std::fs::write(folder.join("pods.json"), text);
    for page in ["syncz", "edsz", "adsz", "configz"] {
        if let Ok(text) = world.istiod().page(&format!("/debug/{page}")) {
            let _ = std::fs::write(folder.join(format!("istiod-{page}.json")), text);
        }
    }
}

/// An answer without the addresses of pods, which each proxy's pods have their own of; `network` is what they begin with.
pub fn without_addresses(answer: &Value, network: &str) -> Value {
    match answer {
        Value::String(text) => {
            let mut parts = text.split(network);
            let mut plain = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                plain.push_str("POD");
                plain.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.'));
            }
            plain.into()
        }
        Value::Array(list) => list.iter().map(|one| without_addresses(one, network)).collect(),
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.clone(), without_addresses(value, network))).collect()
        }
        other => other.clone(),
    }
}

/// Prints where two answers differ.
pub fn differences(at: &str, expected: &Value, seen: &Value) {
    match (expected, seen) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let none = Value::Null;
                differences(&format!("{at}/{key}"), a.get(key).unwrap_or(&none), b.get(key).unwrap_or(&none));
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (n, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{at}/{n}"), a, b);
            }
        }
        (a, b) if a != b => println!("  {at}: Envoy {a}, Sampan {b}"),
        _ => {}
    }
}
