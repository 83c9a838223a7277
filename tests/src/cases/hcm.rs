//! Options of the HTTP connection manager: addresses, request ids, server and via headers, limits, protocol options.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;
use crate::harness::upstream::Play::{AfterRequest, AtHead};
use crate::harness::upstream::Step::{Hang, Send};
use crate::harness::upstream::answer;

/// Connection manager options.
pub fn group() -> Group {
    let mut cases = addresses();
    cases.extend(request_ids());
    cases.extend(response_headers());
    cases.extend(sanitising());
    cases.extend(protocol());
    cases.extend(local_reply_config());
    Group { name: "hcm", bootstrap: bootstrap(), cases }
}

fn bootstrap() -> Bootstrap {
    let to_a = "- {name: all, match: {prefix: /}, route: {cluster: a}}";
    let internal = "internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}";
    let options = [
        ("plain", String::new()),
        ("remote", "use_remote_address: true".into()),
        ("hops-1", "use_remote_address: true\nxff_num_trusted_hops: 1".into()),
        ("no-remote-hops-1", "xff_num_trusted_hops: 1".into()),
        ("skip-append", "use_remote_address: true\nskip_xff_append: true".into()),
        ("internal", format!("use_remote_address: true\n{internal}")),
        ("represent", "use_remote_address: true\nrepresent_ipv4_remote_address_as_ipv4_mapped_ipv6: true".into()),
        ("user-agent", "use_remote_address: true\nadd_user_agent: true".into()),
        ("no-id", "generate_request_id: false".into()),
        ("keep-id", "use_remote_address: true\npreserve_external_request_id: true".into()),
        ("answer-id", "always_set_request_id_in_response: true".into()),
        ("server-name", "server_name: front".into()),
        ("server-append", "server_header_transformation: APPEND_IF_ABSENT".into()),
        ("server-pass", "server_header_transformation: PASS_THROUGH".into()),
        ("via", "via: front-proxy".into()),
        ("scheme", "scheme_header_transformation: {scheme_to_overwrite: https}".into()),
        ("small-headers", "max_request_headers_kb: 8".into()),
        ("few-headers", "common_http_protocol_options: {max_headers_count: 5}".into()),
        ("one-request", "common_http_protocol_options: {max_requests_per_connection: 2}".into()),
        ("http10", "http_protocol_options: {accept_http_10: true, default_host_for_http_10: ancient}".into()),
        ("http10-no-host", "http_protocol_options: {accept_http_10: true}".into()),
        ("no-absolute", "http_protocol_options: {allow_absolute_url: false}".into()),
        ("keep-case", "http_protocol_options: {header_key_format: {stateful_formatter: {name: preserve_case, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig}}}}".into()),
        ("proper-case", "http_protocol_options: {header_key_format: {proper_case_words: {}}}".into()),
        ("h1-only", "codec_type: HTTP1".into()),
        ("h2-only", "codec_type: HTTP2".into()),
        ("continue", "proxy_100_continue: true".into()),
        ("xfcc-plain", "forward_client_cert_details: FORWARD_ONLY".into()),
        ("strip-dots", "normalize_path: true".into()),
        ("local-reply", LOCAL_REPLY.into()),
    ];
    let plain = options.into_iter().fold(Bootstrap::new(), |bootstrap, (name, hcm)| {
        if name == "keep-case" {
            bootstrap.http(name, &hcm, "- {match: {prefix: /}, route: {cluster: keep-case}}")
        } else {
            bootstrap.http(name, &hcm, if name == "local-reply" { LOCAL_REPLY_ROUTES } else { to_a })
        }
    });
    plain.options_cluster("keep-case", "a", "explicit_http_config: {http_protocol_options: {header_key_format: {stateful_formatter: {name: preserve_case, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig}}}}}")
}

