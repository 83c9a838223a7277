//! A pod and its peer: two namespaces with a cable between them, an application and a stand-in for the proxy that say
//! where a connection has come to.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use rustix::net::sockopt::{ip_original_dst, ipv6_original_dst};
use sampan_tests::harness::binaries::sampan_init;
use sampan_tests::harness::netns::{Identity, Namespace, join};
use socket2::{Domain, Socket, Type};

pub const APPLICATION: Identity = Identity { uid: 5000, gid: 5000 };
pub const PROXY: Identity = Identity { uid: 1337, gid: 1337 };

/// Ports of the stand-in for the proxy: where interception leads.
pub const PROXY_PORTS: [u16; 2] = [15001, 15006];
/// Ports where something answers by itself, in the pod and at the peer.
pub const DIRECT_PORTS: [u16; 7] = [8080, 8081, 9999, 15020, 15021, 15090, 15008];

/// A run of `sampan-init`.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Two namespaces with servers in them.
pub struct Pod {
    pub pod: Namespace,
    pub peer: Namespace,
}

/// A namespace with an address of each family and nothing else.
pub fn bare_pod() -> Namespace {
    let pod = Namespace::new();
    pod.ip("addr add 10.77.0.2/32 dev lo");
    pod.ip("addr add fd77::2/128 dev lo nodad");
    pod
}

/// Runs `sampan-init` in a namespace, with arguments parted by single blanks.
pub fn init(namespace: &Namespace, line: &str) -> Run {
    run(namespace.command(sampan_init()).args(words(line)))
}

/// Runs a prepared command.
pub fn run(command: &mut Command) -> Run {
    let output = command.output().expect("it can be run");
    Run {
        code: output.status.code().expect("it exits"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The words of a line.
pub fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(' ').filter(|word| !word.is_empty())
}

impl Run {
    /// It must have done what was asked.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

impl Pod {
    /// A pod with IPv4 and IPv6. The peer also has the ranges 10.78.0.0/16 and fd78::/16.
    pub fn new() -> Self {
        let (pod, peer) = (Namespace::new(), Namespace::new());
        join(
            (&pod, "eth0", &["10.77.0.2/24", "fd77::2/64"]),
            (&peer, "cable", &["10.77.0.1/24", "fd77::1/64"]),
        );
        pod.ip("route add default via 10.77.0.1");
        pod.ip("-6 route add default via fd77::1");
        for address in ["10.78.0.1/32", "fd78::1/128"] {
            peer.ip(&format!("addr add {address} dev lo"));
        }
        let here = Self { pod, peer };
        for ip in ["0.0.0.0", "::"] {
            for port in PROXY_PORTS {
                serve(&here.pod, address(ip, port), |stream, port| {
                    format!("proxy {port} for {}", original_destination(stream))
                });
            }
            for port in DIRECT_PORTS {
                serve(&here.pod, address(ip, port), |_, port| format!("pod {port}"));
                serve(&here.peer, address(ip, port), |_, port| format!("peer {port}"));
            }
        }
        here
    }

    /// Connects out of the pod; what answers, or that nothing does.
    pub fn sends(&self, who: Identity, destination: &str) -> String {
        self.sends_from(who, None, destination)
    }

    /// The same from a given address.
    pub fn sends_from(&self, who: Identity, source: Option<&str>, destination: &str) -> String {
        let source = source.map(|text| text.parse::<IpAddr>().unwrap());
        told(self.pod.ask(who, source, destination.parse().unwrap()))
    }

    /// Connects from the peer to the pod.
    pub fn receives(&self, destination: &str) -> String {
        told(self.peer.ask(APPLICATION, None, destination.parse().unwrap()))
    }
}

/// A server on a listener made in a namespace: it greets each connection and closes it. It lives as long as the process.
pub fn serve(
    namespace: &Namespace,
    address: SocketAddr,
    greeting: impl Fn(&TcpStream, u16) -> String + Send + 'static,
) {
    let listener: TcpListener = namespace.inside(|| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        if address.is_ipv6() {
            socket.set_only_v6(true).unwrap();
        }
        // TPROXY hands over connections to addresses that are not the listener's; REDIRECT does not care.
        socket.set_ip_transparent_v4(true).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(64).unwrap();
        socket.into()
    });
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let text = greeting(&stream, address.port());
            // A client that has gone has seen enough.
            let _ = stream.write_all(text.as_bytes());
        }
    });
}

/// Where a connection was going: as the nat table remembers it; without it, the socket has the address itself.
fn original_destination(stream: &TcpStream) -> SocketAddr {
    let local = stream.local_addr().unwrap();
    let remembered = match local {
        SocketAddr::V4(_) => ip_original_dst(stream).ok().map(SocketAddr::from),
        SocketAddr::V6(_) => ipv6_original_dst(stream).ok().map(SocketAddr::from),
    };
    remembered.unwrap_or(local)
}

fn told(answer: std::io::Result<String>) -> String {
    answer.unwrap_or_else(|error| format!("nothing: {:?}", error.kind()))
}

fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}
