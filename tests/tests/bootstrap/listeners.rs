//! Listeners, valid and not.

use super::{Sample, sample};

/// A bootstrap with these fields of a listener.
fn listener(name: &'static str, valid: bool, fields: &str) -> Sample {
    sample(name, valid, &format!("static_resources: {{listeners: [{{{fields}}}]}}"))
}

/// The samples.
pub fn listeners() -> Vec<Sample> {
    let here = "address: {socket_address: {address: 127.0.0.1, port_value: 0}}";
    let echo = "filter_chains: [{filters: [{name: e, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}]}]";
    vec![
        listener("listener", true, &format!("name: l, {here}, {echo}")),
        listener("listener without a name", true, &format!("{here}, {echo}")),
        listener("listener without an address", false, &format!("name: l, {echo}")),
        listener("listener without filter chains", false, &format!("name: l, {here}")),
        listener(
            "listener with a name for an address",
            false,
            &format!("name: l, address: {{socket_address: {{address: localhost, port_value: 0}}}}, {echo}"),
        ),
        listener(
            "listener on a unix socket",
            true,
            &format!("name: l, address: {{pipe: {{path: l.sock}}}}, {echo}"),
        ),
        listener(
            "listener with more addresses",
            true,
            &format!("name: l, {here}, additional_addresses: [{{{here}}}], {echo}"),
        ),
        listener(
            "listener options",
            true,
            &format!(
                "name: l, {here}, {echo}, tcp_backlog_size: 10, freebind: true, enable_reuse_port: false, per_connection_buffer_limit_bytes: 1000, connection_balance_config: {{exact_balance: {{}}}}"
            ),
        ),
        listener(
            "terminal filter not last",
            false,
            &format!(
                "name: l, {here}, filter_chains: [{{filters: [{{name: e, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}}}, {{name: f, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}}}]}}]"
            ),
        ),
        listener(
            "two filter chains that match alike",
            false,
            &format!("name: l, {here}, filter_chains: [{{filters: []}}, {{filters: []}}]"),
        ),
        listener(
            "tcp proxy without a cluster",
            false,
            &format!(
                "name: l, {here}, filter_chains: [{{filters: [{{name: t, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t}}}}]}}]"
            ),
        ),
        listener(
            "typed struct",
            true,
            &format!(
                "name: l, {here}, filter_chains: [{{filters: [{{name: e, typed_config: {{\"@type\": type.googleapis.com/udpa.type.v1.TypedStruct, type_url: type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo, value: {{}}}}}}]}}]"
            ),
        ),
        listener(
            "xds typed struct",
            true,
            &format!(
                "name: l, {here}, filter_chains: [{{filters: [{{name: e, typed_config: {{\"@type\": type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo, value: {{}}}}}}]}}]"
            ),
        ),
    ]
}
