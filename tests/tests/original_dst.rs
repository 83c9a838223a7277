//! Clusters of type `ORIGINAL_DST` over time: their hosts appear with the first request, are shown, and go when nobody needs them; and
//! the proxy is no destination of its own. What single requests see of them is in `sampan_tests::cases::original_dst`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Write;

use sampan_tests::harness::bootstrap::Bootstrap;
use sampan_tests::harness::process::{Process, Program};
use sampan_tests::harness::solo::connect;
use sampan_tests::harness::upstream::Recorder;
use sampan_tests::harness::upstream::h1::{Manner, RawUpstream};
use sampan_tests::harness::wire::Message;
use sampan_tests::harness::{PATIENCE, poll};

const BOTH: [Program; 2] = [Program::Envoy, Program::Sampan];

struct Setting {
    process: Process,
    upstream: RawUpstream,
    _dir: tempfile::TempDir,
}

fn start(program: Program, top: &str, cluster: &str) -> Setting {
    let dir = tempfile::tempdir().unwrap();
    let upstream = RawUpstream::start("a", Manner::Http, Recorder::default());
    let cluster = format!(
        "- {{name: original, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s, original_dst_lb_config: \
         {{use_http_header: true}}, {cluster}}}"
    );
    let bootstrap = Bootstrap::default()
        .top(top)
        .http("http", "", "- {match: {prefix: /}, route: {cluster: original}}")
        .clusters(&cluster);
    let process = Process::start(program, &bootstrap.render(&[], "/dev/null"), dir.path(), &[]);
    Setting { process, upstream, _dir: dir }
}

impl Setting {
    /// One request on a connection of its own to a destination.
    fn send(&self, destination: &str) -> Message {
        let mut wire = connect(self.process.port("http")).unwrap();
        let request =
            format!("GET / HTTP/1.1\r\nhost: test\r\nx-envoy-original-dst-host: {destination}\r\n\r\n");
        wire.stream.write_all(request.as_bytes()).unwrap();
        let mut message = wire.head().unwrap();
        wire.body(&mut message, true, false);
        message
    }

    fn stat(&self, name: &str) -> u64 {
        self.process.stat(&format!("cluster.original.{name}")).unwrap_or(0)
    }

    /// The lines of `/clusters` about hosts, but for what takes its time to be counted.
    fn hosts(&self) -> Vec<String> {
        let (_, text) = self.process.admin("GET", "/clusters");
        let port = format!(":{}", self.upstream.port);
        let lines = text.lines().filter(|line| line.contains(&port)).map(|line| line.replace(&port, ":PORT"));
        lines.collect()
    }
}

#[test]
fn hosts_appear_with_the_first_request_and_go_when_they_are_idle() {
    let mut shown = Vec::new();
    for program in BOTH {
        let options = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let setting = start(
            program,
            "",
            &format!(
                "cleanup_interval: 0.3s, typed_extension_protocol_options: {{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: \
                 {{\"@type\": {options}, explicit_http_config: {{http_protocol_options: {{}}}}, common_http_protocol_options: \
                 {{idle_timeout: 1s}}}}}}"
            ),
        );
        assert_eq!((setting.hosts().len(), setting.stat("membership_total")), (0, 0), "{program:?}");
        let destination = format!("127.0.0.1:{}", setting.upstream.port);
        for _ in 0..3 {
            assert_eq!(setting.send(&destination).status(), 200, "{program:?}");
        }
        assert_eq!(setting.send("nonsense").status(), 503, "{program:?}");
        let there = poll(PATIENCE, || (setting.stat("membership_total") == 1).then_some(()));
        assert!(there.is_some(), "{program:?}");
        assert_eq!(
            [
                "membership_healthy",
                "membership_change",
                "original_dst_host_invalid",
                "upstream_cx_none_healthy",
                "upstream_cx_total"
            ]
            .map(|name| setting.stat(name)),
            [1, 1, 1, 1, 1],
            "{program:?}"
        );
        shown.push(setting.hosts());
        // A connection in the pool keeps its host; once it is idle for too long, both go.
        let gone = poll(PATIENCE, || (setting.stat("membership_total") == 0).then_some(()));
        assert!(gone.is_some() && setting.hosts().is_empty(), "{program:?}");
        assert_eq!(setting.stat("membership_change"), 2, "{program:?}");
        assert_eq!(setting.send(&destination).status(), 200, "{program:?}");
    }
    assert_eq!(shown[0], shown[1]);
    assert!(shown[0].iter().any(|line| line.ends_with("::hostname::original127.0.0.1:PORT")), "{shown:?}");
}

