//! Where the values of labels come from.

use std::any::Any;
use std::rc::Rc;

use sampan_filters_api::info::{CertificateInfo, MetadataValue, StateObject, TlsInfo};
use sampan_filters_api::{Flags, RequestHead, StreamInfo};

pub use super::label::Label;
use super::{Reporter, Settings};
use crate::peer::{self, Peer};

/// What a value is called that is not known.
const UNKNOWN: &str = "unknown";
/// The revision of a workload that has none.
const LATEST: &str = "latest";
/// Hosts that requests name are cut to this.
const LONGEST_HOST: usize = 256;
/// What `istio_authn` leaves in the filter state.
const PEER_PRINCIPAL: &str = "io.istio.peer_principal";
const LOCAL_PRINCIPAL: &str = "io.istio.local_principal";
/// Clusters that stand for what the mesh does not know.
const CATCH_ALL: &[&str] = &[
    "BlackHoleCluster",
    "PassthroughCluster",
    "InboundPassthroughCluster",
    "InboundPassthroughClusterIpv4",
    "InboundPassthroughClusterIpv6",
];

/// What a report is of.
#[derive(Clone, Copy, Debug)]
pub enum Subject {
    /// A request that ended.
    Request {
        /// It was a gRPC call.
        grpc: bool,
        /// `grpc-status`
        status: Option<u32>,
    },
    /// Messages of a gRPC call.
    Messages,
    /// A connection.
    Connection,
}

/// What lies in the filter state.
#[derive(Default)]
pub struct Held {
    peer: Option<Rc<dyn StateObject>>,
    /// The other side, as gateways see it.
    endpoint: Option<Rc<dyn StateObject>>,
    principals: Option<(String, String)>,
}

/// What labels are made of, for one stream. The own workload is the same for all and not part of it.
pub struct Facts<'a> {
    peer: Option<&'a Peer>,
    endpoint: Option<&'a Peer>,
    /// What the host's metadata say of its workload, where it did not tell itself.
    encoded: &'a str,
    peer_principal: &'a str,
    local_principal: &'a str,
    host: &'a str,
    service: &'a str,
    namespace: &'a str,
    mutual_tls: Option<bool>,
    code: u16,
    flags: Flags,
    subject: Subject,
}

impl Held {
    /// Looks it up.
    pub fn of(reporter: Reporter, info: &StreamInfo) -> Self {
        match reporter {
            Reporter::Source => Self { peer: info.upstream_state(peer::UPSTREAM), ..Self::default() },
            Reporter::Destination | Reporter::Waypoint => {
                let text = |key| info.state(key).map(|object| object.plain());
                let principals = (text(PEER_PRINCIPAL), text(LOCAL_PRINCIPAL));
                Self {
                    peer: info.state(peer::DOWNSTREAM),
                    endpoint: if reporter == Reporter::Waypoint {
                        info.upstream_state(peer::UPSTREAM)
                    } else {
                        None
                    },
                    principals: match principals {
                        (None, None) => None,
                        (peer, local) => Some((peer.unwrap_or_default(), local.unwrap_or_default())),
                    },
                }
            }
        }
    }
}

/// Whether it is settled who the peer is, or that nobody will tell.
pub fn is_settled(reporter: Reporter, info: &StreamInfo) -> bool {
    match reporter {
        Reporter::Source => {
            [peer::UPSTREAM, peer::NOT_FOUND].iter().any(|key| info.upstream_state(key).is_some())
        }
        _ => [peer::DOWNSTREAM, peer::NOT_FOUND].iter().any(|key| info.state(key).is_some()),
    }
}

fn as_peer(object: Option<&Rc<dyn StateObject>>) -> Option<&Peer> {
    let object: &dyn Any = &**object?;
    object.downcast_ref()
}

fn first_uri(certificate: Option<&CertificateInfo>) -> &str {
    certificate.and_then(|certificate| certificate.uri_sans.first()).map_or("", String::as_str)
}

/// The namespace of a SPIFFE identity.
fn namespace_of(principal: &str) -> &str {
    let Some((_, rest)) = principal.split_once("/ns/") else { return "" };
    rest.split('/').next().unwrap_or_default()
}

