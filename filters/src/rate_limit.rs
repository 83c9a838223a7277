//! Rate limits: which descriptors a request has, and the token buckets that count them.
//!
//! ```text
//! request --RateLimit::actions--> Descriptor [(key, value), …] --Limiter--> buckets of descriptors, or the default one
//! ```

pub mod bucket;
pub mod limiter;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use sampan_filters_api::format::{FormatContext, Template};
use sampan_filters_api::info::MetadataValue;
use sampan_filters_api::{RequestHead, StreamInfo};
use sampan_model::route::{HeaderMatch, QueryMatch, query_value};

use crate::matcher::{Cidr, View};

/// One thing that is counted: keys and values.
pub type Entries = Vec<(Arc<str>, Box<str>)>;

/// A descriptor of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Descriptor {
    /// Keys and values.
    pub entries: Entries,
    /// How many tokens it takes, where something says so; below zero, how many it gives back.
    pub hits: Option<f64>,
    /// The limit that the request itself brings along: so many for each unit of time.
    pub limit: Option<(u32, Arc<str>)>,
    /// `x_ratelimit_option`: whether the response tells of it; none where it does not say.
    pub told: Option<bool>,
}

/// `config.route.v3.RateLimit`
#[derive(Debug)]
pub struct RateLimit {
    /// `stage`
    pub stage: u32,
    /// `disable_key`; the local filter takes one that is set for "off".
    pub disable_key: Box<str>,
    /// `actions`
    pub actions: Vec<Action>,
    /// `hits_addend`
    pub hits: Option<Hits>,
    /// `limit`
    pub limit: Option<OwnLimit>,
    /// `apply_on_stream_done`: it counts when the stream is over. Not asked by the local filter for what routes say, as in Envoy.
    pub on_done: bool,
    /// `x_ratelimit_option`
    pub told: Option<bool>,
}

/// `limit`: one that takes the place of what the rate limit service has.
#[derive(Debug)]
pub enum OwnLimit {
    /// `rate_limit`: so many for each unit.
    Fixed(u32, Arc<str>),
    /// `dynamic_metadata`: namespace and path.
    Metadata(Box<str>, Vec<Box<str>>),
}

/// `hits_addend`
#[derive(Debug)]
pub enum Hits {
    /// `number`, below zero if `is_negative_hits`.
    Number(f64),
    /// `format`; the flag is `is_negative_hits`.
    Format(Template, bool),
}

/// Rate limits of a route or a virtual host, in a [`sampan_filters_api::http::RouteConfig`].
#[derive(Debug, Default)]
pub struct RouteLimits {
    /// `rate_limits`
    pub limits: Vec<RateLimit>,
    /// `include_vh_rate_limits`, of a route.
    pub include_host: bool,
}

/// One step towards a descriptor.
#[derive(Debug)]
pub struct Action {
    /// The key of the entry.
    pub key: Arc<str>,
    /// Where its value comes from.
    pub value: Value,
    /// `skip_if_absent`: without a value the entry is left out, where else there would be no descriptor.
    pub optional: bool,
}

/// Where the value of an entry comes from.
#[derive(Debug)]
pub enum Value {
    /// `source_cluster`, `generic_key`
    Literal(Box<str>),
    /// `destination_cluster`
    DestinationCluster,
    /// `request_headers`
    Header(Box<str>),
    /// `query_parameters`
    Query(Box<str>),
    /// `remote_address`
    RemoteAddress,
    /// `masked_remote_address`: the lengths of prefixes of both families.
    MaskedAddress(u32, u32),
    /// `header_value_match`: whether all are to match, and the value then.
    Headers(Vec<HeaderMatch>, bool, Box<str>),
    /// `query_parameter_value_match`: whether all are to match, and the value then.
    Queries(Vec<QueryMatch>, bool, Box<str>),
    /// `remote_address_match`: whether one is to match, and the value then.
    Addresses(Vec<Cidr>, bool, Box<str>),
    /// `metadata`, `dynamic_metadata`: namespace, path, and what stands in its place.
    Metadata(Box<str>, Vec<Box<str>>, Box<str>),
}

/// What descriptors are made from.
#[derive(Clone, Copy)]
pub struct Source<'s> {
    /// The request.
    pub request: &'s RequestHead,
    /// What is known of its stream.
    pub info: &'s StreamInfo,
    /// The cluster that it is routed to.
    pub cluster: Option<&'s str>,
}

