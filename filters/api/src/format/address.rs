//! Addresses and their parts.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::info::Address;

/// What is printed of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// `10.0.0.1:80`
    Whole,
    /// `10.0.0.1`
    WithoutPort,
    /// `10.0.0.0/8`
    Network(u8),
    /// `80`
    Port,
}

/// Appends a part of an address; a unix socket has no port, and its path is every other part.
pub(crate) fn write(address: &Address, part: Part, out: &mut Vec<u8>) -> bool {
    let socket = match address {
        Address::Socket(socket) => socket,
        Address::Pipe(_) if part == Part::Port => return false,
        Address::Pipe(path) => {
            out.extend_from_slice(path.as_bytes());
            return !path.is_empty();
        }
    };
    match (part, socket.ip()) {
        (Part::Port, _) => number(socket.port(), out),
        (Part::Network(bits), ip) => network(ip, bits, out),
        (Part::WithoutPort, ip) => host(ip, out),
        (Part::Whole, ip @ IpAddr::V4(_)) => {
            host(ip, out);
            out.push(b':');
            number(socket.port(), out);
        }
        (Part::Whole, ip @ IpAddr::V6(_)) => {
            out.push(b'[');
            host(ip, out);
            out.extend_from_slice(b"]:");
            number(socket.port(), out);
        }
    }
    true
}

fn network(ip: IpAddr, bits: u8, out: &mut Vec<u8>) {
    let (masked, bits) = match ip {
        IpAddr::V4(ip) => {
            let bits = bits.min(32);
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            (IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask)), bits)
        }
        IpAddr::V6(ip) => {
            let bits = bits.min(128);
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            (IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask)), bits)
        }
    };
    host(masked, out);
    out.push(b'/');
    number(u16::from(bits), out);
}

fn host(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => {
            for (i, octet) in ip.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                number(u16::from(octet), out);
            }
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

fn number(number: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}
