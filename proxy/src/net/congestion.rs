//! What stays on the machine is not paced.
//!
//! Where the system's default congestion control is BBR, every socket spreads what it sends over time, by a timer of the
//! kernel's. That is for networks. Between a sidecar and its application, over the loopback device, there is
//! no queue to spare, and the timers cost more than the bytes: a bulk download takes three times the CPU and half of the
//! speed. So a connection with a loopback address at either end takes [`RENO`] instead, which every kernel has and
//! grants to everyone.
//!
//! Best before there is a connection, since BBR leaves a socket paced that it has begun with: a listener on a loopback address
//! hands its choice down, and an upstream socket is told before it connects. What was accepted elsewhere
//! (intercepted traffic comes to `0.0.0.0`) still gains most of it. Where the default does not pace, nothing is done
//! and nothing asked of the kernel.

use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use socket2::SockRef;

/// The algorithm without pacing.
const RENO: &[u8] = b"reno";
/// The system's default, of this process's network namespace.
const DEFAULT: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

static OF_SYSTEM: LazyLock<Congestion> =
    LazyLock::new(|| Congestion::of(std::fs::read_to_string(DEFAULT).unwrap_or_default().trim()));

/// How sockets send unless they are told otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Congestion {
    paces: bool,
}

impl Congestion {
    /// As the system has it, read once.
    pub fn of_system() -> Self {
        *OF_SYSTEM
    }

    /// Of an algorithm's name: `bbr` and its later versions pace by themselves.
    fn of(name: &str) -> Self {
        Self { paces: name.starts_with("bbr") }
    }

    /// Spares a socket the pacing if one of its addresses says that nothing leaves the machine. One that cannot be
    /// told is slower, and no error.
    pub fn relieve<'a>(
        self,
        socket: impl Into<SockRef<'a>>,
        addresses: impl IntoIterator<Item = SocketAddr>,
    ) {
        if self.paces && addresses.into_iter().any(|address| is_loopback(address.ip())) {
            let _ = socket.into().set_tcp_congestion(RENO);
        }
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn algorithm(socket: &TcpStream) -> Vec<u8> {
        let mut name = SockRef::from(socket).tcp_congestion().unwrap();
        name.retain(|byte| *byte != 0);
        name
    }

    #[test]
    fn only_loopback_is_relieved_and_only_of_pacing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let elsewhere: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let mapped: SocketAddr = "[::ffff:127.0.0.6]:80".parse().unwrap();
        for (default, addresses, relieved) in [
            ("bbr", vec![local], true),
            ("bbr3", vec![elsewhere, mapped], true),
            ("bbr", vec![elsewhere], false),
            ("cubic", vec![local], false),
            ("", vec![local], false),
        ] {
            let socket = TcpStream::connect(local).unwrap();
            let before = algorithm(&socket);
            Congestion::of(default).relieve(&socket, addresses.iter().copied());
            let expected = if relieved { RENO } else { &before };
            assert_eq!(algorithm(&socket), expected, "{default:?}, {addresses:?}");
        }
    }

    #[test]
    fn a_listener_hands_it_down() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        Congestion::of("bbr").relieve(&listener, [local]);
        let _client = TcpStream::connect(local).unwrap();
        assert_eq!(algorithm(&listener.accept().unwrap().0), RENO);
    }
}
