//! Kinds of resources besides the four of every mesh: scoped routes, discovered filters, virtual hosts on demand, runtime layers. And
//! what connections notice when their listener changes. Each case is played with Envoy too, and asks the same of both.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Write as _;
use std::time::Duration;

use sampan_tests::harness::invoke::programs;
use sampan_tests::harness::process::Program;
use sampan_tests::harness::solo::connect;
use sampan_tests::harness::wire::{Message, Wire};
use sampan_tests::harness::xds::bootstrap::Way;
use sampan_tests::harness::xds::mesh::Mesh;
use sampan_tests::harness::xds::{Resource, sample, types};
use sampan_tests::harness::{PATIENCE, poll};

const HCM: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "{name: router, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}";
const MUTATION: &str = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation";

fn each(ways: &[Way], case: impl Fn(Program, &Mesh)) {
    for program in programs() {
        for way in ways {
            let mesh = Mesh::start(program, *way);
            mesh.await_status(200);
            case(program, &mesh);
        }
    }
}

/// A listener whose connection manager has these fields besides its prefix.
fn http_listener(name: &str, fields: &str) -> Resource {
    let filter = format!("{{name: http, typed_config: {{\"@type\": {HCM}, stat_prefix: {name}, {fields}}}}}");
    sample::listener_with(name, "", &format!("[{{filters: [{filter}]}}]"))
}

/// One request on a connection.
fn ask(wire: &mut Wire, host: &str, headers: &str) -> Option<Message> {
    wire.stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n").as_bytes()).ok()?;
    let mut message = wire.head().ok()?;
    wire.body(&mut message, true, false);
    Some(message)
}

/// The answer to a request on a connection of its own.
fn answer(mesh: &Mesh, listener: &str, host: &str, headers: &str) -> Option<Message> {
    let mut wire = connect(mesh.process.await_port(listener, PATIENCE)?)?;
    ask(&mut wire, host, headers)
}

/// Asks until the status is the wanted one.
fn becomes(mesh: &Mesh, listener: &str, host: &str, headers: &str, wanted: u16) {
    let mut last = None;
    let found = poll(PATIENCE, || {
        last = answer(mesh, listener, host, headers).map(|message| message.status());
        (last == Some(wanted)).then_some(())
    });
    assert!(
        found.is_some(),
        "{last:?} instead of {wanted} for {headers:?}:\n{}\n{}",
        mesh.process.stderr(),
        mesh.plane.transcript()
    );
}

fn scope(name: &str, routes: &str, key: &str) -> Resource {
    Resource::yaml(
        types::SCOPED_ROUTE,
        &format!(
            "name: {name}\nroute_configuration_name: {routes}\nkey: {{fragments: [{{string_key: {key}}}]}}\n"
        ),
    )
}

fn direct(name: &str, status: u16) -> Resource {
    sample::routes(name, &[&format!("{{match: {{prefix: /}}, direct_response: {{status: {status}}}}}")])
}

#[test]
fn scopes_choose_the_routes() {
    each(&[Way::Ads, Way::DeltaAds], |_, mesh| {
        let source = mesh.source(types::ROUTE);
        let fields = format!(
            "scoped_routes: {{name: s, scope_key_builder: {{fragments: [{{header_value_extractor: {{name: x-scope, \
             element_separator: ';', element: {{separator: '=', key: team}}}}}}]}}, rds_config_source: {source}, \
             scoped_rds: {{scoped_rds_config_source: {source}}}}}, http_filters: [{ROUTER}]"
        );
        mesh.plane.put(types::ROUTE, [direct("red", 201), direct("blue", 202)]);
        mesh.plane.set(types::SCOPED_ROUTE, [scope("one", "red", "r"), scope("two", "blue", "b")]);
        mesh.plane.put(types::LISTENER, [http_listener("scoped", &fields)]);
        becomes(mesh, "scoped", "x", "x-scope: a=1;team=r\r\n", 201);
        becomes(mesh, "scoped", "x", "x-scope: team=b\r\n", 202);
        becomes(mesh, "scoped", "x", "x-scope: team=c\r\n", 404);
        becomes(mesh, "scoped", "x", "", 404);
        // A scope moves to other routes, and one goes.
        let version = mesh.plane.set(types::SCOPED_ROUTE, [scope("one", "blue", "r")]);
        mesh.plane.await_ack(types::SCOPED_ROUTE, &version);
        becomes(mesh, "scoped", "x", "x-scope: team=r\r\n", 202);
        becomes(mesh, "scoped", "x", "x-scope: team=b\r\n", 404);
        // Two scopes with one key contradict each other; what was in force stays.
        let version = mesh.plane.put(types::SCOPED_ROUTE, [scope("three", "red", "r")]);
        let reason = mesh.plane.await_nack(types::SCOPED_ROUTE, &version);
        assert!(reason.contains("scope key conflict"), "{reason}");
        becomes(mesh, "scoped", "x", "x-scope: team=r\r\n", 202);
        mesh.await_status(200);
    });
}

