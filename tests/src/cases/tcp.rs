//! The TCP proxy and the small network filters: half-close, timeouts, failures, cluster choice.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::raw::Talk::{self, AwaitClose, AwaitUpstream, Fin, ReadBytes, ReadToEnd, Reset};
use crate::harness::upstream::Play::AtAccept;
use crate::harness::upstream::Step;

/// TCP.
pub fn group() -> Group {
    Group { name: "tcp", bootstrap: bootstrap(), cases: cases() }
}

fn bootstrap() -> Bootstrap {
    Bootstrap::new()
        .tcp("echo", "cluster: tcp")
        .tcp("refused", "cluster: refused")
        .tcp("refused-thrice", "cluster: refused\nmax_connect_attempts: 3")
        .tcp("blackhole", "cluster: blackhole")
        .tcp("empty", "cluster: empty")
        .tcp("nowhere", "cluster: nowhere")
        .tcp("weighted", "weighted_clusters: {clusters: [{name: tcp, weight: 1}, {name: tcp-one, weight: 1}]}")
        .tcp("idle", "cluster: tcp\nidle_timeout: 0.1s")
        .tcp("short", "cluster: tcp\nmax_downstream_connection_duration: 0.1s")
        .tcp("few", "cluster: tcp-one")
        .cluster("tcp-one", "tcp", "circuit_breakers: {thresholds: [{max_connections: 1, max_pending_requests: 1}]}")
        .network("net-echo", "echo", "\"@type\": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo")
        .network(
            "net-direct",
            "direct_response",
            "\"@type\": type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config\nresponse: {inline_string: go away}",
        )
        .listener(
            r#"
- name: limited
  address: {socket_address: {address: 127.0.0.1, port_value: 0}}
  filter_chains:
  - filters:
    - name: connection_limit
      typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit, stat_prefix: limited, max_connections: 1}
    - name: echo
      typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}
"#,
        )
}

fn say(text: &str) -> Talk {
    Talk::Send(text.into())
}

fn play(name: &'static str, listener: &'static str, steps: Vec<Step>, talk: Vec<Talk>) -> Case {
    case(name, listener).play("tcp", AtAccept(steps)).talk(talk).logs(1)
}

fn cases() -> Vec<Case> {
    let failing =
        |name, listener| case(name, listener).talk([AwaitClose]).logs(1).want("end", "closed").absent("up");
    let polite = || vec![say("hello"), ReadBytes(5), Fin, ReadToEnd];
    vec![
        case("echo", "echo")
            .talk(polite())
            .logs(1)
            .want("raw", "hello")
            .want("2.end", "eof")
            .want("up:raw", "hello")
            .want("log.received", 5)
            .want("log.sent", 5)
            .want("log.cluster", "tcp")
            .flags("-"),
        play(
            "client-half-closes-first",
            "echo",
            vec![Step::ReceiveAll, Step::Send(b"answer".to_vec()), Step::Close],
            vec![say("question"), Fin, ReadToEnd],
        )
        .want("raw", "answer")
        .want("end", "eof")
        .want("up:raw", "question"),
        play(
            "upstream-half-closes-first",
            "echo",
            vec![Step::Send(b"bye".to_vec()), Step::Fin, Step::ReceiveAll],
            vec![ReadToEnd, say("late"), Fin],
        )
        .want("raw", "bye")
        .want("end", "eof")
        .ignore("up:raw")
        .ignore("log.received"),
        play("upstream-resets", "echo", vec![Step::Receive(1), Step::Reset], vec![say("x"), AwaitClose])
            .want("end", "closed"),
        play("client-resets", "echo", vec![Step::ReceiveAll], vec![say("x"), AwaitUpstream(1), Reset])
            .ignore("up")
            .ignore("log.received"),
        play(
            "upstream-speaks-first",
            "echo",
            vec![Step::Send(b"banner".to_vec()), Step::ReceiveAll],
            vec![ReadBytes(6), Fin, ReadToEnd],
        )
        .want("raw", "banner"),
        case("big", "echo")
            .talk([Talk::Send(vec![b'x'; 300_000]), ReadBytes(300_000), Fin, ReadToEnd])
            .logs(1)
            .want("log.sent", 300_000),
        failing("connect-refused", "refused").flags("UF,URX"),
        failing("connect-refused-thrice", "refused-thrice").flags("UF,URX"),
        failing("connect-timeout", "blackhole"),
        failing("no-hosts", "empty").flags("UH"),
        failing("no-cluster", "nowhere").flags("NC"),
        case("weighted", "weighted")
            .talk(polite())
            .logs(1)
            .want("raw", "hello")
            .want("up", "tcp")
            .ignore("log.cluster"),
        case("idle-timeout", "idle")
            .talk([say("hello"), ReadBytes(5), AwaitClose])
            .logs(1)
            .want("2.end", "closed"),
        case("max-duration", "short")
            .talk([say("hello"), ReadBytes(5), AwaitClose])
            .logs(1)
            .want("2.end", "closed"),
        case("connection-overflow", "few")
            .on(0, [say("hello"), ReadBytes(5)])
            .on(1, [say("x"), AwaitClose])
            .on(0, [Fin, ReadToEnd])
            .logs(2)
            .want("raw", "hello")
            .want("2.end", "closed")
            .flags("UO"),
        case("network-echo", "net-echo").talk(polite()).logs(0).want("raw", "hello"),
        case("network-direct-response", "net-direct").talk([ReadToEnd]).logs(0).want("raw", "go away"),
        case("network-connection-limit", "limited")
            .on(0, [say("hello"), ReadBytes(5)])
            .on(1, [AwaitClose])
            .logs(0)
            .want("raw", "hello")
            .want("2.end", "closed"),
    ]
}
