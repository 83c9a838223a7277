//! Cost of one route look-up, by the size and shape of the table. The budget of look-up and host pick together is about
//! 200 ns; the time must not grow linearly with the number of routes.

use divan::{Bencher, black_box};
use sampan_model::route::{
    HeaderMatch, HeaderName, HeaderRule, MatchContext, PathMatch, RequestView, Route, RouteMatch, RouteTable,
    RouteTableOptions, StringMatch, VirtualHost,
};

fn main() {
    divan::main();
}

struct Request {
    path: Vec<u8>,
    authority: Vec<u8>,
    headers: Vec<(&'static str, &'static [u8])>,
}

impl Request {
    fn new(authority: &str, path: &str) -> Self {
        let headers: Vec<(&str, &[u8])> = vec![
            ("user-agent", b"bench"),
            ("accept", b"*/*"),
            ("x-request-id", b"6f1c2a58-7f3c-4e8e-9d5d-0f3f8f1d2a77"),
            ("end-user", b"jason"),
        ];
        Self { path: path.into(), authority: authority.into(), headers }
    }
}

impl RequestView for Request {
    fn path(&self) -> &[u8] {
        &self.path
    }
    fn method(&self) -> &[u8] {
        b"GET"
    }
    fn authority(&self) -> &[u8] {
        &self.authority
    }
    fn scheme(&self) -> &[u8] {
        b"http"
    }
    fn header_values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(|(key, _)| *key == name.as_str()).map(|(_, value)| *value)
    }
}

type Table = RouteTable<(), usize>;

fn host(name: &str, domain: &str, matchers: impl Iterator<Item = RouteMatch>) -> VirtualHost<(), usize> {
    let route = |(payload, matcher)| Route { name: "".into(), matcher, payload };
    VirtualHost::new(name, vec![domain.into()], matchers.enumerate().map(route).collect(), ())
}

fn table(hosts: Vec<VirtualHost<(), usize>>) -> Option<Table> {
    RouteTable::new(hosts, RouteTableOptions::default()).ok()
}

fn run(bencher: Bencher<'_, '_>, table: Option<Table>, request: &Request) {
    let Some(table) = table else { return };
    let context = MatchContext::with_random(7);
    bencher.bench_local(|| black_box(&table).find(black_box(request), &context).map(|hit| hit.route.payload));
}

fn prefix(path: &str) -> RouteMatch {
    RouteMatch::new(PathMatch::Prefix(path.into()))
}

/// The usual sidecar: one route per virtual host, the host found by name.
#[divan::bench(args = [1, 100, 5_000])]
fn virtual_hosts(bencher: Bencher<'_, '_>, count: usize) {
    let domain = |at: usize| format!("svc-{at}.namespace.svc.cluster.local:8080");
    let hosts = (0..count).map(|at| host(&domain(at), &domain(at), std::iter::once(prefix("/")))).collect();
    run(bencher, table(hosts), &Request::new(&domain(count / 2), "/api/v1/items?id=3"));
}

/// Exact paths, the one before last asked for.
#[divan::bench(args = [4, 100, 5_000])]
fn exact_paths(bencher: Bencher<'_, '_>, count: usize) {
    let path = |at: usize| format!("/api/v1/resource-{at}/items");
    let matchers = (0..count).map(|at| RouteMatch::new(PathMatch::Exact(path(at).into())));
    let hosts = vec![host("all", "*", matchers)];
    run(bencher, table(hosts), &Request::new("a.com", &format!("{}?id=3", path(count - 2))));
}

/// Prefixes with a catch-all behind them.
#[divan::bench(args = [4, 100, 5_000])]
fn prefixes(bencher: Bencher<'_, '_>, count: usize) {
    let matchers =
        (0..count).map(|at| prefix(&format!("/api/v1/resource-{at}/"))).chain(std::iter::once(prefix("/")));
    let hosts = vec![host("all", "*", matchers)];
    run(bencher, table(hosts), &Request::new("a.com", &format!("/api/v1/resource-{}/items?id=3", count - 2)));
}

/// Canary rules on a header before the catch-all.
#[divan::bench(args = [1, 10])]
fn header_rules(bencher: Bencher<'_, '_>, count: usize) {
    let rule = |at: usize| {
        let value = format!("user-{at}");
        let mut matcher = prefix("/");
        matcher
            .headers
            .push(HeaderMatch::new("end-user", HeaderRule::String(StringMatch::exact(&value, false))));
        matcher
    };
    let hosts = vec![host("all", "*", (0..count).map(rule).chain(std::iter::once(prefix("/"))))];
    run(bencher, table(hosts), &Request::new("a.com", "/api/v1/items?id=3"));
}
