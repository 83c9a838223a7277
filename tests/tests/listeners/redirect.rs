//! Redirected connections in network namespaces: `original_dst` and the hand-off to listeners that do not bind, by iptables REDIRECT
//! and by TPROXY, for both families.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;

use sampan_tests::harness::PATIENCE;
use sampan_tests::harness::bootstrap::Bootstrap;
use sampan_tests::harness::netns::{Identity, Namespace, can_make_namespaces, join};
use sampan_tests::harness::poll;
use sampan_tests::harness::process::{Process, Program};

use crate::player::{chain, filter};

const SOMEBODY: Identity = Identity { uid: 5000, gid: 5000 };

/// A listener at an address, with more fields than its chains.
pub(crate) fn listener(name: &str, address: &str, port: u16, fields: &str) -> String {
    format!(
        "- {{name: {name}, address: {{socket_address: {{address: '{address}', port_value: {port}}}}}, {fields}}}"
    )
}

/// One that does not bind.
fn unbound(name: &str, address: &str, port: u16, fields: &str) -> String {
    listener(name, address, port, &format!("stat_prefix: {name}, bind_to_port: false, {fields}"))
}

fn says(text: &str) -> String {
    format!("filter_chains: [{}]", chain(text, ""))
}

/// Runs a program in a namespace and asks it from there; what was said, and how many connections each listener counted.
fn ask(
    program: Program,
    namespace: &Namespace,
    client: &Namespace,
    bootstrap: &Bootstrap,
    destinations: &[&str],
) -> (Vec<String>, BTreeMap<String, u64>) {
    let dir = tempfile::tempdir().unwrap();
    let config = bootstrap.render(&[], "/dev/null");
    let process = namespace.inside(|| Process::start(program, &config, dir.path(), &[]));
    let said: Vec<String> = destinations
        .iter()
        .map(|to| match client.ask(SOMEBODY, None, to.parse::<SocketAddr>().unwrap()) {
            Ok(text) if !text.is_empty() => format!("{to}: {text}"),
            // Whether in order or by a reset is not the matter here.
            Ok(_) => format!("{to}: closed"),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => format!("{to}: closed"),
            Err(error) => format!("{to}: {:?}", error.kind()),
        })
        .collect();
    let counted = || -> BTreeMap<String, u64> {
        let stats = namespace.inside(|| process.stats("(cx_total|no_filter_chain_match)"));
        let ours = stats.into_iter().filter(|(name, value)| {
            *value > 0
                && name.starts_with("listener.")
                && !name.contains("admin")
                && !name.contains("worker_")
        });
        ours.collect()
    };
    let mut counts = BTreeMap::new();
    poll(PATIENCE, || {
        counts = counted();
        (counts.values().sum::<u64>() >= destinations.len() as u64).then_some(())
    });
    (said, counts)
}

/// Both programs must say and count this.
#[track_caller]
fn both(
    (namespace, client): (&Namespace, &Namespace),
    bootstrap: &Bootstrap,
    wanted: &[(&str, &str)],
    counts: &[(&str, u64)],
) {
    let destinations: Vec<&str> = wanted.iter().map(|(to, _)| *to).collect();
    let lines: Vec<String> = wanted.iter().map(|(to, text)| format!("{to}: {text}")).collect();
    let counts: BTreeMap<String, u64> =
        counts.iter().map(|(name, count)| (format!("listener.{name}"), *count)).collect();
    for program in [Program::Envoy, Program::Sampan] {
        let found = ask(program, namespace, client, bootstrap, &destinations);
        assert_eq!(found, (lines.clone(), counts.clone()), "{program:?}");
    }
}

