//! Bad input from the control plane, row by row: what Sampan must do, by state of the world and by delta. Envoy plays along where it does
//! the same; where it does not, what it does is in the comment, and only Sampan is held to the claim.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use sampan_tests::harness::invoke::programs;
use sampan_tests::harness::process::Program;
use sampan_tests::harness::solo::{connect, get};
use sampan_tests::harness::upstream::{Gate, Play, Step};
use sampan_tests::harness::xds::bootstrap::Way;
use sampan_tests::harness::xds::mesh::Mesh;
use sampan_tests::harness::xds::{ANSWER, Happened, Resource, sample, types};
use sampan_tests::harness::{PATIENCE, poll};

/// Plays a case with each program by both variants of ADS, from a mesh that serves.
fn each(case: impl Fn(Program, &Mesh)) {
    each_with(&[], case);
}

fn each_with(arguments: &[&str], case: impl Fn(Program, &Mesh)) {
    for program in programs() {
        for way in [Way::Ads, Way::DeltaAds] {
            let mesh = Mesh::start_with(program, way, arguments);
            mesh.await_status(200);
            for type_url in [types::CLUSTER, types::ENDPOINT, types::LISTENER, types::ROUTE] {
                mesh.plane.await_ack(type_url, "1");
            }
            case(program, &mesh);
        }
    }
}

/// The clusters that the proxy has.
fn has_cluster(mesh: &Mesh, name: &str) -> bool {
    let (_, body) = mesh.process.admin("GET", "/clusters");
    body.lines().any(|line| line.split("::").next() == Some(name))
}

fn await_cluster(mesh: &Mesh, name: &str) -> bool {
    poll(PATIENCE, || has_cluster(mesh, name).then_some(())).is_some()
}

/// Refused with each of the names in the reason, and traffic as before.
fn refused_naming(program: Program, mesh: &Mesh, type_url: &str, version: &str, names: &[&str]) {
    let error = mesh.plane.await_nack(type_url, version);
    for name in names {
        assert!(
            error.contains(name) || program == Program::Envoy,
            "{:?}: {name} is not named: {error}",
            mesh.way
        );
    }
    mesh.await_status(200);
}

/// A cluster with bytes that are no cluster. Envoy refuses the update without the name.
#[test]
fn a_resource_that_cannot_be_parsed() {
    each(|program, mesh| {
        let garbage = Resource::raw("garbled", types::CLUSTER, vec![0xff; 64]);
        let version = mesh.plane.put(types::CLUSTER, [garbage]);
        // State of the world has no name outside the resource, so there it can be told by its place only.
        let names: &[&str] = if mesh.way == Way::DeltaAds { &["garbled"] } else { &[] };
        refused_naming(program, mesh, types::CLUSTER, &version, names);
    });
}

/// Bytes that are no response have no nonce to refuse: the stream ends and comes back, and what was served goes on.
#[test]
fn a_response_that_cannot_be_parsed() {
    each(|_, mesh| {
        let before = mesh.plane.opened_streams();
        mesh.plane.send_bytes(types::CLUSTER, vec![0xff; 100]);
        let back = poll(ANSWER, || (mesh.plane.opened_streams() > before).then_some(()));
        assert!(back.is_some(), "the stream did not come back:\n{}", mesh.plane.transcript());
        mesh.await_status(200);
        let version = mesh.plane.put(types::CLUSTER, [sample::cluster("later", mesh.upstream.port)]);
        mesh.plane.await_ack(types::CLUSTER, &version);
        assert!(await_cluster(mesh, "later"));
    });
}

/// A file that cannot be parsed: what was read before goes on.
#[test]
fn a_file_that_cannot_be_parsed() {
    for program in programs() {
        let way = Way::Files;
        let dir = tempfile::tempdir().unwrap();
        let place = sampan_tests::harness::xds::bootstrap::Place::Port(1);
        let write = |type_url: &str, text: &str| {
            let file = way.file(type_url, dir.path());
            let part = file.with_extension("part");
            std::fs::write(&part, text).unwrap();
            std::fs::rename(part, file).unwrap();
        };
        let listener = |status: u16| {
            let hcm = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
            let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
            format!(
                "resources:\n- '@type': {}\n  name: web\n  address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n  \
                 filter_chains: [{{filters: [{{name: http, typed_config: {{'@type': {hcm}, stat_prefix: web, route_config: \
                 {{virtual_hosts: [{{name: all, domains: ['*'], routes: [{{match: {{prefix: /}}, direct_response: {{status: \
                 {status}}}}}]}}]}}, http_filters: [{{name: router, typed_config: {{'@type': {router}}}}}]}}}}]}}]\n",
                types::LISTENER
            )
        };
        write(types::CLUSTER, "resources: []\n");
        write(types::LISTENER, &listener(418));
        let config = way.bootstrap(&place, dir.path()).render(&[], "");
        let process = sampan_tests::harness::process::Process::launch(program, &config, dir.path(), &[]);
        let status = || {
            let port = process.await_port("web", PATIENCE)?;
            connect(port).and_then(|mut wire| get(&mut wire, "/")).map(|message| message.status())
        };
        let becomes = |wanted| poll(PATIENCE, || (status() == Some(wanted)).then_some(())).is_some();
        assert!(becomes(418), "{program:?}: {}", process.stderr());
        let failures = || process.stat("listener_manager.lds.update_failure").unwrap_or(0);
        let before = failures();
        write(types::LISTENER, "resources: [\n");
        let counted = poll(PATIENCE, || (failures() > before).then_some(()));
        assert!(counted.is_some(), "{program:?}: no failure was counted");
        assert!(becomes(418));
        write(types::LISTENER, &listener(204));
        assert!(becomes(204), "{program:?}: the next good file was not taken: {}", process.stderr());
    }
}