fn mutation(value: &str) -> Resource {
    let change = format!(
        "{{append: {{header: {{key: x-found, value: {value}}}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}}}"
    );
    Resource::yaml(
        types::EXTENSION,
        &format!(
            "name: found\ntyped_config: {{\"@type\": {MUTATION}, mutations: {{response_mutations: [{change}]}}}}\n"
        ),
    )
}

#[test]
fn discovered_filters_hold_for_the_next_request() {
    each(&[Way::Ads, Way::DeltaAds], |_, mesh| {
        let source = mesh.source(types::EXTENSION);
        let fields = format!(
            "rds: {{route_config_name: main, config_source: {source}}}, http_filters: [{{name: found, config_discovery: \
             {{config_source: {source}, type_urls: [{MUTATION}]}}}}, {ROUTER}]"
        );
        mesh.plane.set(types::EXTENSION, [mutation("one")]);
        mesh.plane.put(types::LISTENER, [http_listener("filtered", &fields)]);
        becomes(mesh, "filtered", "x", "", 200);
        let port = mesh.process.await_port("filtered", PATIENCE).unwrap();
        let mut wire = connect(port).unwrap();
        let found = |wire: &mut Wire| Some(ask(wire, "x", "")?.header("x-found")?.to_owned());
        assert_eq!(found(&mut wire).as_deref(), Some("one"));
        mesh.plane.set(types::EXTENSION, [mutation("two")]);
        let mut last = None;
        let changed = poll(PATIENCE, || {
            last = found(&mut wire);
            (last.as_deref() == Some("two")).then_some(())
        });
        assert!(changed.is_some(), "on the same connection: {last:?}");
        // A configuration of another type is refused, and the good one stays.
        let other = Resource::yaml(
            types::EXTENSION,
            "name: found\ntyped_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}\n",
        );
        let version = mesh.plane.set(types::EXTENSION, [other]);
        mesh.plane.await_nack(types::EXTENSION, &version);
        assert_eq!(found(&mut wire).as_deref(), Some("two"));
    });
}

#[test]
fn a_filter_that_never_comes_uses_its_default_or_lets_nothing_pass() {
    each(&[Way::Ads], |_, mesh| {
        let source = "{resource_api_version: V3, ads: {}, initial_fetch_timeout: 0.2s}";
        let fields = |default: &str| {
            format!(
                "rds: {{route_config_name: main, config_source: {source}}}, http_filters: [{{name: nowhere, \
                 config_discovery: {{config_source: {source}, type_urls: [{MUTATION}]{default}}}}}, {ROUTER}]"
            )
        };
        let default = format!(", default_config: {{\"@type\": {MUTATION}}}");
        mesh.plane.put(
            types::LISTENER,
            [http_listener("default", &fields(&default)), http_listener("missing", &fields(""))],
        );
        becomes(mesh, "default", "x", "", 200);
        becomes(mesh, "missing", "x", "", 500);
    });
}

