//! Rendered texts, with the values that Envoy 1.40 prints for the same operators.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::*;
use crate::info::{
    CertificateInfo, ChainFacts, ClusterFacts, FilterState, HostFacts, ListenerFacts, MetadataValue,
    RouteFacts, StateObject, TlsInfo, VirtualHostFacts,
};
use crate::{Address, ConnectionInfo, Flag, Flags, Headers, Known, Protocol};
use crate::{RequestHead, ResponseHead, StreamInfo};

struct Fixture {
    request: RequestHead,
    response: ResponseHead,
    trailers: Headers,
    info: StreamInfo,
}

fn address(text: &str) -> Address {
    Address::Socket(text.parse().unwrap())
}

impl Fixture {
    fn new() -> Self {
        let mut request = RequestHead::default();
        request.set_method(b"GET");
        request.set_path(b"/new/a?x=%41%26%3d&y=1+2&e=&p=%0A%7f%22&flag&x=3");
        request.set_authority(b"h.example:80");
        request.set_scheme(b"http");
        request.headers.append("x-q", b"a\"b\\c\t\xe9\xff");
        request.headers.append("X-Num", "12");
        request.headers.append("x-empty", "");
        request.headers.append("x-m", "1");
        request.headers.append("x-m", "2");
        let mut response = ResponseHead { status: 200, headers: Headers::new() };
        response.headers.append("x-multi", "1");
        let start = Instant::now();
        let at = |ms: u64| Some(start + Duration::from_micros(ms * 1000 + 900));
        let connection = ConnectionInfo {
            id: 7,
            local: address("10.1.2.3:80"),
            local_restored: false,
            remote: address("127.0.0.1:5000"),
            direct_remote: address("127.0.0.1:5000"),
            start,
            listener: Arc::new(ListenerFacts {
                name: "lis".into(),
                metadata: Some(of_ns("the listener")),
                ..ListenerFacts::default()
            }),
            chain: Some(Arc::new(ChainFacts { name: "fc".into(), metadata: Some(of_ns("the chain")) })),
            requested_server_name: None,
            tls: None,
            transport_failure: std::borrow::Cow::Borrowed(""),
            facts: None,
            state: std::cell::RefCell::default(),
        };
        let mut info = StreamInfo::new(
            Rc::new(connection),
            start,
            UNIX_EPOCH + Duration::new(1_795_450_520, 240_607_000),
        );
        info.request_complete = at(1);
        info.upstream.request_sent = (at(2), at(3));
        info.upstream.response_received = (at(5), at(6));
        info.response_sent = (at(7), at(8));
        info.end = at(9);
        info.protocol = Some(Protocol::Http11);
        info.response_code = 200;
        info.details = "via_upstream".into();
        info.route = Some(Arc::new(RouteFacts { name: Some("rt".into()), ..RouteFacts::default() }));
        info.bytes.sent = 5;
        info.upstream.address = Some(address("127.0.0.1:43783"));
        info.upstream.attempted = [address("127.0.0.1:1"), address("[::1]:2")].into_iter().collect();
        info.upstream.cluster = Some("up".into());
        Self { request, response, trailers: Headers::new(), info }
    }

