//! Which messages are compressed, and what becomes of their heads.

use sampan_api::envoy::extensions::filters::http::compressor::v3 as pb;
use sampan_filters_api::http::RouteConfig;
use sampan_filters_api::{CounterStore, RequestHead, StreamInfo};

use super::*;
use crate::compression::{Decoding, GzipDecoding};
use crate::testing::{self, bytes, counted, info, request, shown, with_counters};

const GZIP: &str = "compressor_library: {name: lib, typed_config: {'@type': type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip}}";

struct Played {
    head: ResponseHead,
    body: Vec<u8>,
    counters: Vec<String>,
}

fn response(fields: &[(&str, &str)]) -> ResponseHead {
    let mut head = ResponseHead { status: 200, headers: Headers::new() };
    for (name, value) in fields {
        head.headers.append(name, value);
    }
    head
}

fn play(yaml: &str, request: &mut RequestHead, mut head: ResponseHead, routes: &[&RouteConfig]) -> Played {
    let store: Arc<CounterStore> = Arc::default();
    let yaml = format!("{{{GZIP}, {yaml}}}");
    let factory = config::compile(&bytes::<pb::Compressor>(&yaml), &with_counters(&store))
        .unwrap_or_else(|errors| panic!("{errors:?}"));
    let mut info: StreamInfo = info();
    let mut filter = factory.create(&testing::start(request, &info, routes)).unwrap();
    let mut clear = false;
    let mut stream = Stream { request, response: None, info: &mut info, clear_route: &mut clear };
    assert!(matches!(filter.on_request_head(&mut stream, true), Flow::Continue));
    stream.response = Some(&mut head);
    assert!(matches!(filter.on_response_head(&mut stream, false), Flow::Continue));
    let mut body = Vec::new();
    for piece in ["hello ", "world"] {
        let mut data = Bytes::from_static(piece.as_bytes());
        assert!(matches!(filter.on_response_data(&mut stream, &mut data, false), Flow::Continue));
        body.extend_from_slice(&data);
    }
    body.extend_from_slice(&filter.on_response_tail(&mut stream, &mut Headers::new()));
    Played { head, body, counters: counted(&store) }
}

fn gzip() -> RequestHead {
    request(&[("accept-encoding", "gzip")])
}

#[test]
fn a_response_is_compressed_to_its_end() {
    let played =
        play("", &mut gzip(), response(&[("content-type", "text/plain"), ("content-length", "100")]), &[]);
    let lines = ["content-type: text/plain", "content-encoding: gzip", "vary: Accept-Encoding"];
    assert_eq!(shown(&played.head.headers), lines);
    let mut read = Vec::new();
    let decoding = Decoding::Gzip(GzipDecoding { window_bits: 15, ratio: 100 });
    decoding.decoder().decode(&played.body, 4096, &mut read).unwrap();
    assert_eq!(read, b"hello world");
    assert!(played.counters.contains(&"http.h.compressor.lib.gzip.compressed: 1".to_owned()));
    assert!(played.counters.contains(&"http.h.compressor.lib.gzip.total_uncompressed_bytes: 11".to_owned()));
}

#[test]
fn what_is_left_alone() {
    let plain = |fields: &[(&str, &str)]| {
        let played = play(
            "response_direction_config: {uncompressible_response_codes: [206]}",
            &mut gzip(),
            response(fields),
            &[],
        );
        assert_eq!(played.body, b"hello world", "{fields:?}");
        shown(&played.head.headers).join("\n")
    };
    assert!(!plain(&[("content-length", "29")]).contains("vary"));
    plain(&[("content-type", "image/png")]);
    plain(&[("cache-control", "public, No-Transform")]);
    plain(&[("content-encoding", "br")]);
    let played = play("", &mut request(&[]), response(&[]), &[]);
    assert_eq!(shown(&played.head.headers), ["vary: Accept-Encoding"]);
    let mut partial = response(&[]);
    partial.status = 206;
    let played =
        play("response_direction_config: {uncompressible_response_codes: [206]}", &mut gzip(), partial, &[]);
    assert_eq!(shown(&played.head.headers), [""; 0]);
}

#[test]
fn validators_are_softened() {
    let etag = |yaml: &str, value| {
        let played = play(yaml, &mut gzip(), response(&[("etag", value)]), &[]);
        played.head.headers.value("etag").map(|value| String::from_utf8(value.to_vec()).unwrap())
    };
    assert_eq!(etag("", "\"a\""), None);
    assert_eq!(etag("", "w/\"a\"").as_deref(), Some("w/\"a\""));
    let weaken = "response_direction_config: {weaken_etag_on_compress: true, disable_on_etag_header: true}";
    assert_eq!(etag(weaken, "\"a\"").as_deref(), Some("W/\"a\""));
    let kept = play("disable_on_etag_header: true", &mut gzip(), response(&[("etag", "\"a\"")]), &[]);
    assert_eq!(shown(&kept.head.headers), ["etag: \"a\""]);
    assert!(kept.counters.contains(&"http.h.compressor.lib.gzip.not_compressed_etag: 1".to_owned()));
}

#[test]
fn routes_turn_it_off_and_on() {
    let route =
        |yaml| config::compile_route(&bytes::<pb::CompressorPerRoute>(yaml), &testing::context()).unwrap();
    let (off, on) = (
        route("disabled: true"),
        route("overrides: {response_direction_config: {remove_accept_encoding_header: true}}"),
    );
    assert_eq!(play("", &mut gzip(), response(&[]), &[&off]).body, b"hello world");
    let disabled =
        "response_direction_config: {common_config: {enabled: {default_value: false, runtime_key: k}}}";
    assert_eq!(play(disabled, &mut gzip(), response(&[]), &[]).body, b"hello world");
    let mut head = gzip();
    assert_ne!(play(disabled, &mut head, response(&[]), &[&on]).body, b"hello world");
    assert_eq!(shown(&head.headers), [""; 0]);
}

#[test]
fn refusals_tell_where() {
    let refused = |yaml: &str| {
        let errors = config::compile(&bytes::<pb::Compressor>(yaml), &testing::context()).err().unwrap();
        errors[0].path.clone()
    };
    assert_eq!(refused("{}"), "compressor_library");
    let other = "compressor_library: {name: x, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer}}";
    assert_eq!(refused(other), "compressor_library.typed_config");
    let codes = format!("{{{GZIP}, response_direction_config: {{uncompressible_response_codes: [100]}}}}");
    assert_eq!(refused(&codes), "response_direction_config.uncompressible_response_codes[0]");
}
