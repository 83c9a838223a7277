//! The look-up against its definition: the first route, in order, whose match holds.

use super::matcher::CookieMatch;
use super::testing::Request;
use super::*;
use crate::fraction::{Denominator, FractionalPercent, RuntimeFraction};
use crate::pattern::FullRegex;

const SEGMENTS: [&str; 8] = ["a", "b", "ab", "A", "api", "apis", "v1", "v12"];

fn random_path(rng: &mut fastrand::Rng) -> String {
    let mut path = String::new();
    for _ in 0..rng.usize(1..4) {
        path.push('/');
        path.push_str(SEGMENTS[rng.usize(0..SEGMENTS.len())]);
    }
    match rng.u8(0..6) {
        0 => path.push('/'),
        1 => path = "/".into(),
        2 => path.push_str(";p=1"),
        _ => {}
    }
    path
}

fn random_matcher(rng: &mut fastrand::Rng) -> RouteMatch {
    let path = random_path(rng);
    let mut matcher = RouteMatch::new(match rng.u8(0..20) {
        0..7 => PathMatch::Prefix(path.into()),
        7..13 => PathMatch::Exact(path.into()),
        13..16 => PathMatch::SeparatedPrefix(path.into()),
        16 => PathMatch::Regex(FullRegex::new(&format!("{path}.*")).unwrap()),
        17 => PathMatch::Regex(FullRegex::new(&format!("{path}|/b")).unwrap()),
        18 => PathMatch::UriTemplate(
            UriTemplate::new(&format!("{}/{{x}}", path.trim_end_matches('/'))).unwrap(),
        ),
        _ => PathMatch::Connect,
    });
    matcher.case_sensitive = rng.u8(0..5) != 0;
    if rng.u8(0..4) == 0 {
        let rule = HeaderRule::String(StringMatch::exact("v", false));
        matcher.headers.push(HeaderMatch::new("x", rule).inverted(rng.bool()));
    }
    if rng.u8(0..8) == 0 {
        matcher.query.push(QueryMatch { name: "k".into(), rule: QueryRule::Present(rng.bool()) });
    }
    if rng.u8(0..8) == 0 {
        let default = FractionalPercent { numerator: 50, denominator: Denominator::Hundred };
        matcher.runtime_fraction = Some(RuntimeFraction { default, key: None });
    }
    if rng.u8(0..12) == 0 {
        matcher.grpc = true;
    }
    if rng.u8(0..16) == 0 {
        let rule = StringMatch::exact("1", false);
        matcher.cookies.push(CookieMatch { name: "c".into(), matcher: rule, invert: rng.bool() });
    }
    matcher
}

fn random_request(rng: &mut fastrand::Rng) -> Request {
    let mut path = random_path(rng);
    if rng.bool() {
        path.push_str("?k=1");
    }
    let mut request = Request::get(&path);
    if rng.u8(0..10) == 0 {
        request = Request::get(if rng.bool() { "" } else { "/a" }).method("CONNECT");
    }
    for (name, value) in [("x", "v"), ("x", "w"), ("content-type", "application/grpc"), ("cookie", "c=1")] {
        if rng.u8(0..3) == 0 {
            request = request.header(name, value);
        }
    }
    request
}

#[test]
fn the_index_agrees_with_the_plain_walk() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let count = rng.usize(0..60);
        let routes: Vec<_> = (0..count)
            .map(|at| Route { name: "".into(), matcher: random_matcher(&mut rng), payload: at })
            .collect();
        let host = VirtualHost::new("v", vec!["*".into()], routes, ());
        let options =
            RouteTableOptions { ignore_path_parameters: rng.bool(), ..RouteTableOptions::default() };
        let table = RouteTable::new(vec![host], options).unwrap();
        for _ in 0..200 {
            let request = random_request(&mut rng);
            let context = MatchContext::with_random(rng.u64(..));
            let path = table.match_path(request.path());
            let expected = table
                .hosts()
                .next()
                .unwrap()
                .routes()
                .iter()
                .position(|route| route.matcher.is_match(&request, path, &context));
            let found = table.find(&request, &context);
            assert_eq!(found.map(|hit| hit.position), expected, "seed {seed}: {request:?}");
            assert_eq!(found.map(|hit| hit.route.payload), expected);
        }
    }
}