    fn context(&self) -> FormatContext<'_> {
        FormatContext {
            request: Some(&self.request),
            response: Some(&self.response),
            trailers: Some(&self.trailers),
            log_type: AccessLogType::DownstreamEnd,
            ..FormatContext::new(&self.info, self.info.start, UNIX_EPOCH)
        }
    }

    fn bytes(&self, format: &str) -> Vec<u8> {
        let mut out = Vec::new();
        Template::parse(format).unwrap_or_else(|e| panic!("{e}")).render(&self.context(), &mut out);
        out
    }

    fn text(&self, format: &str) -> String {
        String::from_utf8(self.bytes(format)).unwrap()
    }

    fn json(&self, tree: &MetadataValue, omit: bool) -> String {
        let mut out = Vec::new();
        StructTemplate::parse(tree, omit).unwrap().render_json(&self.context(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[track_caller]
    fn check(&self, cases: &[(&str, &str)]) {
        for (format, expected) in cases {
            assert_eq!(self.text(format), *expected, "{format}");
        }
    }
}

fn string(text: &str) -> MetadataValue {
    MetadataValue::String(text.into())
}

/// Metadata of one value.
fn of_ns(value: &str) -> MetadataValue {
    object(vec![("ns", object(vec![("of", string(value))]))])
}

fn object(fields: Vec<(&str, MetadataValue)>) -> MetadataValue {
    MetadataValue::Struct(fields.into_iter().map(|(k, v)| (Arc::from(k), v)).collect())
}

#[test]
fn literals_and_percent_signs() {
    let fixture = Fixture::new();
    fixture.check(&[("", ""), ("a", "a"), ("%%", "%"), ("%%PROTOCOL%%", "%PROTOCOL%"), ("%REQ(a)%%%", "-%")]);
    assert_eq!(Template::parse("100%% plain").unwrap().literal(), Some(&b"100% plain"[..]));
    assert!(Template::parse("").unwrap().is_literal());
    assert!(!Template::parse("%PROTOCOL%").unwrap().is_literal());
    assert!(Template::parse("host %HOSTNAME%").unwrap().is_literal());
}

#[test]
fn headers_and_lengths() {
    let fixture = Fixture::new();
    fixture.check(&[
        ("%REQ(:METHOD)% %REQ(HOST)% %REQ(:scheme)%", "GET h.example:80 http"),
        ("%REQ(x-m)%|%REQ(no?x-num)%|%REQ(x-empty?x-num)%|%REQ(?x-num)%|%REQ(x-num?)%", "1|12||12|12"),
        ("%REQ_WITHOUT_QUERY(:path)%|%REQ_WITHOUT_QUERY(no?x-num)%", "/new/a|12"),
        ("%REQ(x-num):1%|%REQ(x-num):0%|%REQ(x-num):70000%|%REQ(nope):1%", "1||12|-"),
        ("%RESP(:status)% %RESPONSE_HEADER(x-multi)% %TRAILER(x)%", "200 1 -"),
        ("%PROTOCOL()%|%REQ(:protocol)%|%STREAM_INFO_REQ(x-num)%", "HTTP/1.1|-|12"),
    ]);
    assert_eq!(fixture.bytes("%REQ(x-q)%"), b"a\"b\\c\t\xe9\xff");
    let mut out = Vec::new();
    Template::parse_header_value("[%REQ(nope)%]").unwrap().render(&fixture.context(), &mut out);
    assert_eq!(out, b"[]");
}

#[test]
fn paths_and_queries() {
    let mut fixture = Fixture::new();
    fixture.check(&[
        ("%PATH(NQ)% %PATH(NQ:ORIG)% %PATH(NQ:PATH)% %PATH(NQ):3%", "/new/a - /new/a /ne"),
        (
            "%QUERY_PARAM(x)%|%QUERY_PARAM(y)%|%QUERY_PARAM(X)%|%QUERY_PARAM(e)%|%QUERY_PARAM(flag)%",
            "A&=|1+2|-||",
        ),
        ("%QUERY_PARAM(p)%", "\\x0a\\x7f\""),
        ("%QUERY_PARAMS(DECODED)%", "x=A&=&y=1+2&e=&p=%0A%7f%22&flag&x=3"),
    ]);
    fixture.request.headers.set_known(Known::XEnvoyOriginalPath, "/old?z");
    fixture.check(&[
        ("%PATH% %PATH(WQ)% %PATH(NQ:ORIG)% %QUERY_PARAMS%", "/old?z /old?z /old z"),
        ("%QUERY_PARAM(z)%|%PATH(NQ:PATH)%", "|/new/a"),
    ]);
}

#[test]
fn durations_are_whole_units_and_absent_when_unknown() {
    let mut fixture = Fixture::new();
    fixture.check(&[
        ("%DURATION% %REQUEST_DURATION% %REQUEST_TX_DURATION%", "9 1 3"),
        ("%RESPONSE_DURATION% %RESPONSE_TX_DURATION% %UPSTREAM_CONNECTION_POOL_READY_DURATION%", "5 3 -"),
        ("%COMMON_DURATION(DS_RX_BEG:US_RX_BEG:us)% %COMMON_DURATION(DS_TX_END:DS_RX_BEG:ms)%", "5900 -"),
        ("%START_TIME% %EMIT_TIME(%s)%", "2026-11-23T16:15:20.240Z 0"),
    ]);
    fixture.info.end = None;
    fixture.info.request_complete = None;
    fixture.check(&[("%DURATION% %REQUEST_DURATION%", "0 -")]);
}

#[test]
fn addresses_and_their_parts() {
    let mut fixture = Fixture::new();
    fixture.check(&[
        ("%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_PORT%", "127.0.0.1:5000 5000"),
        ("%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(16)%", "10.1.0.0/16"),
        ("%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(200)%", "10.1.2.3/32"),
        ("%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(0)%", "0.0.0.0/0"),
        ("%UPSTREAM_HOST% %UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_LOCAL_PORT%", "127.0.0.1:43783 - -"),
        ("%UPSTREAM_HOST_NAME% %UPSTREAM_HOST_NAME_WITHOUT_PORT%", "127.0.0.1:43783 127.0.0.1"),
        (
            "%UPSTREAM_HOSTS_ATTEMPTED% %UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT%",
            "127.0.0.1:1,[::1]:2 127.0.0.1,::1",
        ),
        ("%UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW%", "up up"),
    ]);
    fixture.info.upstream.local = Some(Address::Pipe("/run/s".into()));
    fixture.info.upstream.hostname = Some("up.host:8080".into());
    fixture.info.upstream.cluster_alt = Some("alt".into());
    fixture.info.remote = Some(address("[2001:db8::1]:9"));
    fixture.check(&[
        ("%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %UPSTREAM_LOCAL_PORT%", "/run/s -"),
        ("%UPSTREAM_HOST_NAME% %UPSTREAM_HOST_NAME_WITHOUT_PORT%", "up.host:8080 up.host"),
        ("%UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW%", "alt up"),
        ("%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "[2001:db8::1]:9 127.0.0.1:5000"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(32)%", "2001:db8::/32"),
    ]);
}

#[test]
fn outcome() {
    let mut fixture = Fixture::new();
    fixture.check(&[
        ("%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %GRPC_STATUS%", "200 - via_upstream -"),
        ("%CONNECTION_TERMINATION_DETAILS%|%LOCAL_REPLY_BODY%|%ACCESS_LOG_TYPE%", "-||DownstreamEnd"),
    ]);
    fixture.info.flags =
        [Flag::UpstreamRetryLimitExceeded, Flag::UpstreamConnectionFailure].into_iter().collect::<Flags>();
    fixture.info.upstream.transport_failure = Some("delayed_connect_error: Connection refused".into());
    fixture.check(&[
        (
            "%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%",
            "UF,URX UpstreamConnectionFailure,UpstreamRetryLimitExceeded",
        ),
        ("%UPSTREAM_TRANSPORT_FAILURE_REASON%", "delayed_connect_error:_Connection_refused"),
    ]);
    assert_eq!(fixture.text("%UNIQUE_ID%").len(), 36);
    assert_ne!(fixture.text("%UNIQUE_ID%"), fixture.text("%UNIQUE_ID%"));
}

#[test]
fn grpc_status_is_looked_for_in_trailers_head_and_code() {
    const FORMS: &str =
        "%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER%";
    let mut fixture = Fixture::new();
    fixture.request.headers.append("content-type", "application/grpc");
    fixture.check(&[(FORMS, "Unknown UNKNOWN 2 2")]);
    fixture.info.response_code = 404;
    fixture.check(&[(FORMS, "Unimplemented UNIMPLEMENTED 12 12")]);
    fixture.response.headers.append("grpc-status", "14");
    fixture.check(&[(FORMS, "Unavailable UNAVAILABLE 14 14")]);
    fixture.trailers.append("grpc-status", "99");
    fixture.check(&[(FORMS, "99 99 99 99")]);
    fixture.trailers.set("grpc-status", "1");
    fixture.check(&[(FORMS, "Canceled CANCELLED 1 1")]);
}

#[test]
fn metadata_state_and_names() {
    struct Word;
    impl StateObject for Word {
        fn plain(&self) -> String {
            "word\n".into()
        }
    }
    let mut fixture = Fixture::new();
    fixture.info.metadata.set("ns", "s", string("text"));
    let inner = object(vec![("z", MetadataValue::Number(1.0)), ("a", MetadataValue::Null)]);
    fixture.info.metadata.set("ns", "o", inner);
    fixture.info.filter_state.set("key", Rc::new(Word));
    let mut upstream = FilterState::default();
    upstream.set("theirs", Rc::new(Word));
    fixture.info.upstream.state = Some(Rc::new(RefCell::new(upstream)));
    let of = |whose| Some(Arc::new(of_ns(whose)));
    let host = VirtualHostFacts { name: "vh".into(), metadata: Some(of_ns("the virtual host")) };
    let route =
        RouteFacts { name: Some("rt".into()), metadata: Some(of_ns("the route")), host: Arc::new(host) };
    fixture.info.route = Some(Arc::new(route));
    let cluster = ClusterFacts { metadata: of("the cluster"), ..ClusterFacts::default() };
    fixture.info.upstream.facts = Some(Rc::new(cluster));
    fixture.info.upstream.host =
        Some(Rc::new(HostFacts { metadata: of("the host"), ..HostFacts::default() }));
    fixture.check(&[
        (
            "%METADATA(ROUTE:ns:of)% %METADATA(ROUTE:ns)% %METADATA(ROUTE:x:of)%",
            "the route {\"of\":\"the route\"} -",
        ),
        (
            "%METADATA(LISTENER:ns:of)% %METADATA(LISTENER_FILTER_CHAIN:ns:of)% %METADATA(VIRTUAL_HOST:ns:of)%",
            "the listener the chain the virtual host",
        ),
        ("%METADATA(CLUSTER:ns:of)% %CLUSTER_METADATA(ns:of)%", "the cluster the cluster"),
        (
            "%METADATA(UPSTREAM_HOST:ns:of)% %UPSTREAM_METADATA(ns:of)% %UPSTREAM_METADATA(ns:x)%",
            "the host the host -",
        ),
        (
            "%DYNAMIC_METADATA(ns:s)% %DYNAMIC_METADATA(ns:o)% %DYNAMIC_METADATA(ns:o:z)%",
            "text {\"a\":null,\"z\":1} 1",
        ),
        ("%DYNAMIC_METADATA(ns:no)% %METADATA(DYNAMIC:ns:s):2% %FILTER_STATE(key:PLAIN)%", "- te word\\x0a"),
        (
            "%UPSTREAM_FILTER_STATE(theirs:PLAIN):3% %UPSTREAM_FILTER_STATE(key:PLAIN)% %FILTER_STATE(theirs:PLAIN)%",
            "wor - -",
        ),
        ("%UPSTREAM_FILTER_STATE(theirs)% %UPSTREAM_FILTER_STATE(theirs:FIELD:x)%", "\"word\\n\" -"),
        ("%ROUTE_NAME% %LISTENER_NAME% %FILTER_CHAIN_NAME% %CONNECTION_ID%", "rt lis fc 7"),
        ("%REQUESTED_SERVER_NAME% %REQUESTED_SERVER_NAME(SNI_FIRST)%", "- h.example:80"),
        ("%VIRTUAL_CLUSTER_NAME% %TRACE_ID% %STREAM_ID% %UPSTREAM_CONNECTION_ID%", "- - - 0"),
        ("%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_PEER_URI_SAN%", "- -"),
        ("%ENVIRONMENT(SAMPAN_TEST_NO_SUCH_VARIABLE)%", "-"),
    ]);
    let mut connection = (*fixture.info.connection).clone();
    connection.requested_server_name = Some("sni".into());
    connection.tls = Some(Arc::new(TlsInfo {
        version: "TLSv1.3",
        peer: vec![Arc::new(certificate("CN=a\nb", &["a", "b"]))],
        ..TlsInfo::default()
    }));
    fixture.info.connection = Rc::new(connection);
    fixture.check(&[(
        "%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_PEER_URI_SAN% %REQUESTED_SERVER_NAME(HOST_FIRST)% %REQUESTED_SERVER_NAME%",
        "TLSv1.3 a,b h.example:80 sni",
    )]);
    fixture.check(&[("%DOWNSTREAM_PEER_SUBJECT%", "CN=a\\x0ab")]);
    let body = FormatContext { local_reply_body: b"two\nlines", ..fixture.context() };
    let mut out = Vec::new();
    Template::parse("%LOCAL_REPLY_BODY%").unwrap().render(&body, &mut out);
    assert_eq!(out, b"two\nlines");
    fixture.check(&[("%REQUESTED_SERVER_NAME%", "sni")]);
}

fn tree() -> MetadataValue {
    let list = MetadataValue::List(vec![
        string("%RESPONSE_CODE%"),
        MetadataValue::Number(1.0),
        MetadataValue::Null,
        string("%REQ(nope)%"),
        MetadataValue::List(vec![string("%REQ(nope)%")]),
    ]);
    object(vec![
        ("z", string("%PROTOCOL%")),
        ("a", object(vec![("y", string("%DURATION%")), ("b", string("%REQ(nope)%"))])),
        ("e", object(vec![("n", string("%REQ(nope)%"))])),
        ("m", list),
        ("B", string("x%RESPONSE_CODE%")),
        ("big", MetadataValue::Number(1e20)),
        ("f", MetadataValue::Bool(false)),
        ("nf", MetadataValue::Number(-1.5)),
        ("empty", string("")),
        ("flags", string("%RESPONSE_FLAGS%")),
        ("q", string("%REQ(x-q)%")),
        ("port", string("%DOWNSTREAM_LOCAL_PORT%")),
        ("two", string("%REQ(nope)%%PROTOCOL%")),
        ("md", string("%DYNAMIC_METADATA(ns):3%")),
        ("xn", string("%REQ(x-num)%")),
    ])
}

#[test]
fn json_keeps_types_and_sorts_keys() {
    let mut fixture = Fixture::new();
    fixture.info.metadata.set("ns", "list", MetadataValue::List(vec![MetadataValue::Bool(true)]));
    assert_eq!(
        fixture.json(&tree(), false),
        r#"{"B":"x200","a":{"b":null,"y":9},"big":1e+20,"e":{"n":null},"empty":"","f":false,"flags":"-","m":[200,1,null,null,[null]],"md":{"list":[true]},"nf":-1.5,"port":80,"q":"a\u0022b\u005cc\u0009\u00e9\u00ff","two":"-HTTP/1.1","xn":"12","z":"HTTP/1.1"}"#
    );
    assert_eq!(
        fixture.json(&tree(), true),
        r#"{"B":"x200","a":{"y":9},"big":1e+20,"empty":"","f":false,"flags":"-","m":[200,1,[]],"md":{"list":[true]},"nf":-1.5,"port":80,"q":"a\u0022b\u005cc\u0009\u00e9\u00ff","two":"HTTP/1.1","xn":"12","z":"HTTP/1.1"}"#
    );
    assert_eq!(fixture.json(&object(vec![("a", MetadataValue::Null)]), true), "{}");
}

#[test]
fn a_bad_tree_names_the_place() {
    let tree = object(vec![("a", MetadataValue::List(vec![object(vec![("b", string("%NOPE%"))])]))]);
    let error = StructTemplate::parse(&tree, false).unwrap_err();
    assert_eq!((error.path.as_str(), error.error.operator.as_str()), ("a[0].b", "NOPE"));
    let mut deep = MetadataValue::Null;
    for _ in 0..1000 {
        deep = MetadataValue::List(vec![deep]);
    }
    assert!(StructTemplate::parse(&deep, false).is_err());
}

#[test]
fn what_envoy_refuses_is_refused() {
    let malformed = [
        "%",
        "a%",
        "%REQ(a",
        "%REQ(a)",
        "%REQ(a)x%",
        "%REQ(a):%",
        "%REQ(a):x%",
        "%REQ(a):-1%",
        "%req(a)%",
        "%PROTOCOL%%",
        "% PROTOCOL%",
        "%PROTOCOL %",
        "%REQ(x-m):99999999999999999999%",
        "%START_TIME(%Y)x",
    ];
    for format in malformed {
        let error = Template::parse(format).unwrap_err();
        assert!(error.reason.contains("no operator begins"), "{format}: {error}");
    }
    let refused = [
        "%NOPE%",
        "%REQ%",
        "%REQ()%",
        "%REQ(a?b?c)%",
        "%REQ(a b)%",
        "%REQ( a)%",
        "%PROTOCOL(x)%",
        "%PROTOCOL:3%",
        "%DURATION:2%",
        "%COMMON_DURATION%",
        "%COMMON_DURATION(DS_RX_BEG)%",
        "%PATH(X)%",
        "%PATH(WQ:X)%",
        "%COMMON_DURATION(DS_RX_BEG:DS_RX_END:s)%",
        "%QUERY_PARAM()%",
        "%QUERY_PARAMS(X)%",
        "%GRPC_STATUS(X)%",
        "%GRPC_STATUS():3%",
        "%START_TIME:3%",
        "%FILTER_STATE(a:X)%",
        "%DYNAMIC_METADATA()%",
        "%ENVIRONMENT%",
        "%HOSTNAME(x)%",
        "%REQUESTED_SERVER_NAME(X)%",
        "%METADATA(X:a)%",
        "%DOWNSTREAM_REMOTE_ADDRESS(3)%",
        "%RESPONSE_CODE_DETAILS():3%",
    ];
    for format in refused {
        assert!(Template::parse(format).is_err(), "{format}");
    }
}

#[test]
fn every_name_is_either_supported_or_refused_by_name() {
    for name in supported() {
        let plain = Template::parse(&format!("%{name}%"));
        if let Err(error) = plain {
            assert_eq!(error.reason, "needs an argument", "{name}");
        }
    }
    for (name, _) in known_unsupported() {
        let error = Template::parse(&format!("x %{name}(y)%")).unwrap_err();
        assert_eq!(error.reason, "known to Envoy, not supported by this version");
        assert_eq!(error.operator, name);
    }
    assert_eq!(Template::parse("%NOPE%").unwrap_err().reason, "unknown operator");
}

fn certificate(subject: &str, uris: &[&str]) -> CertificateInfo {
    CertificateInfo {
        der: [1, 2, 3].into(),
        subject: subject.into(),
        issuer: "CN=root".into(),
        serial: "0a".into(),
        sha1: "11".into(),
        sha256: "22".into(),
        not_before: SystemTime::UNIX_EPOCH,
        not_after: SystemTime::UNIX_EPOCH + Duration::from_hours(24),
        uri_sans: uris.iter().map(|&uri| uri.to_owned()).collect(),
        dns_sans: vec!["x.example".into()],
        ip_sans: Vec::new(),
        email_sans: Vec::new(),
        other_sans: vec![("1.2".into(), "other".into())],
    }
}

#[test]
fn certificates_of_both_sides() {
    let mut fixture = Fixture::new();
    let mut connection = (*fixture.info.connection).clone();
    connection.transport_failure = "TLS_error: no good".into();
    connection.tls = Some(Arc::new(TlsInfo {
        group: "X25519",
        peer: vec![Arc::new(certificate("CN=a", &["u"])), Arc::new(certificate("CN=root", &[]))],
        local: Some(Arc::new(certificate("CN=me", &["me"]))),
        ..TlsInfo::default()
    }));
    fixture.info.connection = Rc::new(connection);
    fixture.info.upstream.tls = Some(Arc::new(TlsInfo {
        version: "TLSv1.2",
        sni: Some("up.example".into()),
        peer: vec![Arc::new(certificate("CN=up", &["up"]))],
        ..TlsInfo::default()
    }));
    fixture.check(&[
        ("%DOWNSTREAM_TLS_GROUP% %DOWNSTREAM_PEER_ISSUER% %DOWNSTREAM_PEER_SERIAL%", "X25519 CN=root 0a"),
        ("%DOWNSTREAM_PEER_FINGERPRINT_1% %DOWNSTREAM_PEER_FINGERPRINT_256%", "11 22"),
        ("%DOWNSTREAM_PEER_CHAIN_SERIALS% %DOWNSTREAM_PEER_ISSUER_SERIAL%", "0a,0a 0a"),
        ("%DOWNSTREAM_PEER_CERT_V_START% %DOWNSTREAM_PEER_CERT_V_END(%d)%", "1970-01-01T00:00:00.000Z 02"),
        ("%DOWNSTREAM_LOCAL_SUBJECT% %DOWNSTREAM_LOCAL_DNS_SAN%", "CN=me x.example"),
        ("%DOWNSTREAM_PEER_OTHERNAME_SAN% %DOWNSTREAM_PEER_IP_SAN%", "other -"),
        ("%DOWNSTREAM_TRANSPORT_FAILURE_REASON%", "TLS_error:_no_good"),
        ("%UPSTREAM_TLS_VERSION% %UPSTREAM_SERVER_NAME% %UPSTREAM_PEER_URI_SAN%", "TLSv1.2 up.example up"),
        ("%UPSTREAM_LOCAL_URI_SAN% %UPSTREAM_TLS_CIPHER%", "- -"),
    ]);
}
