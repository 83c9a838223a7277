//! Sessions by cookie and header, and what a response tells the client.

use std::net::SocketAddr;

use prost::Message as _;
use sampan_api::envoy::extensions::filters::http::stateful_session::v3 as pb;
use sampan_filters_api::info::Address;
use sampan_filters_api::{CounterStore, Headers, ResponseHead};

use super::cookie::Session;
use super::*;
use crate::testing::{self, bytes, counted, info, request};

fn by(kind: &str, fields: &str) -> String {
    let url = format!("type.googleapis.com/envoy.extensions.http.stateful_session.{kind}");
    format!("session_state: {{name: x, typed_config: {{'@type': {url}, {fields}}}}}")
}

fn by_header() -> String {
    by("header.v3.HeaderBasedSessionState", "name: X-Host")
}

fn by_cookie(fields: &str) -> String {
    by("cookie.v3.CookieBasedSessionState", &format!("cookie: {{name: c, {fields}}}"))
}

/// What the request wants, what the response says in `header`, and the counters.
fn session(
    yaml: &str,
    fields: &[(&str, &str)],
    host: Option<&str>,
    header: &str,
) -> (Option<WantedHost>, Option<String>, Vec<String>) {
    let store = Arc::<CounterStore>::default();
    let factory =
        config::compile(&bytes::<pb::StatefulSession>(yaml), &testing::with_counters(&store)).unwrap();
    let (mut head, mut info) = (request(fields), info());
    let mut filter = factory.create(&testing::start(&head, &info, &[])).unwrap();
    let mut response = ResponseHead { status: 200, headers: Headers::new() };
    let mut stream = Stream { request: &mut head, response: None, info: &mut info, clear_route: &mut false };
    assert!(matches!(filter.on_request_head(&mut stream, true), Flow::Continue));
    let wanted = stream.info.upstream.wanted.as_deref().cloned();
    stream.info.upstream.address = host.map(|host| Address::Socket(host.parse::<SocketAddr>().unwrap()));
    if host.is_none() {
        stream.info.flags.set(Flag::NoHealthyUpstream);
    }
    let mut stream = Stream { response: Some(&mut response), ..stream };
    filter.on_response_head(&mut stream, true);
    let told = response.headers.value(header).map(|value| String::from_utf8(value.to_vec()).unwrap());
    (wanted, told, counted(&store))
}

const A: &str = "127.0.0.1:80";
const B: &str = "127.0.0.1:81";

#[test]
fn a_header_names_the_host() {
    let yaml = format!("{{stat_prefix: p, {}}}", by_header());
    let of_a = STANDARD.encode(A);
    let wants_a = Some(WantedHost { address: A.into(), strict: None });
    let count = |name: &str| vec![format!("http.h.stateful_session.p.{name}: 1")];
    let told = |host| session(&yaml, &[("x-host", &of_a)], Some(host), "x-host");
    assert_eq!(told(A), (wants_a.clone(), None, count("routed")));
    assert_eq!(told(B), (wants_a, Some(STANDARD.encode(B)), count("failed_open")));
    assert_eq!(session(&yaml, &[], Some(A), "x-host"), (None, Some(of_a), count("failed_open")));
    for bad in ["", "%", &STANDARD.encode([255])] {
        assert_eq!(session(&yaml, &[("x-host", bad)], Some(A), "x-host").0, None);
    }
}

#[test]
fn strict_sessions_have_a_status() {
    let yaml = format!("{{strict: true, stat_prefix: p, {}}}", by_header());
    let field = STANDARD.encode(A);
    let (wanted, told, counted) = session(&yaml, &[("x-host", &field)], None, "x-host");
    assert_eq!((wanted.unwrap().strict, told), (Some(503), None));
    assert_eq!(counted, ["http.h.stateful_session.p.failed_closed: 1"]);
    let yaml = format!("{{strict: true, status_on_strict_destination_not_found: 410, {}}}", by_header());
    assert_eq!(session(&yaml, &[("x-host", &field)], Some(A), "x-host").0.unwrap().strict, Some(410));
}

