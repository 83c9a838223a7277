//! Which messages are decompressed, what becomes of their heads, and what ends a stream.

use sampan_api::envoy::extensions::filters::http::decompressor::v3 as pb;
use sampan_filters_api::{CounterStore, RequestHead};

use super::*;
use crate::compression::{Coding, GzipCoding, GzipStrategy};
use crate::testing::{self, bytes, counted, info, request, shown, with_counters};

const GZIP: &str = "decompressor_library: {name: lib, typed_config: {'@type': type.googleapis.com/envoy.extensions.compression.gzip.decompressor.v3.Gzip, max_inflate_ratio: 2}}";

fn compressed(body: &[u8]) -> Bytes {
    let coding =
        Coding::Gzip(GzipCoding { level: 6, memory: 5, window_bits: 12, strategy: GzipStrategy::Default });
    let mut out = Vec::new();
    coding.encoder().encode(body, true, &mut out).unwrap();
    out.into()
}

/// The request's head, body, trailers and how it ended, as they go up.
fn up(
    yaml: &str,
    mut head: RequestHead,
    body: Bytes,
) -> (Vec<String>, Bytes, Vec<String>, Option<u16>, Vec<String>) {
    let store: Arc<CounterStore> = Arc::default();
    let yaml = format!("{{{GZIP}, {yaml}}}");
    let factory = config::compile(&bytes::<pb::Decompressor>(&yaml), &with_counters(&store)).unwrap();
    let mut info = info();
    let mut filter = factory.create(&testing::start(&head, &info, &[])).unwrap();
    let mut stream = Stream { request: &mut head, response: None, info: &mut info, clear_route: &mut false };
    assert!(matches!(filter.on_request_head(&mut stream, false), Flow::Continue));
    let mut data = body;
    let status = match filter.on_request_data(&mut stream, &mut data, true) {
        Flow::Reply(reply) => Some(reply.status),
        _ => None,
    };
    let mut trailers = Headers::new();
    assert!(filter.on_request_tail(&mut stream, &mut trailers).is_empty());
    (shown(&head.headers), data, shown(&trailers), status, counted(&store))
}

#[test]
fn a_coded_body_is_decoded_and_told() {
    let body = compressed(b"hello world");
    let length = body.len();
    let head = request(&[
        ("content-encoding", "GZIP, br"),
        ("content-length", "9"),
        ("accept-encoding", "br, gzip;q=0.5"),
    ]);
    let (head, data, trailers, status, counters) = up("", head, body);
    assert_eq!(head, ["content-encoding: br", "accept-encoding: br,gzip"]);
    assert_eq!((&data[..], status), (&b"hello world"[..], None));
    let told = [
        format!("x-envoy-decompressor-lib-compressed-bytes: {length}"),
        "x-envoy-decompressor-lib-uncompressed-bytes: 11".to_owned(),
    ];
    assert_eq!(trailers, told);
    assert!(counters.contains(&"http.h.decompressor.lib.gzip.request.decompressed: 1".to_owned()));
}

#[test]
fn others_are_left_alone() {
    let plain = |yaml: &str, fields: &[(&str, &str)]| {
        let (head, data, trailers, ..) = up(yaml, request(fields), Bytes::from_static(b"x"));
        assert_eq!((&data[..], trailers.len()), (&b"x"[..], 0));
        head.join("\n")
    };
    assert_eq!(plain("", &[]), "accept-encoding: gzip");
    plain("", &[("content-encoding", "br, gzip")]);
    plain("", &[("content-encoding", "gzip"), ("cache-control", "no-transform")]);
    let off = "request_direction_config: {advertise_accept_encoding: false, common_config: {enabled: {default_value: false, runtime_key: k}}}";
    assert_eq!(plain(off, &[("content-encoding", "gzip")]), "content-encoding: gzip");
}

#[test]
fn bombs_and_nonsense_end_the_stream() {
    let head = || request(&[("content-encoding", "gzip")]);
    let (.., status, counters) = up("", head(), compressed(&vec![0; 100_000]));
    assert_eq!(status, Some(400));
    assert!(
        counters.contains(&"http.h.decompressor.lib.gzip.decompressor_library.zlib_data_error: 1".to_owned())
    );
    assert_eq!(up("", head(), Bytes::from_static(b"nonsense")).3, Some(400));
    // Of a body that is cut short, what is there is passed on: the end is not for this filter to judge.
    let whole = compressed(b"hello world");
    assert_eq!(up("", head(), whole.slice(..whole.len() - 9)).3, None);
}