/// An extension nobody has beside a good listener. Envoy does the same.
#[test]
fn an_unknown_extension() {
    each(|program, mesh| {
        let chains = "[{filters: [{name: nobody.has.it, typed_config: {'@type': type.googleapis.com/google.protobuf.StringValue}}]}]";
        let bad = sample::listener_with("strange", "", chains);
        let version = mesh.plane.put(types::LISTENER, [bad, sample::direct_listener("good", 204)]);
        refused_naming(
            program,
            mesh,
            types::LISTENER,
            &version,
            &["strange", "nobody.has.it", "google.protobuf.StringValue"],
        );
        assert_eq!(mesh.status("good"), Some(204), "the good listener is not there");
    });
}

/// A type nobody knows inside a resource, and a resource of another type than the response's.
#[test]
fn a_resource_of_the_wrong_type() {
    each(|program, mesh| {
        let good = sample::cluster("good", mesh.upstream.port);
        let wrong =
            Resource::typed("wrong", &sampan_api::envoy::config::route::v3::RouteConfiguration::default());
        let list = vec![mesh.eds_cluster("a"), good, wrong];
        mesh.plane.send_listed(types::CLUSTER, "mixed", list, &[]);
        refused_naming(program, mesh, types::CLUSTER, "mixed", &["RouteConfiguration"]);
        assert!(program == Program::Envoy || await_cluster(mesh, "good"), "the good cluster was not applied");
        let unknown = Resource::raw("unknown", "type.googleapis.com/nobody.has.It", Vec::new());
        mesh.plane.send_listed(types::CLUSTER, "unknown", vec![mesh.eds_cluster("a"), unknown], &[]);
        refused_naming(program, mesh, types::CLUSTER, "unknown", &["nobody.has.It"]);
    });
}

/// Two bad clusters between two good ones: both are named, both good ones applied. Envoy stops at the first.
#[test]
fn a_rule_of_the_schema_broken_beside_good_resources() {
    each(|program, mesh| {
        let bad = |name: &str| {
            Resource::yaml(types::CLUSTER, &format!("name: {name}\ntype: STATIC\nconnect_timeout: 0s\n"))
        };
        let good = |name: &str| sample::cluster(name, mesh.upstream.port);
        let version =
            mesh.plane.put(types::CLUSTER, [bad("bad-1"), good("good-1"), bad("bad-2"), good("good-2")]);
        refused_naming(program, mesh, types::CLUSTER, &version, &["bad-1", "bad-2", "connect_timeout"]);
        if program == Program::Sampan {
            assert!(
                await_cluster(mesh, "good-1") && await_cluster(mesh, "good-2"),
                "good clusters were not applied"
            );
        }
        assert!(!has_cluster(mesh, "bad-1"));
    });
}

/// The path of the field, the value and the reason are in the refusal.
#[test]
fn a_refusal_says_where() {
    each(|program, mesh| {
        let routes = [
            "{match: {prefix: /a}, route: {cluster: a}}",
            "{match: {safe_regex: {regex: '('}}, route: {cluster: a}}",
        ];
        let version = mesh.plane.put(types::ROUTE, [sample::routes("main", &routes)]);
        let path = "virtual_hosts[0].routes[1].match.safe_regex.regex";
        refused_naming(program, mesh, types::ROUTE, &version, &["main", path]);
    });
}

