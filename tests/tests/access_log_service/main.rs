//! gRPC access logs: the same configuration and the same requests, once with Envoy and once with Sampan, and the entries that a
//! recording service received, compared field by field. `SAMPAN_TESTS_PRINT=1` prints them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod delivery;
mod facts;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sampan_tests::harness::PATIENCE;
use sampan_tests::harness::access_log_service::AccessLogService;
use sampan_tests::harness::bootstrap::Bootstrap;
use sampan_tests::harness::client::h2::{Call, converse};
use sampan_tests::harness::client::raw::{RawClient, Talk};
use sampan_tests::harness::invoke::programs;
use sampan_tests::harness::process::{Process, Program};
use sampan_tests::harness::tls::{Authority, Outcome, TlsClient, Wanted};
use sampan_tests::harness::upstream::h1::{Manner, RawUpstream};
use sampan_tests::harness::upstream::refused::Refused;
use sampan_tests::harness::upstream::{Recorder, answer};

use self::facts::{Facts, entries, flatten, identifiers};

const TYPE: &str = "type.googleapis.com/envoy.extensions.access_loggers.grpc.v3";

/// Fields that Envoy fills and Sampan does not, by the end of their path (docs/differences.md, `log-entry-sizes`).
const UNCOUNTED: &[&str] = &[
    "downstream_header_bytes_received",
    "downstream_header_bytes_sent",
    "upstream_header_bytes_sent",
    "upstream_header_bytes_received",
];

/// Facts that differ in single cases, for the same reason: case, end of the path.
const DIFFERENT: &[(&str, &str)] = &[
    // Sampan does not count the wire of upstream HTTP connections, nor that of single HTTP/2 streams.
    ("get", "upstream_wire_bytes_sent"),
    ("get", "upstream_wire_bytes_received"),
    ("post", "upstream_wire_bytes_sent"),
    ("post", "upstream_wire_bytes_received"),
    ("h2", "upstream_wire_bytes_sent"),
    ("h2", "upstream_wire_bytes_received"),
    ("h2", "downstream_wire_bytes_sent"),
    ("h2", "downstream_wire_bytes_received"),
    // Envoy's own head says `connection: close`, which Sampan's codec adds.
    ("unparsed", "response_headers_bytes"),
    // Envoy knows the server name by its TLS inspector alone; Sampan by the handshake.
    ("tls-1.2", "tls_sni_hostname"),
    ("tls-1.3", "tls_sni_hostname"),
    // Of what both sides offer, the TLS libraries prefer different suites.
    ("tls-1.3", "tls_cipher_suite"),
    // Envoy sets the timeout header of the upstream request before it looks for a host.
    ("empty", "request_headers_bytes"),
];

fn common(name: &str, more: &str) -> String {
    format!(
        "common_config: {{log_name: {name}, transport_api_version: V3, grpc_service: {{envoy_grpc: {{cluster_name: als}}}}, {more}}}"
    )
}

/// A listener that wants a certificate of its client.
fn secure(dir: &str) -> String {
    let log = common("secure", "buffer_flush_interval: 0.05s");
    format!(
        "- name: secure\n  address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n  \
         filter_chains:\n  \
         - transport_socket:\n      name: tls\n      typed_config:\n        \"@type\": \
         type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext\n        \
         require_client_certificate: true\n        common_tls_context:\n          \
         tls_certificates: [{{certificate_chain: {{filename: {dir}/server.pem}}, private_key: {{filename: {dir}/server.key}}}}]\n          \
         validation_context: {{trusted_ca: {{filename: {dir}/root.pem}}}}\n    filters:\n    - name: hcm\n      typed_config:\n        \
         \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n        \
         stat_prefix: secure\n        access_log: [{{name: g, typed_config: {{\"@type\": {TYPE}.HttpGrpcAccessLogConfig, {log}}}}}]\n        \
         http_filters: [{{name: router, typed_config: {{\"@type\": \
         type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]\n        route_config: {{virtual_hosts: [{{name: v, \
         domains: ['*'], routes: [{{match: {{prefix: /}}, direct_response: {{status: 204}}}}]}}]}}"
    )
}