impl RateLimit {
    /// The descriptor of a request; none if an action has nothing to say.
    pub fn descriptor(&self, source: Source<'_>) -> Option<Descriptor> {
        let mut descriptor = self.descriptor_of_route(source)?;
        descriptor.hits = match &self.hits {
            None => None,
            Some(Hits::Number(number)) => Some(*number),
            Some(Hits::Format(template, negative)) => {
                let number: u32 = render(template, source).parse().ok()?;
                Some(f64::from(number) * if *negative { -1.0 } else { 1.0 })
            }
        };
        Some(descriptor)
    }

    /// As [`Self::descriptor`], without `hits_addend`, which Envoy's rate limit service is not told of for routes.
    pub fn descriptor_of_route(&self, source: Source<'_>) -> Option<Descriptor> {
        let mut entries = Vec::with_capacity(self.actions.len());
        for action in &self.actions {
            match action.value.of(source) {
                Some(value) => entries.push((Arc::clone(&action.key), value)),
                None if action.optional => {}
                None => return None,
            }
        }
        let limit = match &self.limit {
            None => None,
            Some(OwnLimit::Fixed(requests, unit)) => Some((*requests, Arc::clone(unit))),
            Some(OwnLimit::Metadata(namespace, path)) => brought(source.info, namespace, path),
        };
        (!entries.is_empty()).then_some(Descriptor { entries, hits: None, limit, told: self.told })
    }
}

impl Value {
    fn of(&self, source: Source<'_>) -> Option<Box<str>> {
        let request = source.request;
        let ip = || source.info.remote().socket().map(|address| address.ip().to_canonical());
        match self {
            Self::Literal(text) => Some(text.clone()),
            Self::DestinationCluster => source.cluster.map(Into::into),
            Self::Header(name) => header(request, name),
            Self::Query(name) => query_value(request.path(), name.as_bytes()).map(text),
            Self::RemoteAddress => ip().map(|ip| ip.to_string().into()),
            Self::MaskedAddress(v4, v6) => ip().map(|ip| masked(ip, *v4, *v6).into()),
            Self::Headers(rules, wanted, value) => {
                let view = View { request, tls: source.info.connection.tls.as_deref() };
                let all = rules.iter().all(|rule| rule.is_match(&view));
                (all == *wanted).then(|| value.clone())
            }
            Self::Queries(rules, wanted, value) => {
                let all = rules.iter().all(|rule| rule.is_match(request.path()));
                (all == *wanted).then(|| value.clone())
            }
            Self::Addresses(ranges, wanted, value) => {
                let any = ranges.iter().any(|range| range.contains(source.info.remote()));
                (any == *wanted).then(|| value.clone())
            }
            Self::Metadata(namespace, path, default) => {
                let value = source.info.metadata.namespace(namespace).and_then(|space| space.at(path));
                match value {
                    Some(MetadataValue::String(text)) if !text.is_empty() => Some((&**text).into()),
                    _ if default.is_empty() => None,
                    _ => Some(default.clone()),
                }
            }
        }
    }
}

/// The limit that the dynamic metadata bring along: a struct of `requests_per_unit` and `unit`.
fn brought(info: &StreamInfo, namespace: &str, path: &[Box<str>]) -> Option<(u32, Arc<str>)> {
    let limit = info.metadata.namespace(namespace)?.at(path)?;
    match (limit.at(&["requests_per_unit"])?, limit.at(&["unit"])?) {
        (MetadataValue::Number(requests), MetadataValue::String(unit)) => {
            Some((*requests as u32, Arc::clone(unit)))
        }
        _ => None,
    }
}

/// Every value of a header, as one list.
fn header(request: &RequestHead, name: &str) -> Option<Box<str>> {
    if let Some(value) = request.pseudo(name.as_bytes()) {
        return value.map(text);
    }
    let values: Vec<&[u8]> = request.headers.values(name.as_bytes()).collect();
    (!values.is_empty()).then(|| text(&values.join(&b',')))
}

fn text(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}

fn render(template: &Template, source: Source<'_>) -> String {
    let mut out = Vec::new();
    let context = FormatContext {
        request: Some(source.request),
        ..FormatContext::new(source.info, Instant::now(), SystemTime::now())
    };
    template.render(&context, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// `10.0.0.0/8`
fn masked(ip: IpAddr, v4: u32, v6: u32) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let bits = ip.to_bits() & u32::MAX.checked_shl(32 - v4.min(32)).unwrap_or(0);
            format!("{}/{v4}", std::net::Ipv4Addr::from_bits(bits))
        }
        IpAddr::V6(ip) => {
            let bits = ip.to_bits() & u128::MAX.checked_shl(128 - v6.min(128)).unwrap_or(0);
            format!("{}/{v6}", std::net::Ipv6Addr::from_bits(bits))
        }
    }
}
