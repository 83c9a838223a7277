//! `proxy_protocol`: headers of both versions as they should be and as they should not, and what is done with what they say.

use std::net::Ipv4Addr;

use sampan_tests::harness::bootstrap::Bootstrap;

use crate::player::{Counted, Row, chain, filter, play, row};

const PROXY: &str = "proxy_protocol.v3.ProxyProtocol";
const ERROR: &str = "downstream_cx_proxy_proto_error";

/// A header of version 2 with IPv4 addresses; `length` in place of the right one.
fn v2(command: u8, family: u8, fields: &[u8], length: Option<u16>) -> Vec<u8> {
    let ips = [Ipv4Addr::new(1, 2, 3, 4), Ipv4Addr::new(5, 6, 7, 8)].map(|ip| ip.octets()).concat();
    let length = length.unwrap_or(12 + u16::try_from(fields.len()).unwrap());
    let head = [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length.to_be_bytes()].concat();
    [&head, &ips, &1000_u16.to_be_bytes()[..], &2000_u16.to_be_bytes(), fields].concat()
}

fn good_v2() -> Vec<u8> {
    v2(0x21, 0x11, b"", None)
}

fn local_v2() -> Vec<u8> {
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec()
}

const V1: &str = "PROXY TCP4 1.2.3.4 5.6.7.8 1000 2000\r\n";

fn listener(fields: &str, chains: &str) -> String {
    let filter = filter(PROXY, fields);
    format!("filter_chains: [{chains}]\nlistener_filters: [{filter}]\nlistener_filters_timeout: 0.3s")
}

