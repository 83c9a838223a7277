//! Which requests are held, and the length they are given.

use sampan_api::envoy::extensions::filters::http::buffer::v3 as pb;

use super::*;
use crate::testing::{self, bytes, info, request, shown};

#[test]
fn requests_with_a_body_are_held() {
    let factory = config::compile(&bytes::<pb::Buffer>("max_request_bytes: 5"), &testing::context()).unwrap();
    let (mut head, mut info) = (request(&[("transfer-encoding", "chunked")]), info());
    let mut filter = factory.create(&testing::start(&head, &info, &[])).unwrap();
    let mut stream = Stream { request: &mut head, response: None, info: &mut info, clear_route: &mut false };
    assert!(matches!(filter.on_request_head(&mut stream, true), Flow::Continue));
    assert!(matches!(
        filter.on_request_head(&mut stream, false),
        Flow::Hold(Hold { most: 5, partial: false })
    ));
    let mut body = HeldBody::new(vec!["ab".into(), "c".into()], true);
    assert!(matches!(filter.on_held(&mut stream, &mut body), Flow::Continue));
    assert_eq!(shown(&head.headers), ["content-length: 3"]);
}

#[test]
fn a_route_has_another_limit_or_none() {
    let route = |yaml| config::compile_route(&bytes::<pb::BufferPerRoute>(yaml), &testing::context());
    let factory = Buffer { most: Some(1) };
    let (off, less) = (route("disabled: true").unwrap(), route("buffer: {max_request_bytes: 2}").unwrap());
    assert!(factory.create(&testing::start(&request(&[]), &info(), &[&off])).is_none());
    assert!(factory.create(&testing::start(&request(&[]), &info(), &[&less])).is_some());
    assert_eq!(route("{}").unwrap_err()[0].path, "");
    assert_eq!(route("buffer: {}").unwrap_err()[0].path, "buffer.max_request_bytes");
    assert!(config::compile(&[], &testing::context()).is_err());
}
