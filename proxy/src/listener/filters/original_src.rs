//! `envoy.filters.listener.original_src`: upstream connections are to come from the client's own address.
//!
//! Only notes it; `upstream/connect.rs` binds. The network must bring the host's answers back here (TPROXY, marks).

use std::net::SocketAddr;

use sampan_filters_api::ConnectionInfo;
use sampan_filters_api::info::OriginalSource;

/// Its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OriginalSrc {
    /// `bind_port`: the client's port too.
    pub bind_port: bool,
    /// `mark`: SO_MARK of the upstream socket; 0 is none.
    pub mark: u32,
}

impl OriginalSrc {
    /// Notes the client's address, if it has one.
    pub(super) fn note(self, info: &mut ConnectionInfo) {
        let Some(client) = info.remote.socket() else { return };
        let port = if self.bind_port { client.port() } else { 0 };
        let address = SocketAddr::new(client.ip(), port);
        info.facts_mut().original_source = Some(OriginalSource { address, mark: self.mark });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sampan_filters_api::Address;

    use super::*;

    #[test]
    fn the_clients_address_is_noted() {
        let [local, remote] =
            ["10.0.0.1:80", "10.9.9.9:5"].map(|text| Address::Socket(text.parse().unwrap()));
        let mut info = ConnectionInfo::new(0, local, remote, Arc::default());
        let noted = |info: &ConnectionInfo| info.facts.as_ref().and_then(|facts| facts.original_source);
        OriginalSrc { bind_port: false, mark: 1337 }.note(&mut info);
        let address = "10.9.9.9:0".parse().unwrap();
        assert_eq!(noted(&info), Some(OriginalSource { address, mark: 1337 }));
        OriginalSrc { bind_port: true, mark: 0 }.note(&mut info);
        assert_eq!(noted(&info).map(|source| source.address.port()), Some(5));
        info.facts = None;
        info.remote = Address::Pipe("".into());
        OriginalSrc { bind_port: true, mark: 0 }.note(&mut info);
        assert_eq!(noted(&info), None);
    }
}
