//! Entries that have to wait, and those that are left at the end.

use std::time::Duration;

use sampan_tests::harness::access_log_service::AccessLogService;
use sampan_tests::harness::bootstrap::Bootstrap;
use sampan_tests::harness::process::{Process, Program};
use sampan_tests::harness::solo::{connect, get};
use sampan_tests::harness::upstream::Recorder;
use sampan_tests::harness::upstream::h1::{Manner, RawUpstream};
use sampan_tests::harness::{PATIENCE, poll};

use super::facts::{entries, identifiers};
use super::{TYPE, common};

/// Short delays between attempts.
const RETRY: &str = "grpc_stream_retry_policy: {retry_back_off: {base_interval: 0.01s, max_interval: 0.05s}}";

/// A proxy whose service is not there yet.
fn waiting(more: &str) -> (Process, RawUpstream, u16, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let upstream = RawUpstream::start("a", Manner::Http, Recorder::default());
    // A port that nobody listens on: it was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let web = common("web", more);
    let hcm = format!(
        "access_log: [{{name: g, typed_config: {{\"@type\": {TYPE}.HttpGrpcAccessLogConfig, {web}}}}}]"
    );
    let config = Bootstrap::default()
        .cluster("a", "a", "")
        .h2_cluster("als", "als", "")
        .http("web", &hcm, "- {match: {prefix: /}, route: {cluster: a}}")
        .top("node: {id: node-1, cluster: cluster-1}")
        .render(&[("a", upstream.port), ("als", port)], "");
    let process = Process::start(Program::Sampan, &config, dir.path(), &[]);
    (process, upstream, port, dir)
}

#[test]
fn entries_wait_for_a_service_that_comes_late() {
    let (process, _upstream, port, _dir) = waiting(&format!("buffer_size_bytes: 0, {RETRY}"));
    let mut wire = connect(process.port("web")).unwrap();
    for i in 0..50 {
        assert!(get(&mut wire, &format!("/{i}")).is_some(), "requests are served meanwhile");
    }
    let service = AccessLogService::start_at(port, 0);
    let told = service.await_told(PATIENCE, |told| entries(told).len() >= 50);
    let paths: Vec<_> = entries(&told.unwrap())
        .iter()
        .map(|(_, entry)| entry["request"]["path"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(paths, (0..50).map(|i| format!("/{i}")).collect::<Vec<_>>(), "all of them, in order");
    let counted = poll(PATIENCE, || {
        let (_, text) = process.admin("GET", "/stats?filter=grpc_access_log.logs_written");
        text.contains(": 50").then_some(())
    });
    assert!(counted.is_some());
}

#[test]
fn a_stream_that_is_refused_is_opened_again() {
    let (process, _upstream, port, _dir) = waiting(&format!("buffer_size_bytes: 0, {RETRY}"));
    let service = AccessLogService::start_at(port, 3);
    let mut wire = connect(process.port("web")).unwrap();
    // What is on a stream when it breaks is lost, so requests are made until one is told of.
    let told = poll(PATIENCE, || {
        assert!(get(&mut wire, "/").is_some());
        Some(service.told()).filter(|told| !told.is_empty())
    });
    assert!(told.unwrap()[0].stream >= 4 && told_of(&service).contains("node-1"));
}

fn told_of(service: &AccessLogService) -> String {
    identifiers(&service.told()).into_iter().collect()
}

#[test]
fn what_is_left_is_sent_when_the_proxy_ends() {
    let (mut process, _upstream, port, _dir) = waiting("buffer_flush_interval: 3600s");
    let service = AccessLogService::start_at(port, 0);
    let mut wire = connect(process.port("web")).unwrap();
    assert!(get(&mut wire, "/last").is_some());
    drop(wire);
    assert!(service.told().is_empty());
    process.signal(rustix::process::Signal::TERM);
    assert!(process.await_exit(Duration::from_secs(20)).is_some_and(|status| status.success()));
    assert_eq!(entries(&service.told()).len(), 1);
}