const LOCAL_REPLY: &str = r#"
local_reply_config:
  body_format: {json_format: {code: "%RESPONSE_CODE%", why: "%LOCAL_REPLY_BODY%", path: "%REQ(:PATH)%"}}
  mappers:
  - filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 503, runtime_key: none}}}}
    status_code: 520
    body: {inline_string: "out of service"}
    headers_to_add: [{header: {key: x-mapped, value: "yes"}}]
    body_format_override: {text_format_source: {inline_string: "%RESPONSE_CODE% %LOCAL_REPLY_BODY%\n"}, content_type: text/html}
  - filter: {response_flag_filter: {flags: [NR]}}
    status_code: 410
"#;

const LOCAL_REPLY_ROUTES: &str = r"
- {match: {path: /refused}, route: {cluster: refused}}
- {match: {path: /direct}, direct_response: {status: 418, body: {inline_string: teapot}}}
- {match: {path: /app}, route: {cluster: a}}
";

fn header(name: &'static str, listener: &'static str, lines: &str) -> Case {
    case(name, listener).get_with("/", &format!("host: test\r\n{lines}"))
}

fn addresses() -> Vec<Case> {
    let xff = "x-forwarded-for: 1.2.3.4, 5.6.7.8\r\n";
    vec![
        header("xff-trusted-by-default", "plain", xff)
            .via("a")
            .want("up:h:x-forwarded-for", "1.2.3.4, 5.6.7.8")
            .want("log.remote", "5.6.7.8"),
        header("xff-absent-by-default", "plain", "").via("a").absent("up:h:x-forwarded-for"),
        header("remote-appended", "remote", xff)
            .via("a")
            .want("up:h:x-forwarded-for", "1.2.3.4, 5.6.7.8,<host>")
            .want("log.remote", "127.0.0.1"),
        header("remote-alone", "remote", "").via("a").want("up:h:x-forwarded-for", "<host>"),
        header("remote-one-hop", "hops-1", xff).via("a").want("log.remote", "5.6.7.8"),
        header("remote-one-hop-without-xff", "hops-1", "").via("a").want("log.remote", "127.0.0.1"),
        header("no-remote-one-hop", "no-remote-hops-1", xff).via("a").want("log.remote", "1.2.3.4"),
        header("remote-not-appended", "skip-append", xff)
            .via("a")
            .want("up:h:x-forwarded-for", "1.2.3.4, 5.6.7.8"),
        header("xff-garbage", "plain", "x-forwarded-for: nonsense\r\n")
            .via("a")
            .want("log.remote", "127.0.0.1"),
        header("xff-ipv6", "plain", "x-forwarded-for: 2001:db8::1\r\n")
            .via("a")
            .want("log.remote", "2001:db8::1"),
        header("xff-with-port", "plain", "x-forwarded-for: 1.2.3.4:80\r\n").via("a"),
        header("xff-two-lines", "plain", "x-forwarded-for: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2\r\n")
            .via("a")
            .want("log.remote", "2.2.2.2"),
        header("mapped-to-ipv6", "represent", "").via("a").want("up:h:x-forwarded-for", "<host>"),
        header("external-address", "remote", "").via("a").absent("up:h:x-envoy-internal"),
        header("internal-address", "internal", "").via("a").want("up:h:x-envoy-internal", "true"),
        header("internal-with-xff", "internal", xff).via("a").absent("up:h:x-envoy-internal"),
        header("xfp-from-edge", "remote", "x-forwarded-proto: https\r\n")
            .via("a")
            .want("up:h:x-forwarded-proto", "http"),
        header("xfp-trusted", "plain", "x-forwarded-proto: https\r\n")
            .via("a")
            .want("up:h:x-forwarded-proto", "https"),
        header("xfp-garbage", "plain", "x-forwarded-proto: odd\r\n"),
        header("scheme-overwritten", "scheme", "").via("a").want("up:h:x-forwarded-proto", "https"),
        header("user-agent-added", "user-agent", "user-agent: tester\r\n")
            .via("a")
            .want("up:h:user-agent", "tester"),
        header("user-agent-missing", "user-agent", "").via("a"),
        header("xfcc-without-tls", "plain", "x-forwarded-client-cert: By=spiffe://x\r\n")
            .via("a")
            .absent("up:h:x-forwarded-client-cert"),
        header("xfcc-forward-only-without-tls", "xfcc-plain", "x-forwarded-client-cert: By=spiffe://x\r\n")
            .via("a"),
    ]
}

