//! From configuration to settings and to entries, which the API's own types read again.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use prost::Message as _;
use sampan_api::envoy::config::accesslog::v3::AccessLog as AccessLogProto;
use sampan_api::envoy::config::core::v3::{Address as AddressProto, SocketAddress, address, socket_address};
use sampan_api::envoy::data::accesslog::v3::{HttpAccessLogEntry, TcpAccessLogEntry};
use sampan_api::envoy::service::accesslog::v3::stream_access_logs_message::{
    HttpAccessLogEntries, TcpAccessLogEntries,
};
use sampan_filters_api::format::{AccessLogType, FormatContext};
use sampan_filters_api::info::{CertificateInfo, MetadataValue, RouteFacts, StateObject, TlsInfo};
use sampan_filters_api::{
    Address, ConnectionInfo, Flag, Flags, Headers, Protocol, RequestHead, ResponseHead, StreamInfo,
};
use sampan_model::fraction::NoRuntime;

use super::*;
use crate::control::compile::access_log::access_log;
use crate::control::compile::testing::compiled;
use crate::telemetry::access_log::service::LogServices;
use crate::telemetry::access_log::{AccessLog, LogEvent, LogFiles, WorkerLogs};
use crate::telemetry::stats::Block;
use crate::telemetry::stats::kinds::{GrpcAccessLog, GrpcAccessLogCounter};

const COMMON: &str = "log_name: l, transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: a}}";

fn yaml(kind: &str, common: &str, fields: &str) -> String {
    format!(
        "{{name: g, typed_config: {{'@type': type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.{kind}, \
         common_config: {{{common}}}, {fields}}}}}"
    )
}

fn log(yaml: &str) -> Result<AccessLog, Vec<String>> {
    compiled::<AccessLogProto, _>(yaml, access_log)
}

#[track_caller]
fn refused(common: &str, told: &str) {
    let refusals = log(&yaml("HttpGrpcAccessLogConfig", common, "")).map(drop).unwrap_err();
    assert!(refusals.iter().any(|refusal| refusal.contains(told)), "{refusals:?}");
}

#[test]
fn what_cannot_be_done_is_refused_by_its_path() {
    refused("log_name: l", "common_config.grpc_service: is required");
    let tag = |tag: &str| format!("{COMMON}, custom_tags: [{tag}]");
    refused(&tag("{tag: t}"), "common_config.custom_tags[0]: no kind");
    refused(&tag("{tag: t, value: '%NOPE%'}"), "custom_tags[0].value: ");
    refused(
        &tag("{tag: t, metadata: {metadata_key: {key: k}}}"),
        "custom_tags[0].metadata.kind: is required",
    );
    refused(
        &format!("{COMMON}, grpc_stream_retry_policy: {{retry_back_off: {{max_interval: 1s}}}}"),
        "grpc_stream_retry_policy.retry_back_off.base_interval: is required",
    );
}

struct Word;

impl StateObject for Word {
    fn plain(&self) -> String {
        "word".into()
    }
}

struct Logged {
    info: StreamInfo,
    request: RequestHead,
    response: ResponseHead,
    trailers: Headers,
}

fn socket(text: &str) -> Address {
    Address::Socket(text.parse::<SocketAddr>().unwrap())
}

fn peer() -> CertificateInfo {
    CertificateInfo {
        der: [].into(),
        subject: "CN=peer".into(),
        issuer: String::new(),
        serial: String::new(),
        sha1: String::new(),
        sha256: String::new(),
        not_before: UNIX_EPOCH,
        not_after: UNIX_EPOCH,
        uri_sans: vec!["spiffe://a/b".into()],
        dns_sans: Vec::new(),
        ip_sans: Vec::new(),
        email_sans: Vec::new(),
        other_sans: Vec::new(),
    }
}

impl Logged {
    fn new() -> Self {
        let start = Instant::now();
        let tls = TlsInfo {
            version: "TLSv1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            peer: vec![std::sync::Arc::new(peer())],
            ..TlsInfo::default()
        };
        let connection = ConnectionInfo {
            id: 1,
            local: socket("10.0.0.1:80"),
            local_restored: false,
            remote: socket("[2001:db8::1]:5000"),
            direct_remote: socket("[2001:db8::1]:5000"),
            start,
            listener: Arc::default(),
            chain: None,
            requested_server_name: Some("sni.example".into()),
            tls: Some(tls.into()),
            transport_failure: "".into(),
            facts: None,
            state: std::cell::RefCell::default(),
        };
        let mut info = StreamInfo::new(Rc::new(connection), start, UNIX_EPOCH + Duration::new(100, 5));
        info.protocol = Some(Protocol::Http2);
        info.response_code = 503;
        info.details = "why".into();
        info.flags = [Flag::UnauthorizedExternalService, Flag::DownstreamRemoteReset, Flag::DropOverload]
            .into_iter()
            .collect();
        info.request_complete = Some(start + Duration::from_millis(2));
        info.end = Some(start + Duration::from_millis(1007));
        info.upstream.address = Some(Address::Pipe("/run/up".into()));
        info.upstream.cluster = Some("up".into());
        info.metadata.set("ns", "null", MetadataValue::Null);
        info.metadata.set(
            "ns",
            "list",
            MetadataValue::List(vec![
                MetadataValue::Number(0.0),
                MetadataValue::Bool(false),
                MetadataValue::String("".into()),
            ]),
        );
        info.filter_state.set("key", Rc::new(Word));
        let mut request = RequestHead::default();
        request.set_method(b"PATCH");
        request.set_path(b"/p");
        for value in ["1", "2"] {
            request.headers.append("x-a", value);
        }
        let response = ResponseHead { status: 503, ..ResponseHead::default() };
        let mut trailers = Headers::default();
        trailers.append("x-t", "t");
        Self { info, request, response, trailers }
    }

