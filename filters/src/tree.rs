//! Matcher trees (`xds.type.matcher.v3.Matcher`) about a stream or a connection, with an action of the caller's at each end.
//!
//! A branch that leads nowhere leaves the choice to the next one, and in the end to `on_no_match`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::{Instant, SystemTime};

use sampan_filters_api::cel::Expression;
use sampan_filters_api::format::{FormatContext, HeaderName};
use sampan_filters_api::info::TlsInfo;
use sampan_filters_api::{Address, Headers, RequestHead, ResponseHead, StreamInfo};
use sampan_model::route::StringMatch;

use crate::matcher::Cidr;

/// What a tree is asked about.
#[derive(Clone, Copy)]
pub struct Subject<'s> {
    /// The request head; none for a connection.
    pub request: Option<&'s RequestHead>,
    /// The response head, once there is one.
    pub response: Option<&'s ResponseHead>,
    /// Addresses, certificates, metadata, filter state.
    pub info: &'s StreamInfo,
}

/// A tree, or a part of one.
#[derive(Debug)]
pub struct Tree<A> {
    /// The branches.
    pub branches: Branches<A>,
    /// `on_no_match`
    pub otherwise: Option<Next<A>>,
}

/// The branches of a tree.
#[derive(Debug)]
pub enum Branches<A> {
    /// None at all.
    None,
    /// `matcher_list`: the first that holds.
    List(Vec<(Condition, Next<A>)>),
    /// `exact_match_map`
    Exact(Input, HashMap<Box<str>, Next<A>>),
    /// `prefix_match_map`, the longest prefix first.
    Prefix(Input, Vec<(Box<str>, Next<A>)>),
}

/// Where a branch leads.
#[derive(Debug)]
pub enum Next<A> {
    /// To its end.
    Action(A),
    /// To more conditions.
    Tree(Box<Tree<A>>),
}

/// A condition of a list.
#[derive(Debug)]
pub enum Condition {
    /// `value_match`
    Text(Input, StringMatch),
    /// `custom_match` by `envoy.matching.matchers.ip`
    Ranges(Input, Vec<Cidr>),
    /// `custom_match` by `envoy.matching.matchers.cel_matcher`
    Cel(Expression),
    /// `and_matcher`
    And(Vec<Condition>),
    /// `or_matcher`
    Or(Vec<Condition>),
    /// `not_matcher`
    Not(Box<Condition>),
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// `HttpRequestHeaderMatchInput`: all values of a field, joined.
    Header(HeaderName),
    /// `HttpResponseHeaderMatchInput`: the same of the response.
    ResponseHeader(Box<str>),
    /// `HttpResponseStatusCodeMatchInput`
    Status,
    /// `HttpResponseStatusCodeClassMatchInput`: `4xx`.
    StatusClass,
    /// `HttpResponseLocalReplyMatchInput`: `true` for answers of our own, `false` for those of upstreams.
    LocalReply,
    /// `HttpRequestQueryParamMatchInput`
    QueryParam(Box<str>),
    /// `DestinationIPInput`
    DestinationIp,
    /// `DestinationPortInput`
    DestinationPort,
    /// `SourceIPInput`
    SourceIp,
    /// `SourcePortInput`
    SourcePort,
    /// `DirectSourceIPInput`
    DirectSourceIp,
    /// `ServerNameInput`
    ServerName,
    /// `UriSanInput`
    UriSans,
    /// `DnsSanInput`
    DnsSans,
    /// `SubjectInput`
    Subject,
    /// `FilterStateInput`
    FilterState(Box<str>),
    /// `HttpAttributesCelMatchInput`: whatever the expression names.
    Attributes,
}

impl<A> Tree<A> {
    /// The action for a subject.
    pub fn find(&self, subject: Subject<'_>) -> Option<&A> {
        let found = match &self.branches {
            Branches::None => None,
            Branches::List(list) => list
                .iter()
                .filter(|(condition, _)| condition.holds(subject))
                .find_map(|(_, next)| next.find(subject)),
            Branches::Exact(input, map) => {
                input.text(subject).and_then(|text| map.get(&*text)).and_then(|next| next.find(subject))
            }
            Branches::Prefix(input, list) => input.text(subject).and_then(|text| {
                let fits = list.iter().filter(|(prefix, _)| text.starts_with(&**prefix));
                fits.map(|(_, next)| next).find_map(|next| next.find(subject))
            }),
        };
        found.or_else(|| self.otherwise.as_ref()?.find(subject))
    }

    /// Every action at an end of the tree.
    pub fn actions(&self, each: &mut impl FnMut(&A)) {
        let nexts: Vec<&Next<A>> = match &self.branches {
            Branches::None => Vec::new(),
            Branches::List(list) => list.iter().map(|(_, next)| next).collect(),
            Branches::Exact(_, map) => map.values().collect(),
            Branches::Prefix(_, list) => list.iter().map(|(_, next)| next).collect(),
        };
        for next in nexts.into_iter().chain(&self.otherwise) {
            match next {
                Next::Action(action) => each(action),
                Next::Tree(tree) => tree.actions(each),
            }
        }
    }
}

