//! Requests in both forms, trailers in bodies, and answers that are no gRPC.

use sampan_filters_api::ResponseHead;

use super::*;
use crate::testing::{self, counted, info, request, shown, start};

fn factory(store: &Arc<CounterStore>) -> GrpcWeb {
    GrpcWeb { store: Arc::clone(store) }
}

#[test]
fn only_grpc_web_is_turned() {
    let store = Arc::default();
    let create =
        |kind| factory(&store).create(&start(&request(&[("content-type", kind)]), &info(), &[])).is_some();
    assert!(create("application/grpc-web") && create("application/grpc-web-text+proto"));
    assert!(!create("application/grpc") && !create("application/grpc-web+json"));
    assert!(config::compile(&[], &testing::context()).is_ok());
}

#[test]
fn text_is_read_in_any_pieces() {
    let text = b"AAAAAAJoaQ==AAAAAAA=";
    for size in 1..=text.len() {
        let mut reader = Reader::default();
        let pieces = text.chunks(size).map(|piece| reader.read(piece).unwrap());
        let read: Vec<u8> = pieces.flat_map(|piece| piece.to_vec()).collect();
        assert_eq!(read, b"\0\0\0\0\x02hi\0\0\0\0\0", "in pieces of {size}");
        assert!(!reader.is_within());
    }
    assert!(Reader::default().read(b"!!!!").is_none());
    let mut cut = Reader::default();
    assert!(cut.read(b"AAA").is_some() && cut.is_within());
}

#[test]
fn messages_are_padded_one_by_one() {
    let body = b"\0\0\0\0\x02hi\0\0\0\0\0";
    for size in 1..=body.len() {
        let mut writer = Writer::default();
        let pieces = body.chunks(size).map(|piece| writer.messages(piece));
        let written: Vec<u8> = pieces.flat_map(|piece| piece.to_vec()).collect();
        assert_eq!(written, b"AAAAAAJoaQ==AAAAAAA=", "in pieces of {size}");
    }
}

#[test]
fn trailers_end_the_body() {
    let store: Arc<CounterStore> = Arc::default();
    let mut head = request(&[
        ("content-type", "application/grpc-web-text"),
        ("accept", "application/grpc-web-text"),
        ("content-length", "8"),
        (":path", "/a.B/C"),
    ]);
    let cluster = Arc::from("c");
    let mut info = info();
    let begin = sampan_filters_api::http::Start { cluster: Some(&cluster), ..start(&head, &info, &[]) };
    let factory = factory(&store);
    let mut filter = factory.create(&begin).unwrap();
    let mut response = ResponseHead { status: 200, headers: Headers::new() };
    response.headers.append("content-type", "application/grpc");
    let mut stream = Stream { request: &mut head, response: None, info: &mut info, clear_route: &mut false };
    filter.on_request_head(&mut stream, false);
    assert_eq!(
        shown(&stream.request.headers),
        [
            "content-type: application/grpc",
            "accept: application/grpc-web-text",
            "te: trailers",
            "grpc-accept-encoding: identity"
        ]
    );
    let mut bad = Bytes::from_static(b"AAA");
    assert!(
        matches!(filter.on_request_data(&mut stream, &mut bad, true), Flow::Reply(reply) if reply.status == 400)
    );
    stream.response = Some(&mut response);
    assert!(matches!(filter.on_response_head(&mut stream, false), Flow::Continue));
    let mut trailers = Headers::new();
    trailers.append("Grpc-Status", "0");
    let told = filter.on_response_tail(&mut stream, &mut trailers);
    assert!(trailers.is_empty());
    assert_eq!(told, text::encoded(b"\x80\0\0\0\x0fgrpc-status:0\r\n"));
    assert_eq!(counted(&store)[0], "cluster.c.grpc-web.a.B.C.0: 1");
}

#[test]
fn other_answers_are_told_as_a_status() {
    let store = Arc::default();
    let mut head = request(&[("content-type", "application/grpc-web")]);
    let mut info = info();
    let factory = factory(&store);
    let mut filter = factory.create(&start(&head, &info, &[])).unwrap();
    let mut response = ResponseHead { status: 503, headers: Headers::new() };
    let mut stream = Stream {
        request: &mut head,
        response: Some(&mut response),
        info: &mut info,
        clear_route: &mut false,
    };
    assert!(matches!(filter.on_response_head(&mut stream, false), Flow::Hold(_)));
    let (mut body, mut trailers) = (Bytes::from_static(b"no %"), Headers::new());
    filter.on_response_held(&mut stream, HeldResponse { body: &mut body, trailers: &mut trailers });
    assert!(body.is_empty());
    assert_eq!(
        shown(&response.headers),
        [
            "content-type: application/grpc-web+proto",
            "grpc-message: no %25",
            "grpc-status: 14",
            "content-length: 0"
        ]
    );
}
