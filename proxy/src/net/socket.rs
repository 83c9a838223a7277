//! Opening listening sockets and connecting upstream, with the options that configuration names.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use sampan_filters_api::Address;
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::congestion::Congestion;
use super::io::Io;

/// A socket option (`core.v3.SocketOption`) that can be set without raw system calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SocketOption {
    /// SOL_SOCKET SO_KEEPALIVE
    KeepAlive(bool),
    /// SOL_SOCKET SO_REUSEPORT
    ReusePort(bool),
    /// SOL_SOCKET SO_MARK
    Mark(u32),
    /// SOL_SOCKET SO_RCVBUF
    ReceiveBuffer(usize),
    /// SOL_SOCKET SO_SNDBUF
    SendBuffer(usize),
    /// IPPROTO_TCP TCP_NODELAY
    NoDelay(bool),
    /// IPPROTO_TCP TCP_KEEPIDLE, in seconds
    KeepIdle(u32),
    /// IPPROTO_TCP TCP_KEEPINTVL, in seconds
    KeepInterval(u32),
    /// IPPROTO_TCP TCP_KEEPCNT
    KeepCount(u32),
    /// IPPROTO_TCP TCP_USER_TIMEOUT, in milliseconds
    UserTimeout(u32),
    /// IPPROTO_IP IP_TOS
    Tos(u32),
    /// IPPROTO_IP IP_FREEBIND
    Freebind(bool),
    /// IPPROTO_IP IP_TRANSPARENT
    Transparent(bool),
}

impl SocketOption {
    /// The option of a level, name and value as Linux numbers them; `None` if it is not known here.
    pub fn from_numbers(level: i64, name: i64, value: i64) -> Option<Self> {
        let on = value != 0;
        let number = u32::try_from(value).ok()?;
        Some(match (level, name) {
            (1, 9) => Self::KeepAlive(on),
            (1, 15) => Self::ReusePort(on),
            (1, 36) => Self::Mark(number),
            (1, 8) => Self::ReceiveBuffer(number as usize),
            (1, 7) => Self::SendBuffer(number as usize),
            (6, 1) => Self::NoDelay(on),
            (6, 4) => Self::KeepIdle(number),
            (6, 5) => Self::KeepInterval(number),
            (6, 6) => Self::KeepCount(number),
            (6, 18) => Self::UserTimeout(number),
            (0, 1) => Self::Tos(number),
            (0, 15) => Self::Freebind(on),
            (0, 19) => Self::Transparent(on),
            _ => return None,
        })
    }

    fn set(self, socket: &Socket) -> io::Result<()> {
        let seconds = |n: u32| Duration::from_secs(u64::from(n));
        match self {
            Self::KeepAlive(on) => socket.set_keepalive(on),
            Self::ReusePort(on) => socket.set_reuse_port(on),
            Self::Mark(mark) => socket.set_mark(mark),
            Self::ReceiveBuffer(size) => socket.set_recv_buffer_size(size),
            Self::SendBuffer(size) => socket.set_send_buffer_size(size),
            Self::NoDelay(on) => socket.set_tcp_nodelay(on),
            Self::KeepIdle(n) => socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(seconds(n))),
            Self::KeepInterval(n) => socket.set_tcp_keepalive(&TcpKeepalive::new().with_interval(seconds(n))),
            Self::KeepCount(n) => socket.set_tcp_keepalive(&TcpKeepalive::new().with_retries(n)),
            Self::UserTimeout(n) => socket.set_tcp_user_timeout(Some(Duration::from_millis(u64::from(n)))),
            Self::Tos(tos) => socket.set_tos_v4(tos),
            Self::Freebind(on) => socket.set_freebind_v4(on),
            Self::Transparent(on) => socket.set_ip_transparent_v4(on),
        }
    }
}

fn apply(socket: &Socket, options: &[SocketOption]) -> io::Result<()> {
    options.iter().try_for_each(|option| option.set(socket))
}

/// TCP keep-alive; what is `None` stays at the kernel's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct KeepAlive {
    /// `keepalive_probes`
    pub probes: Option<u32>,
    /// `keepalive_time`
    pub time: Option<Duration>,
    /// `keepalive_interval`
    pub interval: Option<Duration>,
}

