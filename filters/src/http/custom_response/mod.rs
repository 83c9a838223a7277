//! `envoy.filters.http.custom_response`: answers in the place of responses that a matcher picks.
//!
//! The configurations are asked from the most specific level to the filter's own; the first that knows a policy for the response
//! decides. A policy's own response goes down as a local reply does that takes the place of a response: other filters do not see it.
//! By a policy that redirects, another request is served ([`redirect`]).

pub mod config;
pub mod redirect;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use sampan_filters_api::format::{FormatContext, Template};
use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Start, Stream};
use sampan_filters_api::{Headers, Known, LocalReply};

use self::redirect::RedirectPolicy;
use crate::http::header_mutation::Mutation;
use crate::tree::{Subject, Tree};

/// The policies of the filter, or of a route.
#[derive(Debug)]
pub struct Policies(pub Tree<Policy>);

/// What is done about a response.
#[derive(Debug)]
pub enum Policy {
    /// Another one is made here.
    Local(Box<LocalPolicy>),
    /// Another request is served.
    Redirect(Arc<RedirectPolicy>),
}

/// `LocalResponsePolicy`
#[derive(Debug)]
pub struct LocalPolicy {
    /// `status_code`
    pub status: Option<u16>,
    /// `body`
    pub body: Option<Bytes>,
    /// `body_format`
    pub format: Option<Template>,
    /// `body_format.content_type`
    pub content_type: Option<Box<str>>,
    /// `response_headers_to_add`
    pub headers: Vec<Mutation>,
    /// `response_code_details_action`
    pub details: Details,
}

/// What becomes of the details that logs show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Details {
    /// There are none any more.
    Cleared,
    /// They stay.
    Kept,
    /// Others take their place.
    Set(Box<str>),
}

/// The factory.
#[derive(Debug)]
pub struct CustomResponse {
    /// The filter's own policies.
    pub policies: Arc<Policies>,
}

/// One stream.
struct Instance {
    /// The policies of each level, the most specific first.
    levels: Vec<Arc<Policies>>,
    /// The request has come here.
    seen: bool,
}

impl HttpFilterFactory for CustomResponse {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD.and(Phases::RESPONSE_HEAD)
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        let levels = start.levels::<Policies>().chain([Arc::clone(&self.policies)]);
        Some(Box::new(Instance { levels: levels.collect(), seen: false }))
    }
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, _stream: &mut Stream<'_>, _end: bool) -> Flow {
        self.seen = true;
        Flow::Continue
    }

    fn on_response_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        if let Some(redirected) = redirect::of_stream(stream.info) {
            redirected.mark(stream);
            return Flow::Continue;
        }
        let subject = Subject {
            request: Some(&*stream.request),
            response: stream.response.as_deref(),
            info: &*stream.info,
        };
        match self.levels.iter().find_map(|level| level.0.find(subject)) {
            Some(Policy::Local(policy)) => Flow::Reply(Box::new(policy.answer(stream))),
            // What was answered before the request came here is no response to it.
            Some(Policy::Redirect(policy)) if self.seen => policy.follow(stream),
            Some(Policy::Redirect(_)) | None => Flow::Continue,
        }
    }
}

impl LocalPolicy {
    fn answer(&self, stream: &Stream<'_>) -> LocalReply {
        let status = stream.response.as_deref().map_or(200, |response| response.status);
        let details = match &self.details {
            Details::Cleared => Cow::Borrowed(""),
            Details::Kept => stream.info.details.clone(),
            Details::Set(text) => Cow::Owned(text.to_string()),
        };
        let mut reply = LocalReply::new(self.status.unwrap_or(status), details);
        let body = self.body.clone().unwrap_or_default();
        reply.body = match &self.format {
            None => body,
            Some(format) => {
                let context = FormatContext {
                    request: Some(&*stream.request),
                    response: stream.response.as_deref(),
                    local_reply_body: &body,
                    ..FormatContext::new(stream.info, Instant::now(), SystemTime::now())
                };
                let mut out = Vec::new();
                format.render(&context, &mut out);
                out.into()
            }
        };
        let mut headers = Headers::new();
        if let Some(kind) = self.content_type.as_deref().filter(|_| !reply.body.is_empty()) {
            headers.append_known(Known::ContentType, kind);
        }
        for change in &self.headers {
            change.change_headers(&mut headers, stream);
        }
        reply.headers = headers;
        reply
    }
}