/// One name twice: nothing of the update is applied. Envoy refuses it and has applied the first already.
#[test]
fn one_name_twice() {
    each(|program, mesh| {
        let twin = |port| sample::cluster("twin", port);
        let fresh = sample::cluster("fresh", mesh.upstream.port);
        let list = vec![mesh.eds_cluster("a"), fresh, twin(1), twin(2)];
        mesh.plane.send_listed(types::CLUSTER, "twins", list, &[]);
        refused_naming(program, mesh, types::CLUSTER, "twins", &["twin"]);
        let applied = has_cluster(mesh, "fresh") || has_cluster(mesh, "twin");
        assert!(program == Program::Envoy || !applied, "something of it was applied");
    });
}

/// A cluster with a field that the API does not have, as the next version of it may.
fn from_the_future(mesh: &Mesh) -> Resource {
    let mut resource = sample::cluster("future", mesh.upstream.port);
    // Field 20000, a varint.
    resource.body.value.extend([0x80, 0xe2, 0x09, 0x01]);
    resource
}

#[test]
fn an_unknown_field_is_accepted_and_counted() {
    each_with(&["--ignore-unknown-dynamic-fields"], |_, mesh| {
        let version = mesh.plane.put(types::CLUSTER, [from_the_future(mesh)]);
        mesh.plane.await_ack(types::CLUSTER, &version);
    });
    each(|program, mesh| {
        let version = mesh.plane.put(types::CLUSTER, [from_the_future(mesh)]);
        mesh.plane.await_ack(types::CLUSTER, &version);
        assert!(await_cluster(mesh, "future"));
        let count =
            poll(PATIENCE, || mesh.process.stat("server.dynamic_unknown_fields").filter(|count| *count > 0));
        assert!(count.is_some(), "{program:?} did not count the field");
    });
}

#[test]
fn an_unknown_field_is_refused_where_that_was_asked_for() {
    each_with(&["--reject-unknown-dynamic-fields"], |program, mesh| {
        let version = mesh.plane.put(types::CLUSTER, [from_the_future(mesh)]);
        refused_naming(program, mesh, types::CLUSTER, &version, &["future"]);
    });
}

#[test]
fn two_listeners_on_one_address() {
    each(|program, mesh| {
        let port = mesh.process.await_port("web", PATIENCE).expect("the listener is there");
        let twin = sample::listener_on("squatter", port, &mesh.source(types::ROUTE), "main");
        let same = sample::listener_on("fixed", port, &mesh.source(types::ROUTE), "main");
        let version = mesh.plane.put(types::LISTENER, [twin, same]);
        refused_naming(program, mesh, types::LISTENER, &version, &["squatter"]);
    });
}

#[test]
fn a_route_to_a_cluster_that_is_not_there() {
    each(|_, mesh| {
        let version = mesh.plane.put(types::ROUTE, [sample::route_to("main", "nowhere")]);
        mesh.plane.await_ack(types::ROUTE, &version);
        mesh.await_status(503);
        let version = mesh.plane.put(types::CLUSTER, [sample::cluster("nowhere", mesh.upstream.port)]);
        mesh.plane.await_ack(types::CLUSTER, &version);
        mesh.await_status(200);
    });
}

