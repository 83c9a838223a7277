//! What an answer does to a request: fields and metadata, the refusal, or what the configuration makes of an error.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use sampan_filters_api::call::Calls;
use sampan_filters_api::http::{Flow, Stream};
use sampan_filters_api::{Flag, Flags, Headers, LocalReply};

use super::{Answer, ERROR, FAILURE_ALLOWED, OK, OVER, Settings, Status};

/// What a stream needs once the answer is there.
pub(super) struct Then {
    pub(super) settings: Arc<Settings>,
    pub(super) enforced: bool,
    pub(super) denies: bool,
    pub(super) cluster: Option<Arc<str>>,
    pub(super) calls: Rc<dyn Calls>,
    pub(super) response: Rc<RefCell<Headers>>,
}

impl Then {
    pub(super) fn follow(&self, answer: Option<Answer>, stream: &mut Stream<'_>) -> Flow {
        let settings = &*self.settings;
        let Some(mut answer) = answer else { return self.fail() };
        for (key, value) in answer.metadata.drain(..) {
            stream.info.metadata.set(&settings.namespace, &key, value);
        }
        self.count(if answer.over { OVER } else { OK });
        let mut headers = Headers::new();
        for (name, value) in answer.response_headers.iter().filter(|(name, value)| may_be_sent(name, value)) {
            headers.append(name.as_bytes(), value);
        }
        if answer.over {
            if let Some(cluster) = &self.cluster {
                self.calls.charge(cluster, settings.status);
            }
            if settings.marked {
                headers.append("x-envoy-ratelimited", "true");
            }
        }
        if settings.told {
            tell(&answer.statuses, &mut headers);
        }
        if !answer.over || !self.enforced {
            for (name, value) in
                answer.request_headers.iter().filter(|(name, value)| may_be_sent(name, value))
            {
                stream.request.headers.append(name.as_bytes(), value);
            }
            *self.response.borrow_mut() = headers;
            return Flow::Continue;
        }
        let mut reply = LocalReply::new(settings.status, "request_rate_limited")
            .body(answer.body)
            .flags(Flags::of(Flag::RateLimited));
        if settings.exhausted {
            reply.grpc_status = Some(8);
        }
        if settings.retry_after && settings.status == 429 && headers.value("retry-after").is_none() {
            let over = answer.statuses.iter().filter(|status| status.over);
            if let Some(longest) = over.map(|status| status.reset.unwrap_or(0)).max() {
                headers.append("retry-after", longest.max(1).to_string());
            }
        }
        for mutation in &settings.response_headers {
            mutation.change_headers(&mut headers, stream);
        }
        reply.headers = headers;
        Flow::Reply(Box::new(reply))
    }

    fn count(&self, index: usize) {
        if let Some(cluster) = &self.cluster {
            self.settings.counters.inc(cluster, index);
        }
    }

    fn fail(&self) -> Flow {
        let settings = &*self.settings;
        self.count(ERROR);
        if !self.denies {
            self.count(FAILURE_ALLOWED);
            return Flow::Continue;
        }
        let reply = LocalReply::new(settings.status_on_error, "rate_limiter_error");
        Flow::Reply(Box::new(reply.flags(Flags::of(Flag::RateLimitServiceError))))
    }
}

/// Whether HTTP can carry a field that the service gives.
fn may_be_sent(name: &str, value: &[u8]) -> bool {
    let framing = matches!(name, "content-length" | "transfer-encoding" | "connection" | "host");
    let visible = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    visible && !framing && !value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
}

/// `x-ratelimit-…` (draft 03): of the limit that has the least left, and all limits as policies.
pub(super) fn tell(statuses: &[Status], headers: &mut Headers) {
    use std::fmt::Write as _;

    let mut policies = String::new();
    for (requests, seconds, name) in statuses.iter().filter_map(|status| status.limit.as_ref()) {
        if *seconds > 0 {
            // Writing to a string does not fail.
            let _ = write!(policies, ", {requests};w={seconds}");
            if !name.is_empty() {
                let _ = write!(policies, ";name=\"{name}\"");
            }
        }
    }
    let limited = statuses.iter().filter_map(|status| Some((status, status.limit.as_ref()?)));
    let Some((least, (requests, ..))) = limited.min_by_key(|(status, _)| status.remaining) else { return };
    headers.append("x-ratelimit-limit", format!("{requests}{policies}"));
    headers.append("x-ratelimit-remaining", least.remaining.to_string());
    headers.append("x-ratelimit-reset", least.reset.unwrap_or(0).to_string());
}