fn configuration(dir: &str) -> Bootstrap {
    let tags = "custom_tags: [{tag: literal, literal: {value: v}}, {tag: variable, environment: {name: NO_SUCH, default_value: d}}, \
        {tag: nothing, environment: {name: NO_SUCH}}, {tag: header, request_header: {name: x-a, default_value: none}}, \
        {tag: path, request_header: {name: ':path'}}, {tag: format, value: '%REQ(x-a)%-%PROTOCOL%'}, \
        {tag: metadata, metadata: {kind: {request: {}}, metadata_key: {key: ns, path: [{key: k}]}, default_value: m}}]";
    let web = common("web", &format!("buffer_size_bytes: 0, {tags}"));
    let filtered = common("filtered", "buffer_flush_interval: 0.05s");
    let tcp = common("tcp", "buffer_flush_interval: 0.05s");
    let http_of_tcp = common("http-of-tcp", "buffer_flush_interval: 0.05s");
    let hcm = format!(
        "access_log:\n\
         - {{name: all, typed_config: {{\"@type\": {TYPE}.HttpGrpcAccessLogConfig, {web}, \
           additional_request_headers_to_log: [x-a, X-B, ':method', host, absent, 'bad name'], \
           additional_response_headers_to_log: [content-type, ':status', set-cookie], \
           additional_response_trailers_to_log: [x-t]}}}}\n\
         - {{name: some, filter: {{status_code_filter: {{comparison: {{op: GE, value: {{default_value: 500, runtime_key: k}}}}}}}}, \
           typed_config: {{\"@type\": {TYPE}.HttpGrpcAccessLogConfig, {filtered}}}}}\n\
         use_remote_address: true"
    );
    // The time of the upstream has as many digits as it likes.
    let removed = "response_headers_to_remove: [x-envoy-upstream-service-time]";
    let routes = "- {name: direct, match: {prefix: /direct}, direct_response: {status: 404, body: {inline_string: nothing}}}\n\
         - {name: refused, match: {prefix: /refused}, route: {cluster: refused}}\n\
         - {name: empty, match: {prefix: /empty}, route: {cluster: empty}}\n\
         - {name: unknown, match: {prefix: /unknown}, route: {cluster_header: x-cluster}}\n\
         - {name: rewritten, match: {prefix: /old}, route: {cluster: a, prefix_rewrite: /new}}\n\
         - {name: up, match: {prefix: /up}, route: {cluster: a}}";
    let proxy = format!(
        "\"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy\nstat_prefix: tcp\ncluster: tcp\n\
         access_log:\n- {{name: g, typed_config: {{\"@type\": {TYPE}.TcpGrpcAccessLogConfig, {tcp}}}}}\n\
         - {{name: h, typed_config: {{\"@type\": {TYPE}.HttpGrpcAccessLogConfig, {http_of_tcp}}}}}"
    );
    Bootstrap::default()
        .cluster("a", "a", "")
        .cluster("tcp", "tcp", "")
        .cluster("refused", "refused", "")
        .clusters("- {name: empty, type: STATIC, connect_timeout: 1s}")
        .h2_cluster("als", "als", "")
        .http_config(
            "web",
            &hcm,
            &format!(
                "{removed}\nvirtual_hosts:\n- name: all\n  domains: [\"*\"]\n  routes:\n  {}",
                routes.replace('\n', "\n  ")
            ),
        )
        .network("tcp", "tcp_proxy", &proxy)
        .listener(&secure(dir))
        .top("node: {id: node-1, cluster: cluster-1, locality: {zone: zone-1}}")
}

/// One request, and the answer of the upstream.
struct Case {
    name: &'static str,
    request: &'static [u8],
    answer: &'static [u8],
}

