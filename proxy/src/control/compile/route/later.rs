//! Virtual hosts of large route configurations: kept as bytes, compiled again when the first request asks for one.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use sampan_api::envoy::config::route::v3 as pb;
use sampan_model::route::{HostSource, LaterHost, RouteTable, RouteTableOptions, TableError, VirtualHost};

use super::super::scope::Rejects;
use super::super::{Context, Scope};
use super::special::Inherited;
use super::{Build, Host, virtual_host};
use crate::http::route::{FilterOverrides, RoutePayload, VirtualHostPayload};

/// What compiling needs, shared by the virtual hosts of a configuration.
struct Shared {
    context: Context,
    body_limit: usize,
    filters: FilterOverrides,
    inherited: Inherited,
}

struct Kept {
    wire: Bytes,
    shared: Arc<Shared>,
}

impl HostSource<VirtualHostPayload, RoutePayload> for Kept {
    fn build(&self) -> Host {
        let build = Build {
            context: &self.shared.context,
            validate_clusters: false,
            body_limit: self.shared.body_limit,
            filters: self.shared.filters.clone(),
            inherited: self.shared.inherited.clone(),
        };
        let rejects = Rejects::default();
        let proto = pb::VirtualHost::decode(self.wire.clone()).ok();
        let host = proto.and_then(|proto| virtual_host(&proto, &build, &Scope::root("", &rejects)));
        // It was compiled before; without routes it answers 404.
        host.unwrap_or_else(|| VirtualHost::new("", Vec::new(), Vec::new(), VirtualHostPayload::default()))
    }
}

/// A table of virtual hosts that are compiled when they are asked for.
pub(super) fn table(
    proto: &pb::RouteConfiguration,
    build: &Build<'_>,
    options: RouteTableOptions,
) -> Result<RouteTable<VirtualHostPayload, RoutePayload>, TableError> {
    let context = Context { clusters: Arc::default(), ..build.context.clone() };
    let shared = Arc::new(Shared {
        context,
        body_limit: build.body_limit,
        filters: build.filters.clone(),
        inherited: build.inherited.clone(),
    });
    let hosts = proto.virtual_hosts.iter().map(|host| LaterHost {
        name: host.name.as_str().into(),
        domains: host.domains.iter().map(|domain| domain.as_str().into()).collect(),
        source: Arc::new(Kept { wire: host.encode_to_vec().into(), shared: shared.clone() }),
    });
    RouteTable::later(hosts.collect(), options)
}
