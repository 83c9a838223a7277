//! `RedirectPolicy`: another request is served in place of the response, and its response is marked on its way down.
//!
//! ```text
//! response picked -> GET for the other URL, served anew -> its response, with the fields and the status of the policy
//!                    no route for it: the response goes on as it is
//! ```
//! That a stream has been redirected is kept in the filter state, which outlives the first request.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use sampan_filters_api::http::{Anew, Flow, Stream};
use sampan_filters_api::info::{MetadataValue, StateObject};
use sampan_filters_api::{Counters, Known, StreamInfo};
use sampan_model::route::{PathMatch, Redirect, RedirectRequest, RouteMatch};

use crate::http::header_mutation::Mutation;

/// `RedirectPolicy`
#[derive(Debug)]
pub struct RedirectPolicy {
    /// Where to.
    pub target: Target,
    /// `status_code`
    pub status: Option<u16>,
    /// `response_headers_to_add`
    pub response: Vec<Mutation>,
    /// `request_headers_to_add`
    pub request: Vec<Mutation>,
    /// [`COUNTERS`]
    pub counters: Arc<Counters>,
}

/// `redirect_action_specifier`
#[derive(Debug)]
pub enum Target {
    /// `uri`
    Uri(Box<str>),
    /// `redirect_action`
    Action(Redirect),
}

/// The names of [`RedirectPolicy::counters`].
pub const COUNTERS: &[&str] = &["custom_response_redirect_no_route", "custom_response_invalid_uri"];
const NO_ROUTE: usize = 0;
const INVALID_URI: usize = 1;

/// Where the filter state tells of a redirect.
const KEY: &str = "envoy.filters.http.custom_response";

/// The policy by which a stream came to its request, and the status of the response that it stands in for.
#[derive(Clone)]
pub(super) struct Redirected(Arc<RedirectPolicy>, u16);

impl StateObject for Redirected {
    fn plain(&self) -> String {
        String::new()
    }

    fn typed(&self) -> MetadataValue {
        MetadataValue::Null
    }
}

/// The policy by which a stream came to its request, if one did.
pub(super) fn of_stream(info: &StreamInfo) -> Option<Redirected> {
    let object = info.state(KEY)?;
    let object: &dyn Any = &*object;
    object.downcast_ref::<Redirected>().cloned()
}

impl Redirected {
    /// Changes the response to the other request, whatever it is.
    pub fn mark(&self, stream: &mut Stream<'_>) {
        let Self(policy, original) = self;
        for mutation in &policy.response {
            mutation.change_response(stream);
        }
        if let Some(response) = &mut stream.response {
            response.status = policy.status.unwrap_or(*original);
        }
    }
}

impl RedirectPolicy {
    /// Makes the request that takes the place of a stream's.
    pub(super) fn follow(self: &Arc<Self>, stream: &mut Stream<'_>) -> Flow {
        let location = match &self.target {
            Target::Uri(uri) => uri.as_bytes().to_vec(),
            Target::Action(redirect) => location(redirect, stream),
        };
        let Some(url) = Url::parse(&location) else {
            self.counters.inc(INVALID_URI);
            return Flow::Continue;
        };
        let mut head = stream.request.clone();
        head.set_scheme(if url.secure { b"https" } else { b"http" });
        head.set_authority(url.authority);
        head.set_path(&url.path());
        // The changes are to the new request, which is the stream's while they are made.
        std::mem::swap(stream.request, &mut head);
        for mutation in &self.request {
            mutation.change_request(stream);
        }
        std::mem::swap(stream.request, &mut head);
        // The client of a HEAD must get no body.
        if !head.is_head() {
            head.set_method(b"GET");
        }
        head.headers.remove_known(Known::ContentLength);
        head.headers.remove_known(Known::TransferEncoding);
        let status = stream.response.as_ref().map_or(200, |response| response.status);
        let policy = Arc::clone(self);
        Flow::Anew(Box::new(Anew {
            request: head,
            then: Box::new(move |stream, found| {
                if found {
                    stream.info.filter_state.set(KEY, Rc::new(Redirected(policy, status)));
                } else {
                    policy.counters.inc(NO_ROUTE);
                }
            }),
        }))
    }
}

fn location(redirect: &Redirect, stream: &Stream<'_>) -> Vec<u8> {
    let request = &*stream.request;
    let view = RedirectRequest {
        scheme: request.scheme(),
        forwarded_proto: request.headers.known(Known::XForwardedProto).unwrap_or_default(),
        authority: request.authority(),
        path: request.path(),
    };
    redirect.location(view, &RouteMatch::new(PathMatch::Prefix("/".into())))
}

/// An absolute URL of HTTP.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url<'u> {
    secure: bool,
    authority: &'u [u8],
    /// Path and query, without fragment; may be empty or begin with `?`.
    rest: &'u [u8],
}

impl<'u> Url<'u> {
    pub fn parse(text: &'u [u8]) -> Option<Self> {
        let colon = text.iter().position(|byte| *byte == b':')?;
        let secure = match text[..colon].to_ascii_lowercase().as_slice() {
            b"http" => false,
            b"https" => true,
            _ => return None,
        };
        let rest = text[colon..].strip_prefix(b"://")?;
        let rest = &rest[..rest.iter().position(|byte| *byte == b'#').unwrap_or(rest.len())];
        if !rest.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let good = !authority.is_empty() && !authority.starts_with(b":") && !authority.contains(&b'@');
        good.then_some(Self { secure, authority, rest })
    }

    fn path(&self) -> Vec<u8> {
        let slash: &[u8] = if self.rest.starts_with(b"/") { b"" } else { b"/" };
        [slash, self.rest].concat()
    }
}
