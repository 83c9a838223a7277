//! Configurations and certificates that the tests of TLS share.

use std::fmt::Write as _;
use std::path::Path;

use sampan_tests::harness::process::{Process, Program};
use sampan_tests::harness::tls::{Authority, TlsClient, Wanted};
use tempfile::TempDir;

const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
const HCM: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
const OPTIONS: &str = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// A directory with the certificates of a mesh.
pub struct Mesh {
    pub dir: TempDir,
    pub root: Authority,
    pub other: Authority,
}

impl Mesh {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (root, other) = (Authority::new("root"), Authority::new("other"));
        root.save(dir.path(), "ca");
        other.save(dir.path(), "otherca");
        let uri = &["spiffe://td/ns/default/sa/client"];
        let server = Wanted {
            uris: &["spiffe://td/ns/default/sa/server"],
            dns: &["server.example"],
            ..Wanted::default()
        };
        root.issue(dir.path(), "server", server);
        let client = Wanted { uris: uri, dns: &["client.example"], ..Wanted::default() };
        root.issue(dir.path(), "client", client);
        other.issue(dir.path(), "foreign", client);
        root.issue(dir.path(), "expired", Wanted { years: Some((2001, 2002)), ..client });
        root.issue(dir.path(), "future", Wanted { years: Some((2080, 2081)), ..client });
        root.issue(dir.path(), "revoked", Wanted { serial: Some(7), ..client });
        root.issue(dir.path(), "wrong", Wanted { uris: &["spiffe://elsewhere/x"], ..client });
        root.issue(dir.path(), "confused", Wanted { uris: &[], dns: &["spiffe.td"], ..client });
        root.issue(
            dir.path(),
            "nul",
            Wanted { uris: &["spiffe://td\0/x"], dns: &["td\0.example"], ..client },
        );
        root.revoke(dir.path(), "crl", 7);
        Self { dir, root, other }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn client(&self) -> TlsClient {
        TlsClient::new(self.path(), &self.root)
    }

    /// A proxy on listeners and clusters; `$DIR` is the directory.
    pub fn start(&self, program: Program, listeners: &str, clusters: &str) -> (Process, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\n\
             static_resources:\n  listeners:\n{listeners}\n  clusters:\n{clusters}\n"
        );
        let config = config.replace("$DIR", &self.path().to_string_lossy());
        (Process::start(program, &config, dir.path(), &["-l", "info"][..0]), dir)
    }
}

/// `tls_certificates` with one entry.
pub fn certificate(name: &str) -> String {
    format!(
        "tls_certificates: [{{certificate_chain: {{filename: $DIR/{name}.pem}}, private_key: {{filename: $DIR/{name}.key}}}}]"
    )
}

/// A listener that tells in `x-echo` what it knows of its client.
pub fn echo_listener(name: &str, common: &str, context: &str, hcm: &str) -> String {
    let route = "{match: {prefix: /}, direct_response: {status: 200}, response_headers_to_add: \
                 [{header: {key: x-echo, value: \"%REQ(X-FORWARDED-CLIENT-CERT)%\"}}]}";
    listener(
        name,
        &format!("{hcm} route_config: {{virtual_hosts: [{{name: v, domains: ['*'], routes: [{route}]}}]}}"),
        Some((common, context)),
    )
}

/// A listener in the clear that forwards to a cluster.
pub fn forward_listener(name: &str, cluster: &str) -> String {
    let route = format!("{{match: {{prefix: /}}, route: {{cluster: {cluster}}}}}");
    listener(
        name,
        &format!("route_config: {{virtual_hosts: [{{name: v, domains: ['*'], routes: [{route}]}}]}}"),
        None,
    )
}

fn listener(name: &str, hcm: &str, tls: Option<(&str, &str)>) -> String {
    let mut text = format!(
        "  - name: {name}\n    stat_prefix: {name}\n    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n    \
         filter_chains:\n    - filters:\n      - name: hcm\n        typed_config: {{\"@type\": {HCM}, stat_prefix: {name}, \
         http_filters: [{{name: router, typed_config: {{\"@type\": {ROUTER}}}}}], {hcm}}}\n"
    );
    if let Some((common, context)) = tls {
        writeln!(
            text,
            "      transport_socket: {{name: tls, typed_config: {{\"@type\": {TLS}.DownstreamTlsContext, \
             common_tls_context: {{{common}}}, {context}}}}}"
        )
        .unwrap();
    }
    text
}

/// A cluster by TLS to a port.
pub fn cluster(name: &str, port: u16, common: &str, context: &str, options: &str) -> String {
    let options = if options.is_empty() {
        String::new()
    } else {
        format!(
            "    typed_extension_protocol_options: {{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {{\"@type\": {OPTIONS}, {options}}}}}\n"
        )
    };
    format!(
        "  - name: {name}\n    type: STATIC\n    connect_timeout: 2s\n{options}    transport_socket: {{name: tls, typed_config: \
         {{\"@type\": {TLS}.UpstreamTlsContext, common_tls_context: {{{common}}}, {context}}}}}\n    load_assignment: {{cluster_name: \
         {name}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]}}\n"
    )
}

/// A stat's value; 0 if there is none.
pub fn stat(process: &Process, name: &str) -> u64 {
    let (_, body) = process.admin("GET", &format!("/stats?filter=^{}$", name.replace('.', "\\.")));
    body.trim().rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap_or(0)
}
