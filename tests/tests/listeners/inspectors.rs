//! `tls_inspector` and `http_inspector`: good, partial, oversized and foreign first bytes; timeouts; who is left alone.

use sampan_tests::harness::bootstrap::Bootstrap;

use crate::hello::{alpn, hello, padding, sni};
use crate::player::{Counted, Row, chain, filter, play, row};

const TLS: &str = "tls_inspector.v3.TlsInspector";
const HTTP: &str = "http_inspector.v3.HttpInspector";

/// Chains by what inspectors find, and a default one.
fn chains() -> String {
    let each = [
        chain("tls-h2", "transport_protocol: tls, application_protocols: [h2]"),
        chain("tls-a", "transport_protocol: tls, server_names: [a.test]"),
        chain("tls", "transport_protocol: tls"),
        chain("http11", "transport_protocol: raw_buffer, application_protocols: [http/1.1]"),
        chain("http10", "transport_protocol: raw_buffer, application_protocols: [http/1.0]"),
        chain("h2c", "transport_protocol: raw_buffer, application_protocols: [h2c]"),
    ];
    format!("filter_chains: [{}]\ndefault_filter_chain: {}", each.join(", "), chain("other", ""))
}

fn listener(filters: &str, more: &str) -> String {
    format!("{}\nlistener_filters: [{filters}]\nlistener_filters_timeout: 0.3s\n{more}", chains())
}

const ON: &str = "continue_on_listener_filters_timeout: true";

#[test]
fn client_hellos() {
    let bootstrap = Bootstrap::default()
        .counted("tls", &listener(&filter(TLS, ""), ""))
        .counted(
            "strict",
            &listener(&filter(TLS, ", close_connection_on_client_hello_parsing_errors: true"), ""),
        )
        .counted("small", &listener(&filter(TLS, ", max_client_hello_size: 256"), ""));
    const FOUND: &[&str] =
        &["tls_inspector.tls_found", "tls_inspector.sni_found", "tls_inspector.alpn_found"];
    const NO_ALPN: &[&str] =
        &["tls_inspector.tls_found", "tls_inspector.sni_found", "tls_inspector.alpn_not_found"];
    const PLAIN: &[&str] =
        &["tls_inspector.tls_found", "tls_inspector.sni_not_found", "tls_inspector.alpn_not_found"];
    const NOT_FOUND: &[&str] = &["tls_inspector.tls_not_found"];
    const TOO_LARGE: &[&str] = &["tls_inspector.client_hello_too_large"];
    const TIMEOUT: &[&str] = &["listener.$L.downstream_pre_cx_timeout"];
    const CLOSED: &[&str] = &["listener.$L.downstream_listener_filter_remote_close"];
    let both = || hello(16_384, &[sni("x.test"), alpn(&["h2", "http/1.1"])]);
    let rows = [
        row("tls", "whole", both()).says("tls-h2").counts(FOUND),
        row("tls", "byte by byte", both()).bytewise().says("tls-h2").counts(FOUND),
        row("tls", "in small records", hello(7, &[sni("A.test")])).says("tls-a").counts(NO_ALPN),
        row("tls", "in records, byte by byte", hello(40, &[sni("x.test")]))
            .bytewise()
            .says("tls")
            .counts(NO_ALPN),
        row("tls", "with bytes behind", [both(), b"more".to_vec()].concat()).says("tls-h2").counts(FOUND),
        row("tls", "16000 bytes", hello(16_384, &[padding(15_900)])).says("tls").counts(PLAIN),
        row("tls", "17000 bytes", hello(16_384, &[padding(16_900)])).counts(TOO_LARGE),
        row("tls", "64 KiB", hello(16_384, &[padding(65_000)])).counts(TOO_LARGE),
        row("tls", "empty name", hello(16_384, &[sni("")])).says("other").counts(NOT_FOUND),
        row("tls", "name of 256 bytes", hello(16_384, &[sni(&"a".repeat(256))]))
            .says("other")
            .counts(NOT_FOUND),
        row("tls", "name with NUL", hello(16_384, &[sni("a\0b")])).says("other").counts(NOT_FOUND),
        row("tls", "address as name", hello(16_384, &[sni("10.0.0.1")])).says("tls").counts(NO_ALPN),
        row("tls", "no hello in a record", [&b"\x16\x03\x01\x00\x20"[..], &[255; 32]].concat())
            .says("other")
            .counts(NOT_FOUND),
        row("tls", "text", "hello world").says("other").counts(NOT_FOUND),
        row("tls", "part", &both()[..20]).counts(TIMEOUT),
        row("tls", "part, then closed", &both()[..20]).fin().counts(CLOSED),
        row("tls", "nothing, then closed", "").fin().counts(CLOSED),
        row("tls", "nothing", "").counts(TIMEOUT),
        // The first byte says that it is no hello, so nothing is waited for.
        row("tls", "one other byte", "x").counts(TIMEOUT).ours("other", NOT_FOUND),
        row("strict", "whole", both()).says("tls-h2").counts(FOUND),
        row("strict", "empty name", hello(16_384, &[sni("")])).counts(NOT_FOUND),
        row("small", "small enough", hello(16_384, &[sni("a.test")])).says("tls-a").counts(NO_ALPN),
        row("small", "too long", hello(16_384, &[padding(300)])).counts(TOO_LARGE),
    ];
    play(&bootstrap, &rows);
}

