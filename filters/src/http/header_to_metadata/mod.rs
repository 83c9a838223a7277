//! `envoy.filters.http.header_to_metadata`: copies values of headers and cookies into the dynamic metadata.

pub mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Start, Stream};
use sampan_filters_api::info::{DynamicMetadata, MetadataValue};
use sampan_filters_api::{Counters, Headers};
use sampan_model::pattern::RegexRewrite;

use crate::config::value::decode;

/// The rules of a filter or a route.
#[derive(Debug, Default)]
pub struct Rules {
    /// `request_rules`
    pub request: Vec<Rule>,
    /// `response_rules`
    pub response: Vec<Rule>,
    /// Where `stat_prefix` asks for counters.
    pub counters: Option<Arc<Counters>>,
}

/// The names of [`Rules::counters`].
#[rustfmt::skip]
pub const COUNTERS: &[&str] = &[
    "request_rules_processed", "response_rules_processed", "request_metadata_added", "response_metadata_added",
    "request_header_not_found", "response_header_not_found", "base64_decode_failed", "header_value_too_long",
    "regex_substitution_failed",
];
const PROCESSED: usize = 0;
const ADDED: usize = 2;
const NOT_FOUND: usize = 4;
const DECODE_FAILED: usize = 6;
const TOO_LONG: usize = 7;
const SUBSTITUTION_FAILED: usize = 8;

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Where the value comes from.
    pub from: From,
    /// `on_header_present`
    pub present: Option<Target>,
    /// `on_header_missing`
    pub missing: Option<Target>,
}

/// Where a value comes from.
#[derive(Debug)]
pub enum From {
    /// `header`, and whether it is removed.
    Header(Box<str>, bool),
    /// `cookie`
    Cookie(Box<str>),
}

/// What becomes of a value.
#[derive(Debug)]
pub struct Target {
    /// `metadata_namespace`
    pub namespace: Box<str>,
    /// `key`
    pub key: Box<str>,
    /// `value`, in place of the header's; none if empty.
    pub value: Option<Box<str>>,
    /// `regex_value_rewrite`
    pub rewrite: Option<RegexRewrite>,
    /// `type`
    pub kind: Kind,
    /// `encode` is `BASE64`.
    pub base64: bool,
}

/// `type`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `STRING`
    Text,
    /// `NUMBER`
    Number,
    /// `PROTOBUF_VALUE`: the wire form of a value.
    Value,
}

/// The namespace where none is given.
pub const NAMESPACE: &str = "envoy.filters.http.header_to_metadata";

/// Longer values are not copied.
const LONGEST: usize = 8 * 1024;

/// The factory.
#[derive(Debug)]
pub struct HeaderToMetadata(pub Arc<Rules>);

/// One stream.
struct Instance(Arc<Rules>);

impl HttpFilterFactory for HeaderToMetadata {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD.and(Phases::RESPONSE_HEAD)
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        let rules = start.route::<Rules>().unwrap_or_else(|| Arc::clone(&self.0));
        let idle = rules.request.is_empty() && rules.response.is_empty();
        (!idle).then(|| Box::new(Instance(rules)) as Box<dyn HttpFilter>)
    }
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let rules = &*self.0;
        for rule in &rules.request {
            let value = match &rule.from {
                From::Header(name, _) => match stream.request.pseudo(name.as_bytes()) {
                    Some(value) => value.map(<[u8]>::to_vec),
                    None => joined(&stream.request.headers, name),
                },
                From::Cookie(name) => cookie(&stream.request.headers, name),
            };
            if let From::Header(name, true) = &rule.from {
                stream.request.headers.remove(&**name);
            }
            rules.apply(rule, value, 0, &mut stream.info.metadata);
        }
        Flow::Continue
    }

    fn on_response_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let rules = &*self.0;
        let Some(response) = stream.response.as_mut() else { return Flow::Continue };
        for rule in &rules.response {
            let value = match &rule.from {
                From::Header(name, remove) => {
                    let value = match &**name {
                        ":status" => Some(response.status.to_string().into_bytes()),
                        name => joined(&response.headers, name),
                    };
                    if *remove {
                        response.headers.remove(&**name);
                    }
                    value
                }
                From::Cookie(name) => cookie(&response.headers, name),
            };
            rules.apply(rule, value, 1, &mut stream.info.metadata);
        }
        Flow::Continue
    }
}

impl Rules {
    /// `side` is 0 for the request and 1 for the response.
    fn apply(&self, rule: &Rule, value: Option<Vec<u8>>, side: usize, metadata: &mut DynamicMetadata) {
        self.count(PROCESSED + side);
        let target = if value.is_some() { &rule.present } else { &rule.missing };
        let Some(target) = target else { return };
        if value.is_none() {
            self.count(NOT_FOUND + side);
        }
        let value = match (&target.value, &target.rewrite) {
            (Some(own), _) => own.as_bytes().to_vec(),
            (None, Some(rewrite)) => {
                let value = rewrite.replace_all(&value.unwrap_or_default());
                if value.is_empty() {
                    self.count(SUBSTITUTION_FAILED);
                }
                value
            }
            (None, None) => value.unwrap_or_default(),
        };
        match target.value(value) {
            Ok(Some(value)) => {
                metadata.set(&target.namespace, &target.key, value);
                self.count(ADDED + side);
            }
            Ok(None) => {}
            Err(counter) => self.count(counter),
        }
    }

    fn count(&self, counter: usize) {
        if let Some(counters) = &self.counters {
            counters.inc(counter);
        }
    }
}

impl Target {
    /// The value as metadata have it: none where there is nothing to say, else the counter of the fault.
    fn value(&self, value: Vec<u8>) -> Result<Option<MetadataValue>, usize> {
        if value.is_empty() {
            return Ok(None);
        }
        if value.len() >= LONGEST {
            return Err(TOO_LONG);
        }
        let value = if self.base64 {
            let padded = value.iter().position(|byte| *byte == b'=').unwrap_or(value.len());
            STANDARD_NO_PAD.decode(&value[..padded]).map_err(|_| DECODE_FAILED)?
        } else {
            value
        };
        let text = || String::from_utf8_lossy(&value);
        Ok(match self.kind {
            Kind::Text => Some(MetadataValue::String(text().into())),
            Kind::Number => text().trim().parse().ok().map(MetadataValue::Number),
            Kind::Value => decode(&value),
        })
    }
}

/// Every value of a header, as one list.
fn joined(headers: &Headers, name: &str) -> Option<Vec<u8>> {
    let values: Vec<&[u8]> = headers.values(name.as_bytes()).collect();
    (!values.is_empty()).then(|| values.join(&b','))
}

/// The first value of a cookie that is not empty.
fn cookie(headers: &Headers, name: &str) -> Option<Vec<u8>> {
    let pairs = headers.values(b"cookie").flat_map(|line| line.split(|byte| *byte == b';'));
    let mut found =
        pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    let value = found.next()?.trim_ascii();
    let value = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
    (!value.is_empty()).then(|| value.to_vec())
}