#[test]
fn nested_prefixes_keep_the_order_of_the_list() {
    let prefix = |text: &str| RouteMatch::new(PathMatch::Prefix(text.into()));
    let texts = ["/a/b/c", "/x", "/a/b", "/y", "/a", "/a/b/c/d", "/"];
    let routes = texts.map(|text| Route { name: text.into(), matcher: prefix(text), payload: () });
    let host = VirtualHost::new("v", vec!["*".into()], routes.into(), ());
    let table = RouteTable::new(vec![host], RouteTableOptions::default()).unwrap();
    let name = |path: &str| {
        let request = Request::get(path);
        table.find(&request, &MatchContext::with_random(0)).map(|hit| hit.route.name.to_string())
    };
    // The longer prefix behind the shorter one is never reached.
    assert_eq!(name("/a/b/c/d").as_deref(), Some("/a/b/c"));
    assert_eq!(name("/a/b").as_deref(), Some("/a/b"));
    assert_eq!(name("/ab").as_deref(), Some("/a"));
    assert_eq!(name("/z").as_deref(), Some("/"));
    assert_eq!(name("*"), None);
}

#[test]
fn tables_choose_the_host_first() {
    let host = |name: &str, domain: &str| {
        let matcher = RouteMatch::new(PathMatch::Prefix("/".into()));
        let route = Route { name: "".into(), matcher, payload: () };
        VirtualHost::new(name, vec![domain.into()], vec![route], ())
    };
    let options = RouteTableOptions { ignore_port_in_host: true, ..RouteTableOptions::default() };
    let table = RouteTable::new(vec![host("one", "a.com"), host("rest", "*")], options).unwrap();
    let name = |authority: &str| {
        let request = Request::get("/").authority(authority);
        table.find(&request, &MatchContext::with_random(0)).map(|hit| hit.host.name().to_owned())
    };
    assert_eq!(name("A.com:8080").as_deref(), Some("one"));
    assert_eq!(name("b.com").as_deref(), Some("rest"));
    let twice = RouteTable::new(vec![host("one", "a.com"), host("two", "A.com")], options);
    assert!(matches!(twice, Err(TableError::Domain { .. })));
}

#[test]
fn tls_requirement() {
    assert!(TlsRequirement::All.redirects(b"http", true));
    assert!(!TlsRequirement::All.redirects(b"https", false));
    assert!(!TlsRequirement::All.redirects(b"", false));
    assert!(TlsRequirement::ExternalOnly.redirects(b"http", false));
    assert!(!TlsRequirement::ExternalOnly.redirects(b"http", true));
    assert!(!TlsRequirement::None.redirects(b"http", false));
}

#[test]
fn a_long_chain_of_nested_prefixes_is_walked_once() {
    let path = "/a".repeat(500);
    let prefixes = (1..=500).map(|segments| &path[..2 * segments]);
    let routes = prefixes.map(|text| {
        let mut matcher = RouteMatch::new(PathMatch::Prefix(text.into()));
        let rule = HeaderRule::String(StringMatch::exact(&text.len().to_string(), false));
        matcher.headers.push(HeaderMatch::new("length", rule));
        Route { name: text.into(), matcher, payload: text.len() }
    });
    let host = VirtualHost::new("v", vec!["*".into()], routes.collect(), ());
    let table = RouteTable::new(vec![host], RouteTableOptions::default()).unwrap();
    for length in [2usize, 500, 1000] {
        let request = Request::get(&path).header("length", &length.to_string());
        let hit = table.find(&request, &MatchContext::with_random(0));
        assert_eq!(hit.map(|hit| hit.route.payload), Some(length));
    }
    let request = Request::get(&path[..100]).header("length", "200");
    assert!(table.find(&request, &MatchContext::with_random(0)).is_none());
}
