//! A listener as the workers see it: the compiled form of `envoy.config.listener.v3.Listener`.

use std::sync::Arc;
use std::time::Duration;

use sampan_filters_api::Address;
use sampan_filters_api::info::{ChainFacts, ListenerFacts};
use sampan_filters_api::network::NetworkFilterFactory;

use super::filter_chain::ChainMatcher;
use super::filters::ListenerFilters;
use super::retire::Retirement;
use crate::http::config::{FilterSource, HttpConfig};
use crate::net::socket::ListenOptions;
use crate::tcp::config::TcpConfig;
use crate::telemetry::access_log::AccessLog;
use crate::tls::context::ServerContext;

/// A listener.
pub struct Listener {
    /// `name`; generated where none is configured.
    pub name: Arc<str>,
    /// What filters and logs may want to know.
    pub facts: Arc<ListenerFacts>,
    /// Scope of its stats: `stat_prefix`, or the first address with `:` as `_`.
    pub stat_prefix: Arc<str>,
    /// `address` and `additional_addresses`.
    pub addresses: Vec<ListenAddress>,
    /// What looks at connections before a chain is chosen; none where nothing does.
    pub filters: Option<Box<ListenerFilters>>,
    /// Which connection gets which chain.
    pub chains: ChainMatcher,
    /// `per_connection_buffer_limit_bytes`
    pub buffer_limit: usize,
    /// Connections at once (`envoy.resource_limits.listener.NAME.connection_limit` of the runtime).
    pub connection_limit: Option<u64>,
    /// `max_connections_to_accept_per_socket_event`
    pub accepts_per_wake: u32,
    /// `connection_balance_config.exact_balance`
    pub exact_balance: bool,
    /// `ignore_global_conn_limit`
    pub ignore_global_limit: bool,
    /// `bind_to_port`; a listener that does not is reached by redirection only.
    pub bind_to_port: bool,
    /// `drain_type` MODIFY_ONLY: keeps accepting while the process drains.
    pub drain_on_modify_only: bool,
    /// `access_log`: connections that end before a chain takes them.
    pub access_logs: Vec<Arc<AccessLog>>,
}

impl Listener {
    /// An address that another listener has as well: both would answer there, or be handed the same redirected connections.
    pub fn shares_address(&self, other: &Listener) -> Option<&Address> {
        let any_port = |address: &Address| address.socket().is_some_and(|address| address.port() == 0);
        let own = self.addresses.iter().map(|own| &own.address);
        own.filter(|address| !(any_port(address) && self.bind_to_port && other.bind_to_port))
            .find(|address| other.addresses.iter().any(|theirs| theirs.address == **address))
    }
}

/// One address of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// Where to listen. Port 0 picks a free one, the same for all workers.
    pub address: Address,
    /// `Pipe.mode` of a unix socket.
    pub pipe_mode: Option<u32>,
    /// Socket options.
    pub options: ListenOptions,
}

/// A filter chain.
pub struct FilterChain {
    /// What filters and logs may want to know.
    pub facts: Arc<ChainFacts>,
    /// Network filters before the last one.
    pub filters: Vec<FilterSource<dyn NetworkFilterFactory>>,
    /// The last filter.
    pub terminal: Terminal,
    /// TLS, where the chain has it.
    pub tls: Option<Arc<ServerContext>>,
    /// How long a TLS handshake may take: `transport_socket_connect_timeout`.
    pub transport_connect_timeout: Option<Duration>,
    /// Whether a newer configuration has no place for it.
    pub retirement: Retirement,
}

/// What ends a filter chain.
pub enum Terminal {
    /// The HTTP connection manager.
    Http(Arc<HttpConfig>),
    /// TCP proxy.
    Tcp(Arc<TcpConfig>),
    /// A filter that answers itself (`echo`, `direct_response`).
    Filter(Arc<dyn NetworkFilterFactory>),
    /// No filter at all: the connection is closed.
    None,
}
