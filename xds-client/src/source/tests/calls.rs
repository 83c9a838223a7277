//! Calls over a channel that are not xDS.

use super::*;
use crate::{Channel, Limits};

fn channel(plane: &ControlPlane, timeout: Option<Duration>) -> Channel {
    Channel::new(GrpcTarget { timeout, ..plane.target() }, Limits::default())
}

#[tokio::test]
async fn a_unary_call_has_an_answer_a_status_or_a_timeout() {
    let mut plane = ControlPlane::start().await;
    let channel = channel(&plane, Some(Duration::from_millis(300)));
    let call = |id: &str| {
        let (channel, request) = (channel.clone(), Node { id: id.into(), ..Node::default() });
        let mut extra = http::HeaderMap::new();
        extra.insert("x-extra", "1".parse().unwrap());
        tokio::spawn(async move { channel.unary::<Node, Node>("/test.Service/Get", request, &extra).await })
    };
    let answered = call("one");
    let mut at_server = plane.call().await;
    assert_eq!(
        (at_server.path.as_str(), &at_server.headers["x-extra"]),
        ("/test.Service/Get", &"1".parse().unwrap())
    );
    assert!(at_server.headers.contains_key("grpc-timeout"));
    assert_eq!(at_server.request::<Node>().await.unwrap().id, "one");
    at_server.send(&Node { id: "answer".into(), ..Node::default() }).await;
    at_server.end("0", "").await;
    assert_eq!(answered.await.unwrap().unwrap().id, "answer");

    let refused = call("two");
    plane.call().await.end("7", "not for you").await;
    let error = refused.await.unwrap().unwrap_err();
    assert_eq!(error.code, 7);
    assert!(error.reason.contains("not for you"), "{error}");

    let late = call("three");
    let _kept = plane.call().await;
    assert_eq!(late.await.unwrap().unwrap_err().code, 4);
}

#[tokio::test]
async fn a_stream_of_requests_is_answered_at_its_end_and_a_broken_connection_is_opened_again() {
    let mut plane = ControlPlane::start().await;
    let channel = channel(&plane, None);
    for round in 0..2 {
        let requests = (0..3).map(|n| Node { id: n.to_string(), ..Node::default() });
        let requests = futures_util::stream::iter(requests.collect::<Vec<_>>());
        let sending = channel.clone();
        let call = tokio::spawn(async move {
            sending.client_streaming::<Node, Node, _>("/test.Service/Put", requests).await
        });
        let mut at_server = plane.call().await;
        for n in 0..3 {
            assert_eq!(at_server.request::<Node>().await.unwrap().id, n.to_string());
        }
        assert!(at_server.request::<Node>().await.is_none());
        if round == 0 {
            at_server.cut();
            assert!(call.await.unwrap().is_err());
        } else {
            at_server.send(&Node::default()).await;
            at_server.end("0", "").await;
            call.await.unwrap().unwrap();
        }
    }
}