    /// The batch in which a log hands the event over.
    fn encoded(&self, yaml: &str) -> Vec<u8> {
        let services = LogServices::default();
        let mut outlets = services.outlets().unwrap();
        let context = crate::control::compile::Context { log_services: services.into(), ..super_context() };
        let log =
            compiled::<AccessLogProto, _>(yaml, |proto, _, at| access_log(proto, &context, at)).unwrap();
        let context = FormatContext {
            request: Some(&self.request),
            response: Some(&self.response),
            trailers: Some(&self.trailers),
            log_type: AccessLogType::DownstreamEnd,
            ..FormatContext::new(&self.info, self.info.start, UNIX_EPOCH)
        };
        let counts = std::sync::Arc::new(Block::<GrpcAccessLog>::detached());
        let worker = WorkerLogs::new(&LogFiles::for_validation(), counts.clone());
        log.record(&LogEvent { context, runtime: &NoRuntime, random: 1 }, &worker);
        worker.flush();
        assert_eq!(counts.counter(GrpcAccessLogCounter::LogsWritten), 1);
        drop((log, worker));
        let mut outlet = outlets.try_recv().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(outlet.next()).unwrap().entries
    }

    fn http(&self, common: &str, fields: &str) -> HttpAccessLogEntry {
        let bytes = self.encoded(&yaml("HttpGrpcAccessLogConfig", &format!("{COMMON}, {common}"), fields));
        HttpAccessLogEntries::decode(bytes.as_slice()).unwrap().log_entry.remove(0)
    }
}

fn super_context() -> crate::control::compile::Context {
    crate::control::compile::testing::context()
}

fn ip(address: &str, port: u32) -> AddressProto {
    let port_specifier = Some(socket_address::PortSpecifier::PortValue(port));
    let address = SocketAddress { address: address.into(), port_specifier, ..SocketAddress::default() };
    AddressProto { address: Some(address::Address::SocketAddress(address)) }
}

#[test]
fn an_http_entry_holds_what_is_known_of_the_stream() {
    let entry = Logged::new().http(
        "filter_state_objects_to_log: [key, absent]",
        "additional_request_headers_to_log: [X-A, ':method', absent, 'bad name'], \
         additional_response_headers_to_log: [':status'], additional_response_trailers_to_log: [x-t, ':status']",
    );
    let common = entry.common_properties.unwrap();
    assert_eq!(common.downstream_direct_remote_address, Some(ip("2001:db8::1", 5000)));
    assert_eq!(common.downstream_local_address, Some(ip("10.0.0.1", 80)));
    assert!(matches!(
        common.upstream_remote_address.unwrap().address,
        Some(address::Address::Pipe(pipe)) if pipe.path == "/run/up"
    ));
    let start = common.start_time.unwrap();
    assert_eq!((start.seconds, start.nanos), (100, 5));
    let took = common.duration.unwrap();
    assert_eq!((took.seconds, took.nanos), (1, 7_000_000));
    assert_eq!(common.time_to_last_rx_byte.unwrap().nanos, 2_000_000);
    assert_eq!(common.time_to_first_upstream_tx_byte, None);
    assert_eq!((common.upstream_cluster.as_str(), common.access_log_type), ("up", 6));
    let flags = common.response_flags.unwrap();
    assert!(flags.downstream_remote_reset && flags.unauthorized_details.unwrap().reason == 1);
    assert!(!flags.dns_resolution_failure);
    let space = &common.metadata.unwrap().filter_metadata["ns"];
    let kind = |name: &str| space.fields[name].kind.clone().unwrap();
    assert!(matches!(kind("null"), sampan_api::google::protobuf::value::Kind::NullValue(0)));
    assert!(matches!(kind("list"), sampan_api::google::protobuf::value::Kind::ListValue(list)
            if list.values.len() == 3 && list.values.iter().all(|value| value.kind.is_some())));
    assert_eq!(common.filter_state_objects.len(), 1);
    assert_eq!(common.filter_state_objects["key"].value, "word".to_owned().encode_to_vec());
    let tls = common.tls_properties.unwrap();
    assert_eq!((tls.tls_version, tls.tls_cipher_suite.unwrap().value), (4, 0x1301));
    assert_eq!(tls.tls_sni_hostname, "sni.example");
    let peer = tls.peer_certificate_properties.unwrap();
    assert_eq!((peer.subject.as_str(), peer.subject_alt_name.len()), ("CN=peer", 1));
    let request = entry.request.unwrap();
    assert_eq!((entry.protocol_version, request.request_method, request.path.as_str()), (3, 9, "/p"));
    let pairs = |map: std::collections::HashMap<String, String>| {
        let mut pairs: Vec<_> = map.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.sort();
        pairs.join(" ")
    };
    assert_eq!(pairs(request.request_headers), ":method=PATCH x-a=1,2");
    let response = entry.response.unwrap();
    assert_eq!(
        (response.response_code.unwrap().value, response.response_code_details.as_str()),
        (503, "why")
    );
    assert_eq!(pairs(response.response_headers), ":status=503");
    assert_eq!(pairs(response.response_trailers), "x-t=t");
}

