//! What is known of a downstream connection: filled in by its listener, read by everybody after it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::{Address, ChainFacts, DynamicMetadata, FilterState, ListenerFacts, TlsInfo};

/// What is known of the downstream connection; shared by its streams.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Counts up per process.
    pub id: u64,
    /// The address the client connected to (the original one where traffic was redirected).
    pub local: Address,
    /// Whether `local` is where the client wanted to go, by what a listener filter found, and not the socket's own address.
    pub local_restored: bool,
    /// The client: as the PROXY protocol says, else the peer of the socket.
    pub remote: Address,
    /// The peer of the socket.
    pub direct_remote: Address,
    /// When it was accepted.
    pub start: Instant,
    /// The listener.
    pub listener: Arc<ListenerFacts>,
    /// The filter chain, once one is chosen.
    pub chain: Option<Arc<ChainFacts>>,
    /// SNI
    pub requested_server_name: Option<Arc<str>>,
    /// The TLS session, where the connection is TLS.
    pub tls: Option<Arc<TlsInfo>>,
    /// Why the TLS handshake failed; empty if it did not.
    pub transport_failure: Cow<'static, str>,
    /// What listener filters found out besides; none where there are no such filters.
    pub facts: Option<Box<Findings>>,
    /// Filter state for as long as the connection lives; see [`StreamInfo::state`](super::StreamInfo::state).
    pub state: RefCell<FilterState>,
}

/// What listener filters found out about a connection, besides its addresses.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The socket's own local address, where [`ConnectionInfo::local`] is another.
    pub direct_local: Option<Address>,
    /// What the client's first bytes are: `tls`, or none that is known.
    pub transport_protocol: Option<&'static str>,
    /// The application protocols that the client offers, by ALPN or by what it says in plain text.
    pub application_protocols: ProtocolList,
    /// Whom upstream connections are to come from.
    pub original_source: Option<OriginalSource>,
    /// Dynamic metadata of the connection.
    pub metadata: DynamicMetadata,
}

/// Names of application protocols in the order of preference, as TLS writes them: each behind a byte with its length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProtocolList(Box<[u8]>);

impl ProtocolList {
    /// A list as it came; `None` if a name is empty or longer than what is there.
    pub fn from_wire(wire: &[u8]) -> Option<Self> {
        let mut rest = wire;
        while let Some((length, names)) = rest.split_first() {
            let length = usize::from(*length);
            rest = names.get(length..).filter(|_| length > 0)?;
        }
        Some(Self(wire.into()))
    }

    /// One name.
    pub fn one(name: &'static str) -> Self {
        let length = u8::try_from(name.len()).unwrap_or(0);
        Self([&[length], &name.as_bytes()[..length.into()]].concat().into())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (length, names) = rest.split_first()?;
            let (name, behind) = names.split_at_checked(usize::from(*length))?;
            rest = behind;
            Some(name)
        })
    }
}

/// What the listener filter `original_src` asks of upstream connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OriginalSource {
    /// The client's address; its port is 0 where any port will do (`bind_port` is not set).
    pub address: SocketAddr,
    /// SO_MARK of the upstream socket; 0 is none.
    pub mark: u32,
}

impl ConnectionInfo {
    /// A connection from `remote` to `local`, accepted now.
    pub fn new(id: u64, local: Address, remote: Address, listener: Arc<ListenerFacts>) -> Self {
        Self {
            id,
            local,
            local_restored: false,
            remote: remote.clone(),
            direct_remote: remote,
            start: Instant::now(),
            listener,
            chain: None,
            requested_server_name: None,
            tls: None,
            transport_failure: Cow::Borrowed(""),
            facts: None,
            state: RefCell::default(),
        }
    }

    /// The filter chain's name; empty if it has none.
    pub fn chain_name(&self) -> &str {
        self.chain.as_ref().map_or("", |chain| &chain.name)
    }

    /// The facts, to add to.
    pub fn facts_mut(&mut self) -> &mut Findings {
        self.facts.get_or_insert_default()
    }

    /// Notes where the client wanted to go, in place of the address that the socket has.
    pub fn restore_local(&mut self, original: Address) {
        let own = std::mem::replace(&mut self.local, original);
        self.facts_mut().direct_local.get_or_insert(own);
        self.local_restored = true;
    }

    /// Whom upstream connections are to come from, where that is not the proxy.
    #[inline]
    pub fn original_source(&self) -> Option<OriginalSource> {
        self.facts.as_ref()?.original_source
    }

    /// The socket's own local address.
    pub fn direct_local(&self) -> &Address {
        self.facts.as_ref().and_then(|facts| facts.direct_local.as_ref()).unwrap_or(&self.local)
    }
}
