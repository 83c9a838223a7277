//! `forward_downstream_sni`: asks upstream for the server name that the client asked for.

pub mod config;
