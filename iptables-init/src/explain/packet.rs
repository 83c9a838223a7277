//! The packet that a user asks about: read from `explain`'s options, with what follows from the pod filled in.

use std::net::{IpAddr, SocketAddr};

use crate::args::{Given, RawOptions};
use crate::config::Config;
use crate::error::{ArgumentError, ArgumentErrors};
use crate::plan::{ConnectionState, Family, Protocol};
use crate::value::{Interface, Rejection, parse_number};

/// Which way a packet goes, seen from the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Sent by a process of the pod.
    Outbound,
    /// Arriving at the pod.
    Inbound,
}

/// All that rules look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Which way it goes.
    pub direction: Direction,
    /// Its protocol.
    pub protocol: Protocol,
    /// Where it comes from; matches no range if unknown.
    pub source: Option<IpAddr>,
    /// The port it comes from; matches none if unknown.
    pub source_port: Option<u16>,
    /// Where it goes.
    pub destination: SocketAddr,
    /// The interface it arrives on or leaves by.
    pub interface: String,
    /// Who sends it; `None` is an application that no rule names.
    pub uid: Option<u32>,
    /// The group that sends it; `None` as for `uid`.
    pub gid: Option<u32>,
    /// What connection tracking says.
    pub state: ConnectionState,
    /// Its mark.
    pub mark: Option<u32>,
    /// Its connection's mark.
    pub connection_mark: Option<u32>,
}

impl Packet {
    /// A first TCP packet from the pod's process to `destination`, with what follows from the pod's addresses.
    pub fn outbound(config: &Config, destination: SocketAddr) -> Self {
        let family = Family::of(destination.ip());
        // The address of the proxy's inbound side is on the loopback interface, whatever its family.
        let own = destination.ip().is_loopback()
            || destination.ip() == family.inbound_source()
            || config.pod_addresses.contains(&destination.ip());
        let pod_address = config.pod_addresses.iter().copied().find(|own| Family::of(*own) == family);
        Self {
            direction: Direction::Outbound,
            protocol: Protocol::Tcp,
            source: if own { Some(destination.ip()) } else { pod_address },
            source_port: None,
            destination,
            interface: if own { "lo" } else { "eth0" }.to_owned(),
            uid: None,
            gid: None,
            state: ConnectionState::New,
            mark: None,
            connection_mark: None,
        }
    }

    /// A first TCP packet from elsewhere to `destination`.
    pub fn inbound(destination: SocketAddr) -> Self {
        Self {
            direction: Direction::Inbound,
            protocol: Protocol::Tcp,
            source: None,
            source_port: None,
            destination,
            interface: "eth0".to_owned(),
            uid: None,
            gid: None,
            state: ConnectionState::New,
            mark: None,
            connection_mark: None,
        }
    }

    /// Reads a packet from `explain`'s options.
    ///
    /// # Errors
    /// Every option that is missing, wrong, or senseless for the direction.
    pub fn from_options(options: &RawOptions, config: &Config) -> Result<Self, ArgumentErrors> {
        let mut read = Reader { options, errors: Vec::new() };
        let direction = read.one("direction", parse_direction);
        let destination = read.one("dst", parse_destination);
        let (Some(direction), Some(destination)) = (direction, destination) else {
            read.require("direction", "write outbound or inbound");
            read.require("dst", "write IP:PORT or [IP]:PORT");
            return Err(ArgumentErrors(read.errors));
        };
        let mut packet = match direction {
            Direction::Outbound => Self::outbound(config, destination),
            Direction::Inbound => Self::inbound(destination),
        };
        read.fit(&mut packet);
        if read.errors.is_empty() { Ok(packet) } else { Err(ArgumentErrors(read.errors)) }
    }

    /// The interface it arrives on, if it arrives.
    pub(super) fn arrives_on(&self) -> Option<&str> {
        (self.direction == Direction::Inbound).then_some(&*self.interface)
    }

    /// The interface it leaves by, if it leaves.
    pub(super) fn leaves_by(&self) -> Option<&str> {
        (self.direction == Direction::Outbound).then_some(&*self.interface)
    }
}

