//! What is told of a request, and what an answer does to it. The services themselves are played by the differential cases.

use prost::Message as _;
use sampan_api::envoy::extensions::filters::http::ext_authz::v3 as pb;
use sampan_api::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use sampan_filters_api::{CounterStore, Flag, LocalReply};

use super::*;
use crate::testing::{self, bytes, counted, info, request, shown};

const SERVICE: &str = "transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: authz}}";

fn factory(fields: &str, store: &Arc<CounterStore>) -> Arc<dyn HttpFilterFactory> {
    let yaml = format!("{{{SERVICE}{fields}}}");
    config::compile(&bytes::<pb::ExtAuthz>(&yaml), &testing::with_counters(store))
        .unwrap_or_else(|e| panic!("{e:?}"))
}

async fn ask(
    factory: &dyn HttpFilterFactory,
    head: &mut RequestHead,
    routes: &[&sampan_filters_api::http::RouteConfig],
) -> Option<LocalReply> {
    let mut info = info();
    let mut filter = factory.create(&testing::start(head, &info, routes))?;
    let mut stream = Stream { request: head, response: None, info: &mut info, clear_route: &mut false };
    let mut flow = filter.on_request_head(&mut stream, true);
    loop {
        match flow {
            Flow::Await(future) => flow = future.await(&mut stream),
            Flow::Reply(reply) => return Some(*reply),
            Flow::Continue | Flow::Hold(_) | Flow::Anew(_) => return None,
        }
    }
}

#[tokio::test]
async fn a_service_that_is_not_there() {
    let store = Arc::<CounterStore>::default();
    let closed = factory("", &store);
    let refused = ask(&*closed, &mut request(&[]), &[]).await.unwrap();
    assert_eq!((refused.status, &*refused.details), (403, "ext_authz_error"));
    assert!(refused.flags.has(Flag::UnauthorizedExternalService));
    assert_eq!(counted(&store), ["http.h.ext_authz.error: 1"]);
    let status = ask(&*factory(", status_on_error: {code: 503}", &store), &mut request(&[]), &[]).await;
    assert_eq!(status.unwrap().status, 503);
    let open = ", failure_mode_allow: true, failure_mode_allow_header_add: true";
    let mut head = request(&[]);
    assert!(ask(&*factory(open, &store), &mut head, &[]).await.is_none());
    assert_eq!(shown(&head.headers), ["x-envoy-auth-failure-mode-allowed: true"]);
}

#[tokio::test]
async fn off_for_some() {
    let store = Arc::<CounterStore>::default();
    let off = ", filter_enabled: {default_value: {numerator: 0}}";
    let disabled = factory(off, &store);
    assert!(ask(&*disabled, &mut request(&[]), &[]).await.is_none());
    assert_eq!(counted(&store), ["http.h.ext_authz.disabled: 1"]);
    let deny = format!("{off}, deny_at_disable: {{runtime_key: k, default_value: true}}");
    assert_eq!(ask(&*factory(&deny, &store), &mut request(&[]), &[]).await.unwrap().status, 403);
    let route = config::compile_route(&bytes::<pb::ExtAuthzPerRoute>("disabled: true"), &testing::context());
    assert!(ask(&*factory("", &store), &mut request(&[]), &[&route.unwrap()]).await.is_none());
}

fn told(told: &Told, fields: &[(&str, &str)], body: Option<(&HeldBody, Buffering)>) -> CheckRequest {
    let (head, info) = (request(fields), info());
    let question = Question { told, request: &head, info: &info, extensions: &[], body };
    CheckRequest::decode(&*wire::request(&question)).unwrap()
}

#[test]
fn requests_are_told() {
    let asked = told(&Told::default(), &[("A", "1"), ("a", "2"), ("b", "\u{e4}")], None);
    let http = asked.attributes.unwrap().request.unwrap().http.unwrap();
    assert_eq!((&*http.path, &*http.headers["a"], &*http.headers[":method"]), ("/", "1,2", "GET"));
    let told_less = Told { disallowed: vec![StringMatch::exact("a", false)], raw: true, ..Told::default() };
    let held = HeldBody::new(vec![Bytes::from_static(b"ab\xff")], true);
    let how = Buffering { most: 3, partial: false, as_bytes: false };
    let asked = told(&told_less, &[("a", "1")], Some((&held, how)));
    let http = asked.attributes.unwrap().request.unwrap().http.unwrap();
    assert_eq!((&*http.body, http.size, http.headers.len()), ("ab!", 3, 0));
    let names: Vec<_> = http.header_map.unwrap().headers.into_iter().map(|header| header.key).collect();
    assert_eq!(names, [":authority", ":path", ":method", ":scheme", PARTIAL_BODY]);
}

fn answered(yaml: &str) -> Verdict {
    wire::verdict(&bytes::<CheckResponse>(yaml))
}

