//! The inbound side connects from one address. Its ports must suffice for each destination, not for all together.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use sampan_tests::harness::netns::can_make_namespaces;
use sampan_tests::harness::process::Program::{self, Envoy, Sampan};
use sampan_tests::harness::tls::Authority;

use crate::application::{self, BULK, MAIL, REDIS};
use crate::inbound::Mode;
use crate::network::Network;
use crate::setting;

/// Ports that the pod's kernel may choose, and connections to each destination.
const PORTS: usize = 8;
const CONNECTIONS: usize = 6;

#[test]
fn a_source_address_has_all_its_ports_for_each_destination() {
    if !can_make_namespaces() {
        return;
    }
    std::thread::scope(|scope| {
        for program in [Sampan, Envoy] {
            scope.spawn(move || connect(program));
        }
    });
}

fn connect(program: Program) {
    let network = Network::new();
    let (pod, stranger) = (network.pod(), network.pod());
    application::start(&pod);
    pod.intercept();
    let authority = Authority::new("mesh");
    let sidecar = setting::server(program, &pod, Mode::Permissive, &authority).start();
    let range = format!("50000 {}", 50000 + PORTS - 1);
    pod.namespace.inside(|| std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", range)).unwrap();
    let mut open: Vec<TcpStream> = Vec::new();
    for address in [pod.v4, pod.v6] {
        for port in [REDIS, MAIL, BULK] {
            for number in 0..CONNECTIONS {
                let mut stream = stranger.connect(SocketAddr::new(address, port)).unwrap();
                // More than the inspectors of the protocol need; only the servers of lines answer.
                stream.write_all(b"*1\r\n$4\r\nPING\r\n").unwrap();
                if port != BULK {
                    let mut first = [0; 1];
                    let read = stream.read(&mut first);
                    assert_eq!(
                        read.ok(),
                        Some(1),
                        "{program:?} {address}:{port} {number}\n{}",
                        sidecar.story()
                    );
                }
                open.push(stream);
            }
        }
    }
    sidecar.await_stat("upstream_cx_active", open.len() as u64);
    assert_eq!(sidecar.stat("bind_errors"), 0, "{program:?}");
}