/// Options of a listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// `tcp_backlog_size`
    pub backlog: u32,
    /// `enable_reuse_port`
    pub reuse_port: bool,
    /// `freebind`
    pub freebind: bool,
    /// `transparent`
    pub transparent: bool,
    /// Whether an IPv6 socket takes IPv4 too.
    pub ipv4_compat: bool,
    /// Keep-alive of accepted connections.
    pub keepalive: Option<KeepAlive>,
    /// `socket_options` for the time before binding.
    pub options: Vec<SocketOption>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            backlog: 4096,
            reuse_port: true,
            freebind: false,
            transparent: false,
            ipv4_compat: false,
            keepalive: None,
            options: Vec::new(),
        }
    }
}

/// Binds an IP address; to listen is a step of its own, so that nobody can connect before the proxy is ready.
pub fn bind_tcp(address: SocketAddr, options: &ListenOptions) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(!options.ipv4_compat)?;
    }
    if options.freebind {
        match address {
            SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
            SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
        }
    }
    if options.transparent {
        match address {
            SocketAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
            SocketAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
        }
    }
    if let Some(keepalive) = options.keepalive {
        set_keepalive(&socket, keepalive)?;
    }
    Congestion::of_system().relieve(&socket, [address]);
    apply(&socket, &options.options)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket.into())
}

/// Sets keep-alive on a socket.
pub fn set_keepalive(socket: &Socket, keepalive: KeepAlive) -> io::Result<()> {
    let mut tuned = TcpKeepalive::new();
    if let Some(time) = keepalive.time {
        tuned = tuned.with_time(time);
    }
    if let Some(interval) = keepalive.interval {
        tuned = tuned.with_interval(interval);
    }
    if let Some(probes) = keepalive.probes {
        tuned = tuned.with_retries(probes);
    }
    socket.set_tcp_keepalive(&tuned)
}

/// Options of an upstream socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Address to connect from.
    pub bind: Option<SocketAddr>,
    /// Whether that address need not be the machine's own yet.
    pub freebind: bool,
    /// Whether that address is somebody else's (IP_TRANSPARENT; needs NET_ADMIN).
    pub transparent: bool,
    /// Keep-alive.
    pub keepalive: Option<KeepAlive>,
    /// `socket_options` for the time before binding.
    pub options: Vec<SocketOption>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The source address cannot be used.
    #[error("cannot bind to {0}: {1}")]
    Bind(SocketAddr, io::Error),
    /// The peer cannot be connected to.
    #[error("cannot connect: {0}")]
    Connect(#[from] io::Error),
}

/// Connects; no time limit of its own.
pub async fn connect(address: &Address, options: &ConnectOptions) -> Result<Io, ConnectError> {
    match address {
        Address::Pipe(path) => Ok(UnixStream::connect(&**path).await?.into()),
        Address::Socket(address) => Ok(connect_tcp(*address, options).await?.into()),
    }
}

async fn connect_tcp(address: SocketAddr, options: &ConnectOptions) -> Result<TcpStream, ConnectError> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    {
        let raw = socket2::SockRef::from(&socket);
        if let Some(keepalive) = options.keepalive {
            set_keepalive(&raw, keepalive)?;
        }
        Congestion::of_system().relieve(&socket, options.bind.into_iter().chain([address]));
        if let Some(bind) = options.bind {
            let failed = |error| ConnectError::Bind(bind, error);
            prepare(&raw, address, options).map_err(failed)?;
            if bind.port() == 0 {
                // The port is chosen when the destination is known. Otherwise one source address has no more ports for all
                // destinations together than it should have for each, those of closed connections included.
                setsockopt(&socket, IpBindAddressNoPort, &true).map_err(|error| failed(error.into()))?;
            }
            apply(&raw, &options.options).map_err(failed)?;
            raw.bind(&bind.into()).map_err(failed)?;
        } else {
            apply(&raw, &options.options)?;
        }
    }
    Ok(socket.connect(address).await?)
}

/// Lets a socket be bound to an address that is not the machine's.
fn prepare(socket: &Socket, peer: SocketAddr, options: &ConnectOptions) -> io::Result<()> {
    match (peer, options.freebind, options.transparent) {
        (_, false, false) => Ok(()),
        (SocketAddr::V4(_), _, true) => socket.set_ip_transparent_v4(true),
        (SocketAddr::V6(_), _, true) => socket.set_ip_transparent_v6(true),
        (SocketAddr::V4(_), true, false) => socket.set_freebind_v4(true),
        (SocketAddr::V6(_), true, false) => socket.set_freebind_v6(true),
    }
}