#[test]
fn the_proxy_is_no_destination_of_its_own() {
    let setting = start(Program::Sampan, "", "cleanup_interval: 1s");
    let own = setting.process.port("http");
    let admin = setting.process.admin.port();
    let destinations = [
        format!("127.0.0.1:{own}"),
        format!("0.0.0.0:{own}"),
        format!("[::ffff:127.0.0.1]:{own}"),
        format!("127.0.0.1:{admin}"),
    ];
    for destination in &destinations {
        let answer = setting.send(destination);
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(
            (answer.status(), &*body),
            (503, "the original destination is this proxy"),
            "{destination}"
        );
    }
    assert_eq!(setting.stat("original_dst_self_connect"), 4);
    assert_eq!((setting.stat("upstream_cx_total"), setting.stat("membership_total")), (0, 0));
    let told = format!("was going to {}, where this proxy listens; refused", destinations[0]);
    let logged = poll(PATIENCE, || setting.process.stderr().contains(&told).then_some(()));
    assert!(logged.is_some(), "{}", setting.process.stderr());
    // The upstream's port is another, at the same address.
    assert_eq!(setting.send(&format!("127.0.0.1:{}", setting.upstream.port)).status(), 200);
}

#[test]
fn the_cluster_manager_has_a_source_address_for_all_clusters() {
    for program in BOTH {
        let source = |address: &str| {
            format!("upstream_bind_config: {{source_address: {{address: {address}, port_value: 0}}}}")
        };
        let top = format!("cluster_manager: {{{}}}", source("192.0.2.6"));
        let setting = start(program, &top, "cleanup_interval: 1s");
        let destination = format!("127.0.0.1:{}", setting.upstream.port);
        assert_eq!(setting.send(&destination).status(), 503, "{program:?}");
        assert_eq!(
            (setting.stat("bind_errors"), setting.stat("upstream_cx_connect_fail")),
            (1, 1),
            "{program:?}"
        );
        // That of a cluster goes before it.
        let setting = start(program, &top, &source("127.0.0.6"));
        let destination = format!("127.0.0.1:{}", setting.upstream.port);
        assert_eq!(setting.send(&destination).status(), 200, "{program:?}");
    }
}

#[test]
fn hosts_of_destinations_are_watched_and_go_on_being_destinations() {
    for program in BOTH {
        let watched = "outlier_detection: {consecutive_5xx: 2, base_ejection_time: 100s, max_ejection_percent: 100}, \
                       common_lb_config: {healthy_panic_threshold: {value: 0}}";
        let setting = start(program, "", watched);
        let refused = sampan_tests::harness::upstream::refused::Refused::new();
        let destination = format!("127.0.0.1:{}", refused.port);
        let flags = || {
            let (_, text) = setting.process.admin("GET", "/clusters");
            let start = format!("original::{destination}::health_flags::");
            text.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_default().to_owned()
        };
        let ejected = poll(PATIENCE, || {
            assert_eq!(setting.send(&destination).status(), 503, "{program:?}");
            (flags() == "/failed_outlier_check").then_some(())
        });
        assert!(ejected.is_some(), "{program:?}: {:?}\n{}", flags(), setting.process.stderr());
        assert_eq!(setting.stat("outlier_detection.ejections_active"), 1, "{program:?}");
        // What is known of it keeps nobody from going there.
        let message = setting.send(&destination);
        let body = String::from_utf8_lossy(&message.body).into_owned();
        assert!(body.contains("connect error"), "{program:?}: {body}");
    }
}
