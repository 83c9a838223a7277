//! `envoy.filters.http.custom_response`: answers in the place of responses that a matcher picks.
//!
//! The configurations are asked from the most specific level to the filter's own; the first that knows a policy for the response
//! decides. The new response goes down as a local reply does that takes the place of a response: other filters do not see it.

pub mod config;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use sampan_filters_api::format::{FormatContext, Template};
use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Start, Stream};
use sampan_filters_api::{Headers, Known, LocalReply};

use crate::http::header_mutation::Mutation;
use crate::tree::{Subject, Tree};

/// The policies of the filter, or of a route.
#[derive(Debug)]
pub struct Policies(pub Tree<Policy>);

/// `LocalResponsePolicy`
#[derive(Debug)]
pub struct Policy {
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

/// One stream: the policies of each level, the most specific first.
struct Instance(Vec<Arc<Policies>>);

impl HttpFilterFactory for CustomResponse {
    fn phases(&self) -> Phases {
        Phases::RESPONSE_HEAD
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        let levels = start.levels::<Policies>().chain([Arc::clone(&self.policies)]);
        Some(Box::new(Instance(levels.collect())))
    }
}

impl HttpFilter for Instance {
    fn on_response_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let subject = Subject {
            request: Some(&*stream.request),
            response: stream.response.as_deref(),
            info: &*stream.info,
        };
        match self.0.iter().find_map(|level| level.0.find(subject)) {
            Some(policy) => Flow::Reply(Box::new(policy.answer(stream))),
            None => Flow::Continue,
        }
    }
}

impl Policy {
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
