//! `envoy.filters.http.ext_authz`: asks a service whether a request may pass.
//!
//! ```text
//! enabled? -> body, as much as is wanted -> question -> gRPC or HTTP service -> Verdict
//!   Ok      fields and query changed, on its way; fields for the response kept
//!   Denied  the service's answer (UAEX, ext_authz_denied)
//!   Error   on its way with failure_mode_allow, else status_on_error (UAEX, ext_authz_error)
//!   with shadow_mode a refusal is only noted in the filter state
//! ```

mod changes;
pub mod config;
mod follow;
mod http;
mod state;
#[cfg(test)]
mod tests;
pub mod wire;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sampan_filters_api::call::Calls;
use sampan_filters_api::http::{
    Flow, HeldBody, Hold, HttpFilter, HttpFilterFactory, Phases, Resume, Start, Stream,
};
use sampan_filters_api::info::MetadataValue;
use sampan_filters_api::{Counters, RequestHead, RuntimeFraction, RuntimeSwitch, StreamInfo};
use sampan_model::route::StringMatch;

pub use self::changes::{Change, Rules};
use self::follow::Then;
pub use self::http::HttpAuthorization;
use crate::counted::ClusterCounters;
use crate::grpc::GrpcService;
use crate::matcher::MetadataMatch;

/// What is asked of whom, and what becomes of the answer.
#[derive(Debug)]
pub struct Settings {
    /// Whom.
    pub service: Arc<Service>,
    /// What is told.
    pub told: Told,
    /// `with_request_body`
    pub body: Option<Buffering>,
    /// `failure_mode_allow`
    pub allow_failure: bool,
    /// `failure_mode_allow_header_add`
    pub mark_failure: bool,
    /// `status_on_error`
    pub status_on_error: u16,
    /// `clear_route_cache`
    pub clear_route: bool,
    /// `validate_mutations`
    pub validate: bool,
    /// `decoder_header_mutation_rules`
    pub rules: Option<Rules>,
    /// `enable_dynamic_metadata_ingestion`
    pub takes_metadata: bool,
    /// `max_denied_response_body_bytes`
    pub longest_denied: Option<usize>,
    /// `filter_enabled`
    pub enabled: Option<RuntimeFraction>,
    /// `filter_enabled_metadata`
    pub enabled_metadata: Option<MetadataMatch>,
    /// `deny_at_disable`
    pub deny_at_disable: Option<RuntimeSwitch>,
    /// `charge_cluster_response_stats`
    pub charge: bool,
    /// `emit_filter_state_stats`, `shadow_mode`
    pub state: state::Keys,
    /// `<http>.ext_authz.[<stat_prefix>.]…`
    pub counters: Arc<Counters>,
    /// `cluster.<name>.ext_authz.…`
    pub by_cluster: ClusterCounters,
}

/// `services`
#[derive(Debug)]
pub enum Service {
    /// `grpc_service`
    Grpc(GrpcService),
    /// `http_service`
    Http(Box<HttpAuthorization>),
}

/// What the service is told of a request.
#[derive(Debug, Default)]
pub struct Told {
    /// `allowed_headers`; all where there is no list.
    pub allowed: Option<Vec<StringMatch>>,
    /// The filter's service is one by HTTP, which learns of few fields where there is no list.
    pub few: bool,
    /// `disallowed_headers`
    pub disallowed: Vec<StringMatch>,
    /// `encode_raw_headers`
    pub raw: bool,
    /// `include_peer_certificate`
    pub certificate: bool,
    /// `include_tls_session`
    pub tls_session: bool,
    /// `metadata_context_namespaces`
    pub namespaces: Vec<Box<str>>,
    /// `route_metadata_context_namespaces`
    pub route_namespaces: Vec<Box<str>>,
    /// `bootstrap_metadata_labels_key`: what the node's metadata has there.
    pub labels: Vec<(Box<str>, Box<str>)>,
}

/// `with_request_body`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffering {
    /// `max_request_bytes`
    pub most: usize,
    /// `allow_partial_message`
    pub partial: bool,
    /// `pack_as_bytes`
    pub as_bytes: bool,
}

/// What a route says about the body of its requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteBody {
    /// Nothing: the filter's own setting holds.
    #[default]
    Inherited,
    /// `disable_request_body_buffering`
    Untold,
    /// `with_request_body`
    Own(Buffering),
}

/// The configuration of a route.
#[derive(Debug, Default)]
pub struct RouteSettings {
    /// `disabled`
    pub disabled: bool,
    /// `context_extensions`
    pub extensions: Vec<(Box<str>, Box<str>)>,
    /// What the route has of the body.
    pub body: RouteBody,
    /// `grpc_service`, `http_service`
    pub service: Option<Arc<Service>>,
}

