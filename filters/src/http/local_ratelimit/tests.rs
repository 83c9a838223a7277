//! Tokens, replies, headers, whose buckets they are, and configurations that are refused.

use std::rc::Rc as Shared;
use std::time::SystemTime;

use sampan_api::envoy::extensions::filters::http::local_ratelimit::v3 as pb;
use sampan_filters_api::http::RouteConfig;
use sampan_filters_api::{CounterStore, ResponseHead};

use super::*;
use crate::testing::{self, bytes, connection, counted, request, shown};

const ON: &str =
    "filter_enabled: {default_value: {numerator: 100}}, filter_enforced: {default_value: {numerator: 100}}";

fn factory(fields: &str, store: &Arc<CounterStore>) -> Arc<dyn HttpFilterFactory> {
    let yaml = format!("{{stat_prefix: s, {fields}}}");
    config::compile(&bytes::<pb::LocalRateLimit>(&yaml), &testing::with_counters(store))
        .unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// The status of the reply (0 for none), its fields or those of the response, and the fields of the request.
fn ask(
    factory: &dyn HttpFilterFactory,
    info: &mut StreamInfo,
    route: Option<&RouteConfig>,
) -> (u16, Vec<String>, Vec<String>) {
    let (mut head, mut response) = (request(&[]), ResponseHead::default());
    let routes: Vec<_> = route.into_iter().collect();
    let Some(mut filter) = factory.create(&testing::start(&head, info, &routes)) else {
        return (0, Vec::new(), Vec::new());
    };
    let mut stream = Stream { request: &mut head, response: None, info, clear_route: &mut false };
    let status = match filter.on_request_head(&mut stream, true) {
        Flow::Reply(reply) => {
            response.headers.extend_from(&reply.headers);
            reply.status
        }
        _ => 0,
    };
    stream.response = Some(&mut response);
    filter.on_response_head(&mut stream, true);
    (status, shown(&response.headers), shown(&head.headers))
}

fn info() -> StreamInfo {
    testing::info()
}

#[test]
fn without_tokens_there_is_a_refusal() {
    let store = Arc::<CounterStore>::default();
    let factory = factory(
        &format!(
            "token_bucket: {{max_tokens: 1, fill_interval: 600s}}, enable_x_ratelimit_headers: DRAFT_VERSION_03, enable_retry_after_header: true, response_headers_to_add: [{{header: {{key: a, value: b}}}}], {ON}"
        ),
        &store,
    );
    let told = |left: &str| {
        vec!["x-ratelimit-limit: 1".to_owned(), left.to_owned(), "x-ratelimit-reset: 600".to_owned()]
    };
    assert_eq!(ask(&*factory, &mut info(), None), (0, told("x-ratelimit-remaining: 0"), vec![]));
    let (status, fields, _) = ask(&*factory, &mut info(), None);
    assert_eq!((status, &fields[..2]), (429, &["retry-after: 600".to_owned(), "a: b".to_owned()][..]));
    assert_eq!(fields[2..], told("x-ratelimit-remaining: 0"));
    assert_eq!(
        counted(&store),
        ["enabled: 2", "enforced: 1", "ok: 1", "rate_limited: 1"]
            .map(|line| format!("s.http_local_rate_limit.{line}"))
    );
}

#[test]
fn what_is_not_enforced_goes_on_with_headers() {
    let store = Arc::<CounterStore>::default();
    let enabled = "filter_enabled: {default_value: {numerator: 100}}";
    let headers = "request_headers_to_add_when_not_enforced: [{header: {key: x-limited, value: 'yes'}}]";
    let filter =
        factory(&format!("token_bucket: {{max_tokens: 0, fill_interval: 1s}}, {enabled}, {headers}"), &store);
    assert_eq!(ask(&*filter, &mut info(), None), (0, vec![], vec!["x-limited: yes".to_owned()]));
    let off = factory("token_bucket: {max_tokens: 0, fill_interval: 1s}", &store);
    assert_eq!(ask(&*off, &mut info(), None), (0, vec![], vec![]));
}

#[test]
fn connections_can_have_buckets_of_their_own() {
    let store = Arc::<CounterStore>::default();
    let own = "local_rate_limit_per_downstream_connection: true";
    let factory =
        factory(&format!("token_bucket: {{max_tokens: 1, fill_interval: 600s}}, {own}, {ON}"), &store);
    let on = |connection: &Shared<_>| {
        StreamInfo::new(Shared::clone(connection), Instant::now(), SystemTime::now())
    };
    let (one, other) = (Shared::new(connection()), Shared::new(connection()));
    let statuses = [&one, &one, &other].map(|connection| ask(&*factory, &mut on(connection), None).0);
    assert_eq!(statuses, [0, 429, 0]);
}

#[test]
fn a_route_has_limits_of_its_own() {
    let store = Arc::<CounterStore>::default();
    let factory = factory("stage: 1", &store);
    let yaml = format!(
        "{{stat_prefix: r, status: {{code: 503}}, token_bucket: {{max_tokens: 0, fill_interval: 1s}}, {ON}}}"
    );
    let route =
        config::compile_route(&bytes::<pb::LocalRateLimit>(&yaml), &testing::with_counters(&store)).unwrap();
    assert_eq!(ask(&*factory, &mut info(), None).0, 0);
    assert_eq!(ask(&*factory, &mut info(), Some(&route)).0, 503);
}

#[test]
fn refusals_tell_where() {
    let yaml = "{local_cluster_rate_limit: {}, token_bucket: {max_tokens: 1, fill_interval: 0.01s}, descriptors: [{entries: [{key: a}], token_bucket: {max_tokens: 1, fill_interval: 1s}}, {entries: [{key: a}]}]}";
    let found = config::compile(&bytes::<pb::LocalRateLimit>(yaml), &testing::context()).err().unwrap();
    let paths: Vec<_> = found.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "stat_prefix",
            "local_cluster_rate_limit",
            "token_bucket.fill_interval",
            "descriptors[1]",
            "descriptors[1].token_bucket"
        ]
    );
    let route = config::compile_route(&bytes::<pb::LocalRateLimit>("stat_prefix: s"), &testing::context());
    assert_eq!(route.unwrap_err()[0].path, "token_bucket");
}
