//! Which congestion control connections have, in a network namespace whose default it is to pace, and in one where it is not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use sampan_tests::harness::PATIENCE;
use sampan_tests::harness::bootstrap::Bootstrap;
use sampan_tests::harness::netns::{Namespace, can_make_namespaces};
use sampan_tests::harness::process::{Process, Program};

use crate::redirect::listener;

/// An address that is the namespace's own and no loopback address.
const OWN: &str = "10.77.1.1";
/// The upstream's port, at every address.
const UPSTREAM: u16 = 9001;
const SETTING: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
const AVAILABLE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";

/// Destinations of clients, and whether what the proxy accepts there stays on the machine by its addresses. The first listener and
/// the last are bound to all addresses, the second to loopback; the last one's upstream is at [`OWN`].
const CLIENTS: [(&str, bool); 5] = [
    ("127.0.0.1:15001", true),
    ("127.0.0.1:15002", true),
    ("10.77.1.1:15001", false),
    ("10.77.1.1:15003", false),
    ("127.0.0.1:15003", true),
];

fn bootstrap() -> Bootstrap {
    let to = |cluster: &str| {
        format!(
            "filter_chains: [{{filters: [{{name: t, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: {cluster}}}}}]}}]"
        )
    };
    let cluster = |name: &str, address: &str| {
        format!(
            "- {{name: {name}, load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {address}, port_value: {UPSTREAM}}}}}}}}}]}}]}}}}"
        )
    };
    Bootstrap::default()
        .listener(&listener("all", "0.0.0.0", 15001, &to("near")))
        .listener(&listener("loopback", "127.0.0.1", 15002, &to("near")))
        .listener(&listener("far", "0.0.0.0", 15003, &to("far")))
        .clusters(&cluster("near", "127.0.0.1"))
        .clusters(&cluster("far", OWN))
}

/// The sockets of a namespace: local address, peer, and the name of the algorithm.
fn sockets(pod: &Namespace) -> Vec<(String, String, String)> {
    let output = pod.run("ss -tinHO state established");
    let text = String::from_utf8(output.stdout).unwrap();
    let one = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let name = words.iter().find(|word| matches!(**word, "bbr" | "cubic" | "reno"))?;
        Some((words[2].to_owned(), words[3].to_owned(), (*name).to_owned()))
    };
    text.lines().filter_map(one).collect()
}

#[test]
fn loopback_is_not_paced() {
    if !can_make_namespaces() {
        return;
    }
    let available = std::fs::read_to_string(AVAILABLE).unwrap();
    for default in ["bbr", "cubic", "reno"] {
        if !available.split_ascii_whitespace().any(|name| name == default) {
            eprintln!("this kernel has no {default}");
            continue;
        }
        check(default);
    }
}

fn check(default: &str) {
    let pod = Namespace::new();
    pod.ip(&format!("addr add {OWN}/32 dev lo"));
    let server = pod.inside(|| {
        std::fs::write(SETTING, default).unwrap();
        TcpListener::bind(("0.0.0.0", UPSTREAM)).unwrap()
    });
    let upstream = std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in server.incoming().take(CLIENTS.len()) {
            let mut stream = stream.unwrap();
            stream.write_all(b"hi").unwrap();
            held.push(stream);
        }
        held
    });
    let dir = tempfile::tempdir().unwrap();
    let config = bootstrap().render(&[], "/dev/null");
    let process = pod.inside(|| Process::start(Program::Sampan, &config, dir.path(), &[]));
    let clients: Vec<TcpStream> = CLIENTS
        .iter()
        .map(|(to, _)| {
            let to: SocketAddr = to.parse().unwrap();
            let mut stream = pod.inside(|| TcpStream::connect_timeout(&to, PATIENCE)).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.read_exact(&mut [0; 2]).unwrap_or_else(|error| panic!("{default}, {to}: {error}"));
            stream
        })
        .collect();
    let found = sockets(&pod);
    let wanted = |stays: bool| if stays && default == "bbr" { "reno" } else { default };
    for (client, (to, stays)) in clients.iter().zip(CLIENTS) {
        let peer = client.local_addr().unwrap().to_string();
        let accepted = found.iter().find(|(local, remote, _)| *local == to && *remote == peer);
        let (_, _, name) = accepted.unwrap_or_else(|| panic!("{default}, {to} from {peer}: {found:#?}"));
        assert_eq!(name, wanted(stays), "{default}: accepted at {to}");
    }
    for (address, stays, count) in [("127.0.0.1", true, 3), (OWN, false, 2)] {
        let peer = format!("{address}:{UPSTREAM}");
        let names: Vec<&str> =
            found.iter().filter(|(_, remote, _)| *remote == peer).map(|(_, _, name)| &**name).collect();
        assert_eq!(names, vec![wanted(stays); count], "{default}: connected to {peer}");
    }
    drop((clients, process));
    drop(upstream.join().unwrap());
}