/// The names of [`Settings::counters`].
#[rustfmt::skip]
pub const COUNTERS: &[&str] = &[
    "ok", "denied", "error", "disabled", "failure_mode_allowed", "invalid", "ignored_dynamic_metadata",
    "filter_state_name_collision", "shadow_denied", "shadow_error",
];
const OK: usize = 0;
const DENIED: usize = 1;
const ERROR: usize = 2;
const DISABLED: usize = 3;
const FAILURE_ALLOWED: usize = 4;
const INVALID: usize = 5;
const IGNORED_METADATA: usize = 6;
const COLLISION: usize = 7;
const SHADOW_DENIED: usize = 8;
const SHADOW_ERROR: usize = 9;

/// The names of [`Settings::by_cluster`].
pub const CLUSTER_COUNTERS: &[&str] = &["ok", "denied", "error", "failure_mode_allowed", "invalid"];

/// The namespace of what it leaves in the dynamic metadata.
const NAMESPACE: &str = "envoy.filters.http.ext_authz";

/// What the service said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// May it pass?
    pub outcome: Outcome,
    /// The status of the answer to the client, where the service gives one.
    pub status: Option<u16>,
    /// The body of that answer.
    pub body: Bytes,
    /// Its fields.
    pub reply: Vec<Change>,
    /// Changes to the request.
    pub request: Vec<Change>,
    /// Fields that go.
    pub remove: Vec<Box<str>>,
    /// Changes to the response of a request that passes.
    pub response: Vec<Change>,
    /// Parameters of the query.
    pub query: Vec<(String, String)>,
    /// Those that go.
    pub query_remove: Vec<String>,
    /// For the dynamic metadata, by key.
    pub metadata: Vec<(Arc<str>, MetadataValue)>,
    /// A change says something that there is not.
    pub unknown_action: bool,
}

/// May a request pass?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Yes
    Ok,
    /// No
    Denied,
    /// Nobody says.
    #[default]
    Error,
}

/// What is asked about.
#[derive(Clone, Copy)]
pub struct Question<'q> {
    /// What is told.
    pub told: &'q Told,
    /// The request.
    pub request: &'q RequestHead,
    /// Its stream.
    pub info: &'q StreamInfo,
    /// `context_extensions`
    pub extensions: &'q [(Box<str>, Box<str>)],
    /// The body, as far as it is here.
    pub body: Option<(&'q HeldBody, Buffering)>,
}

/// The answer to come.
type Asked = Pin<Box<dyn Future<Output = Verdict>>>;

/// The factory.
#[derive(Debug)]
pub struct ExtAuthz(pub Arc<Settings>);

/// One stream.
struct Instance {
    settings: Arc<Settings>,
    service: Arc<Service>,
    body: Option<Buffering>,
    extensions: Vec<(Box<str>, Box<str>)>,
    enabled: bool,
    denied_if_disabled: bool,
    cluster: Option<Arc<str>>,
    calls: Rc<dyn Calls>,
    /// Changes to the response, once the service has said so.
    response: Rc<RefCell<Vec<Change>>>,
}

impl HttpFilterFactory for ExtAuthz {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD.and(Phases::RESPONSE_HEAD)
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        let settings = &self.0;
        let levels: Vec<Arc<RouteSettings>> = start.levels().collect();
        if levels.first().is_some_and(|level| level.disabled) {
            return None;
        }
        let mut extensions: Vec<(Box<str>, Box<str>)> = Vec::new();
        for (key, value) in levels.iter().flat_map(|level| &level.extensions) {
            if !extensions.iter().any(|(known, _)| known == key) {
                extensions.push((key.clone(), value.clone()));
            }
        }
        let nearest = levels.first();
        let service = nearest.and_then(|level| level.service.clone());
        Some(Box::new(Instance {
            service: service.unwrap_or_else(|| Arc::clone(&settings.service)),
            body: match nearest.map(|level| level.body).unwrap_or_default() {
                RouteBody::Inherited => settings.body,
                RouteBody::Untold => None,
                RouteBody::Own(own) => Some(own),
            },
            extensions,
            enabled: settings
                .enabled
                .as_ref()
                .is_none_or(|share| share.holds(start.runtime, || fastrand::u64(..))),
            denied_if_disabled: settings
                .deny_at_disable
                .as_ref()
                .is_some_and(|deny| deny.is_on(start.runtime)),
            cluster: start.cluster.cloned(),
            calls: start.calls.share(),
            response: Rc::default(),
            settings: Arc::clone(settings),
        }))
    }
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, end: bool) -> Flow {
        let settings = &*self.settings;
        let wanted =
            settings.enabled_metadata.as_ref().is_none_or(|rule| rule.is_match(&stream.info.metadata));
        if !self.enabled || !wanted {
            settings.counters.inc(DISABLED);
            return if self.denied_if_disabled { follow::disabled(settings, stream) } else { Flow::Continue };
        }
        match self.body {
            Some(body) if !end && stream.request.upgrade().is_none() => {
                Flow::Hold(Hold { most: body.most, partial: body.partial })
            }
            _ => self.ask(stream, None),
        }
    }

    fn on_held(&mut self, stream: &mut Stream<'_>, body: &mut HeldBody) -> Flow {
        self.ask(stream, Some(body))
    }

    fn on_response_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        if let Some(head) = &mut stream.response {
            for change in self.response.borrow().iter() {
                change.change_headers(&mut head.headers);
            }
        }
        Flow::Continue
    }
}

