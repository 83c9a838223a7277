//! Every row was measured on Envoy 1.40.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use sampan_filters_api::info::TlsInfo;

use super::*;
use crate::http::config::{
    ClientCertForwarding, Codec, Http1Options, Http2Options, HttpTimeouts, Normalize, RequestIdRules,
    RouteSource, ServerHeader, Underscores,
};
use crate::http::h1::HeadLimits;
use crate::http::local_reply::LocalReplyConfig;
use crate::http::route::RouteConfig;

fn config() -> HttpConfig {
    HttpConfig {
        stat_prefix: "p".into(),
        codec: Codec::Auto,
        routes: RouteSource::Inline(Arc::new(RouteConfig::empty())),
        filters: Vec::new(),
        on_demand: false,
        suppress_envoy_headers: false,
        http1: Http1Options::default(),
        http2: Http2Options::default(),
        timeouts: HttpTimeouts::default(),
        head_limits: HeadLimits { bytes: 60 * 1024, fields: 100 },
        max_requests_per_connection: None,
        underscores: Underscores::Allow,
        server_name: "envoy".into(),
        server_header: ServerHeader::Overwrite,
        via: "".into(),
        forwarding: Forwarding::default(),
        request_id: RequestIdRules {
            generate: true,
            preserve_external: false,
            in_response: false,
            pack_trace_reason: true,
            for_sampling: true,
        },
        normalize: Normalize::default(),
        upgrades: Vec::new(),
        proxy_100_continue: false,
        add_user_agent: None,
        local_reply: LocalReplyConfig::default(),
        client_cert: ClientCertForwarding::Sanitize,
        client_cert_details: crate::http::config::ClientCertDetails::default(),
        stream_error_on_invalid: false,
        overwrite_scheme: None,
        access_logs: Vec::new(),
        tracing: None,
        needs_facts: true,
    }
}

/// A request after the rules, with the client's address.
struct After {
    head: RequestHead,
    info: StreamInfo,
}

impl After {
    fn value(&self, name: &str) -> String {
        self.head.headers.value(name).map_or("-".into(), |value| String::from_utf8(value.to_vec()).unwrap())
    }

    fn client(&self) -> String {
        self.info.remote.as_ref().map_or("-".into(), ToString::to_string)
    }
}

fn after(config: &HttpConfig, peer: &str, tls: bool, fields: &[(&str, &str)]) -> After {
    let connection = ConnectionInfo {
        id: 1,
        local: Address::Socket("127.0.0.1:8080".parse().unwrap()),
        local_restored: false,
        remote: Address::Socket(SocketAddr::new(peer.parse().unwrap(), 5)),
        direct_remote: Address::Socket(SocketAddr::new(peer.parse().unwrap(), 5)),
        start: Instant::now(),
        listener: Arc::default(),
        chain: None,
        requested_server_name: None,
        tls: tls.then(|| Arc::new(TlsInfo::default())),
        transport_failure: "".into(),
        facts: None,
        state: std::cell::RefCell::default(),
    };
    let connection = Rc::new(connection);
    let mut info = StreamInfo::new(connection.clone(), Instant::now(), SystemTime::now());
    let mut head = RequestHead::default();
    for (name, value) in fields {
        head.headers.append(name, value);
    }
    apply(config, &["x-secret".into()], &connection, &mut info, &mut head);
    let mut rng = fastrand::Rng::with_seed(7);
    crate::http::request_id::apply(config, &mut rng, &mut info, &mut head);
    After { head, info }
}

fn with(change: impl FnOnce(&mut HttpConfig)) -> HttpConfig {
    let mut config = config();
    change(&mut config);
    config
}

