//! Active health checks.

use std::io::{Read, Write};
use std::net::TcpListener;

use sampan_tests::harness::invoke::programs;
use sampan_tests::harness::process::Program;
use sampan_tests::harness::upstream::refused::Refused;
use sampan_tests::harness::{PATIENCE, poll};

use super::backend::{Backend, Proxy, endpoint, locality};

/// What one program showed, which the other must show as well.
fn both(play: impl Fn(Program) -> Vec<String>) {
    let shown: Vec<_> = programs().into_iter().map(play).collect();
    assert!(!shown[0].is_empty());
    if let [envoy, sampan] = shown.as_slice() {
        assert_eq!(envoy, sampan);
    }
}

/// A cluster's check, often enough for a test.
fn checks(kind: &str, more: &str) -> String {
    format!(
        "health_checks: [{{timeout: 1s, interval: 0.05s, no_traffic_interval: 0.05s, unhealthy_threshold: 2, healthy_threshold: 2, {more}{kind}}}]"
    )
}

fn http(fields: &str) -> String {
    format!("http_health_check: {{path: /health, {fields}}}")
}

const PLAIN: &str = "http_health_check: {path: /health}";

#[test]
fn a_host_that_fails_is_left_alone_until_it_passes() {
    both(|program| {
        let (a, b) = (Backend::start("a"), Backend::start("b"));
        let endpoints = format!("{}, {}", locality(0, &[a.port]), locality(1, &[b.port]));
        let proxy = Proxy::start(program, &checks(PLAIN, ""), &endpoints);
        // Before the start every host was checked once.
        let mut facts = vec![proxy.flags(a.port), proxy.flags(b.port)];
        proxy.await_stat("health_check.healthy", 2);
        facts.extend(proxy.bodies(1));
        a.health(503);
        proxy.await_flags(a.port, "/failed_active_hc");
        proxy.await_stat("health_check.healthy", 1);
        proxy.await_stat("membership_healthy", 1);
        facts.extend(proxy.bodies(2));
        a.health(200);
        proxy.await_flags(a.port, "healthy");
        // Envoy hands changes that follow one another closely to its workers together.
        assert!(poll(PATIENCE, || (proxy.get().1 == "a").then_some(())).is_some());
        facts.push(a.asked());
        let stats = proxy.stats("health_check");
        let count = |name: &str| stats.get(&format!("cluster.c.health_check.{name}")).copied().unwrap_or(0);
        facts.push(format!(
            "network failures {}, passive ones {}",
            count("network_failure"),
            count("passive_failure")
        ));
        assert!(count("attempt") > 5 && count("success") > 5 && count("failure") > 0, "{stats:?}");
        facts
    });
}

#[test]
fn a_host_that_cannot_be_reached_fails() {
    both(|program| {
        let (refused, b) = (Refused::new(), Backend::start("b"));
        let endpoints = format!("{}, {}", locality(0, &[refused.port]), locality(1, &[b.port]));
        let proxy = Proxy::start(program, &checks(PLAIN, ""), &endpoints);
        let mut facts = vec![proxy.flags(refused.port)];
        facts.extend(proxy.bodies(2));
        let counted = || proxy.stats("health_check").get("cluster.c.health_check.network_failure").copied();
        assert!(poll(PATIENCE, || counted().filter(|count| *count > 1)).is_some());
        facts
    });
}

#[test]
fn statuses_hosts_paths_and_headers() {
    let check = http(
        "host: some.where, method: POST, expected_statuses: [{start: 200, end: 202}, {start: 404, end: 405}], \
         request_headers_to_add: [{header: {key: x-a, value: one}}, {header: {key: user-agent, value: me}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]",
    );
    both(|program| {
        let a = Backend::start("a");
        let proxy = Proxy::start(program, &checks(&check, ""), &locality(0, &[a.port]));
        let mut facts = vec![proxy.flags(a.port), sorted(&a.asked())];
        for (status, flags) in
            [(500, "/failed_active_hc"), (201, "healthy"), (403, "/failed_active_hc"), (404, "healthy")]
        {
            a.health(status);
            proxy.await_flags(a.port, flags);
            facts.push(flags.to_owned());
        }
        facts
    });
}