#[test]
fn request_lines() {
    let bootstrap = Bootstrap::default()
        .counted("http", &listener(&filter(HTTP, ""), ON))
        .counted("closing", &listener(&filter(HTTP, ""), ""))
        .counted("both", &listener(&format!("{}, {}", filter(TLS, ""), filter(HTTP, "")), ON));
    const V11: &[&str] = &["http_inspector.http11_found"];
    const V10: &[&str] = &["http_inspector.http10_found"];
    const V2: &[&str] = &["http_inspector.http2_found"];
    const OTHER: &[&str] = &["http_inspector.http_not_found"];
    const TIMEOUT: &[&str] = &["listener.$L.downstream_pre_cx_timeout"];
    const CLOSED: &[&str] = &["listener.$L.downstream_listener_filter_remote_close"];
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let rows = [
        row("http", "1.1", "GET / HTTP/1.1\r\n").says("http11").counts(V11),
        row("http", "1.1 byte by byte", "GET / HTTP/1.1\r\n").bytewise().says("http11").counts(V11),
        row("http", "lone LF", "GET / HTTP/1.1\n").says("http11").counts(V11),
        row("http", "unknown method", "FOO / HTTP/1.1\r\n").says("http11").counts(V11),
        row("http", "lower case method", "get / HTTP/1.1\r\n").says("http11").counts(V11),
        row("http", "CONNECT", "CONNECT a:1 HTTP/1.1\r\n").says("http11").counts(V11),
        row("http", "OPTIONS", "OPTIONS * HTTP/1.1\r\n").says("http11").counts(V11),
        row("http", "absolute form", "GET http://a/ HTTP/1.1\r\n").says("http11").counts(V11),
        row("http", "1.0", "GET / HTTP/1.0\r\n").says("http10").counts(V10),
        row("http", "0.9", "GET /\r\n").says("http10").counts(V10),
        row("http", "1.2", "GET / HTTP/1.2\r\n").says("http10").counts(V10),
        row("http", "2.0", "GET / HTTP/2.0\r\n").says("http10").counts(V10),
        row("http", "preface", PREFACE).says("h2c").counts(V2),
        row("http", "preface byte by byte", PREFACE).bytewise().says("h2c").counts(V2),
        row("http", "false preface", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").says("http10").counts(V10),
        row("http", "part of the preface", &PREFACE[..16]).says("other").counts(TIMEOUT),
        row("http", "PING", "PING\r\n").says("other").counts(OTHER),
        row("http", "no target", "GET HTTP/1.1\r\n").says("other").counts(OTHER),
        row("http", "bare word as target", "GET foo HTTP/1.1\r\n").says("other").counts(OTHER),
        row("http", "version in lower case", "GET / http/1.1\r\n").says("other").counts(OTHER),
        row("http", "NUL in target", "GET a\0 HTTP/1.1\r\n").says("other").counts(OTHER),
        row("http", "empty line first", "\r\nGET / HTTP/1.1\r\n").says("other").counts(OTHER),
        row("http", "hello", hello(16_384, &[sni("a.test")])).says("other").counts(OTHER),
        row("http", "a line without end", format!("GET /{}", "a".repeat(70_000)))
            .counts(&["http_inspector.read_error"]),
        row("http", "part of a line", "GET / HT").says("other").counts(TIMEOUT),
        row("http", "part of a line, then closed", "GET / HT").fin().counts(CLOSED),
        row("http", "nothing", "").says("other").counts(TIMEOUT),
        row("http", "nothing, then closed", "").fin().counts(CLOSED),
        row("closing", "part of a line", "GET / HT").counts(TIMEOUT),
        row("closing", "nothing", "").counts(TIMEOUT),
        row("both", "hello", hello(16_384, &[alpn(&["h2"])])).says("tls-h2").counts(&[
            "tls_inspector.tls_found",
            "tls_inspector.sni_not_found",
            "tls_inspector.alpn_found",
        ]),
        row("both", "1.1", "GET / HTTP/1.1\r\n")
            .says("http11")
            .counts(&["tls_inspector.tls_not_found", "http_inspector.http11_found"]),
        row("both", "other", "hello\r\n")
            .says("other")
            .counts(&["tls_inspector.tls_not_found", "http_inspector.http_not_found"]),
    ];
    play(&bootstrap, &rows);
}

#[test]
fn filters_are_disabled_by_every_kind_of_predicate() {
    let disabled = |predicate: &str| {
        let filter =
            filter(HTTP, "").replacen("name: f", &format!("name: f, filter_disabled: {predicate}"), 1);
        listener(&filter, "")
    };
    let every_port = "{destination_port_range: {start: 1, end: 65536}}";
    let no_port = "{destination_port_range: {start: 1, end: 2}}";
    let bootstrap = Bootstrap::default()
        .counted("any", &disabled("{any_match: true}"))
        .counted("never", &disabled("{not_match: {any_match: true}}"))
        .counted("port", &disabled(every_port))
        .counted("other-port", &disabled(no_port))
        .counted("or", &disabled(&format!("{{or_match: {{rules: [{no_port}, {every_port}]}}}}")))
        .counted("and", &disabled(&format!("{{and_match: {{rules: [{no_port}, {every_port}]}}}}")));
    let line = |listener| row(listener, "a request line", "GET / HTTP/1.1\r\n");
    let asked = |listener| line(listener).says("http11").counts(&["http_inspector.http11_found"]);
    let passed = |listener| line(listener).says("other");
    let rows: [Row; 6] =
        [passed("any"), asked("never"), passed("port"), asked("other-port"), passed("or"), asked("and")];
    play(&bootstrap, &rows);
}
