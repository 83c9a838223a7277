//! Load reports in responses (ORCA): `endpoint-load-metrics` as text, JSON or base64, `endpoint-load-metrics-bin` as base64.
//!
//! Read by [`super::cluster`] where the policy is `client_side_weighted_round_robin`. A report that cannot be read is as none.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use sampan_filters_api::Headers;
use sampan_model::lb::LoadReport;
use serde_json::Value;

const HEADER: &str = "endpoint-load-metrics";
const BINARY: &str = "endpoint-load-metrics-bin";
/// Named metrics of a report that are looked at.
const MOST_NAMED: usize = 256;

/// `xds.data.orca.v3.OrcaLoadReport`
#[derive(Clone, PartialEq, prost::Message)]
struct OrcaLoadReport {
    #[prost(double, tag = "1")]
    cpu_utilization: f64,
    #[prost(double, tag = "2")]
    mem_utilization: f64,
    #[prost(map = "string, double", tag = "4")]
    request_cost: std::collections::HashMap<String, f64>,
    #[prost(map = "string, double", tag = "5")]
    utilization: std::collections::HashMap<String, f64>,
    #[prost(double, tag = "6")]
    rps_fractional: f64,
    #[prost(double, tag = "7")]
    eps: f64,
    #[prost(map = "string, double", tag = "8")]
    named_metrics: std::collections::HashMap<String, f64>,
    #[prost(double, tag = "9")]
    application_utilization: f64,
}

/// The report in a head or in trailers.
pub(super) fn report(headers: &Headers) -> Option<LoadReport> {
    if let Some(value) = headers.value(BINARY) {
        return binary(value);
    }
    let value = std::str::from_utf8(headers.value(HEADER)?).ok()?;
    let (form, rest) = value.split_once(' ')?;
    match form {
        "BIN" => binary(rest.trim().as_bytes()),
        "JSON" => json(rest),
        "TEXT" => text(rest),
        _ => None,
    }
}

fn binary(value: &[u8]) -> Option<LoadReport> {
    let proto = OrcaLoadReport::decode(STANDARD.decode(value).ok()?.as_slice()).ok()?;
    let maps = [
        ("named_metrics", proto.named_metrics),
        ("utilization", proto.utilization),
        ("request_cost", proto.request_cost),
    ];
    let entries = |(map, entries): (&'static str, std::collections::HashMap<String, f64>)| {
        entries.into_iter().map(move |(key, value)| (format!("{map}.{key}").into(), value))
    };
    Some(LoadReport {
        rps: proto.rps_fractional,
        eps: proto.eps,
        application: proto.application_utilization,
        cpu: proto.cpu_utilization,
        mem: proto.mem_utilization,
        named: maps.into_iter().flat_map(entries).take(MOST_NAMED).collect(),
    })
}

fn json(text: &str) -> Option<LoadReport> {
    let Value::Object(fields) = serde_json::from_str(text).ok()? else { return None };
    let mut report = LoadReport::default();
    for (name, value) in &fields {
        let name = snake(name);
        match value {
            Value::Object(entries) => {
                for (key, value) in entries {
                    set(&mut report, &format!("{name}.{key}"), value.as_f64()?)?;
                }
            }
            _ => set(&mut report, &name, value.as_f64()?)?,
        }
    }
    Some(report)
}

/// `a=1, named_metrics.b=2`
fn text(text: &str) -> Option<LoadReport> {
    let mut report = LoadReport::default();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        // Envoy takes both.
        let (name, value) = pair.split_once(['=', ':'])?;
        set(&mut report, name.trim(), value.trim().parse().ok()?)?;
    }
    Some(report)
}

fn set(report: &mut LoadReport, name: &str, value: f64) -> Option<()> {
    if !value.is_finite() || value < 0.0 {
        return None;
    }
    match name {
        "rps_fractional" => report.rps = value,
        "eps" => report.eps = value,
        "application_utilization" => report.application = value,
        "cpu_utilization" => report.cpu = value,
        "mem_utilization" => report.mem = value,
        // A field that newer hosts do not send.
        "rps" => {}
        _ => {
            let (map, key) = name.split_once('.')?;
            let known = matches!(map, "named_metrics" | "utilization" | "request_cost");
            if !known || key.is_empty() || report.named.len() >= MOST_NAMED {
                return None;
            }
            report.named.push((name.into(), value));
        }
    }
    Some(())
}

/// JSON has field names in either spelling.
fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for char in name.chars() {
        if char.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(char.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, value: &str) -> Option<LoadReport> {
        let mut headers = Headers::new();
        headers.append(name, value);
        report(&headers)
    }

    #[test]
    fn all_forms_say_the_same() {
        let wanted = LoadReport {
            rps: 10.0,
            eps: 1.0,
            cpu: 0.5,
            named: vec![("named_metrics.foo".into(), 0.25)],
            ..LoadReport::default()
        };
        let proto = OrcaLoadReport {
            cpu_utilization: 0.5,
            rps_fractional: 10.0,
            eps: 1.0,
            named_metrics: [("foo".to_owned(), 0.25)].into(),
            ..OrcaLoadReport::default()
        };
        let encoded = STANDARD.encode(proto.encode_to_vec());
        assert_eq!(of(BINARY, &encoded), Some(wanted.clone()));
        assert_eq!(of(HEADER, &format!("BIN {encoded}")), Some(wanted.clone()));
        let text = "TEXT rps_fractional=10, eps=1,cpu_utilization=0.5, named_metrics.foo=0.25";
        assert_eq!(of(HEADER, text), Some(wanted.clone()));
        for json in [
            r#"JSON {"rps_fractional": 10, "eps": 1, "cpu_utilization": 0.5, "named_metrics": {"foo": 0.25}}"#,
            r#"JSON {"rpsFractional": 10, "eps": 1, "cpuUtilization": 0.5, "namedMetrics": {"foo": 0.25}}"#,
        ] {
            assert_eq!(of(HEADER, json), Some(wanted.clone()));
        }
    }

    #[test]
    fn what_cannot_be_read_is_nothing() {
        for value in [
            "",
            "TEXT",
            "TEXT x",
            "TEXT foo=1",
            "TEXT eps=-1",
            "TEXT eps=NaN",
            "JSON [",
            "JSON {\"eps\": \"x\"}",
            "BIN %%",
            "XML x",
        ] {
            assert_eq!(of(HEADER, value), None, "{value}");
        }
        assert_eq!(of(BINARY, "AAAA///"), None);
    }
}