/// A head with its lines in an order of its own.
fn sorted(head: &str) -> String {
    let mut lines: Vec<&str> = head.lines().filter(|line| !line.starts_with("content-length")).collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[test]
fn a_host_may_say_that_it_is_degraded_or_to_be_left_alone_at_once() {
    both(|program| {
        let (a, b) = (Backend::start("a"), Backend::start("b"));
        let proxy = Proxy::start(program, &checks(PLAIN, ""), &locality(0, &[a.port, b.port]));
        let mut facts = Vec::new();
        a.health_headers("x-envoy-degraded: true\r\n");
        proxy.await_flags(a.port, "/degraded_active_hc");
        proxy.await_stat("membership_degraded", 1);
        proxy.await_stat("health_check.degraded", 1);
        a.health_headers("x-envoy-immediate-health-check-fail: true\r\n");
        proxy.await_flags(a.port, "healthy");
        a.health(503);
        let failed =
            poll(PATIENCE, || Some(proxy.flags(a.port)).filter(|flags| flags.contains("/failed_active_hc")));
        facts.push(failed.unwrap_or_default());
        a.health_headers("");
        a.health(200);
        proxy.await_flags(a.port, "healthy");
        facts.push("healthy again".into());
        facts
    });
}

#[test]
fn a_host_may_say_in_any_response_that_it_fails() {
    both(|program| {
        let (a, b) = (Backend::start("a"), Backend::start("b"));
        let endpoints = format!("{}, {}", locality(0, &[a.port]), locality(1, &[b.port]));
        // The checks, which it passes, come too late to undo it before it was seen.
        let seldom = checks(PLAIN, "").replace("0.05s", "2s");
        let proxy = Proxy::start(program, &seldom, &endpoints);
        proxy.await_stat("health_check.healthy", 2);
        a.headers("x-envoy-immediate-health-check-fail: true\r\n");
        let mut facts = proxy.bodies(1);
        proxy.await_flags(a.port, "/failed_active_hc/excluded_via_immediate_hc_fail");
        proxy.await_stat("membership_excluded", 1);
        proxy.await_stat("health_check.passive_failure", 1);
        proxy.await_stat("health_check.failure", 1);
        facts.extend(proxy.bodies(2));
        a.headers("");
        proxy.await_flags(a.port, "healthy");
        facts.extend(proxy.bodies(1));
        facts
    });
}

#[test]
fn ports_and_names_of_endpoints_and_hosts_that_are_not_checked() {
    both(|program| {
        let (a, side, c) = (Backend::start("a"), Backend::start("side"), Backend::start("c"));
        side.health(200);
        a.health(500);
        c.health(500);
        let own = format!(", health_check_config: {{port_value: {}, hostname: of.its.own}}", side.port);
        let unchecked = ", health_check_config: {disable_active_health_check: true}";
        let hosts = endpoint(a.port, &own) + &endpoint(c.port, unchecked);
        let proxy = Proxy::start(program, &checks(PLAIN, ""), &format!("{{lb_endpoints: [{hosts}]}}"));
        let mut facts = vec![proxy.flags(a.port), proxy.flags(c.port), side.asked(), c.asked()];
        side.health(500);
        proxy.await_flags(a.port, "/failed_active_hc");
        facts.push(proxy.flags(c.port));
        facts
    });
}

#[test]
fn connections_are_reused_or_not() {
    for reuse in ["true", "false"] {
        both(|program| {
            let a = Backend::start("a");
            let more = format!("reuse_connection: {reuse}, ");
            let proxy = Proxy::start(program, &checks(PLAIN, &more), &locality(0, &[a.port]));
            let success = || proxy.stats("health_check").get("cluster.c.health_check.success").copied();
            assert!(poll(PATIENCE, || success().filter(|count| *count >= 5)).is_some());
            vec![format!("many connections: {}", a.connections() > 2)]
        });
    }
}

/// A TCP server that greets and answers.
fn tcp_server(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut asked = [0; 4];
            if stream.read_exact(&mut asked).is_ok() && &asked == b"ping" {
                stream.write_all(answer).ok();
                stream.read_exact(&mut [0]).ok();
            }
        }
    });
    port
}

#[test]
fn bytes_over_tcp() {
    both(|program| {
        let (right, wrong) = (tcp_server(b"..po--ng"), tcp_server(b"ng po"));
        let refused = Refused::new();
        let kind = "tcp_health_check: {send: {text: 70696e67}, receive: [{text: 706f}, {text: 6e67}]}"
            .replace("text: 70696e67", "text: \"70696e67\"");
        let check = checks(&kind, "").replace("timeout: 1s", "timeout: 0.2s");
        let proxy = Proxy::start(program, &check, &locality(0, &[right, wrong, refused.port]));
        // Whose bytes never match is waited for until the timeout.
        proxy.await_flags(wrong, "/failed_active_hc/active_hc_timeout");
        let mut facts = vec![proxy.flags(right), proxy.flags(refused.port)];
        let connect =
            Proxy::start(program, &checks("tcp_health_check: {}", ""), &locality(0, &[right, refused.port]));
        facts.extend([connect.flags(right), connect.flags(refused.port)]);
        facts
    });
}