const CASES: &[Case] = &[
    Case {
        name: "get",
        request: b"GET /up?q=1 HTTP/1.1\r\nhost: h.example\r\nx-a: 1\r\nx-b: \xff\xc3\xa9\r\nx-a: 3\r\nreferer: http://r/\r\n\
                   user-agent: u/1\r\nx-forwarded-for: 10.9.8.7\r\nte: trailers\r\n\r\n",
        answer: b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nset-cookie: a\r\nset-cookie: b\r\ntransfer-encoding: chunked\r\n\r\n\
                  5\r\nhello\r\n0\r\nx-t: t\r\n\r\n",
    },
    Case {
        name: "post",
        request: b"POST /old/x HTTP/1.1\r\nhost: h.example\r\ncontent-length: 3\r\n\r\nabc",
        answer: b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\nno",
    },
    Case { name: "unparsed", request: b"FOO /up HTTP/1.1\r\nhost: h.example\r\n\r\n", answer: b"" },
    Case { name: "direct", request: b"GET /direct HTTP/1.1\r\nhost: h.example\r\n\r\n", answer: b"" },
    Case { name: "refused", request: b"GET /refused HTTP/1.1\r\nhost: h.example\r\n\r\n", answer: b"" },
    Case { name: "empty", request: b"GET /empty HTTP/1.1\r\nhost: h.example\r\n\r\n", answer: b"" },
    Case { name: "unknown", request: b"GET /unknown HTTP/1.1\r\nhost: h.example\r\nx-cluster: none\r\n\r\n", answer: b"" },
    Case { name: "unrouted", request: b"OPTIONS /nowhere HTTP/1.1\r\nhost: h.example\r\n\r\n", answer: b"" },
];

/// What one program said: by case and log name, the facts of its entry.
#[derive(Default)]
struct Said {
    entries: BTreeMap<(String, String), Facts>,
    identifiers: BTreeSet<String>,
    stats: BTreeMap<String, String>,
}

/// The stage of one program.
struct Stage {
    service: AccessLogService,
    upstream: RawUpstream,
    process: Process,
    ports: Vec<(&'static str, u16)>,
    client: TlsClient,
    seen: usize,
    said: Said,
    _others: (RawUpstream, Refused, tempfile::TempDir),
}

impl Stage {
    fn set(program: Program) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::default();
        let service = AccessLogService::start();
        let upstream = RawUpstream::start("a", Manner::Http, recorder.clone());
        let tcp = RawUpstream::start("tcp", Manner::Tcp, recorder);
        let refused = Refused::new();
        let ports =
            vec![("a", upstream.port), ("tcp", tcp.port), ("refused", refused.port), ("als", service.port)];
        let authority = Authority::new("root");
        authority.save(dir.path(), "root");
        let server =
            Wanted { uris: &["spiffe://test/server"], dns: &["server.example"], ..Wanted::default() };
        authority.issue(dir.path(), "server", server);
        let client = Wanted {
            uris: &["spiffe://test/client", "urn:2"],
            dns: &["client.example"],
            ..Wanted::default()
        };
        authority.issue(dir.path(), "client", client);
        let client = TlsClient::new(dir.path(), &authority).identity("client");
        let config = configuration(&dir.path().to_string_lossy()).render(&ports, "");
        let process = Process::start(program, &config, dir.path(), &[]);
        let said = Said::default();
        Self { service, upstream, process, ports, client, seen: 0, said, _others: (tcp, refused, dir) }
    }

    /// Waits for `count` new entries and keeps their facts.
    fn collect(&mut self, case: &str, client: u16, count: usize) {
        let seen = self.seen;
        let told = self.service.await_told(PATIENCE, |told| entries(told).len() >= seen + count);
        let all = entries(&told.unwrap_or_else(|| panic!("{case}: {:?}", self.service.told())));
        let mut ports: Vec<(&str, u16)> = self.ports.clone();
        ports.extend(self.process.ports.values().map(|&port| ("listener", port)));
        ports.push(("client", client));
        for (log_name, entry) in &all[seen..] {
            let mut facts = Facts::new();
            flatten(entry, "", &ports, &mut facts);
            let known = self.said.entries.insert((case.to_owned(), log_name.clone()), facts);
            assert!(known.is_none(), "{case}: two entries for {log_name}");
        }
        self.seen = all.len();
    }