fn internal(config: &mut HttpConfig) {
    config.forwarding.internal_ranges = vec!["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
}

#[test]
fn forwarded_addresses_are_believed_without_use_remote_address() {
    for (xff, client, client_behind_one) in [
        ("1.2.3.4", "1.2.3.4:0", "-"),
        ("1.2.3.4, 5.6.7.8", "5.6.7.8:0", "1.2.3.4:0"),
        ("10.0.0.1,10.0.0.2", "10.0.0.2:0", "10.0.0.1:0"),
        ("bad", "-", "-"),
        ("1.2.3.4,bad", "-", "1.2.3.4:0"),
        ("::1", "[::1]:0", "-"),
        ("[::1]:80", "-", "-"),
        ("1.2.3.4:99", "-", "-"),
        ("", "-", "-"),
    ] {
        let plain = after(&config(), "9.9.9.9", false, &[("x-forwarded-for", xff)]);
        assert_eq!((plain.client().as_str(), plain.value("x-forwarded-for").as_str()), (client, xff));
        let one = with(|config| config.forwarding.trusted_hops = 1);
        assert_eq!(
            after(&one, "9.9.9.9", false, &[("x-forwarded-for", xff)]).client(),
            client_behind_one,
            "{xff}"
        );
    }
    let lines = [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "5.6.7.8")];
    let joined = after(&config(), "9.9.9.9", false, &lines);
    assert_eq!(joined.value("x-forwarded-for"), "1.2.3.4,5.6.7.8");
    assert_eq!(joined.client(), "5.6.7.8:0");
}