fn then(fields: &str) -> Then {
    let store = Arc::<CounterStore>::default();
    let yaml = format!("{{{SERVICE}{fields}}}");
    let proto = bytes::<pb::ExtAuthz>(&yaml);
    let settings = config::settings(&proto, &testing::with_counters(&store)).unwrap();
    Then {
        settings: Arc::new(settings),
        cluster: Some("c".into()),
        calls: Rc::new(sampan_filters_api::call::NoCalls),
        response: Rc::default(),
        since: Instant::now(),
    }
}

fn follow(then: &Then, verdict: Verdict, head: &mut RequestHead) -> Option<LocalReply> {
    let mut info = info();
    let mut stream = Stream { request: head, response: None, info: &mut info, clear_route: &mut false };
    match then.follow(verdict, &mut stream) {
        Flow::Reply(reply) => Some(*reply),
        _ => None,
    }
}

#[test]
fn what_a_service_changes() {
    let verdict = answered(
        "{status: {code: 0}, ok_response: {headers: [{header: {key: A, value: new}}, {header: {key: b, value: '2'}, append: true}, {header: {key: none, value: x}, append: true}, {header: {key: :path, value: /q?a=1&b=2}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}], headers_to_remove: [gone, host], query_parameters_to_set: [{key: a, value: '9'}, {key: c, value: '3'}], query_parameters_to_remove: [b]}}",
    );
    let mut head = request(&[("b", "1"), ("gone", "x")]);
    assert!(follow(&then(""), verdict, &mut head).is_none());
    assert_eq!(shown(&head.headers), ["b: 1,2", "A: new"].map(|field| field.replace("A:", "a:")));
    assert_eq!((head.path(), head.authority()), (&b"/q?a=9&c=3"[..], &b"test"[..]));
}

#[test]
fn what_a_service_may_not_change() {
    let field = |name: &str| {
        format!(
            "{{status: {{code: 0}}, ok_response: {{headers: [{{header: {{key: {name}, value: new}}}}]}}}}"
        )
    };
    let strict =
        ", decoder_header_mutation_rules: {disallow_is_error: true, allow_expression: {regex: 'x-envoy-ok'}}";
    for (name, rules, status) in [
        ("host", strict, Some(500)),
        ("x-envoy-other", strict, Some(500)),
        ("x-envoy-ok", strict, None),
        ("other", ", decoder_header_mutation_rules: {disallow_all: true}", None),
        ("'b d'", ", validate_mutations: true", Some(500)),
        ("'b d'", "", None),
    ] {
        let reply = follow(&then(rules), answered(&field(name)), &mut request(&[]));
        assert_eq!(reply.map(|reply| reply.status), status, "{name} {rules}");
    }
}

#[test]
fn a_refusal_is_passed_on() {
    let verdict = answered(
        "{status: {code: 7}, denied_response: {status: {code: 401}, headers: [{header: {key: a, value: '1'}}, {header: {key: content-length, value: '9'}}], body: 'go away'}}",
    );
    let reply = follow(&then(", max_denied_response_body_bytes: 2"), verdict, &mut request(&[])).unwrap();
    assert_eq!((reply.status, &reply.body[..], &*reply.details), (401, &b"go"[..], "ext_authz_denied"));
    assert_eq!(shown(&reply.headers), ["a: 1"]);
    assert_eq!(follow(&then(""), answered("status: {code: 7}"), &mut request(&[])).unwrap().status, 403);
}

#[test]
fn in_shadow_mode_nothing_is_refused() {
    for (answer, result, status) in [
        ("{status: {code: 0}}", "OK", "200"),
        ("{status: {code: 7}, denied_response: {status: {code: 401}}}", "DENIED", "401"),
        ("{status: {code: 13}, error_response: {}}", "ERROR", "503"),
    ] {
        let then = then(", shadow_mode: true, emit_filter_state_stats: true, status_on_error: {code: 503}");
        let (mut head, mut info) = (request(&[]), info());
        let mut stream =
            Stream { request: &mut head, response: None, info: &mut info, clear_route: &mut false };
        assert!(matches!(then.follow(answered(answer), &mut stream), Flow::Continue), "{answer}");
        let decision = info.state("own.shadow").unwrap();
        let field = |name| decision.field(name).unwrap();
        assert_eq!((&*field("check_result"), &*field("status_code")), (result, status));
        assert!(info.state("own").unwrap().field("latency_us").is_some());
    }
}

#[test]
fn refusals_tell_where() {
    let yaml = "{http_service: {path_prefix: x}, enforce_response_header_limits: true, allowed_headers: {patterns: [{}]}}";
    let found = config::compile(&bytes::<pb::ExtAuthz>(yaml), &testing::context()).err().unwrap();
    let paths: Vec<_> = found.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "enforce_response_header_limits",
            "transport_api_version",
            "http_service.path_prefix",
            "allowed_headers.patterns[0]"
        ]
    );
    assert!(config::compile_route(&[], &testing::context()).is_err());
}
