//! Which calls are bridged, and what becomes of their responses.

use bytes::Bytes;
use sampan_api::envoy::extensions::filters::http::grpc_http1_bridge::v3 as pb;
use sampan_filters_api::{Headers, ResponseHead, StreamInfo};

use super::*;
use crate::testing::{self, bytes, request, shown, start};

const PLAIN: &str = "application/x-protobuf";

fn info(protocol: Protocol) -> StreamInfo {
    let mut info = testing::info();
    info.protocol = Some(protocol);
    info
}

#[test]
fn calls_of_http1_are_bridged() {
    let compiled =
        config::compile(&bytes::<pb::Config>("upgrade_protobuf_to_grpc: true"), &testing::context());
    let factory = compiled.unwrap();
    let plain = Bridge { upgrades: false, ignores_query: false };
    let created = |factory: &dyn HttpFilterFactory, kind, protocol| {
        factory.create(&start(&request(&[("content-type", kind)]), &info(protocol), &[])).is_some()
    };
    assert!(created(&*factory, PLAIN, Protocol::Http11) && !created(&plain, PLAIN, Protocol::Http11));
    assert!(created(&plain, "application/grpc", Protocol::Http11));
    assert!(!created(&plain, "application/grpc", Protocol::Http2));
    assert!(!created(&plain, "application/json", Protocol::Http11));
}

#[test]
fn a_plain_message_becomes_a_call_and_back() {
    let factory = Bridge { upgrades: true, ignores_query: true };
    let mut head = request(&[("content-type", PLAIN), ("content-length", "2"), (":path", "/a.B/C?q")]);
    let mut info = info(Protocol::Http11);
    let mut filter = factory.create(&start(&head, &info, &[])).unwrap();
    let mut clear = false;
    let mut stream = Stream { request: &mut head, response: None, info: &mut info, clear_route: &mut clear };
    assert!(matches!(filter.on_request_head(&mut stream, false), Flow::Hold(_)));
    assert_eq!(stream.request.path(), b"/a.B/C");
    assert_eq!(shown(&stream.request.headers), ["content-type: application/grpc"]);
    let mut body = HeldBody::new(vec![Bytes::from_static(b"h"), Bytes::from_static(b"i")], true);
    filter.on_held(&mut stream, &mut body);
    assert_eq!(&body.bytes(100)[..], b"\0\0\0\0\x02hi");
    let mut response = ResponseHead { status: 200, headers: Headers::new() };
    stream.response = Some(&mut response);
    assert!(matches!(filter.on_response_head(&mut stream, false), Flow::Hold(_)));
    let (mut body, mut trailers) = (Bytes::from_static(b"\0\0\0\0\x03you"), Headers::new());
    trailers.append("grpc-status", "5");
    trailers.append("grpc-message", "no");
    filter.on_response_held(&mut stream, HeldResponse { body: &mut body, trailers: &mut trailers });
    assert_eq!((&body[..], trailers.is_empty()), (&b"you"[..], true));
    assert!(clear);
    assert_eq!(response.status, 503);
    assert_eq!(shown(&response.headers), ["grpc-status: 5", "grpc-message: no", "content-length: 3"]);
}
