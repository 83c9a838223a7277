//! Who passes, and lists that are refused.

use sampan_api::envoy::extensions::filters::http::basic_auth::v3 as pb;
use sampan_filters_api::CounterStore;
use sampan_filters_api::http::RouteConfig;

use super::*;
use crate::testing::{self, bytes, counted, info, request, shown};

/// The password is `test1`.
const USERS: &str = "users: {inline_string: \"# comment\\nuser1:{SHA}tESsBmE/yNY3lb6a0L6vVQEZNqw=\\n\"}";

fn credentials(text: &str) -> String {
    format!("Basic {}", ENGINE.encode(text))
}

/// The details of the refusal and its fields, or those of the request; the counters.
fn asked(more: &str, route: Option<&RouteConfig>, value: Option<&str>) -> (String, Vec<String>, Vec<String>) {
    let store = Arc::<CounterStore>::default();
    let yaml = format!("{{{USERS}{more}}}");
    let factory = config::compile(&bytes::<pb::BasicAuth>(&yaml), &testing::with_counters(&store)).unwrap();
    let fields: Vec<_> = value.map(|value| ("authorization", value)).into_iter().collect();
    let (mut head, mut info) = (request(&fields), info());
    let routes: Vec<_> = route.into_iter().collect();
    let mut filter = factory.create(&testing::start(&head, &info, &routes)).unwrap();
    let mut stream = Stream { request: &mut head, response: None, info: &mut info, clear_route: &mut false };
    match filter.on_request_head(&mut stream, true) {
        Flow::Reply(reply) => (reply.details.into_owned(), shown(&reply.headers), counted(&store)),
        _ => (String::new(), shown(&head.headers), counted(&store)),
    }
}

#[test]
fn users_with_their_passwords_pass() {
    let good = credentials("user1:test1");
    let (details, fields, counters) = asked(", forward_username_header: X-User", None, Some(&good));
    assert_eq!((&*details, &*counters), ("", &["http.h.basic_auth.allowed: 1".to_owned()][..]));
    assert_eq!(fields[1], "x-user: user1");
    assert_eq!(asked(", allow_missing: true", None, None).0, "");
    for (value, expected) in [
        (None, MISSING),
        (Some("Bearer x".to_owned()), SCHEME),
        (Some("Basic !".to_owned()), FORMAT),
        (Some(credentials("user1")), FORMAT),
        (Some(credentials("user1:other")), WRONG),
        (Some(credentials("user2:test1")), WRONG),
        (Some(credentials(":")), WRONG),
    ] {
        let (details, fields, counters) = asked("", None, value.as_deref());
        assert_eq!(details, expected.0, "{value:?}");
        assert_eq!(fields, ["www-authenticate: Basic realm=\"http://test/\""]);
        assert_eq!(counters, ["http.h.basic_auth.denied: 1"]);
    }
}

#[test]
fn a_route_has_users_of_its_own() {
    let own = "users: {inline_string: 'me:{SHA}tESsBmE/yNY3lb6a0L6vVQEZNqw='}";
    let route = config::compile_route(&bytes::<pb::BasicAuthPerRoute>(own), &testing::context()).unwrap();
    assert_eq!(asked("", Some(&route), Some(&credentials("me:test1"))).0, "");
    assert_eq!(asked("", Some(&route), Some(&credentials("user1:test1"))).0, WRONG.0);
}

#[test]
fn bad_lists_are_refused_without_showing_them() {
    for list in ["secret", "a:secret", "a:{SHA}secret", ":{SHA}x", "a:"] {
        let yaml = format!("users: {{inline_string: '{list}'}}");
        let found = config::compile(&bytes::<pb::BasicAuth>(&yaml), &testing::context()).err().unwrap();
        assert_eq!(found[0].path, "users");
        assert!(!found[0].to_string().contains("secret") && found[0].value.is_empty(), "{found:?}");
    }
    assert!(config::compile(&[], &testing::context()).is_err());
}
