//! What an answer does to a request: changes and metadata, the refusal, or what the configuration makes of an error.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use sampan_filters_api::call::Calls;
use sampan_filters_api::http::{Flow, Stream};
use sampan_filters_api::info::MetadataValue;
use sampan_filters_api::{Flag, Flags, Headers, LocalReply, StreamInfo};

use super::changes::{Change, Invalid, is_query_text, remove_fields, set_fields, set_query};
use super::state::{self, Decision};
use super::{
    COLLISION, DENIED, ERROR, FAILURE_ALLOWED, IGNORED_METADATA, INVALID, NAMESPACE, OK, Outcome,
    SHADOW_DENIED, SHADOW_ERROR, Settings, Verdict,
};

/// What a stream needs once the answer is there.
pub(super) struct Then {
    pub(super) settings: Arc<Settings>,
    pub(super) cluster: Option<Arc<str>>,
    pub(super) calls: Rc<dyn Calls>,
    pub(super) response: Rc<RefCell<Vec<Change>>>,
    pub(super) since: Instant,
}

impl Then {
    pub(super) fn follow(&self, mut verdict: Verdict, stream: &mut Stream<'_>) -> Flow {
        let state = &self.settings.state;
        if let Some(key) = &state.times
            && !state::note_time(key, self.since.elapsed(), stream.info)
        {
            self.settings.counters.inc(COLLISION);
        }
        self.note_metadata(&mut verdict, stream.info);
        match (verdict.outcome, &state.shadow) {
            (Outcome::Ok, _) => self.pass(verdict, stream),
            (Outcome::Denied, None) => self.deny(verdict),
            (Outcome::Error, None) => self.fail(verdict, stream),
            (Outcome::Denied, Some(key)) => {
                self.count(DENIED, Some(1));
                self.settings.counters.inc(SHADOW_DENIED);
                let status = verdict.status.unwrap_or(403);
                self.charge(status);
                Decision::new("DENIED", status).headers(&verdict.reply).note(key, stream.info);
                Flow::Continue
            }
            (Outcome::Error, Some(key)) => {
                self.count(ERROR, Some(2));
                self.settings.counters.inc(SHADOW_ERROR);
                let status = verdict.status.unwrap_or(self.settings.status_on_error);
                Decision::new("ERROR", status).note(key, stream.info);
                Flow::Continue
            }
        }
    }

    fn note_metadata(&self, verdict: &mut Verdict, info: &mut StreamInfo) {
        if verdict.metadata.is_empty() {
            return;
        }
        if !self.settings.takes_metadata {
            return self.settings.counters.inc(IGNORED_METADATA);
        }
        if verdict.outcome == Outcome::Ok {
            let took = self.since.elapsed().as_millis() as f64;
            verdict.metadata.push(("ext_authz_duration".into(), MetadataValue::Number(took)));
        }
        for (key, value) in verdict.metadata.drain(..) {
            info.metadata.set(NAMESPACE, &key, value);
        }
    }

    fn pass(&self, verdict: Verdict, stream: &mut Stream<'_>) -> Flow {
        let settings = &*self.settings;
        if settings.validate && !verdict.is_valid() {
            return self.invalid();
        }
        let changes = !verdict.request.is_empty() || !verdict.remove.is_empty();
        if settings.clear_route && (changes || !verdict.query.is_empty() || !verdict.query_remove.is_empty())
        {
            *stream.clear_route = true;
        }
        let rules = settings.rules.as_ref();
        let done: Result<(), Invalid> = set_fields(stream.request, &verdict.request, rules)
            .and_then(|()| remove_fields(stream.request, &verdict.remove, rules));
        if done.is_err() {
            return self.invalid();
        }
        set_query(stream.request, &verdict.query, &verdict.query_remove);
        *self.response.borrow_mut() = verdict.response;
        self.count(OK, Some(0));
        if let Some(key) = &settings.state.shadow {
            Decision::new("OK", 200).note(key, stream.info);
        }
        Flow::Continue
    }

    fn deny(&self, verdict: Verdict) -> Flow {
        let settings = &*self.settings;
        self.count(DENIED, Some(1));
        if settings.validate && !verdict.is_valid() {
            return self.invalid();
        }
        let status = verdict.status.unwrap_or(403);
        self.charge(status);
        let mut body = verdict.body;
        if let Some(longest) = settings.longest_denied {
            body.truncate(longest);
        }
        let mut reply = refusal(status, "ext_authz_denied").body(body);
        reply.headers = fields(&verdict.reply);
        Flow::Reply(Box::new(reply))
    }

    fn fail(&self, verdict: Verdict, stream: &mut Stream<'_>) -> Flow {
        let settings = &*self.settings;
        if settings.allow_failure {
            self.count(ERROR, Some(2));
            self.count(FAILURE_ALLOWED, Some(3));
            if settings.mark_failure {
                stream.request.headers.append("x-envoy-auth-failure-mode-allowed", "true");
            }
            return Flow::Continue;
        }
        self.count(ERROR, Some(2));
        let status = verdict.status.unwrap_or(settings.status_on_error);
        let mut reply = refusal(status, "ext_authz_error").body(verdict.body);
        reply.headers = fields(&verdict.reply);
        Flow::Reply(Box::new(reply))
    }

    /// Counts a refusal as a response of the route's cluster.
    fn charge(&self, status: u16) {
        if let (Some(cluster), true) = (&self.cluster, self.settings.charge) {
            self.calls.charge(cluster, status);
        }
    }

    /// The answer cannot be followed.
    fn invalid(&self) -> Flow {
        self.count(INVALID, Some(4));
        Flow::Reply(Box::new(refusal(500, "ext_authz_invalid")))
    }

    fn count(&self, own: usize, of_cluster: Option<usize>) {
        self.settings.counters.inc(own);
        if let (Some(cluster), Some(index)) = (&self.cluster, of_cluster) {
            self.settings.by_cluster.inc(cluster, index);
        }
    }
}

impl Verdict {
    /// Whether HTTP can carry every change.
    fn is_valid(&self) -> bool {
        let all = self.request.iter().chain(&self.response).chain(&self.reply);
        !self.unknown_action
            && all.into_iter().all(Change::is_valid)
            && self.query.iter().all(|(name, value)| is_query_text(name) && is_query_text(value))
    }
}

/// A request that is not asked about, and not let pass for that (`deny_at_disable`).
pub(super) fn disabled(settings: &Settings, stream: &mut Stream<'_>) -> Flow {
    let status = settings.status_on_error;
    match &settings.state.shadow {
        None => Flow::Reply(Box::new(refusal(status, "ext_authz_error"))),
        Some(key) => {
            settings.counters.inc(SHADOW_DENIED);
            stream.info.flags.set(Flag::UnauthorizedExternalService);
            Decision::new("DENIED", status).note(key, stream.info);
            Flow::Continue
        }
    }
}

fn refusal(status: u16, details: &'static str) -> LocalReply {
    LocalReply::new(status, details).flags(Flags::of(Flag::UnauthorizedExternalService))
}

/// The fields of a local reply. Its framing is its own.
fn fields(changes: &[Change]) -> Headers {
    let mut headers = Headers::new();
    for change in changes {
        if !matches!(&*change.name, "content-length" | "transfer-encoding" | "connection" | "host") {
            change.change_headers(&mut headers);
        }
    }
    headers
}