struct Reader<'o> {
    options: &'o RawOptions,
    errors: Vec<ArgumentError>,
}

impl Reader<'_> {
    /// Puts the optional options into the packet.
    fn fit(&mut self, packet: &mut Packet) {
        let (interface, wrong): (_, &[&str]) = match packet.direction {
            Direction::Outbound => ("out-interface", &["in-interface"]),
            Direction::Inbound => ("in-interface", &["out-interface", "uid", "gid"]),
        };
        for name in wrong {
            if let Some(given) = self.options.find(name) {
                let reason = "a packet of this direction has no such thing";
                self.reject(given, Rejection::new(reason, "leave it out, or turn --direction around"));
            }
        }
        if let Some(name) = self.one(interface, |text| Interface::parse(text).map(|_| text.to_owned())) {
            packet.interface = name;
        }
        if let Some((source, port)) = self.one("src", parse_source) {
            packet.source = Some(source);
            packet.source_port = port;
        }
        if let Some(protocol) = self.one("protocol", parse_protocol) {
            packet.protocol = protocol;
        }
        if let Some(state) = self.one("state", parse_state) {
            packet.state = state;
        }
        packet.uid = self.one("uid", parse_id);
        packet.gid = self.one("gid", parse_id);
        packet.mark = self.one("mark", parse_number);
        if packet.source.is_some_and(|source| source.is_ipv4() != packet.destination.is_ipv4())
            && let Some(given) = self.options.find("src")
        {
            let reason = "source and destination are of different families";
            self.reject(given, Rejection::new(reason, "use two IPv4 or two IPv6 addresses"));
        }
    }

    fn one<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, Rejection>) -> Option<T> {
        let given = self.options.find(name)?;
        match parse(given.value.trim()) {
            Ok(value) => Some(value),
            Err(rejection) => {
                self.reject(given, rejection);
                None
            }
        }
    }

    fn require(&mut self, name: &str, hint: &str) {
        if self.options.find(name).is_none() {
            let given = Given { value: String::new(), origin: format!("--{name}") };
            self.reject(&given, Rejection::new("explain needs it", hint));
        }
    }

    fn reject(&mut self, given: &Given, rejection: Rejection) {
        self.errors.push(ArgumentError {
            option: given.origin.clone(),
            value: given.value.clone(),
            reason: rejection.reason,
            hint: rejection.hint,
        });
    }
}

fn parse_direction(text: &str) -> Result<Direction, Rejection> {
    match text {
        "outbound" => Ok(Direction::Outbound),
        "inbound" => Ok(Direction::Inbound),
        _ => Err(Rejection::new(format!("{text:?} is not a direction"), "write outbound or inbound")),
    }
}

fn parse_destination(text: &str) -> Result<SocketAddr, Rejection> {
    text.parse().map_err(|_| {
        Rejection::new(format!("{text:?} is not an address with a port"), "write IP:PORT or [IP]:PORT")
    })
}

fn parse_source(text: &str) -> Result<(IpAddr, Option<u16>), Rejection> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((address, None));
    }
    parse_destination(text).map(|address| (address.ip(), Some(address.port())))
}

fn parse_protocol(text: &str) -> Result<Protocol, Rejection> {
    match text {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        _ => {
            Err(Rejection::new(format!("{text:?} is not a protocol that rules look at"), "write tcp or udp"))
        }
    }
}

fn parse_state(text: &str) -> Result<ConnectionState, Rejection> {
    match text {
        "new" => Ok(ConnectionState::New),
        "established" => Ok(ConnectionState::Established),
        "invalid" => Ok(ConnectionState::Invalid),
        _ => Err(Rejection::new(format!("{text:?} is not a state"), "write new, established or invalid")),
    }
}

fn parse_id(text: &str) -> Result<u32, Rejection> {
    text.parse().map_err(|_| Rejection::new(format!("{text:?} is not a number"), "write a number, e.g. 1337"))
}
