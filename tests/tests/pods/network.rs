//! Pods without anything in them: namespaces with addresses, all on one bridge in a namespace of its own.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr, TcpStream};

use sampan_tests::harness::PATIENCE;
use sampan_tests::harness::binaries::sampan_init;
use sampan_tests::harness::netns::{Identity, Namespace, join};
use socket2::{Domain, Socket, Type};

/// Who applications are.
pub const APPLICATION: Identity = Identity { uid: 5000, gid: 5000 };

/// The arguments that Istio's injector gives the init container.
const INTERCEPTION: &[&str] = &[
    "-p",
    "15001",
    "-z",
    "15006",
    "-u",
    "1337",
    "-i",
    "*",
    "-b",
    "*",
    "-d",
    "15090,15021,15020",
    "--dual-stack",
];

/// Where the pods are joined.
pub struct Network {
    pub hub: Namespace,
    pods: Cell<u8>,
}

/// A pod's namespace and addresses.
pub struct Pod {
    pub namespace: Namespace,
    pub v4: IpAddr,
    pub v6: IpAddr,
}

impl Network {
    pub fn new() -> Self {
        let hub = Namespace::new();
        hub.ip("link add br0 type bridge");
        hub.ip("link set br0 up");
        Self { hub, pods: Cell::new(1) }
    }

    /// A new pod.
    pub fn pod(&self) -> Pod {
        let number = self.pods.get() + 1;
        self.pods.set(number);
        let namespace = Namespace::new();
        let (v4, v6, port) =
            (format!("10.77.0.{number}"), format!("fd77::{number}"), format!("port{number}"));
        let (with_mask4, with_mask6) = (format!("{v4}/24"), format!("{v6}/64"));
        join((&namespace, "eth0", &[&with_mask4, &with_mask6]), (&self.hub, &port, &[]));
        self.hub.ip(&format!("link set {port} master br0"));
        // Service addresses are nowhere: what is sent there must be on its way before it can be intercepted.
        namespace.ip("route add default dev eth0");
        namespace.ip("-6 route add default dev eth0");
        Pod { namespace, v4: v4.parse().unwrap(), v6: v6.parse().unwrap() }
    }
}

impl Pod {
    /// Makes the rules that lead its traffic through the proxy.
    pub fn intercept(&self) {
        self.intercept_by("REDIRECT");
    }

    /// The same in one of the modes.
    pub fn intercept_by(&self, mode: &str) {
        let mut command = self.namespace.command(sampan_init());
        let output = command.args(INTERCEPTION).args(["-m", mode]).output().expect("it can be run");
        assert!(output.status.success(), "sampan-init: {output:?}");
    }

    /// Its address of the family of another.
    pub fn address_like(&self, other: IpAddr) -> IpAddr {
        if other.is_ipv4() { self.v4 } else { self.v6 }
    }

    /// An application connects; later reads give up after the usual patience.
    pub fn connect(&self, destination: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = self.namespace.inside_as(APPLICATION, || {
            let socket = Socket::new(Domain::for_address(destination), Type::STREAM, None)?;
            socket.connect_timeout(&destination.into(), PATIENCE)?;
            Ok::<_, std::io::Error>(socket)
        })?;
        let stream: TcpStream = socket.into();
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}
