//! Tokens and requirements; signatures of every algorithm are played by the differential cases.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sampan_api::envoy::extensions::filters::http::jwt_authn::v3 as pb;
use sampan_filters_api::CounterStore;
use sampan_filters_api::call::{Answer, Call, CallError, CallFuture, Membership, NoCalls, Retry};
use sampan_filters_api::info::MetadataValue;

use super::token::Token;
use super::*;
use crate::testing::{self, bytes, counted, info, request, shown};

const KEYS: &str = r#"{"keys":[{"kty":"oct","kid":"k","alg":"HS256","k":"c2VjcmV0"},{"kty":"none"},{"kty":"EC","crv":"P-999"}]}"#;

fn encode(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn signed(claims: &str) -> String {
    let signed = format!("{}.{}", encode(r#"{"alg":"HS256","kid":"k"}"#), encode(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"secret"), signed.as_bytes());
    format!("{signed}.{}", encode(tag.as_ref()))
}

fn factory(fields: &str, store: &Arc<CounterStore>) -> Arc<dyn HttpFilterFactory> {
    let yaml = format!("{{providers: {{p: {{local_jwks: {{inline_string: '{KEYS}'}}, {fields}}}");
    config::compile(&bytes::<pb::JwtAuthentication>(&yaml), &testing::with_counters(store))
        .unwrap_or_else(|e| panic!("{e:?}"))
}

const RULE: &str = "}}, rules: [{match: {prefix: /}, requires: {provider_name: p}}]";

async fn ask(factory: &dyn HttpFilterFactory, head: &mut RequestHead) -> (u16, StreamInfo) {
    let mut info = info();
    let mut filter = factory.create(&testing::start(head, &info, &[])).unwrap();
    let mut stream = Stream { request: head, response: None, info: &mut info, clear_route: &mut false };
    let mut flow = filter.on_request_head(&mut stream, true);
    let status = loop {
        match flow {
            Flow::Await(future) => flow = future.await(&mut stream),
            Flow::Reply(reply) => break reply.status,
            Flow::Continue | Flow::Hold(_) | Flow::Anew(_) => break 0,
        }
    };
    (status, info)
}

fn bearer(token: &str) -> RequestHead {
    request(&[("authorization", &format!("Bearer {token}"))])
}

#[test]
fn what_is_wrong_with_a_token() {
    let of =
        |header: &str, payload: &str| Token::parse(&format!("{}.{}.c2ln", encode(header), encode(payload)));
    let status = |token: Result<Token, Status>| token.err().unwrap_or(Status::Ok);
    let good = r#"{"alg":"HS256"}"#;
    assert_eq!(status(of(good, "{}")), Status::Ok);
    for (header, payload, wrong) in [
        ("{", "{}", Status::HeaderBadJson),
        ("{}", "{}", Status::HeaderBadAlg),
        (r#"{"alg":"none"}"#, "{}", Status::HeaderUnknownAlg),
        (r#"{"alg":"HS256","kid":1}"#, "{}", Status::HeaderBadKid),
        (good, "[]", Status::PayloadBadJson),
        (good, r#"{"iss":1}"#, Status::IssNotString),
        (good, r#"{"exp":-1}"#, Status::ExpOutOfRange),
        (good, r#"{"exp":"x"}"#, Status::ExpNotInteger),
        (good, r#"{"aud":[1]}"#, Status::AudNotString),
    ] {
        assert_eq!(status(of(header, payload)), wrong, "{header} {payload}");
    }
    for bad in ["", "a.b", "a.b.c.d"] {
        assert_eq!(status(Token::parse(bad)), Status::BadFormat);
    }
    let timed = of(good, r#"{"nbf":100,"exp":200}"#).unwrap();
    assert_eq!(timed.check_time(39, 60), Err(Status::NotYetValid));
    assert_eq!(timed.check_time(40, 60), Ok(()));
    assert_eq!(timed.check_time(260, 60), Ok(()));
    assert_eq!(timed.check_time(261, 60), Err(Status::Expired));
}

#[tokio::test]
async fn a_good_token_becomes_headers_and_metadata() {
    let store = Arc::<CounterStore>::default();
    let factory = factory(
        &format!(
            "payload_in_metadata: pay, claim_to_headers: [{{header_name: x-sub, claim_name: sub}}]{RULE}"
        ),
        &store,
    );
    let mut head = bearer(&signed(r#"{"sub":"me"}"#));
    head.headers.append("x-sub", "mallory");
    let (status, info) = ask(&*factory, &mut head).await;
    assert_eq!((status, shown(&head.headers)), (0, vec!["x-sub: me".to_owned()]));
    let payload = info.metadata.namespace(NAMESPACE).unwrap();
    assert_eq!(payload.at(&["pay", "sub"]), Some(&MetadataValue::String("me".into())));
    assert_eq!(ask(&*factory, &mut request(&[])).await.0, 401);
    assert_eq!(ask(&*factory, &mut bearer(&format!("{}x", signed("{}")))).await.0, 401);
    assert_eq!(
        counted(&store),
        ["http.h.jwt_authn.allowed: 1", "http.h.jwt_authn.denied: 2", "http.h.jwt_authn.jwt_cache_miss: 2"]
    );
}

#[tokio::test]
async fn keys_that_do_not_come() {
    let store = Arc::<CounterStore>::default();
    let yaml = "{providers: {p: {remote_jwks: {http_uri: {uri: 'http://a/b', cluster: c, timeout: 1s}}}}, rules: [{match: {prefix: /}, requires: {provider_name: p}}]}";
    let factory =
        config::compile(&bytes::<pb::JwtAuthentication>(yaml), &testing::with_counters(&store)).unwrap();
    factory.begin(&NoCalls);
    assert_eq!(ask(&*factory, &mut bearer(&signed("{}"))).await.0, 401);
    assert_eq!(
        counted(&store),
        [
            "http.h.jwt_authn.denied: 1",
            "http.h.jwt_authn.jwks_fetch_failed: 1",
            "http.h.jwt_authn.jwt_cache_miss: 1"
        ]
    );
}

/// A service that answers as it is told to, and keeps the tasks that it is to run.
#[derive(Clone, Default)]
struct Service {
    statuses: Rc<RefCell<VecDeque<u16>>>,
    retries: Rc<RefCell<Vec<Arc<Retry>>>>,
    tasks: Rc<RefCell<Vec<Task>>>,
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

impl Calls for Service {
    fn call(&self, call: Call) -> CallFuture {
        self.retries.borrow_mut().extend(call.retry);
        let status = self.statuses.borrow_mut().pop_front();
        let answer = |status| Answer {
            head: sampan_filters_api::ResponseHead { status, ..Default::default() },
            body: KEYS.into(),
            ..Answer::default()
        };
        Box::pin(std::future::ready(status.map(answer).ok_or(CallError::NoHost)))
    }

    fn share(&self) -> Rc<dyn Calls> {
        Rc::new(self.clone())
    }

    fn charge(&self, _: &str, _: u16) {}

    fn membership(&self, _: &str) -> Option<Membership> {
        None
    }

    fn spawn(&self, task: Task) {
        self.tasks.borrow_mut().push(task);
    }
}

fn remote(fields: &str, store: &Arc<CounterStore>) -> Arc<dyn HttpFilterFactory> {
    let yaml = format!(
        "{{providers: {{p: {{remote_jwks: {{http_uri: {{uri: 'http://a/b', cluster: c, timeout: 1s}}, {fields}}}}}}}, rules: [{{match: {{prefix: /}}, requires: {{provider_name: p}}}}]}}"
    );
    config::compile(&bytes::<pb::JwtAuthentication>(&yaml), &testing::with_counters(store))
        .unwrap_or_else(|e| panic!("{e:?}"))
}

async fn ask_with(factory: &dyn HttpFilterFactory, calls: &dyn Calls) -> u16 {
    let (mut head, mut info) = (bearer(&signed("{}")), info());
    let start = Start { calls, ..testing::start(&head, &info, &[]) };
    let mut filter = factory.create(&start).unwrap();
    let mut stream = Stream { request: &mut head, response: None, info: &mut info, clear_route: &mut false };
    match filter.on_request_head(&mut stream, true) {
        Flow::Await(future) => match future.await(&mut stream) {
            Flow::Reply(reply) => reply.status,
            _ => 0,
        },
        Flow::Reply(reply) => reply.status,
        _ => 0,
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_and_kept() {
    let (store, service) = (Arc::<CounterStore>::default(), Service::default());
    let factory = remote("retry_policy: {num_retries: 1}", &store);
    service.statuses.borrow_mut().extend([503, 200]);
    assert_eq!(ask_with(&*factory, &service).await, 401);
    assert_eq!(ask_with(&*factory, &service).await, 0);
    assert_eq!(ask_with(&*factory, &service).await, 0, "they are kept");
    let retry = service.retries.borrow()[0].clone();
    let told = (&*retry.on, retry.retries);
    assert_eq!(told, ("5xx,gateway-error,connect-failure,reset", 1), "each fetch may be made again");
    let tries = remote("cache_duration: 0.001s", &store);
    service.statuses.borrow_mut().extend([503]);
    assert_eq!(ask_with(&*tries, &service).await, 401);
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_ahead_by_one_task() {
    let (store, service) = (Arc::<CounterStore>::default(), Service::default());
    let factory = remote("async_fetch: {failed_refetch_duration: 1s}", &store);
    factory.begin(&service);
    factory.begin(&service);
    let mut tasks = std::mem::take(&mut *service.tasks.borrow_mut());
    assert_eq!(tasks.len(), 1);
    service.statuses.borrow_mut().extend([503, 200]);
    let task = tasks.remove(0);
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), task).await;
    assert!(service.statuses.borrow().is_empty(), "it was asked again after a second");
    assert_eq!(ask_with(&*factory, &service).await, 0);
}

#[test]
fn refusals_tell_where() {
    let found = |yaml: &str| {
        let bytes = bytes::<pb::JwtAuthentication>(yaml);
        let errors = config::compile(&bytes, &testing::context()).err().unwrap();
        errors.into_iter().map(|error| error.path).collect::<Vec<_>>()
    };
    assert_eq!(found("providers: {p: {}}"), ["providers[\"p\"]"]);
    assert_eq!(found("providers: {p: {local_jwks: {inline_string: '{}'}}}"), ["providers[\"p\"].local_jwks"]);
    let provider = &format!("providers: {{p: {{local_jwks: {{inline_string: '{KEYS}'}}}}}}");
    assert_eq!(
        found(&format!(
            "{{{provider}, rules: [{{match: {{prefix: /}}, requires: {{provider_name: q}}}}, {{match: {{}}}}, {{match: {{prefix: /}}, requirement_name: r}}]}}"
        )),
        ["rules[0].requires.provider_name", "rules[1].match", "rules[2].requirement_name"]
    );
    assert!(config::compile_route(&[], &testing::context()).is_err());
}
