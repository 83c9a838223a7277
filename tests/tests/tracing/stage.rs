//! One program on its stage: the listeners, the collectors behind them, and what both sides of each request showed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sampan_tests::harness::bootstrap::Bootstrap;
use sampan_tests::harness::client::raw::{RawClient, Talk};
use sampan_tests::harness::collector::Collector;
use sampan_tests::harness::process::{Process, Program};
use sampan_tests::harness::upstream::h1::{Manner, RawUpstream};
use sampan_tests::harness::upstream::refused::{BlackHole, Refused};
use sampan_tests::harness::upstream::{Recorder, answer};
use sampan_tests::harness::{PATIENCE, poll};

use super::cases::{Case, LISTENERS};
use super::spans::{self, Span};

/// Facts of one case, or of all of them together.
pub type Facts = BTreeMap<String, String>;

const LOG: &str = "access_log: [{name: f, typed_config: {\"@type\": \
    type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: \"$LOG\", log_format: \
    {text_format_source: {inline_string: \"%TRACE_ID% %SPAN_ID% %STREAM_ID%\\n\"}}}}]";

const ROUTES: &str = "
    - {name: direct, match: {prefix: /direct}, decorator: {operation: op}, direct_response: {status: 204}}
    - {match: {prefix: /refused}, route: {cluster: refused, retry_policy: {retry_on: connect-failure, num_retries: 1, retry_back_off: {base_interval: 0.001s}}}}
    - {match: {prefix: /again}, route: {cluster: a, retry_policy: {retry_on: 5xx, num_retries: 1, retry_back_off: {base_interval: 0.001s}}}}
    - {match: {prefix: /late}, route: {cluster: a, timeout: 0.1s}}
    - {match: {prefix: /old}, route: {cluster: a, prefix_rewrite: /new}, request_headers_to_add: [{header: {key: x-added, value: v}}]}
    - {match: {prefix: /deco}, decorator: {operation: deco}, route: {cluster: a}}
    - {match: {prefix: /quiet}, decorator: {operation: deco, propagate: false}, route: {cluster: a}}
    - {match: {prefix: /route}, tracing: {random_sampling: {numerator: 0}, operation: 'r-%REQ(x-a)%', upstream_operation: 'up-r-%REQ(x-a)%',
       custom_tags: [{tag: lit, literal: {value: route}}, {tag: more, literal: {value: m}}]}, route: {cluster: a}}
    - {match: {prefix: /empty}, route: {cluster: empty}}
    - {match: {prefix: /up}, route: {cluster: a}}";

/// A program, and what is around it.
pub struct Stage {
    process: Process,
    upstream: RawUpstream,
    collector: Collector,
    requests: Recorder,
    reports: Recorder,
    exports: Recorder,
    log: PathBuf,
    lines: usize,
    seen: usize,
    ports: Vec<(&'static str, u16)>,
    _others: (RawUpstream, RawUpstream, Refused, BlackHole, tempfile::TempDir),
}

/// The configuration of both programs.
pub fn configuration() -> Bootstrap {
    let mut bootstrap = Bootstrap::default()
        .cluster("a", "a", "")
        .cluster("refused", "refused", "alt_stat_name: alt")
        .cluster("zipkin", "zipkin", "")
        .cluster("otlp", "otlp", "")
        .h2_cluster("grpc", "grpc", "")
        .clusters("- {name: empty, type: STATIC, connect_timeout: 1s}")
        .top("node: {id: node-1, cluster: cluster-1, locality: {zone: zone-1}}")
        .top(
            "layered_runtime: {layers: [{name: s, static_layer: {tracing.zipkin.min_flush_spans: 1, \
             tracing.opentelemetry.min_flush_spans: 1, tracing.zipkin.flush_interval_ms: 100, \
             tracing.opentelemetry.flush_interval_ms: 100}}]}",
        );
    for (name, _, tracing) in LISTENERS {
        bootstrap = bootstrap.http(name, &format!("{LOG}\n{}", dedent(tracing)), ROUTES);
    }
    bootstrap
}

fn dedent(text: &str) -> String {
    text.lines().map(str::trim_start).collect::<Vec<_>>().join("\n")
}

impl Stage {
    pub fn set(program: Program) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (requests, reports, exports) = (Recorder::default(), Recorder::default(), Recorder::default());
        let upstream = RawUpstream::start("a", Manner::Http, requests.clone());
        let zipkin = RawUpstream::start("zipkin", Manner::Http, reports.clone());
        zipkin.script((0..200).map(|_| answer("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")));
        let otlp = RawUpstream::start("otlp", Manner::Http, exports.clone());
        let (collector, refused, hole) = (Collector::start(0), Refused::new(), BlackHole::new());
        let ports = vec![
            ("a", upstream.port),
            ("refused", refused.port),
            ("zipkin", zipkin.port),
            ("otlp", otlp.port),
            ("grpc", collector.port),
        ];
        let log = dir.path().join("log");
        let mut config = configuration().render(&ports, &log.to_string_lossy());
        for (name, direction, _) in LISTENERS {
            let head = format!("- name: {name}\n");
            config = config.replacen(&head, &format!("{head}    traffic_direction: {direction}\n"), 1);
        }
        let process = Process::start(program, &config, dir.path(), &[]);
        Self {
            process,
            upstream,
            collector,
            requests,
            reports,
            exports,
            log,
            lines: 0,
            seen: 0,
            ports,
            _others: (zipkin, otlp, refused, hole, dir),
        }
    }