impl<A> Next<A> {
    fn find(&self, subject: Subject<'_>) -> Option<&A> {
        match self {
            Self::Action(action) => Some(action),
            Self::Tree(tree) => tree.find(subject),
        }
    }
}

impl Condition {
    fn holds(&self, subject: Subject<'_>) -> bool {
        match self {
            Self::Text(input, matching) => {
                input.text(subject).is_some_and(|text| matching.is_match(text.as_bytes()))
            }
            Self::Ranges(input, ranges) => {
                let address = input.address(subject.info);
                address.is_some_and(|address| ranges.iter().any(|range| range.contains(address)))
            }
            Self::Cel(expression) => {
                let base = FormatContext::new(subject.info, Instant::now(), SystemTime::now());
                expression.holds(&FormatContext {
                    request: subject.request,
                    response: subject.response,
                    ..base
                })
            }
            Self::And(all) => all.iter().all(|one| one.holds(subject)),
            Self::Or(any) => any.iter().any(|one| one.holds(subject)),
            Self::Not(one) => !one.holds(subject),
        }
    }
}

impl Input {
    /// The address, if it is one, so that ranges can hold it.
    fn address<'s>(&self, info: &'s StreamInfo) -> Option<&'s Address> {
        match self {
            Self::DestinationIp => Some(&info.connection.local),
            Self::SourceIp => Some(info.remote()),
            Self::DirectSourceIp => Some(&info.connection.direct_remote),
            _ => None,
        }
    }

    /// Whether only a response has it.
    pub fn is_of_response(&self) -> bool {
        matches!(self, Self::ResponseHeader(_) | Self::Status | Self::StatusClass | Self::LocalReply)
    }

    /// Whether ranges can hold it.
    pub fn is_address(&self) -> bool {
        matches!(self, Self::DestinationIp | Self::SourceIp | Self::DirectSourceIp)
    }

    /// As text; nothing where there is no such thing.
    fn text<'s>(&self, subject: Subject<'s>) -> Option<Cow<'s, str>> {
        let info = subject.info;
        let port = |address: &Address| Some(address.socket()?.port().to_string().into());
        let peer = |names: fn(&TlsInfo) -> Option<String>| {
            info.connection.tls.as_deref().and_then(names).map(Cow::Owned)
        };
        match self {
            Self::Header(name) => header(subject.request?, name),
            Self::ResponseHeader(name) => joined(&subject.response?.headers, name.as_bytes()),
            Self::Status => Some(subject.response?.status.to_string().into()),
            Self::StatusClass => Some(format!("{}xx", subject.response?.status / 100).into()),
            Self::LocalReply => {
                Some(Cow::Borrowed(if info.details == "via_upstream" { "false" } else { "true" }))
            }
            Self::QueryParam(name) => query_param(subject.request?.path(), name),
            Self::DestinationIp | Self::SourceIp | Self::DirectSourceIp => {
                Some(self.address(info)?.socket()?.ip().to_string().into())
            }
            Self::DestinationPort => port(&info.connection.local),
            Self::SourcePort => port(info.remote()),
            Self::ServerName => info.connection.requested_server_name.as_deref().map(Cow::Borrowed),
            Self::UriSans => peer(|tls| tls.peer().map(|peer| peer.uri_sans.join(","))),
            Self::DnsSans => peer(|tls| tls.peer().map(|peer| peer.dns_sans.join(","))),
            Self::Subject => peer(|tls| tls.peer().map(|peer| peer.subject.clone())),
            Self::FilterState(key) => info.state(key).map(|object| object.plain().into()),
            Self::Attributes => None,
        }
    }
}

fn header<'s>(request: &'s RequestHead, name: &HeaderName) -> Option<Cow<'s, str>> {
    let Some(field) = name.field_name() else {
        return name.in_request(request).map(String::from_utf8_lossy);
    };
    joined(&request.headers, field)
}

/// Several values of a field are one list.
fn joined<'s>(headers: &'s Headers, field: &[u8]) -> Option<Cow<'s, str>> {
    let mut values = headers.values(field);
    let first = values.next()?;
    let mut all: Option<Vec<u8>> = None;
    for value in values {
        let all = all.get_or_insert_with(|| first.to_vec());
        all.push(b',');
        all.extend_from_slice(value);
    }
    Some(match all {
        None => String::from_utf8_lossy(first),
        Some(all) => String::from_utf8_lossy(&all).into_owned().into(),
    })
}

/// The first value of a query parameter, as it is written.
fn query_param<'s>(path: &'s [u8], name: &str) -> Option<Cow<'s, str>> {
    let at = path.iter().position(|byte| *byte == b'?')?;
    let mut pairs = path[at + 1..].split(|byte| *byte == b'&');
    pairs.find_map(|pair| {
        let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        (&pair[..end] == name.as_bytes())
            .then(|| String::from_utf8_lossy(pair.get(end + 1..).unwrap_or_default()))
    })
}