/// A request in flight finishes on the cluster and the listener it began with; the next finds neither.
#[test]
fn a_cluster_and_a_listener_removed_in_use() {
    each(|_, mesh| {
        let gate = Gate::default();
        let reply = Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate".to_vec());
        mesh.upstream.script([Play::AfterRequest(vec![Step::Wait(gate.clone()), reply])]);
        let port = mesh.process.await_port("web", PATIENCE).expect("the listener is there");
        let mut wire = connect(port).expect("a connection");
        std::io::Write::write_all(&mut wire.stream, b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        // The proxy's own counts do not do: a request sent on the connection that the script has just closed counts, and is sent again.
        let held = || {
            mesh.received.snapshot().iter().any(|it| it.message.line.starts_with("GET /held ")).then_some(())
        };
        assert!(poll(PATIENCE, held).is_some(), "the request is not with the upstream");
        let version = mesh.plane.set(types::CLUSTER, []);
        mesh.plane.await_ack(types::CLUSTER, &version);
        mesh.await_status(503);
        let version = mesh.plane.set(types::LISTENER, []);
        mesh.plane.await_ack(types::LISTENER, &version);
        // The socket closes when the drain time, one second here, is over.
        let closed = poll(PATIENCE, || connect(port).is_none().then_some(()));
        assert!(closed.is_some(), "the port of a removed listener still answers");
        gate.open();
        let mut message = wire.head().unwrap_or_else(|end| panic!("the request in flight was cut: {end:?}"));
        wire.body(&mut message, true, false);
        assert_eq!((message.status(), message.body.as_slice()), (200, &b"late"[..]));
    });
}

/// A source that gives up waiting after a second.
fn impatient(mesh: &Mesh) -> String {
    mesh.source(types::ROUTE).replacen('{', "{initial_fetch_timeout: 1s, ", 1)
}

/// Routes and endpoints that never come: the old version serves; then the new one is used as it is, and the time-out counted.
#[test]
fn routes_and_endpoints_that_never_come() {
    each(|program, mesh| {
        let listener = sample::listener("web", &impatient(mesh), "absent");
        mesh.plane.put(types::LISTENER, [listener]);
        let first = mesh.status("web");
        assert_eq!(first, Some(200), "{program:?}: the old listener stopped before the new one could serve");
        mesh.await_status(404);
        let cluster = sample::eds_cluster("void", &impatient(mesh), "");
        let version = mesh.plane.put(types::CLUSTER, [cluster]);
        mesh.plane.await_ack(types::CLUSTER, &version);
        let timeout = |name: &str| poll(PATIENCE, || mesh.process.stat(name).filter(|count| *count > 0));
        assert!(
            timeout("cluster.void.init_fetch_timeout").is_some(),
            "{program:?}: the endpoints' time-out is not counted"
        );
    });
}

/// A message over the cap of 64 MiB: the stream ends, what was served goes on, memory comes back. Envoy has no cap.
#[test]
fn a_message_over_the_cap() {
    each(|program, mesh| {
        let before = mesh.process.resident_kib();
        let huge = Resource::raw("huge", types::CLUSTER, vec![0; 66 << 20]);
        let streams = mesh.plane.opened_streams();
        mesh.plane.send_listed(types::CLUSTER, "huge", vec![mesh.eds_cluster("a"), huge], &[]);
        if program == Program::Sampan {
            let back = poll(ANSWER, || (mesh.plane.opened_streams() > streams).then_some(()));
            assert!(back.is_some(), "the stream goes on:\n{}", mesh.plane.transcript());
            let limit = before + 16 * 1024;
            let small =
                poll(Duration::from_secs(10), || (mesh.process.resident_kib() <= limit).then_some(()));
            assert!(small.is_some(), "{} KiB instead of {before}", mesh.process.resident_kib());
        }
        mesh.await_status(200);
    });
}

/// An empty list of clusters means none.
#[test]
fn an_empty_update_deletes_everything() {
    each(|_, mesh| {
        let version = mesh.plane.set(types::CLUSTER, []);
        mesh.plane.await_ack(types::CLUSTER, &version);
        mesh.await_status(503);
        assert!(!has_cluster(mesh, "a"));
    });
}

/// What was refused is not said to be known on the next stream, so the server sends it again.
#[test]
fn a_refused_resource_is_not_known_after_a_reconnection() {
    each(|_, mesh| {
        let bad = Resource::yaml(types::CLUSTER, "name: bad\ntype: STATIC\nconnect_timeout: 0s\n");
        let version = mesh.plane.put(types::CLUSTER, [bad]);
        mesh.plane.await_nack(types::CLUSTER, &version);
        let before = mesh.plane.conversation().len();
        mesh.plane.end_streams(14);
        let seen = mesh.plane.await_event("a request for clusters on a new stream", |events| {
            events[before.min(events.len())..].iter().find_map(|event| match event {
                Happened::Asked(seen) if seen.type_url == types::CLUSTER && seen.nonce.is_empty() => {
                    Some(seen.clone())
                }
                _ => None,
            })
        });
        match mesh.way {
            Way::DeltaAds => {
                assert_eq!(seen.initial_versions.get("a").map(String::as_str), Some("1"));
                assert!(!seen.initial_versions.contains_key("bad"), "{:?}", seen.initial_versions);
            }
            _ => assert_eq!(seen.version, "1"),
        }
        mesh.plane.await_event("the refusal again", |events| {
            let fresh = &events[before.min(events.len())..];
            let refused = |event: &Happened| matches!(event, Happened::Asked(seen) if seen.error.is_some());
            fresh.iter().any(refused).then_some(())
        });
    });
}

/// Five hundred updates at once: the last one wins.
#[test]
fn the_last_of_many_updates_wins() {
    // The answers are not waited for: so many at once may be more than the server's HTTP/2 library takes from one stream.
    each(|program, mesh| {
        for number in 0..500 {
            let status = if number == 499 { 204 } else { 400 + number % 50 };
            let route = format!("{{match: {{prefix: /}}, direct_response: {{status: {status}}}}}");
            mesh.plane.put(types::ROUTE, [sample::routes("main", &[&route])]);
            mesh.plane.put(types::CLUSTER, [sample::cluster("flips", 1 + u16::try_from(number).unwrap())]);
        }
        mesh.await_status(204);
        let host = "flips::127.0.0.1:500::";
        let found = poll(PATIENCE, || mesh.process.admin("GET", "/clusters").1.contains(host).then_some(()));
        assert!(found.is_some(), "{program:?}: not the last endpoints");
    });
}