#[test]
fn every_flag_has_its_own_field() {
    let mut logged = Logged::new();
    for &flag in Flag::ALL {
        logged.info.flags = Flags::of(flag);
        let flags = logged.http("", "").common_properties.unwrap().response_flags.unwrap();
        let text = format!("{flags:?}");
        let set = text.matches("true").count() + text.matches("Some(").count();
        let known = !matches!(flag, Flag::DropOverload | Flag::UnconditionalDropOverload);
        assert_eq!(set, usize::from(known), "{flag:?}: {text}");
    }
}

#[test]
fn tags_come_from_everywhere_and_empty_ones_are_left_out() {
    let tags = "custom_tags: [{tag: a, literal: {value: v}}, {tag: b, environment: {name: SAMPAN_NOPE, default_value: d}}, \
        {tag: c, environment: {name: SAMPAN_NOPE}}, {tag: d, request_header: {name: x-a}}, \
        {tag: e, request_header: {name: 'bad name', default_value: dd}}, {tag: f, value: '%REQ(nope)%%REQ(x-a)%'}, \
        {tag: g, metadata: {kind: {request: {}}, metadata_key: {key: ns, path: [{key: list}]}}}, \
        {tag: h, metadata: {kind: {request: {}}, metadata_key: {key: ns, path: [{key: 'null'}]}, default_value: x}}, \
        {tag: i, metadata: {kind: {route: {}}, metadata_key: {key: ns, path: [{key: of}]}}}, \
        {tag: j, metadata: {kind: {host: {}}, metadata_key: {key: ns, path: [{key: of}]}, default_value: none}}]";
    let mut logged = Logged::new();
    let of = MetadataValue::Struct(vec![("of".into(), MetadataValue::String("route".into()))]);
    let metadata = Some(MetadataValue::Struct(vec![("ns".into(), of)]));
    logged.info.route = Some(Arc::new(RouteFacts { metadata, ..RouteFacts::default() }));
    let common = logged.http(tags, "").common_properties.unwrap();
    let mut tags: Vec<_> = common.custom_tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    tags.sort();
    assert_eq!(tags.join(" "), "a=v b=d d=1 e=dd f=1 g=[0,false,\"\"] h=x i=route j=none");
}

#[test]
fn a_tcp_entry_counts_bytes() {
    let mut logged = Logged::new();
    (logged.info.bytes.received, logged.info.bytes.sent) = (3, 300);
    let bytes = logged.encoded(&yaml("TcpGrpcAccessLogConfig", COMMON, ""));
    let entry: TcpAccessLogEntry = TcpAccessLogEntries::decode(bytes.as_slice()).unwrap().log_entry.remove(0);
    let connection = entry.connection_properties.unwrap();
    assert_eq!((connection.received_bytes, connection.sent_bytes), (3, 300));
}

#[test]
fn buffers_follow_the_configuration() {
    let settings = |common: &str| {
        let at = yaml("TcpGrpcAccessLogConfig", &format!("{COMMON}, {common}"), "");
        compiled::<AccessLogProto, _>(&at, |proto, _, at| {
            let Some(sampan_api::envoy::config::accesslog::v3::access_log::ConfigType::TypedConfig(any)) =
                &proto.config_type
            else {
                return at.reject("no configuration");
            };
            tcp(any, at)
        })
        .unwrap()
        .0
    };
    let default = settings("");
    assert_eq!((default.full, default.interval), (16384, Duration::from_secs(1)));
    let set = settings(
        "buffer_size_bytes: 0, buffer_flush_interval: 0.1s, \
         grpc_stream_retry_policy: {retry_back_off: {base_interval: 0.2s}}",
    );
    assert_eq!((set.full, set.interval), (0, Duration::from_millis(100)));
    assert_eq!(set.back_off, (Duration::from_millis(200), Duration::from_secs(2)));
    assert_eq!(settings("buffer_size_bytes: 4000000000").full, ServiceSettings::FULLEST);
}