impl Instance {
    fn ask(&self, stream: &mut Stream<'_>, body: Option<&HeldBody>) -> Flow {
        let question = Question {
            told: &self.settings.told,
            request: stream.request,
            info: stream.info,
            extensions: &self.extensions,
            body: body.zip(self.body),
        };
        let asked = self.service.ask(&*self.calls, &question);
        let then = Then {
            settings: Arc::clone(&self.settings),
            cluster: self.cluster.clone(),
            calls: Rc::clone(&self.calls),
            response: Rc::clone(&self.response),
            since: Instant::now(),
        };
        Flow::Await(Box::pin(async move {
            let verdict = asked.await;
            Box::new(move |stream: &mut Stream<'_>| then.follow(verdict, stream)) as Resume
        }))
    }
}

impl Service {
    fn ask(&self, calls: &dyn Calls, question: &Question<'_>) -> Asked {
        match self {
            Service::Grpc(service) => {
                let message = wire::request(question);
                let answer =
                    service.unary(calls, wire::METHOD, &message, Some(question.request), question.info);
                Box::pin(
                    async move { answer.await.map_or_else(|_| Verdict::default(), |m| wire::verdict(&m)) },
                )
            }
            Service::Http(service) => service.ask(calls, question),
        }
    }
}

impl Told {
    /// Whether the service learns of a field.
    fn tells(&self, name: &str) -> bool {
        let few = self.few;
        let matches = |rules: &[StringMatch]| rules.iter().any(|rule| rule.is_match(name.as_bytes()));
        let basic = few && matches!(name, "authorization" | ":method" | ":path" | "host" | ":authority");
        let allowed = match &self.allowed {
            None => !few || basic,
            Some(rules) => basic || matches(rules),
        };
        allowed && !matches(&self.disallowed)
    }

    /// The fields that a service learns of, those of the request line first; several values of a name as they came.
    fn fields<'h>(&self, request: &'h RequestHead) -> Vec<(String, &'h [u8])> {
        let pseudo: [(&[u8], &[u8]); 4] = [
            (b":authority", request.authority()),
            (b":path", request.path()),
            (b":method", request.method()),
            (b":scheme", request.scheme()),
        ];
        let line = pseudo.into_iter().filter(|(_, value)| !value.is_empty());
        let all = line.chain(request.headers.iter());
        let named = all.map(|(name, value)| (String::from_utf8_lossy(name).to_ascii_lowercase(), value));
        named.filter(|(name, _)| name != "transfer-encoding" && self.tells(name)).collect()
    }
}

/// One value for each name: several are joined by commas, and what is not UTF-8 is replaced.
fn joined(fields: Vec<(String, &[u8])>) -> Vec<(String, String)> {
    let mut joined: Vec<(String, String)> = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        let value = sanitized(value);
        match joined.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => {
                values.push(',');
                values.push_str(&value);
            }
            None => joined.push((name, value)),
        }
    }
    joined
}

/// Text with `!` in place of each byte that is not UTF-8.
fn sanitized(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(std::iter::repeat_n('!', chunk.invalid().len()));
    }
    text
}

/// `x-envoy-auth-partial-body`
const PARTIAL_BODY: &str = "x-envoy-auth-partial-body";

impl Question<'_> {
    /// What is sent of the body, and whether that is less than came.
    fn body(&self) -> Option<(Bytes, Buffering, bool)> {
        let (body, how) = self.body?;
        let sent = body.bytes(how.most);
        let partial = sent.len() < body.length();
        Some((sent, how, partial))
    }
}
