//! `envoy.filters.network.sni_cluster`: makes the server name that the client asks for the cluster of `tcp_proxy`.

pub mod config;