#[test]
fn virtual_hosts_come_when_a_request_asks_for_them() {
    each(&[Way::DeltaAds], |_, mesh| {
        let source = mesh.source(types::VIRTUAL_HOST);
        let on_demand = "{name: on_demand, typed_config: {\"@type\": \
                         type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.OnDemand}}";
        let fields = format!(
            "rds: {{route_config_name: demand, config_source: {source}}}, http_filters: [{on_demand}, {ROUTER}]"
        );
        let routes = Resource::yaml(
            types::ROUTE,
            &format!(
                "name: demand\nvhds: {{config_source: {source}}}\nvirtual_hosts: [{{name: known, domains: [known], routes: \
                 [{{match: {{prefix: /}}, direct_response: {{status: 201}}}}]}}]\n"
            ),
        );
        let host = |name: &str, status: u16| {
            let yaml = format!(
                "name: demand/{name}\ndomains: [{name}]\nroutes: [{{match: {{prefix: /}}, direct_response: {{status: \
                 {status}}}}}]\n"
            );
            Resource::yaml(types::VIRTUAL_HOST, &yaml)
        };
        mesh.plane.put(types::ROUTE, [routes]);
        mesh.plane.set(types::VIRTUAL_HOST, [host("asked", 202), host("later", 203)]);
        mesh.plane.put(types::LISTENER, [http_listener("demand", &fields)]);
        becomes(mesh, "demand", "known", "", 201);
        let first = answer(mesh, "demand", "asked", "").map(|message| message.status());
        assert_eq!(
            first,
            Some(202),
            "the first request waits for its virtual host:\n{}",
            mesh.plane.transcript()
        );
        assert_eq!(answer(mesh, "demand", "later", "").map(|message| message.status()), Some(203));
        mesh.plane.put(types::VIRTUAL_HOST, [host("asked", 204)]);
        becomes(mesh, "demand", "asked", "", 204);
        becomes(mesh, "demand", "known", "", 201);
    });
}

#[test]
fn runtime_layers_are_discovered() {
    for program in programs() {
        let mesh = Mesh::start_with(program, Way::Ads, &["--config-yaml", RUNTIME_LAYERS]);
        let layer = |numerator: u32| {
            Resource::yaml(
                types::RUNTIME,
                &format!("name: first\nlayer: {{share: {{numerator: {numerator}, denominator: HUNDRED}}}}\n"),
            )
        };
        mesh.plane.set(types::RUNTIME, [layer(0)]);
        let route = "{match: {prefix: /, runtime_fraction: {default_value: {numerator: 100}, runtime_key: share}}, \
                     direct_response: {status: 201}}";
        mesh.plane.set(
            types::ROUTE,
            [sample::routes("main", &[route, "{match: {prefix: /}, direct_response: {status: 202}}"])],
        );
        mesh.await_status(202);
        mesh.plane.set(types::RUNTIME, [layer(100)]);
        mesh.await_status(201);
        let (_, shown) = mesh.process.admin("GET", "/runtime");
        assert!(shown.contains("share"), "{shown}");
    }
}

const RUNTIME_LAYERS: &str = "layered_runtime: {layers: [{name: discovered, rtds_layer: {name: first, rtds_config: \
                              {resource_api_version: V3, ads: {}}}}]}";

/// A listener with two chains by port of the client's choice is not at hand on loopback, so by source range.
fn two_chains(status: u16) -> Resource {
    let chain = |name: &str, matching: &str, status: u16| {
        format!(
            "{{name: {name}, {matching}filters: [{{name: http, typed_config: {{\"@type\": {HCM}, stat_prefix: {name}, \
             route_config: {{name: {name}, virtual_hosts: [{{name: all, domains: ['*'], routes: [{{match: {{prefix: /}}, \
             direct_response: {{status: {status}}}}}]}}]}}, http_filters: [{ROUTER}]}}}}]}}"
        )
    };
    let local = "filter_chain_match: {source_prefix_ranges: [{address_prefix: 127.0.0.9, prefix_len: 32}]}, ";
    sample::listener_with(
        "chains",
        "",
        &format!("[{}, {}]", chain("kept", local, 201), chain("new", "", status)),
    )
}

/// Connects from a loopback address.
fn connect_from(source: [u8; 4], port: u16) -> Wire {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
    Wire::new(socket.into(), PATIENCE)
}