    /// Plays every case; the facts of each, and those of the whole.
    pub fn play(mut self, cases: &[Case]) -> BTreeMap<String, Facts> {
        let mut said: BTreeMap<String, Facts> =
            cases.iter().map(|case| (case.name.to_owned(), self.one(case))).collect();
        let mut whole = Facts::new();
        for message in self.messages() {
            whole.extend(spans::otlp(&message).1);
        }
        whole.insert("spans".to_owned(), self.spans().len().to_string());
        let mut methods = self.collector.methods();
        methods.dedup();
        whole.insert("method".to_owned(), methods.join(" "));
        for received in self.reports.snapshot().iter().chain(&self.exports.snapshot()).take(400) {
            for name in ["host", "content-type", "x-token"] {
                let value = received.message.header(name).unwrap_or("-").to_owned();
                whole.insert(format!("{}/{name}", received.upstream), value);
            }
            whole.insert(format!("{}/line", received.upstream), received.message.line.clone());
        }
        self.counts(&mut whole);
        said.insert("whole".to_owned(), whole);
        said
    }

    /// Decisions, once they have been counted.
    fn counts(&self, whole: &mut Facts) {
        let (_, text) = self.process.admin("GET", "/stats?filter=tracing");
        for (name, value) in text.lines().filter_map(|line| line.split_once(": ")) {
            let is_steady = name.ends_with("spans_sent") || name.starts_with("http.");
            if is_steady && value != "0" {
                whole.insert(format!("stat/{name}"), value.to_owned());
            }
        }
        let sent =
            poll(PATIENCE, || self.process.stat("tracing.zipkin.reports_sent").filter(|sent| *sent > 0));
        assert!(sent.is_some(), "reports to Zipkin are counted");
    }

    fn messages(&self) -> Vec<bytes::Bytes> {
        let posted = self.exports.snapshot();
        let posted = posted.iter().filter(|r| r.finished).map(|r| r.message.body.clone().into());
        self.collector.requests().into_iter().chain(posted).collect()
    }

    fn spans(&self) -> Vec<Span> {
        let reports = self.reports.snapshot();
        let reports = reports.iter().filter(|r| r.finished);
        let mut all: Vec<Span> = reports.flat_map(|report| spans::zipkin(&report.message.body)).collect();
        all.extend(self.messages().iter().flat_map(|message| spans::otlp(message).0));
        all.sort_by_key(|span| span.start);
        all
    }