#[test]
fn the_peer_is_appended_with_use_remote_address() {
    let edge = with(|config| config.forwarding.use_remote_address = true);
    for (xff, expected) in [("1.2.3.4", "1.2.3.4,9.9.9.9"), ("bad", "bad,9.9.9.9"), ("", "9.9.9.9")] {
        let request = after(&edge, "9.9.9.9", false, &[("x-forwarded-for", xff)]);
        assert_eq!((request.value("x-forwarded-for").as_str(), request.client().as_str()), (expected, "-"));
        assert_eq!(request.value("x-envoy-external-address"), "9.9.9.9");
    }
    assert_eq!(after(&edge, "::ffff:9.9.9.9", false, &[]).value("x-forwarded-for"), "9.9.9.9");
    let loopback = after(&edge, "127.0.0.1", false, &[]);
    assert_eq!(loopback.value("x-envoy-external-address"), "127.0.0.1");
    assert_eq!(loopback.value("x-forwarded-for"), own::address().to_string());
    let hop = with(|config| {
        config.forwarding.use_remote_address = true;
        config.forwarding.trusted_hops = 1;
    });
    let request = after(&hop, "9.9.9.9", false, &[("x-forwarded-for", "1.1.1.1,5.6.7.8")]);
    assert_eq!(
        (request.client().as_str(), request.value("x-envoy-external-address").as_str()),
        ("5.6.7.8:0", "5.6.7.8")
    );
    let skip = with(|config| {
        config.forwarding.use_remote_address = true;
        config.forwarding.skip_append = true;
        config.forwarding.append_port = true;
    });
    let request =
        after(&skip, "9.9.9.9", false, &[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-port", "77")]);
    assert_eq!(request.value("x-forwarded-for"), "1.2.3.4");
    assert_eq!(request.value("x-forwarded-port"), "8080");
}

#[test]
fn who_is_internal() {
    let forwarded = with(internal);
    let edge = with(|config| {
        internal(config);
        config.forwarding.use_remote_address = true;
    });
    let spoof = ("x-envoy-internal", "true");
    for (config, peer, fields, expected) in [
        (&config(), "127.0.0.1", &[spoof][..], "-"),
        (&forwarded, "127.0.0.1", &[spoof], "-"),
        (&forwarded, "127.0.0.1", &[("x-forwarded-for", "10.0.0.1")], "true"),
        (&forwarded, "127.0.0.1", &[("x-forwarded-for", "10.0.0.1,10.0.0.2")], "-"),
        (&edge, "127.0.0.1", &[], "true"),
        (&edge, "9.9.9.9", &[], "-"),
        (&edge, "127.0.0.1", &[("x-forwarded-for", "10.0.0.1")], "-"),
    ] {
        assert_eq!(
            after(config, peer, false, fields).value("x-envoy-internal"),
            expected,
            "{peer} {fields:?}"
        );
    }
}

#[test]
fn what_clients_may_not_say() {
    let fields: Vec<(&str, &str)> = [
        "x-envoy-retry-on",
        "x-envoy-max-retries",
        "x-envoy-upstream-rq-timeout-ms",
        "x-envoy-force-trace",
        "x-envoy-ip-tags",
        "x-envoy-decorator-operation",
        "x-envoy-original-path",
        "x-envoy-downstream-service-cluster",
        "x-envoy-attempt-count",
        "x-envoy-foo",
        "x-forwarded-client-cert",
        "x-secret",
    ]
    .map(|name| (name, "v"))
    .into();
    let kept = |config: &HttpConfig, peer| -> String {
        let request = after(config, peer, false, &fields);
        let letter = |name: &str| if request.value(name) == "v" { 'y' } else { '.' };
        fields.iter().map(|(name, _)| letter(name)).collect()
    };
    let edge = with(|config| {
        internal(config);
        config.forwarding.use_remote_address = true;
    });
    assert_eq!(kept(&config(), "9.9.9.9"), ".....yyyyy..");
    assert_eq!(kept(&edge, "9.9.9.9"), "........yy..");
    assert_eq!(kept(&edge, "127.0.0.1"), "yyyyyyyyyy.y");
}

#[test]
fn schemes() {
    let edge = with(|config| config.forwarding.use_remote_address = true);
    let overwrite = with(|config| config.overwrite_scheme = Some("https".into()));
    for (config, tls, given, proto, scheme) in [
        (&config(), false, "https", "https", "https"),
        (&config(), false, "HTTPS", "HTTPS", "http"),
        (&config(), true, "foo", "foo", "https"),
        (&edge, false, "https", "http", "http"),
        (&edge, true, "http", "https", "https"),
        (&overwrite, false, "http", "https", "https"),
    ] {
        let request = after(config, "9.9.9.9", tls, &[("x-forwarded-proto", given)]);
        assert_eq!(
            (request.value("x-forwarded-proto").as_str(), request.head.scheme()),
            (proto, scheme.as_bytes())
        );
    }
    assert_eq!(after(&config(), "9.9.9.9", false, &[]).value("x-forwarded-proto"), "http");
}

#[test]
fn agent_and_via() {
    let config = with(|config| {
        config.via = "me".into();
        config.add_user_agent = Some(UserAgent { cluster: "cl".into(), node: "n".into() });
    });
    let request = after(&config, "9.9.9.9", false, &[("user-agent", "mine"), ("via", "1.1 x")]);
    assert_eq!((request.value("user-agent").as_str(), request.value("via").as_str()), ("mine", "1.1 x, me"));
    let request = after(&config, "9.9.9.9", false, &[("user-agent", "")]);
    assert_eq!((request.value("user-agent").as_str(), request.value("via").as_str()), ("cl", "me"));
    assert_eq!(request.value("x-envoy-downstream-service-node"), "n");
}

#[test]
fn request_ids() {
    let given = [("x-request-id", "abc")];
    let edge = with(|config| config.forwarding.use_remote_address = true);
    let preserving = with(|config| {
        config.forwarding.use_remote_address = true;
        config.request_id.preserve_external = true;
    });
    let off = with(|config| config.request_id.generate = false);
    assert_eq!(after(&config(), "9.9.9.9", false, &given).value("x-request-id"), "abc");
    assert_eq!(after(&preserving, "9.9.9.9", false, &given).value("x-request-id"), "abc");
    assert_eq!(after(&off, "9.9.9.9", false, &[]).value("x-request-id"), "-");
    for request in
        [after(&edge, "9.9.9.9", false, &given), after(&config(), "9.9.9.9", false, &[("x-request-id", "")])]
    {
        let id = request.value("x-request-id");
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'4'), "{id}");
        assert_eq!(request.info.stream_id.as_deref(), Some(id.as_bytes()));
    }
}