/// The answer with which a connection is asked to leave. One worker serves by the new configuration before every one has it, and connections
/// leave only then: until it comes, every answer is of what the connection started with.
fn last_answer(client: &mut Wire, status: u16) -> Option<Message> {
    poll(PATIENCE, || {
        let answer = ask(client, "x", "").expect("a connection finishes on what it started with");
        assert_eq!(answer.status(), status);
        (answer.header("connection") == Some("close")).then_some(answer)
    })
}

/// Only the connections of the chain that changed are asked to leave, and they finish what they began.
#[test]
fn a_change_drains_the_chain_that_changed() {
    for program in programs() {
        let arguments = ["--drain-time-s", "600", "--drain-strategy", "immediate"];
        let mesh = Mesh::start_with(program, Way::DeltaAds, &arguments);
        mesh.await_status(200);
        mesh.plane.put(types::LISTENER, [two_chains(202)]);
        becomes(&mesh, "chains", "x", "", 202);
        let port = mesh.process.await_port("chains", PATIENCE).unwrap();
        let (mut kept, mut leaving) =
            (connect_from([127, 0, 0, 9], port), connect_from([127, 0, 0, 1], port));
        let status = |message: Option<Message>| message.map(|message| message.status());
        assert_eq!(status(ask(&mut kept, "x", "")), Some(201));
        assert_eq!(status(ask(&mut leaving, "x", "")), Some(202));
        mesh.plane.put(types::LISTENER, [two_chains(203)]);
        becomes(&mesh, "chains", "x", "", 203);
        let asked = last_answer(&mut leaving, 202);
        assert!(asked.is_some(), "{program:?}: the chain's connection is not asked to leave");
        let next = ask(&mut kept, "x", "").unwrap();
        assert_eq!((next.status(), next.header("connection")), (201, None), "{program:?}");
        assert_eq!(mesh.process.await_port("chains", PATIENCE), Some(port), "the socket stays");
        // Gone for new clients; who is connected finishes.
        mesh.plane.remove(types::LISTENER, &["chains"]);
        let closed = poll(PATIENCE, || connect(port).is_none().then_some(()));
        assert!(closed.is_some(), "{program:?}: the port of a removed listener is still open");
        let asked = last_answer(&mut kept, 201);
        assert!(asked.is_some(), "{program:?}: the listener's connection is not asked to leave");
        mesh.await_status(200);
    }
}

/// What changed is told field by field, with the versions; and what waits is told with what it waits for.
#[test]
fn generations_and_what_is_awaited() {
    let mesh = Mesh::start(Program::Sampan, Way::DeltaAds);
    mesh.await_status(200);
    let fetch = |path: &str| -> serde_json::Value {
        let (status, body) = mesh.process.admin("GET", path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    };
    let before = fetch("/generations")["current"].as_u64().unwrap();
    let version = mesh.plane.put(types::ROUTE, [direct("main", 418)]);
    mesh.plane.await_ack(types::ROUTE, &version);
    mesh.await_status(418);
    let diff = fetch(&format!("/generations/diff?from={before}"));
    let change = &diff["changes"][0];
    assert_eq!((&change["type"], &change["name"]), (&"route configuration".into(), &"main".into()), "{diff}");
    let paths: Vec<&str> =
        change["fields"].as_array().unwrap().iter().filter_map(|field| field["path"].as_str()).collect();
    assert!(
        paths.contains(&"virtual_hosts[0].routes[0].direct_response"),
        "the field that changed is named: {paths:?}"
    );
    assert_eq!(mesh.process.admin("GET", "/generations/diff?from=99999").0, 404);
    // A cluster whose endpoints do not come is shown to wait.
    mesh.plane.put(types::CLUSTER, [mesh.eds_cluster("waiting")]);
    let awaited = poll(Duration::from_secs(10), || {
        let dump = fetch("/init_dump");
        dump.to_string().contains("ClusterLoadAssignment waiting from ads").then_some(())
    });
    assert!(awaited.is_some(), "{}", fetch("/init_dump"));
    let dump = fetch("/config_dump?resource=dynamic_warming_clusters");
    assert_eq!(dump["configs"][0]["cluster"]["name"], "waiting", "{dump}");
}
