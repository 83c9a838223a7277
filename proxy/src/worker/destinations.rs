//! Which listener has an address: for redirected connections, whose destination is known only once they are accepted.
//!
//! Made anew by the acceptor when listeners change; asked by [`super::serve`]. Listeners that do not bind are reached this way alone.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use sampan_filters_api::Address;

use super::accept::Listening;
use crate::listener::bind::ActiveListener;

/// The listeners of a worker by address.
pub(super) struct Destinations<L = Listening>(HashMap<SocketAddr, Rc<L>, ahash::RandomState>);

impl<L> Default for Destinations<L> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl Destinations {
    /// Adds every address of a listener.
    pub(super) fn add(&mut self, listening: &Rc<Listening>, active: &ActiveListener) {
        let config = &active.config;
        if active.bound.is_empty() {
            for wanted in &config.addresses {
                self.insert(&wanted.address, wanted.options.ipv4_compat, listening);
            }
        }
        for bound in &active.bound {
            self.insert(&bound.address, bound.wanted.options.ipv4_compat, listening);
        }
    }
}

impl<L> Destinations<L> {
    fn insert(&mut self, address: &Address, ipv4_compat: bool, listening: &Rc<L>) {
        let Some(address) = address.socket() else { return };
        self.0.insert(address, listening.clone());
        if ipv4_compat && address.ip() == Ipv6Addr::UNSPECIFIED {
            let all = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
            self.0.entry(all).or_insert_with(|| listening.clone());
        }
    }

    /// The listener of this very address; else the one of all addresses of its family on the same port.
    pub(super) fn find(&self, address: &Address) -> Option<Rc<L>> {
        let address = address.socket()?;
        let all: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        self.0.get(&address).or_else(|| self.0.get(&SocketAddr::new(all, address.port()))).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_very_address_first_then_all_of_its_family() {
        let mut destinations = Destinations::<&str>::default();
        let address = |text: &str| Address::Socket(text.parse().unwrap());
        for (text, compat) in
            [("10.0.0.1:80", false), ("0.0.0.0:80", false), ("[::]:80", true), ("[::]:81", true)]
        {
            destinations.insert(&address(text), compat, &Rc::new(text));
        }
        destinations.insert(&Address::Pipe("/p".into()), false, &Rc::new("pipe"));
        for (wanted, found) in [
            ("10.0.0.1:80", Some("10.0.0.1:80")),
            ("10.0.0.2:80", Some("0.0.0.0:80")),
            ("10.0.0.1:81", Some("[::]:81")),
            ("[fd00::1]:80", Some("[::]:80")),
            ("10.0.0.1:82", None),
        ] {
            assert_eq!(destinations.find(&address(wanted)).map(|name| *name), found, "{wanted}");
        }
    }
}