fn request_ids() -> Vec<Case> {
    let id = "x-request-id: mine\r\n";
    vec![
        header("id-generated", "plain", "")
            .via("a")
            .want("up:h:x-request-id", "<uuid>")
            .absent("h:x-request-id"),
        header("id-kept-by-default", "plain", id).via("a").want("up:h:x-request-id", "mine"),
        header("id-replaced-at-the-edge", "remote", id).via("a").want("up:h:x-request-id", "<uuid>"),
        header("id-preserved-at-the-edge", "keep-id", id).via("a").want("up:h:x-request-id", "mine"),
        header("id-not-generated", "no-id", "").via("a").absent("up:h:x-request-id"),
        header("id-not-generated-but-kept", "no-id", id).via("a").want("up:h:x-request-id", "mine"),
        header("id-answered", "answer-id", id).via("a").want("h:x-request-id", "mine"),
    ]
}

fn response_headers() -> Vec<Case> {
    let app = "HTTP/1.1 200 OK\r\nserver: app\r\ncontent-length: 0\r\n\r\n";
    let served = |name, listener, server: &str| {
        case(name, listener).play("a", answer(app)).get("/").via("a").want("h:server", server)
    };
    vec![
        served("server-overwritten", "plain", "envoy"),
        served("server-named", "server-name", "front"),
        served("server-kept", "server-append", "app"),
        served("server-passed", "server-pass", "app"),
        header("server-appended", "server-append", "").via("a").want("h:server", "envoy"),
        header("server-passed-none", "server-pass", "").via("a").absent("h:server"),
        header("via-added", "via", "").via("a").want("up:h:via", "front-proxy").want("h:via", "front-proxy"),
        header("via-appended", "via", "via: 1.1 other\r\n")
            .via("a")
            .want("up:h:via", "1.1 other, front-proxy"),
    ]
}

fn sanitising() -> Vec<Case> {
    let spoofed = "x-envoy-internal: true\r\nx-envoy-downstream-service-cluster: c\r\nx-envoy-original-path: /p\r\nx-envoy-external-address: 9.9.9.9\r\nx-envoy-decorator-operation: op\r\nx-envoy-retry-on: 5xx\r\nx-envoy-max-retries: 3\r\nx-envoy-upstream-rq-timeout-ms: 10\r\nx-envoy-expected-rq-timeout-ms: 10\r\nx-envoy-force-trace: 1\r\nx-envoy-ip-tags: t\r\nx-envoy-hedge-on-per-try-timeout: 1\r\nx-envoy-attempt-count: 7\r\nx-envoy-original-host: o\r\nx-envoy-is-timeout-retry: 1\r\n";
    let echoed = "HTTP/1.1 200 OK\r\nx-envoy-attempt-count: 3\r\nx-envoy-overloaded: 1\r\nx-envoy-upstream-service-time: 77\r\nx-envoy-decorator-operation: op\r\nx-envoy-immediate-health-check-fail: 1\r\ncontent-length: 0\r\n\r\n";
    vec![
        header("spoofed-x-envoy-by-default", "plain", spoofed).via("a"),
        header("spoofed-x-envoy-at-the-edge", "remote", spoofed).via("a"),
        header("spoofed-x-envoy-from-internal", "internal", spoofed),
        case("response-x-envoy", "plain").play("a", answer(echoed)).get("/").via("a"),
        header(
            "hop-by-hop-removed",
            "plain",
            "te: gzip\r\nproxy-authenticate: x\r\nproxy-authorization: y\r\ntrailer: z\r\n",
        )
        .via("a"),
    ]
}

