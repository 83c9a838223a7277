//! A request and its reply, without HTTP's machinery. Used by every group of endpoints.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Serialize as _;
use serde_json::Value;

/// `text/plain` as Envoy spells it.
const TEXT: &str = "text/plain; charset=UTF-8";
const JSON: &str = "application/json";

/// What was asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path without the query, with its leading slash.
    pub path: String,
    /// What follows the `?`, still encoded.
    pub raw_query: String,
    /// The parameters of the query, decoded, in order.
    pub query: Vec<(String, String)>,
    /// The parameters of a form in the body, decoded, in order.
    pub form: Vec<(String, String)>,
}

impl Request {
    /// Reads the target (`/path?query`) and the body of a request.
    pub fn new(method: Method, target: &str, body: &[u8]) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = format!("/{}", path.trim_start_matches('/'));
        let form = std::str::from_utf8(body).unwrap_or_default();
        let (raw_query, query) = (query.to_owned(), parameters(query));
        Self { method, path, raw_query, query, form: parameters(form.trim_end()) }
    }

    /// The first value of a parameter; empty if it is there without a value.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Whether a parameter is there, with any value.
    pub fn has(&self, name: &str) -> bool {
        self.parameter(name).is_some()
    }

    /// Whether `format=json` was asked for. Other formats fall back to text, as in Envoy.
    pub fn wants_json(&self) -> bool {
        self.parameter("format") == Some("json")
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The content type.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// 200 with text.
    pub fn text(body: impl Into<Bytes>) -> Self {
        Self::status(StatusCode::OK, body)
    }

    /// Any status with text.
    pub fn status(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self { status, content_type: TEXT, body: body.into() }
    }

    /// 200 with a page.
    pub fn html(body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, content_type: "text/html; charset=UTF-8", body: body.into() }
    }

    /// 200 with JSON, indented by one space as Envoy's printer does.
    pub fn json(value: &Value) -> Self {
        Self { status: StatusCode::OK, content_type: JSON, body: pretty(value).into() }
    }

    /// The answer of most mutating endpoints.
    pub fn ok() -> Self {
        Self::text("OK\n")
    }
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    // A Value has string keys and finite numbers, and a Vec takes every write: this cannot fail.
    let _ = value.serialize(&mut serializer);
    out.push(b'\n');
    out
}

/// Splits `a=b&c` and undoes percent-encoding; what is not a valid escape stays as it is.
fn parameters(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%').then(|| bytes.get(at + 1..at + 3)).flatten().and_then(hex);
        out.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok().filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u8::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_split_and_decoded() {
        let request = Request::new(Method::GET, "//stats?usedonly&filter=%5ea%zz+b%&x=", b"k=1\n");
        assert_eq!(request.path, "/stats");
        assert!(request.has("usedonly") && !request.has("nope"));
        assert_eq!(request.parameter("filter"), Some("^a%zz+b%"));
        assert_eq!(request.parameter("x"), Some(""));
        assert_eq!(request.form, [("k".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn json_is_indented_by_one() {
        let reply = Reply::json(&serde_json::json!({"a": {}, "b": [1]}));
        assert_eq!(reply.body, "{\n \"a\": {},\n \"b\": [\n  1\n ]\n}\n");
    }
}
