//! The HTTP authorization service: the request's method, path and some of its fields go there; its status is the answer.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use sampan_filters_api::call::{Call, Calls, Retry};
use sampan_filters_api::format::{FormatContext, Template};
use sampan_filters_api::info::MetadataValue;
use sampan_filters_api::{Answer, Known, RequestHead};
use sampan_model::route::StringMatch;

use super::{Asked, Change, Outcome, PARTIAL_BODY, Question, Verdict, joined, sanitized};
use crate::config::remote::HttpService;
use crate::http::header_mutation::Action;

/// `http_service`
#[derive(Debug)]
pub struct HttpAuthorization {
    /// `server_uri`
    pub server: HttpService,
    /// `retry_policy`
    pub retry: Option<Arc<Retry>>,
    /// `path_prefix`
    pub prefix: Box<str>,
    /// `path_override`
    pub path: Option<Box<str>>,
    /// `authorization_request.headers_to_add`
    pub add: Vec<(Box<str>, Template)>,
    /// What becomes of the answer.
    pub lists: Arc<Lists>,
}

/// `authorization_response`: which fields of the answer go where.
#[derive(Debug, Default)]
pub struct Lists {
    /// `allowed_upstream_headers`
    pub upstream: Vec<StringMatch>,
    /// `allowed_upstream_headers_to_append`
    pub upstream_append: Vec<StringMatch>,
    /// `allowed_client_headers`; all where there is no list.
    pub client: Option<Vec<StringMatch>>,
    /// `allowed_client_headers_on_success`
    pub client_on_success: Vec<StringMatch>,
    /// `dynamic_metadata_from_headers`
    pub metadata: Vec<StringMatch>,
}

/// Where a service says which fields of the request are to go.
const TO_REMOVE: &str = "x-envoy-auth-headers-to-remove";

impl HttpAuthorization {
    pub(super) fn ask(&self, calls: &dyn Calls, question: &Question<'_>) -> Asked {
        let (head, body) = self.request(question);
        let cluster = Arc::clone(&self.server.cluster);
        let call = Call {
            body,
            timeout: Some(self.server.timeout),
            retry: self.retry.clone(),
            forwarded_for: false,
            ..Call::new(cluster, head)
        };
        let answer = calls.call(call);
        let lists = Arc::clone(&self.lists);
        let since = Instant::now();
        Box::pin(async move {
            // As from a router of Envoy's, the answer tells how long it took.
            answer.await.map_or_else(
                |_| Verdict::default(),
                |mut answer| {
                    let took = since.elapsed().as_millis().to_string();
                    answer.head.headers.set_known(Known::XEnvoyUpstreamServiceTime, took);
                    lists.verdict(answer)
                },
            )
        })
    }

    fn request(&self, question: &Question<'_>) -> (RequestHead, Bytes) {
        let mut head = RequestHead::default();
        let body = question.body();
        let sent = body.as_ref().map(|(sent, ..)| sent.clone()).unwrap_or_default();
        head.headers.append_known(Known::ContentLength, sent.len().to_string());
        let fields = question.told.fields(question.request);
        let mut fields: Vec<(String, Vec<u8>)> = if question.told.raw {
            fields.into_iter().map(|(name, value)| (name, value.to_vec())).collect()
        } else {
            joined(fields).into_iter().map(|(name, value)| (name, value.into_bytes())).collect()
        };
        if let Some((_, _, partial)) = body {
            fields.push((PARTIAL_BODY.to_owned(), partial.to_string().into_bytes()));
        }
        for (name, value) in fields {
            match &*name {
                ":authority" => head.set_authority(&value),
                ":method" => head.set_method(&value),
                ":scheme" => {}
                ":path" => match &self.path {
                    Some(path) => head.set_path(path.as_bytes()),
                    None => head.set_path(&[self.prefix.as_bytes(), &value].concat()),
                },
                "content-length" | "transfer-encoding" | "connection" => {}
                _ => head.headers.append(&name, value),
            }
        }
        let context = FormatContext {
            request: Some(question.request),
            ..FormatContext::new(question.info, Instant::now(), SystemTime::now())
        };
        for (name, value) in &self.add {
            let mut text = Vec::new();
            value.render(&context, &mut text);
            match &**name {
                ":authority" | "host" => head.set_authority(&text),
                ":path" => head.set_path(&text),
                ":method" => head.set_method(&text),
                name => head.headers.set(name, text),
            }
        }
        (head, sent)
    }
}

impl Lists {
    fn verdict(&self, answer: Answer) -> Verdict {
        let status = answer.head.status;
        if status >= 500 {
            return Verdict::default();
        }
        let passes = status == 200;
        let mut verdict = Verdict {
            outcome: if passes { Outcome::Ok } else { Outcome::Denied },
            status: Some(status),
            ..Verdict::default()
        };
        for (name, value) in answer.head.headers.iter() {
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            if name == TO_REMOVE {
                if passes {
                    let names = sanitized(value);
                    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
                    verdict.remove.extend(names.map(|name| name.to_ascii_lowercase().into()));
                }
                continue;
            }
            self.sort(&mut verdict, &name, value, passes);
        }
        if !passes {
            verdict.body = answer.body;
        }
        verdict
    }

    /// Where a field of the answer goes.
    fn sort(&self, verdict: &mut Verdict, name: &str, value: &[u8], passes: bool) {
        let is = |rules: &[StringMatch]| rules.iter().any(|rule| rule.is_match(name.as_bytes()));
        let change = |action| Change { name: name.into(), value: value.to_vec(), action, joined: false };
        if is(&self.metadata) {
            let text = MetadataValue::String(sanitized(value).into());
            verdict.metadata.push((name.into(), text));
        }
        if !passes {
            let always = matches!(name, "content-length" | "www-authenticate" | "location");
            if self.client.as_ref().map_or(name != "host", |rules| always || is(rules)) {
                verdict.reply.push(change(Action::Append));
            }
            return;
        }
        if is(&self.upstream) {
            verdict.request.push(change(Action::Overwrite));
        }
        if is(&self.upstream_append) {
            verdict.request.push(change(Action::Append));
        }
        if is(&self.client_on_success) {
            verdict.response.push(change(Action::Append));
        }
    }
}