fn protocol() -> Vec<Case> {
    let many = "x-0: 1\r\nx-1: 1\r\nx-2: 1\r\nx-3: 1\r\nx-4: 1\r\n";
    let old =
        |name, listener, lines: &str| case(name, listener).send(format!("GET / HTTP/1.0\r\n{lines}\r\n"));
    let expects = "POST / HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    let length = "HTTP/1.1 200 OK\r\nX-Resp: 1\r\ncontent-length: 0\r\n\r\n";
    vec![
        header("head-over-8-kb", "small-headers", &format!("x: {}\r\n", "a".repeat(9 << 10)))
            .status(431)
            .closes("2.end"),
        header("head-under-8-kb", "small-headers", &format!("x: {}\r\n", "a".repeat(7 << 10))).via("a"),
        header("too-many-headers", "few-headers", many)
            .status(431)
            .flags("DPE")
            .details("http1.too_many_headers"),
        case("too-many-headers-h2", "few-headers")
            .call((0..9).fold(Call::get("/"), |call, i| call.header(&format!("x-{i}"), "1")))
            .want_in("end", "reset"),
        case("requests-per-connection", "one-request")
            .get("/1")
            .get("/2")
            .status(200)
            .want("2.h:connection", "close")
            .closes("3.end"),
        old("http10", "http10", "host: test\r\n").status(200).closes("2.end"),
        old("http10-default-host", "http10", "").status(200).want("up:h:host", "ancient"),
        old("http10-keep-alive", "http10", "host: test\r\nconnection: keep-alive\r\n").status(200),
        old("http10-without-host", "http10-no-host", "").refused(400, "-", "missing_host_header"),
        case("http10-gets-no-chunks", "http10")
            .play("a", answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"))
            .send("GET / HTTP/1.0\r\nhost: test\r\n\r\n")
            .status(200)
            .want("body", "hi")
            .absent("h:transfer-encoding"),
        case("absolute-not-allowed", "no-absolute").send("GET http://other/x HTTP/1.1\r\nhost: test\r\n\r\n"),
        case("case-kept", "keep-case")
            .play("a", answer(length))
            .get_with("/", "Host: test\r\nX-MiXed: 1\r\n")
            .via("a")
            .want("up:h:X-MiXed", 1)
            .want("h:X-Resp", 1),
        case("case-proper", "proper-case").play("a", answer(length)).get("/").via("a").want("h:X-Resp", 1),
        case("h1-only-refuses-h2", "h1-only").call(Call::get("/")).ignore("end").absent("status"),
        case("h2-only-refuses-h1", "h2-only")
            .get("/")
            .logs(0)
            .absent("up")
            .ignore("log")
            .ignore("body")
            .ignore("end"),
        case("expect-continue", "plain")
            .talk([raw(expects)])
            .talk(read_after_body())
            .status(200)
            .want("1xx", "[100]")
            .absent("up:h:expect"),
        case("expect-continue-proxied", "continue")
            .play("a", AtHead(vec![Send(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec())]))
            .play("a", AfterRequest(vec![Hang]))
            .talk([raw(expects)])
            .talk([crate::harness::client::raw::Talk::ReadBytes(25)])
            .want("raw", "HTTP/1.1 100 Continue\\r\\n\\r\\n")
            .want("up:h:expect", "100-continue")
            .ignore("log")
            .logs(0),
    ]
}

fn raw(text: &str) -> crate::harness::client::raw::Talk {
    crate::harness::client::raw::Talk::Send(text.into())
}

fn read_after_body() -> [crate::harness::client::raw::Talk; 2] {
    [raw("hi"), crate::harness::client::raw::Talk::Read]
}

fn local_reply_config() -> Vec<Case> {
    let reply = |name, path: &str| case(name, "local-reply").get(path);
    vec![
        reply("local-reply-mapped", "/refused")
            .status(520)
            .want("body", "520 out of service\\n")
            .want("h:x-mapped", "yes")
            .want("h:content-type", "text/html"),
        reply("local-reply-by-flag", "/none").status(410).want("h:content-type", "application/json"),
        reply("local-reply-formatted", "/direct").status(418).want("h:content-type", "application/json"),
        case("local-reply-not-for-the-application", "local-reply")
            .play("a", answer("HTTP/1.1 503 No\r\ncontent-length: 3\r\n\r\napp"))
            .get("/app")
            .status(503)
            .want("body", "app")
            .absent("h:x-mapped"),
    ]
}