    fn play(mut self) -> Said {
        let web = self.process.port("web");
        for case in CASES {
            self.upstream.script((!case.answer.is_empty()).then(|| answer(case.answer)));
            let mut client = RawClient::connect(web);
            client.talk(&Talk::Send(case.request.to_vec()));
            let reply = client.talk(&Talk::Read).unwrap();
            let count = if reply.message.status() >= 500 { 2 } else { 1 };
            self.collect(case.name, client.port, count);
        }
        self.upstream.script([answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")]);
        let call = Call::new("FOO", "/up/2").header("x-a", "a").header("user-agent", "u/2");
        let (client, _) = converse(web, &[call]);
        self.collect("h2", client, 1);
        let mut client = RawClient::connect(self.process.port("tcp"));
        client.talk(&Talk::Send(b"ping".to_vec()));
        client.talk(&Talk::ReadBytes(4));
        client.talk(&Talk::Close);
        self.collect("tcp", client.port, 2);
        let versions =
            [("tls-1.2", self.client.clone().only_12()), ("tls-1.3", self.client.clone().only_13())];
        for (name, client) in versions {
            let outcome = client.get(self.process.port("secure"));
            assert!(matches!(outcome, Outcome::Answered { status: 204, .. }), "{outcome:?}");
            self.collect(name, 0, 1);
        }
        self.said.identifiers = identifiers(&self.service.told());
        self.said.stats = self.stats();
        self.said
    }

    fn stats(&self) -> BTreeMap<String, String> {
        let (_, text) = self.process.admin("GET", "/stats?filter=grpc_access_log");
        let lines = text.lines().filter_map(|line| line.split_once(": "));
        lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

#[test]
fn entries_are_envoys_field_by_field() {
    let said: Vec<(Program, Said)> = std::thread::scope(|scope| {
        let playing: Vec<_> = programs()
            .into_iter()
            .map(|program| (program, scope.spawn(move || Stage::set(program).play())))
            .collect();
        let joined = playing.into_iter().map(|(program, thread)| (program, thread.join().unwrap()));
        joined.collect()
    });
    if std::env::var_os("SAMPAN_TESTS_PRINT").is_some() {
        for (program, said) in &said {
            println!("{program:?}: {:#?}\n{:#?}\n{:#?}", said.entries, said.identifiers, said.stats);
        }
    }
    let [(_, envoy), (_, sampan)] = said.as_slice() else { return };
    assert_eq!(envoy.identifiers.len(), 5);
    assert_eq!(envoy.identifiers, sampan.identifiers);
    let keys = |said: &Said| said.entries.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(envoy), keys(sampan), "the same entries");
    let report = compare(envoy, sampan);
    assert!(report.is_empty(), "{report}");
    for said in [envoy, sampan] {
        assert_eq!(said.stats["access_logs.grpc_access_log.logs_dropped"], "0");
        assert!(said.stats["access_logs.grpc_access_log.logs_written"].parse::<u32>().unwrap() >= 13);
    }
    assert_eq!(envoy.stats.keys().collect::<Vec<_>>(), sampan.stats.keys().collect::<Vec<_>>());
}

/// What differs and is not listed, and what is listed and does not differ.
fn compare(envoy: &Said, sampan: &Said) -> String {
    let mut report = String::new();
    for (key, theirs) in &envoy.entries {
        let ours = &sampan.entries[key];
        let (case, log) = key;
        let names: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
        for name in names {
            let value = |facts: &Facts| facts.get(name).cloned().unwrap_or_else(|| "-".to_owned());
            let (theirs, ours) = (value(theirs), value(ours));
            let listed = UNCOUNTED.iter().any(|end| name.ends_with(end) && ours == "-")
                || DIFFERENT.iter().any(|(of, end)| of == case && name.ends_with(end));
            if (theirs != ours) != listed {
                writeln!(report, "{case}, {log}: {name}: Envoy {theirs:?}, Sampan {ours:?}").unwrap();
            }
        }
    }
    report
}

#[test]
fn the_comparison_sees_what_differs() {
    let said = |value: &str| Said {
        entries: [(("get".into(), "web".into()), [("/a".to_owned(), value.to_owned())].into())].into(),
        ..Said::default()
    };
    assert!(compare(&said("1"), &said("1")).is_empty());
    assert!(compare(&said("1"), &said("2")).contains("Envoy \"1\", Sampan \"2\""));
}
