//! DNS capture: lookups of applications come to the agent, lookups of the agent go out, and answers find their way back.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use sampan_tests::harness::netns::{Identity, Namespace, can_make_namespaces};

use socket2::{Domain, Socket, Type};

use crate::back_end::ALL;
use crate::pod::{APPLICATION, PROXY, Pod, init, serve};

const ROOT: Identity = Identity { uid: 0, gid: 0 };

/// A server of somebody's that answers each datagram with its name; it lives as long as the process.
fn answer(namespace: &Namespace, who: Identity, address: &str, name: &'static str) {
    let address: SocketAddr = address.parse().unwrap();
    let socket: UdpSocket = namespace.inside_as(who, || {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None).unwrap();
        if address.is_ipv6() {
            socket.set_only_v6(true).unwrap();
        }
        socket.bind(&address.into()).unwrap();
        socket.into()
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(name.as_bytes(), from);
        }
    });
}

/// Looks up: one socket, several questions, so that the second runs into the first one's connection tracking entry.
fn look_up(namespace: &Namespace, who: Identity, server: &str) -> Vec<String> {
    let server: SocketAddr = server.parse().unwrap();
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    namespace.inside_as(who, || {
        let socket = UdpSocket::bind(any).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        (0..2)
            .map(|_| {
                let mut buffer = [0; 512];
                let asked = socket.send_to(b"question", server).and_then(|_| socket.recv_from(&mut buffer));
                match asked {
                    // An answer must seem to come from the server that was asked.
                    Ok((length, from)) if from == server => {
                        String::from_utf8_lossy(&buffer[..length]).into_owned()
                    }
                    Ok((_, from)) => format!("an answer from {from}"),
                    Err(error) => format!("nothing: {:?}", error.kind()),
                }
            })
            .collect()
    })
}

#[test]
fn lookups_go_to_the_agent() {
    if !can_make_namespaces() {
        return;
    }
    const OPTIONS: &str = "-i * -b * --redirect-dns --capture-all-dns --dual-stack";
    for back_end in ALL.into_iter().filter(|back_end| back_end.works(OPTIONS)) {
        let pod = Pod::new();
        // The agent is known by its user, as the proxy is, and answers from the address that redirected packets go to.
        for ip in ["127.0.0.1", "[::1]"] {
            answer(&pod.pod, PROXY, &format!("{ip}:15053"), "agent");
            serve(&pod.pod, format!("{ip}:15053").parse().unwrap(), |_, _| "agent".to_owned());
        }
        for ip in ["10.77.0.1", "[fd77::1]"] {
            answer(&pod.peer, ROOT, &format!("{ip}:53"), "server");
            serve(&pod.peer, format!("{ip}:53").parse().unwrap(), |_, _| "server".to_owned());
        }
        let twice = |name: &str| vec![name.to_owned(), name.to_owned()];
        for run in 0..2 {
            init(&pod.pod, &format!("{} {OPTIONS}", back_end.options())).succeeded();
            for server in ["10.77.0.1:53", "[fd77::1]:53"] {
                let at = format!("{back_end:?}, run {run}, {server}");
                assert_eq!(look_up(&pod.pod, APPLICATION, server), twice("agent"), "{at}");
                assert_eq!(look_up(&pod.pod, PROXY, server), twice("server"), "{at}");
                assert_eq!(pod.sends(APPLICATION, server), "agent", "{at}");
                assert_eq!(pod.sends(PROXY, server), "server", "{at}");
            }
        }
        init(&pod.pod, &format!("{} {OPTIONS} --cleanup-only", back_end.options())).succeeded();
        assert_eq!(look_up(&pod.pod, APPLICATION, "10.77.0.1:53"), twice("server"), "{back_end:?}");
        assert_eq!(look_up(&pod.pod, APPLICATION, "[fd77::1]:53"), twice("server"), "{back_end:?}");
    }
}