#[test]
fn headers() {
    let bootstrap = Bootstrap::default()
        .counted("must", &listener("", &chain("ok", "")))
        .counted(
            "may",
            &listener(", allow_requests_without_proxy_protocol: true, stat_prefix: may", &chain("ok", "")),
        )
        .counted("no-v1", &listener(", disallowed_versions: [V1]", &chain("ok", "")));
    const V1_FOUND: &[&str] = &["proxy_proto.versions.v1.found"];
    const V2_FOUND: &[&str] = &["proxy_proto.versions.v2.found"];
    const V1_ERROR: &[&str] = &["proxy_proto.versions.v1.error", ERROR];
    const V2_ERROR: &[&str] = &["proxy_proto.versions.v2.error", ERROR];
    const NOT_FOUND: &[&str] = &["proxy_proto.not_found_disallowed", ERROR];
    const TIMEOUT: &[&str] = &["listener.$L.downstream_pre_cx_timeout"];
    const CLOSED: &[&str] = &["listener.$L.downstream_listener_filter_remote_close"];
    let good = |label, bytes: &[u8]| row("must", label, [bytes, b"and more"].concat()).says("ok");
    let bad_v1 = |label, bytes: &str| row("must", label, format!("{bytes}\r\nand more")).counts(V1_ERROR);
    let bad_v2 =
        |label, bytes: Vec<u8>| row("must", label, [&bytes[..], b"and more"].concat()).counts(V2_ERROR);
    let rows: Vec<Row> = vec![
        good("v1", V1.as_bytes()).counts(V1_FOUND),
        good("v1, port 0", b"PROXY TCP4 1.2.3.4 5.6.7.8 0 0\r\n").counts(V1_FOUND),
        good("v1 of IPv6", b"PROXY TCP6 1::1 2::2 1000 2000\r\n").counts(V1_FOUND),
        good("v1 unknown", b"PROXY UNKNOWN\r\n").counts(V1_FOUND),
        good("v1 unknown with more", b"PROXY UNKNOWN a b c\r\n").counts(V1_FOUND),
        row("must", "v1 byte by byte", V1).bytewise().says("ok").counts(V1_FOUND),
        good("v2", &good_v2()).counts(V2_FOUND),
        good("v2 datagram", &v2(0x21, 0x12, b"", None)).counts(V2_FOUND),
        good("v2 local", &local_v2()).counts(V2_FOUND),
        good("v2 local with addresses", &v2(0x20, 0x11, b"", None)).counts(V2_FOUND),
        good("v2 with a field", &v2(0x21, 0x11, b"\xea\0\x03abc", None)).counts(V2_FOUND),
        good(
            "v2 as long as can be",
            &v2(0x21, 0x11, &[&[4, 0xff, 0xf0][..], &vec![0; 0xfff0]].concat(), None),
        )
        .counts(V2_FOUND),
        row("must", "v2 byte by byte", good_v2()).bytewise().says("ok").counts(V2_FOUND),
        bad_v1("v1 bad address", "PROXY TCP4 1.2.3.999 5.6.7.8 1000 2000"),
        bad_v1("v1 no port", "PROXY TCP4 1.2.3.4 5.6.7.8 1000"),
        bad_v1("v1 other family", "PROXY TCP4 1::1 5.6.7.8 1000 2000"),
        bad_v1("v1 multicast", "PROXY TCP4 224.0.0.1 5.6.7.8 1000 2000"),
        bad_v1("v1 broadcast", "PROXY TCP4 255.255.255.255 5.6.7.8 1000 2000"),
        bad_v1("v1 no address", "PROXY TCP4 0.0.0.0 5.6.7.8 1000 2000"),
        bad_v1("v1 port too high", "PROXY TCP4 1.2.3.4 5.6.7.8 99999 2000"),
        bad_v1("v1 two blanks", "PROXY TCP4  1.2.3.4 5.6.7.8 1000 2000"),
        bad_v1("v1 datagram", "PROXY UDP4 1.2.3.4 5.6.7.8 1000 2000"),
        bad_v2("v2 other version", v2(0x31, 0x11, b"", None)),
        bad_v2("v2 other command", v2(0x22, 0x11, b"", None)),
        bad_v2("v2 no family", v2(0x21, 0, b"", None)),
        bad_v2("v2 unix", v2(0x21, 0x31, b"", None)),
        bad_v2("v2 too short", v2(0x21, 0x11, b"", Some(8))),
        bad_v2("v2 field too long", v2(0x21, 0x11, b"\xea\0\x09abc", None)),
        row("must", "v1 without end", format!("PROXY TCP4 {}", "1".repeat(120))).counts(NOT_FOUND),
        row("must", "v1 lone LF", V1.replace('\r', "")).counts(TIMEOUT),
        row("must", "v2 cut short", &good_v2()[..20]).counts(TIMEOUT),
        row("must", "v2 cut short, then closed", &good_v2()[..20]).fin().counts(CLOSED),
        row("must", "absent", "GET / HTTP/1.1\r\n\r\n").counts(NOT_FOUND),
        row("must", "part", "PR").counts(TIMEOUT),
        row("must", "nothing", "").counts(TIMEOUT),
        row("must", "nothing, then closed", "").fin().counts(CLOSED),
        // No header begins so: nothing is waited for.
        row("must", "other byte", "G").counts(TIMEOUT).ours("", NOT_FOUND),
        row("must", "other word", "PROXYTCP").counts(TIMEOUT).ours("", NOT_FOUND),
        row("may", "v1", V1).says("ok").counts(&["proxy_proto.may.versions.v1.found"]),
        row("may", "v2", good_v2()).says("ok").counts(&["proxy_proto.may.versions.v2.found"]),
        row("may", "bad v2", v2(0x31, 0x11, b"", None)).counts(&["proxy_proto.may.versions.v2.error", ERROR]),
        row("may", "absent", "GET / HTTP/1.1\r\n\r\n")
            .says("ok")
            .counts(&["proxy_proto.may.not_found_allowed"]),
        row("may", "one byte", "G").says("ok").counts(&["proxy_proto.may.not_found_allowed"]),
        row("may", "part", "PR").counts(TIMEOUT),
        row("no-v1", "v1", V1)
            .counts(&["proxy_proto.versions.v1.found", "proxy_proto.versions.v1.disallowed"]),
        row("no-v1", "bad v1", "PROXY x\r\n")
            .counts(&["proxy_proto.versions.v1.found", "proxy_proto.versions.v1.disallowed"]),
        row("no-v1", "v2", good_v2()).says("ok").counts(V2_FOUND),
        row("no-v1", "bad v2", v2(0x31, 0x11, b"", None)).counts(V2_ERROR),
    ];
    play(&bootstrap, &rows);
}

#[test]
fn what_a_header_says_chooses_the_chain() {
    let chains = [
        chain("source", "source_prefix_ranges: [{address_prefix: 1.2.3.0, prefix_len: 24}]"),
        chain(
            "port",
            "destination_port: 2000, source_prefix_ranges: [{address_prefix: 1.2.3.4, prefix_len: 32}]",
        ),
        chain("destination", "prefix_ranges: [{address_prefix: '2::', prefix_len: 16}]"),
        chain("direct", "direct_source_prefix_ranges: [{address_prefix: 127.0.0.1, prefix_len: 32}]"),
    ];
    let bootstrap = Bootstrap::default().counted("by-header", &listener("", &chains.join(", ")));
    let found = |label, bytes: &[u8], says| {
        row("by-header", label, bytes).says(says).counts(&["proxy_proto.versions.v1.found"])
    };
    let rows = [
        found("destination port first", V1.as_bytes(), "port"),
        found("then the source", b"PROXY TCP4 1.2.3.9 5.6.7.8 1000 2001\r\n", "direct"),
        found("destination address", b"PROXY TCP6 1::1 2::2 1000 2001\r\n", "destination"),
        found("the peer itself", b"PROXY UNKNOWN\r\n", "direct"),
    ];
    play(&bootstrap, &rows);
}
