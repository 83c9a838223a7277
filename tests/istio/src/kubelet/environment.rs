//! A container's environment and arguments: values, fields of the pod, limits, and `$(NAME)` in them.

use serde_json::Value;

use super::{list, text};

/// The value that a `fieldRef` names.
pub fn field(pod: &Value, path: &str) -> String {
    if let Some((map, key)) = path.split_once('[') {
        let key = key.trim_matches(['\'', '"', ']']);
        let map = format!("/{}", map.replace('.', "/"));
        return pod.pointer(&map).and_then(|map| map[key].as_str()).unwrap_or_default().to_owned();
    }
    match pod.pointer(&format!("/{}", path.replace('.', "/"))) {
        Some(Value::String(text)) => text.clone(),
        // Labels and annotations as a file has them.
        Some(Value::Object(map)) => {
            let lines: Vec<String> = map.iter().map(|(key, value)| format!("{key}={value}")).collect();
            lines.join("\n")
        }
        _ => String::new(),
    }
}

/// All variables of a container, in order.
pub fn variables(pod: &Value, container: &Value) -> Vec<(String, String)> {
    let mut known: Vec<(String, String)> = Vec::new();
    for variable in list(container, "env") {
        let source = &variable["valueFrom"];
        let value = if let Some(path) = source["fieldRef"]["fieldPath"].as_str() {
            field(pod, path)
        } else if let Some(resource) = source["resourceFieldRef"]["resource"].as_str() {
            limit(container, resource)
        } else {
            expand(variable["value"].as_str().unwrap_or_default(), &known)
        };
        known.push((text(variable, "/name"), value));
    }
    known
}

/// Replaces `$(NAME)` for each variable that there is.
pub fn expand(value: &str, known: &[(String, String)]) -> String {
    known.iter().fold(value.to_owned(), |value, (name, with)| value.replace(&format!("$({name})"), with))
}

/// A limit in whole units; without one, the machine's.
fn limit(container: &Value, resource: &str) -> String {
    let (_, name) = resource.split_once('.').unwrap_or_default();
    let given = container["resources"]["limits"][name].as_str().unwrap_or_default();
    let digits: String = given.chars().take_while(char::is_ascii_digit).collect();
    let number: u64 = digits.parse().unwrap_or_default();
    let unit = &given[digits.len()..];
    match (name, unit) {
        ("cpu", "m") => number.div_ceil(1000).to_string(),
        ("memory", "Mi") => (number << 20).to_string(),
        ("memory", "Gi") => (number << 30).to_string(),
        ("memory", "") if number == 0 => (1_u64 << 30).to_string(),
        (_, "") if number > 0 => number.to_string(),
        _ => std::thread::available_parallelism().map_or(1, usize::from).to_string(),
    }
}