fn run(namespace: &Namespace, line: &str) {
    let output = namespace.run(line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn redirected_connections_go_to_the_listener_of_their_destination() {
    if !can_make_namespaces() {
        return;
    }
    let pod = Namespace::new();
    for address in ["10.77.0.5/32", "10.77.0.6/32"] {
        pod.ip(&format!("addr add {address} dev lo"));
    }
    for address in ["fd77::5/128", "fd77::6/128"] {
        pod.ip(&format!("addr add {address} dev lo nodad"));
    }
    run(&pod, "iptables -t nat -A OUTPUT -p tcp -d 10.77.0.0/16 -j REDIRECT --to-ports 15001");
    run(&pod, "ip6tables -t nat -A OUTPUT -p tcp -d fd77::/16 -j REDIRECT --to-ports 15001");
    let outbound = format!(
        "stat_prefix: out, use_original_dst: true, traffic_direction: OUTBOUND, additional_addresses: [{{address: {{socket_address: {{address: '::', port_value: 15001}}}}}}], filter_chains: [{}], default_filter_chain: {}",
        chain("loop", "destination_port: 15001"),
        chain("passthrough", ""),
    );
    // A listener that is handed a connection asks filters of its own.
    let filtered = format!(
        "listener_filters: [{}], listener_filters_timeout: 0.2s, continue_on_listener_filters_timeout: true, filter_chains: [{}], default_filter_chain: {}",
        filter("http_inspector.v3.HttpInspector", ""),
        chain("http", "application_protocols: [http/1.1]"),
        chain("silent", ""),
    );
    let bootstrap = Bootstrap::default()
        .listener(&listener("out", "0.0.0.0", 15001, &outbound))
        .listener(&unbound("exact", "10.77.0.5", 80, &says("exact")))
        .listener(&unbound("all", "0.0.0.0", 80, &says("all")))
        .listener(&unbound("exact6", "fd77::5", 80, &says("exact6")))
        .listener(&unbound("all6", "::", 80, &says("all6")))
        .listener(&unbound("filtered", "0.0.0.0", 81, &filtered))
        .listener(&unbound(
            "choosy",
            "0.0.0.0",
            82,
            &format!("filter_chains: [{}]", chain("never", "destination_port: 1")),
        ));
    both(
        (&pod, &pod),
        &bootstrap,
        &[
            ("10.77.0.5:80", "exact"),
            ("10.77.0.6:80", "all"),
            ("[fd77::5]:80", "exact6"),
            ("[fd77::6]:80", "all6"),
            ("10.77.0.5:81", "silent"),
            ("10.77.0.5:82", "closed"),
            ("10.77.0.5:83", "passthrough"),
            ("[fd77::5]:81", "passthrough"),
            ("10.77.0.5:15001", "loop"),
            // Not redirected at all.
            ("127.0.0.1:15001", "loop"),
        ],
        &[
            ("out.downstream_cx_total", 4),
            ("exact.downstream_cx_total", 1),
            ("all.downstream_cx_total", 1),
            ("exact6.downstream_cx_total", 1),
            ("all6.downstream_cx_total", 1),
            ("filtered.downstream_cx_total", 1),
            ("choosy.no_filter_chain_match", 1),
        ],
    );
}

#[test]
fn inbound_chains_are_chosen_by_the_original_port() {
    if !can_make_namespaces() {
        return;
    }
    let (pod, peer) = (Namespace::new(), Namespace::new());
    join((&pod, "eth0", &["10.77.0.2/24", "fd77::2/64"]), (&peer, "cable", &["10.77.0.1/24", "fd77::1/64"]));
    for program in ["iptables", "ip6tables"] {
        run(&pod, &format!("{program} -t nat -A PREROUTING -p tcp -j REDIRECT --to-ports 15006"));
    }
    both(
        (&pod, &peer),
        &inbound(""),
        &[
            ("10.77.0.2:8080", "app"),
            ("10.77.0.2:8081", "catchall"),
            ("[fd77::2]:8080", "app"),
            ("10.77.0.2:15006", "loop"),
        ],
        &[("in.downstream_cx_total", 4)],
    );
}

/// The virtual inbound listener of a mesh.
fn inbound(more: &str) -> Bootstrap {
    let fields = format!(
        "stat_prefix: in, {more} traffic_direction: INBOUND, additional_addresses: [{{address: {{socket_address: {{address: '::', port_value: 15006}}}}}}], listener_filters: [{}], filter_chains: [{}, {}, {}]",
        filter("original_dst.v3.OriginalDst", ""),
        chain("loop", "destination_port: 15006"),
        chain("app", "destination_port: 8080"),
        chain("catchall", ""),
    );
    Bootstrap::default().listener(&listener("in", "0.0.0.0", 15006, &fields))
}

#[test]
fn transparent_sockets_have_the_destination_as_their_address() {
    if !can_make_namespaces() {
        return;
    }
    let (pod, peer) = (Namespace::new(), Namespace::new());
    join((&pod, "eth0", &["10.77.0.2/24", "fd77::2/64"]), (&peer, "cable", &["10.77.0.1/24", "fd77::1/64"]));
    for (program, family, all) in [("iptables", "-4", "0.0.0.0/0"), ("ip6tables", "-6", "::/0")] {
        run(&pod, &format!("ip {family} rule add fwmark 1 lookup 100"));
        run(&pod, &format!("ip {family} route add local {all} dev lo table 100"));
        let rule = "-t mangle -A PREROUTING -i eth0 -p tcp -j TPROXY --on-port 15006 --tproxy-mark 1";
        run(&pod, &format!("{program} {rule}"));
    }
    both(
        (&pod, &peer),
        &inbound("transparent: true,"),
        &[("10.77.0.2:8080", "app"), ("10.77.0.2:8081", "catchall"), ("[fd77::2]:8080", "app")],
        &[("in.downstream_cx_total", 3)],
    );
}