impl<'a> Facts<'a> {
    /// Gathers them.
    pub fn gather(
        settings: &Settings,
        held: &'a Held,
        request: Option<&'a RequestHead>,
        info: &'a StreamInfo,
        subject: Subject,
    ) -> Self {
        let peer = as_peer(held.peer.as_ref());
        let source = settings.reporter == Reporter::Source;
        let tls = if source { info.upstream.tls.as_deref() } else { info.connection.tls.as_deref() };
        let principals = |tls: Option<&'a TlsInfo>| {
            let peer = first_uri(tls.and_then(TlsInfo::peer));
            (peer, first_uri(tls.and_then(|tls| tls.local.as_deref())))
        };
        let told = held.principals.as_ref().map(|(peer, local)| (peer.as_str(), local.as_str()));
        let (mut peer_principal, local_principal) =
            told.filter(|told| *told != ("", "")).unwrap_or_else(|| principals(tls));
        if source && peer_principal.is_empty() {
            peer_principal = peer.map_or("", |peer| &peer.identity);
        }
        let mut facts = Self {
            encoded: if source && peer.is_none() { encoded(info) } else { "" },
            peer,
            endpoint: as_peer(held.endpoint.as_ref()),
            peer_principal,
            local_principal,
            host: "",
            service: "",
            namespace: "",
            mutual_tls: (!source).then_some(!peer_principal.is_empty() && !local_principal.is_empty()),
            code: info.response_code,
            flags: info.flags,
            subject,
        };
        facts.find_service(settings, request, info);
        facts
    }

    /// The service that was meant: what the cluster says, or else the host that the request names.
    fn find_service(&mut self, settings: &Settings, request: Option<&'a RequestHead>, info: &'a StreamInfo) {
        if let Some(request) = request.filter(|_| settings.host_fallback) {
            let host = request.authority();
            self.host = std::str::from_utf8(&host[..host.len().min(LONGEST_HOST)]).unwrap_or_default();
            self.service = self.host;
        }
        match info.route_name() {
            Some("block_all") => return self.service = "BlackHoleCluster",
            Some("allow_any") => return self.service = "PassthroughCluster",
            _ => {}
        }
        let Some(facts) = info.upstream.facts.as_deref() else { return };
        if let Some(name) = CATCH_ALL.iter().copied().find(|name| *name == &*facts.name) {
            return self.service = name;
        }
        let Some(MetadataValue::List(services)) = facts.metadata(&["istio", "services"]) else { return };
        let Some(service) = services.first() else { return };
        let text = |key| match service.at(&[key]) {
            Some(MetadataValue::String(text)) => Some(&**text),
            _ => None,
        };
        self.host = text("host").unwrap_or(self.host);
        self.namespace = text("namespace").unwrap_or_default();
        self.service = text("name").unwrap_or_else(|| self.host.split('.').next().unwrap_or_default());
    }

    /// Writes what tells these labels from others.
    pub fn key(&self, out: &mut Vec<u8>) {
        for number in [self.peer, self.endpoint].map(|peer| peer.map_or(0, |peer| peer.number)) {
            out.extend_from_slice(&number.to_ne_bytes());
        }
        let (subject, status) = match self.subject {
            Subject::Request { grpc, status } => (u8::from(grpc), status.map_or(u32::MAX, |status| status)),
            Subject::Messages => (2, 0),
            Subject::Connection => (3, 0),
        };
        let mutual_tls = self.mutual_tls.map_or(2, u8::from);
        out.extend_from_slice(&[subject, mutual_tls]);
        if !matches!(self.subject, Subject::Messages) {
            out.extend_from_slice(&status.to_ne_bytes());
            out.extend_from_slice(&self.code.to_ne_bytes());
            out.extend_from_slice(&self.flags.bits().to_ne_bytes());
        }
        for text in
            [self.encoded, self.peer_principal, self.local_principal, self.host, self.service, self.namespace]
        {
            out.extend_from_slice(text.as_bytes());
            // No text of ours has this byte.
            out.push(0xff);
        }
    }

    /// The labels with their values, in Istio's order.
    pub fn labels(&self, settings: &Settings) -> Vec<(Label, String)> {
        let mut labels = Vec::with_capacity(25);
        let mut add = |label, value: &str| labels.push((label, value.to_owned()));
        add(Label::Reporter, settings.reporter.name());
        let told;
        let peer = if self.peer.is_some() {
            self.peer
        } else {
            told = Peer::of_endpoint(self.encoded);
            told.as_ref()
        };
        if settings.reporter == Reporter::Source {
            self.as_source(settings, peer, &mut add);
        } else {
            self.as_destination(settings, peer, &mut add);
        }
        self.of_the_end(&mut add);
        labels
    }

    /// The namespace of the peer: what its certificate says, or else what it says.
    fn peer_namespace<'p>(&'p self, peer: Option<&'p Peer>) -> &'p str {
        match namespace_of(self.peer_principal) {
            "" => peer.map_or("", |peer| &peer.namespace),
            namespace => namespace,
        }
    }

    fn as_source(&self, settings: &Settings, peer: Option<&Peer>, add: &mut dyn FnMut(Label, &str)) {
        let own = &settings.own;
        let of = |text: fn(&Peer) -> &str| or(peer.map_or("", text), UNKNOWN);
        let namespace = self.peer_namespace(peer);
        add(Label::SourceWorkload, &own.workload);
        add(Label::SourceCanonicalService, &own.canonical_name);
        add(Label::SourceCanonicalRevision, &own.canonical_revision);
        add(Label::SourceWorkloadNamespace, &own.namespace);
        add(Label::SourcePrincipal, or(self.local_principal, UNKNOWN));
        add(Label::SourceApp, &own.app);
        add(Label::SourceVersion, &own.version);
        add(Label::SourceCluster, &own.cluster);
        add(Label::DestinationWorkload, of(|peer| &peer.workload));
        add(Label::DestinationWorkloadNamespace, or(namespace, UNKNOWN));
        add(Label::DestinationPrincipal, or(self.peer_principal, UNKNOWN));
        add(Label::DestinationApp, of(|peer| &peer.app));
        add(Label::DestinationVersion, of(|peer| &peer.version));
        add(Label::DestinationService, or(self.host, UNKNOWN));
        add(Label::DestinationCanonicalService, of(|peer| &peer.canonical_name));
        let revision = peer.map_or("", |peer| &peer.canonical_revision);
        add(Label::DestinationCanonicalRevision, or(revision, LATEST));
        add(Label::DestinationServiceName, or(self.service, UNKNOWN));
        add(Label::DestinationServiceNamespace, or(or(self.namespace, namespace), UNKNOWN));
        add(Label::DestinationCluster, of(|peer| &peer.cluster));
    }

    fn as_destination(&self, settings: &Settings, peer: Option<&Peer>, add: &mut dyn FnMut(Label, &str)) {
        let of = |text: fn(&Peer) -> &str| or(peer.map_or("", text), UNKNOWN);
        add(Label::SourceWorkload, of(|peer| &peer.workload));
        add(Label::SourceCanonicalService, of(|peer| &peer.canonical_name));
        let revision = peer.map_or("", |peer| &peer.canonical_revision);
        add(Label::SourceCanonicalRevision, or(revision, LATEST));
        add(Label::SourceWorkloadNamespace, or(self.peer_namespace(peer), UNKNOWN));
        add(Label::SourcePrincipal, or(self.peer_principal, UNKNOWN));
        add(Label::SourceApp, of(|peer| &peer.app));
        add(Label::SourceVersion, of(|peer| &peer.version));
        add(Label::SourceCluster, of(|peer| &peer.cluster));
        if settings.reporter == Reporter::Waypoint {
            return self.behind_gateway(add);
        }
        let own = &settings.own;
        add(Label::DestinationWorkload, &own.workload);
        add(Label::DestinationWorkloadNamespace, &own.namespace);
        add(Label::DestinationPrincipal, or(self.local_principal, UNKNOWN));
        add(Label::DestinationApp, &own.app);
        add(Label::DestinationVersion, &own.version);
        add(Label::DestinationService, or(self.host, &own.canonical_name));
        add(Label::DestinationCanonicalService, &own.canonical_name);
        add(Label::DestinationCanonicalRevision, &own.canonical_revision);
        add(Label::DestinationServiceName, or(self.service, &own.canonical_name));
        add(Label::DestinationServiceNamespace, &own.namespace);
        add(Label::DestinationCluster, &own.cluster);
    }

    fn behind_gateway(&self, add: &mut dyn FnMut(Label, &str)) {
        let of = |text: fn(&Peer) -> &str| or(self.endpoint.map_or("", text), UNKNOWN);
        add(Label::DestinationWorkload, of(|peer| &peer.workload));
        add(Label::DestinationWorkloadNamespace, of(|peer| &peer.namespace));
        add(Label::DestinationPrincipal, of(|peer| &peer.identity));
        add(Label::DestinationApp, of(|peer| &peer.app));
        add(Label::DestinationVersion, of(|peer| &peer.version));
        add(Label::DestinationService, or(self.host, UNKNOWN));
        add(Label::DestinationCanonicalService, of(|peer| &peer.canonical_name));
        add(Label::DestinationCanonicalRevision, of(|peer| &peer.canonical_revision));
        add(Label::DestinationServiceName, or(self.service, UNKNOWN));
        add(Label::DestinationServiceNamespace, or(self.namespace, UNKNOWN));
        add(Label::DestinationCluster, of(|peer| &peer.cluster));
    }

    /// How it went. Messages are reported while a call goes on, so that they have none of it.
    fn of_the_end(&self, add: &mut dyn FnMut(Label, &str)) {
        match self.subject {
            Subject::Messages => return,
            Subject::Connection => add(Label::RequestProtocol, "tcp"),
            Subject::Request { grpc, status } => {
                add(Label::RequestProtocol, if grpc { "grpc" } else { "http" });
                add(Label::ResponseCode, &self.code.to_string());
                let status = status.map(|status| status.to_string()).unwrap_or_default();
                add(Label::GrpcResponseStatus, &status);
            }
        }
        add(Label::ResponseFlags, &self.flags.to_string());
        let policy = match self.mutual_tls {
            Some(true) => "mutual_tls",
            Some(false) => "none",
            None => UNKNOWN,
        };
        add(Label::ConnectionSecurityPolicy, policy);
    }
}

/// A text, or what stands for one that is not there.
fn or<'t>(text: &'t str, otherwise: &'t str) -> &'t str {
    if text.is_empty() { otherwise } else { text }
}

/// `istio.workload` of the metadata of the host.
fn encoded(info: &StreamInfo) -> &str {
    let metadata = info.upstream.host.as_deref().and_then(|host| host.metadata.as_deref());
    match metadata.and_then(|metadata| metadata.at(&["istio", "workload"])) {
        Some(MetadataValue::String(text)) => text,
        _ => "",
    }
}
