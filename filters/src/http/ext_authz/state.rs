//! What the filter leaves in the filter state, under its configured name: how long the service took (`emit_filter_state_stats`), and
//! the decision that is not enforced (`shadow_mode`).

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use sampan_filters_api::StreamInfo;
use sampan_filters_api::info::{MetadataValue, StateObject};

use super::Change;

/// Where it leaves what.
#[derive(Debug, Default)]
pub struct Keys {
    /// For [`Took`].
    pub times: Option<Box<str>>,
    /// For [`Decision`]; where there is one, nothing is refused.
    pub shadow: Option<Box<str>>,
}

/// How long the service took, in microseconds. Only its field can be read.
struct Took(Cell<u64>);

impl StateObject for Took {
    fn plain(&self) -> String {
        String::new()
    }

    fn typed(&self) -> MetadataValue {
        MetadataValue::Null
    }

    fn field(&self, name: &str) -> Option<String> {
        (name == "latency_us").then(|| self.0.get().to_string())
    }
}

/// Notes how long the service took; false if another filter has put something else there.
pub(super) fn note_time(key: &str, took: Duration, info: &mut StreamInfo) -> bool {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let Some(object) = info.state(key) else {
        info.filter_state.set(key, Rc::new(Took(Cell::new(micros))));
        return true;
    };
    let object: &dyn Any = &*object;
    let known = object.downcast_ref::<Took>();
    if let Some(took) = known {
        took.0.set(micros);
    }
    known.is_some()
}

/// `ShadowDecision`: what would have become of a request.
#[derive(Debug)]
pub(super) struct Decision {
    /// `check_result`: `OK`, `DENIED` or `ERROR`.
    pub result: &'static str,
    /// `status_code`: that of the answer to the client, or 200.
    pub status: u16,
    /// `response_headers`: those of the answer to the client.
    pub headers: Vec<(String, String)>,
}

impl Decision {
    pub fn new(result: &'static str, status: u16) -> Self {
        Self { result, status, headers: Vec::new() }
    }

    /// With the fields of the answer.
    pub fn headers(mut self, changes: &[Change]) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.headers = changes.iter().map(|change| (change.name.to_string(), text(&change.value))).collect();
        self
    }

    pub fn note(self, key: &str, info: &mut StreamInfo) {
        info.filter_state.set(key, Rc::new(self));
    }
}

impl StateObject for Decision {
    /// In JSON, under the names of the proto.
    fn plain(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut out = format!(r#"{{"check_result":"{}","status_code":{}"#, self.result, self.status);
        if !self.headers.is_empty() {
            let each: Vec<_> = self
                .headers
                .iter()
                .map(|(name, value)| format!(r#"{{"key":{},"value":{}}}"#, quoted(name), quoted(value)))
                .collect();
            out.push_str(",\"response_headers\":[");
            out.push_str(&each.join(","));
            out.push(']');
        }
        out + "}"
    }

    /// Under the names of protobuf-JSON.
    fn typed(&self) -> MetadataValue {
        let text = |text: &str| MetadataValue::String(text.into());
        let mut fields = vec![
            ("checkResult".into(), text(self.result)),
            ("statusCode".into(), MetadataValue::Number(self.status.into())),
        ];
        if !self.headers.is_empty() {
            let each = self.headers.iter().map(|(name, value)| {
                MetadataValue::Struct(vec![("key".into(), text(name)), ("value".into(), text(value))])
            });
            fields.push(("responseHeaders".into(), MetadataValue::List(each.collect())));
        }
        MetadataValue::Struct(fields)
    }

    fn field(&self, name: &str) -> Option<String> {
        match name {
            "check_result" => Some(self.result.to_owned()),
            "status_code" => Some(self.status.to_string()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::header_mutation::Action;
    use crate::testing::info;

    #[test]
    fn times_are_noted_where_nothing_else_is() {
        let mut info = info();
        assert!(note_time("own", Duration::from_micros(5), &mut info));
        assert!(note_time("own", Duration::from_millis(2), &mut info));
        let object = info.state("own").unwrap();
        assert_eq!(object.field("latency_us").as_deref(), Some("2000"));
        assert_eq!(
            (object.field("other"), object.typed(), &*object.plain()),
            (None, MetadataValue::Null, "")
        );
        Decision::new("OK", 200).note("other", &mut info);
        assert!(!note_time("other", Duration::ZERO, &mut info));
    }

    #[test]
    fn a_decision_is_shown() {
        let change =
            Change { name: "a".into(), value: b"\"1\"".to_vec(), action: Action::Append, joined: false };
        let decision = Decision::new("DENIED", 401).headers(&[change]);
        let plain =
            r#"{"check_result":"DENIED","status_code":401,"response_headers":[{"key":"a","value":"\"1\""}]}"#;
        assert_eq!(decision.plain(), plain);
        assert_eq!(decision.field("check_result").as_deref(), Some("DENIED"));
        assert_eq!(decision.field("status_code").as_deref(), Some("401"));
        assert_eq!(Decision::new("OK", 200).plain(), r#"{"check_result":"OK","status_code":200}"#);
    }
}
