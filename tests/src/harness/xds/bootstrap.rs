//! The bootstrap of a proxy that takes its configuration from a [`ControlPlane`](super::ControlPlane), in each way there is.

use std::path::{Path, PathBuf};

use super::types;
use crate::harness::bootstrap::Bootstrap;

/// The node that every proxy under test says it is.
pub const NODE: &str = "test-node";

/// By which way configuration comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// One gRPC stream for all types, state of the world.
    Ads,
    /// One gRPC stream for all types, incremental.
    DeltaAds,
    /// A gRPC stream for each type, state of the world.
    Grpc,
    /// A gRPC stream for each type, incremental.
    DeltaGrpc,
    /// Polling by `POST`, every 100 ms.
    Rest,
    /// Files in a folder, replaced by renaming.
    Files,
}

/// Where the control plane is.
#[derive(Clone, Debug)]
pub enum Place {
    /// A loopback port.
    Port(u16),
    /// A unix socket.
    Socket(PathBuf),
}

impl Way {
    /// The `ConfigSource` for a type, as YAML flow text. `dir` is where the files are, of the ways that have files.
    pub fn source(self, type_url: &str, dir: &Path) -> String {
        let service =
            "grpc_services: [{envoy_grpc: {cluster_name: xds}}], set_node_on_first_message_only: true";
        let api = |kind: &str, rest: &str| {
            format!("api_config_source: {{api_type: {kind}, transport_api_version: V3, {rest}}}")
        };
        let source = match self {
            Self::Ads | Self::DeltaAds => "ads: {}".to_owned(),
            Self::Grpc => api("GRPC", service),
            Self::DeltaGrpc => api("DELTA_GRPC", service),
            Self::Rest => api("REST", "cluster_names: [xds], refresh_delay: 0.1s, request_timeout: 1s"),
            Self::Files => {
                let (file, dir) = (self.file(type_url, dir), dir.display());
                format!(
                    "path_config_source: {{path: \"{}\", watched_directory: {{path: \"{dir}\"}}}}",
                    file.display()
                )
            }
        };
        format!("{{resource_api_version: V3, {source}}}")
    }

    /// The file of a type, for [`Way::Files`].
    pub fn file(self, type_url: &str, dir: &Path) -> PathBuf {
        dir.join(format!("{}.yaml", types::short(type_url)))
    }

    /// A bootstrap without listeners whose only cluster is `xds`: listeners and clusters come from the control plane.
    pub fn bootstrap(self, place: &Place, dir: &Path) -> Bootstrap {
        let (lds, cds) = (self.source(types::LISTENER, dir), self.source(types::CLUSTER, dir));
        let api_type = match self {
            Self::Ads => Some("GRPC"),
            Self::DeltaAds => Some("DELTA_GRPC"),
            _ => None,
        };
        let ads = api_type.map_or_else(String::new, |api_type| {
            format!(
                "\n  ads_config: {{api_type: {api_type}, transport_api_version: V3, set_node_on_first_message_only: true, \
                 grpc_services: [{{envoy_grpc: {{cluster_name: xds}}}}]}}"
            )
        });
        let dynamic = format!("dynamic_resources:\n  lds_config: {lds}\n  cds_config: {cds}{ads}");
        Bootstrap::default()
            .top(&format!("node: {{id: {NODE}, cluster: tests, metadata: {{role: test}}}}"))
            .top(&dynamic)
            .clusters(&xds_cluster("xds", place, self != Self::Rest))
    }
}

/// A static cluster for a control plane.
pub fn xds_cluster(name: &str, place: &Place, http2: bool) -> String {
    let address = match place {
        Place::Port(port) => format!("socket_address: {{address: 127.0.0.1, port_value: {port}}}"),
        Place::Socket(path) => format!("pipe: {{path: \"{}\"}}", path.display()),
    };
    let options = if http2 {
        "\n  typed_extension_protocol_options:\n    envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n      \
         \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\n      \
         explicit_http_config: {http2_protocol_options: {}}"
    } else {
        ""
    };
    format!(
        "- name: {name}\n  type: STATIC\n  connect_timeout: 1s{options}\n  load_assignment:\n    cluster_name: {name}\n    \
         endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{{address}}}}}}}]}}]"
    )
}