    fn one(&mut self, case: &Case) -> Facts {
        self.requests.clear();
        let plays: Vec<_> = case.answers.iter().map(|bytes| answer(*bytes)).collect();
        self.upstream.script(plays);
        let mut client = RawClient::connect(self.process.port(case.listener));
        client.talk(&Talk::Send(case.request.replace('\n', "\r\n").into_bytes()));
        let reply = client.talk(&Talk::Read).unwrap();
        let want = self.seen + case.spans;
        let all = poll(PATIENCE, || Some(self.spans()).filter(|all| all.len() >= want));
        let all = all.unwrap_or_else(|| panic!("{}: {:#?}", case.name, self.spans()));
        let mut new = all[self.seen..].to_vec();
        self.seen = all.len();
        spans::sort(&mut new);
        let mut facts = Facts::new();
        facts.insert("status".to_owned(), reply.message.status().to_string());
        let mut texts: Vec<(String, String)> = Vec::new();
        for name in ["x-envoy-decorator-operation", "x-request-id"] {
            if let Some(value) = reply.message.header(name) {
                texts.push((format!("response/{name}"), value.to_owned()));
            }
        }
        for (number, received) in self.requests.snapshot().iter().enumerate() {
            for (at, (name, value)) in received.message.headers.iter().enumerate() {
                let steady = name != "x-envoy-expected-rq-timeout-ms";
                let value = if steady { value.as_str() } else { "some" };
                texts.push((format!("request {number}/{at:02} {name}"), value.to_owned()));
            }
        }
        texts.push(("log".to_owned(), self.line()));
        for (number, span) in new.iter().enumerate() {
            let ids = [("trace", &span.trace), ("id", &span.id), ("parent", &span.parent)];
            texts.extend(ids.map(|(name, id)| (format!("span {number}/{name}"), id.clone())));
            for (name, value) in &span.facts {
                texts.push((format!("span {number}/{name}"), value.clone()));
            }
        }
        let mut names = Names::new(case, &self.ports, &self.process);
        facts.extend(texts.into_iter().map(|(name, text)| (name, names.replaced(&text))));
        facts
    }

    /// The next line of the access log.
    fn line(&mut self) -> String {
        let lines = poll(PATIENCE, || {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<_> = text.lines().map(str::to_owned).collect();
            (lines.len() > self.lines).then_some(lines)
        });
        let line = lines.expect("a line for each request")[self.lines].clone();
        self.lines += 1;
        line
    }
}

/// Gives names to ids and ports, which differ from run to run.
struct Names<'a> {
    /// What the case says itself stays.
    given: &'a str,
    ports: Vec<(String, String)>,
    ids: Vec<String>,
}

impl<'a> Names<'a> {
    fn new(case: &'a Case, ports: &[(&str, u16)], process: &Process) -> Self {
        let mut all: Vec<_> =
            ports.iter().map(|(name, port)| (format!(":{port}"), format!(":<{name}>"))).collect();
        all.extend(process.ports.values().map(|port| (format!(":{port}"), ":<listener>".to_owned())));
        Self { given: case.request, ports: all, ids: Vec::new() }
    }

    /// Hexadecimal words of 16 or 32 digits are ids; of a UUID, the digit with the trace's reason is kept.
    fn replaced(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (port, name) in &self.ports {
            text = text.replace(port, name);
        }
        let mut out = String::new();
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let length = rest.find(|c| !is_hex(c)).unwrap_or(rest.len());
            let word = &rest[..length];
            if let Some(uuid) = rest.get(..36).filter(|id| length == 8 && id.matches('-').count() == 4) {
                out += if self.given.contains(&uuid[..8]) { uuid } else { &uuid[14..15] };
                rest = &rest[36..];
                continue;
            }
            let is_id = matches!(length, 16 | 32) && !self.given.contains(word);
            out += &if is_id { self.id(word) } else { word.to_owned() };
            let next = rest[length..].chars().next();
            out.extend(next);
            rest = &rest[length + next.map_or(0, char::len_utf8)..];
        }
        out
    }

    /// Two ids of which one is the other's lower half are told apart from two that have nothing to do with each other.
    fn id(&mut self, word: &str) -> String {
        let low = &word[word.len() - 16..];
        if word.starts_with("0000000000000000") && self.given.contains(low) {
            return format!("<0 and {low}>");
        }
        let known = self.ids.iter().position(|id| id == low);
        let at = known.unwrap_or_else(|| {
            self.ids.push(low.to_owned());
            self.ids.len() - 1
        });
        format!("<{}:{at}>", word.len())
    }
}