#[test]
fn a_cookie_names_the_host_until_it_expires() {
    let cookie = |address: &str, expires| {
        let session = Session { address: address.to_owned(), expires };
        format!("b=1; c=\"{}\"; d=2", STANDARD.encode(session.encode_to_vec()))
    };
    let wanted = |yaml: &str, path: &str, cookie: &str| {
        let fields = [(":path", path), ("cookie", cookie)];
        session(yaml, &fields, Some(A), "set-cookie").0.map(|wanted| wanted.address)
    };
    let yaml = format!("{{{}}}", by_cookie("ttl: 9s"));
    assert_eq!(wanted(&yaml, "/", &cookie(B, 0)).as_deref(), Some(B));
    assert_eq!(wanted(&yaml, "/", &cookie(B, u64::MAX)).as_deref(), Some(B));
    assert_eq!(wanted(&yaml, "/", &cookie(B, 1000)), None);
    assert_eq!(wanted(&yaml, "/", "c=%%; c=x"), None);
    let within = format!("{{{}}}", by_cookie("path: /a"));
    for (path, fits) in [("/a", true), ("/a/b", true), ("/a?x", true), ("/ab", false), ("/", false)] {
        assert_eq!(wanted(&within, path, &cookie(B, 0)).is_some(), fits, "{path}");
    }
}

#[test]
fn a_response_sets_the_cookie() {
    let yaml = format!(
        "{{{}}}",
        by_cookie("ttl: 9s, path: /, attributes: [{name: SameSite, value: Lax}, {name: Secure}]")
    );
    let (_, told, _) = session(&yaml, &[], Some(A), "set-cookie");
    let told = told.unwrap();
    assert!(
        told.starts_with("c=\"") && told.ends_with("\"; Max-Age=9; Path=/; SameSite=Lax; Secure; HttpOnly"),
        "{told}"
    );
    // What it set is what it reads.
    let pair = told.split(';').next().unwrap();
    let (wanted, told, _) = session(&yaml, &[("cookie", pair)], Some(A), "set-cookie");
    assert_eq!((wanted.unwrap().address, told), (A.into(), None));
}

#[test]
fn routes_turn_it_off_or_have_their_own() {
    let route = |yaml: &str| {
        config::compile_route(&bytes::<pb::StatefulSessionPerRoute>(yaml), &testing::context()).unwrap()
    };
    let factory =
        config::compile(&bytes::<pb::StatefulSession>(&format!("{{{}}}", by_header())), &testing::context());
    let factory = factory.unwrap();
    let (head, info) = (request(&[]), info());
    let off = route("{disabled: true}");
    assert!(factory.create(&testing::start(&head, &info, &[&off])).is_none());
    let own = route(&format!("{{stateful_session: {{strict: true, {}}}}}", by_header()));
    assert!(factory.create(&testing::start(&head, &info, &[&own])).is_some());
    let nothing = config::compile(&[], &testing::context()).unwrap();
    assert!(nothing.create(&testing::start(&head, &info, &[])).is_none());
}

#[test]
fn what_is_wrong_is_told() {
    let told = |yaml: &str| {
        let compiled = config::compile(&bytes::<pb::StatefulSession>(yaml), &testing::context());
        compiled.map(|_| ()).unwrap_err().iter().map(ToString::to_string).collect::<String>()
    };
    assert!(
        told(&format!("{{{}}}", by("envelope.v3.EnvelopeSessionState", "header: {name: x}")))
            .contains("no such session state")
    );
    assert!(told("{session_state: {name: x}}").contains("session_state.typed_config"));
    assert!(told(&format!("{{{}}}", by_cookie("path: '/;a'"))).contains("no cookie can have"));
    assert!(
        told(&format!("{{status_on_strict_destination_not_found: 99, {}}}", by_header()))
            .contains("no status")
    );
}
