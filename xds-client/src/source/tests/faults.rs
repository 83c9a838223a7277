//! Peers that break the rules, are not there, or say nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::Keepalive;

/// A peer that says something to each connection and then does nothing, or closes.
async fn peer(says: &'static [u8], closes: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = socket.write_all(says).await;
                let mut buffer = [0; 1024];
                while !closes && socket.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
            });
        }
    });
    address
}

fn target(address: SocketAddr) -> GrpcTarget {
    GrpcTarget::new(Arc::new(Dial(address)))
}

/// An address on which nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_peer_that_does_not_speak_grpc_is_tried_again_and_again() {
    let http1 = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let cases: [(&'static [u8], bool); 4] =
        [(http1, false), (&[0xff; 200], false), (b"", true), (&[0, 0, 1, 9, 9, 9], true)];
    for (says, closes) in cases {
        let (source, mut events) = ads_with(settings(vec![target(peer(says, closes).await)], Variant::Delta));
        source.subscribe(&type_url(CDS), Names::Wildcard, None);
        for _ in 0..3 {
            let reason = disconnected(&mut events).await;
            assert!(!reason.is_empty(), "{says:?}");
        }
        assert!(!source.status().is_connected() || source.status().streams[0].connects > 0);
    }
}

#[tokio::test]
async fn when_nobody_listens_the_reason_says_so() {
    let (_source, mut events) = ads_with(settings(vec![target(nobody().await)], Variant::Delta));
    let reason = disconnected(&mut events).await;
    assert!(reason.contains("xds-grpc") && reason.contains("refused"), "{reason}");
    let (_source, mut events) = ads_with(settings(Vec::new(), Variant::Delta));
    assert!(disconnected(&mut events).await.contains("no gRPC service"));
}

#[tokio::test]
async fn a_response_over_the_limit_ends_the_stream_and_says_why() {
    let mut plane = ControlPlane::start().await;
    let mut small = settings(vec![plane.target()], Variant::StateOfTheWorld);
    small.message_cap = 1000;
    let (source, mut events) = ads_with(small);
    source.subscribe(&type_url(CDS), Names::Wildcard, None);
    let call = plane.call().await;
    call.send(&full("v1", "n1", vec![cluster(&"x".repeat(2000))])).await;
    let reason = disconnected(&mut events).await;
    assert!(reason.contains("too large") && reason.contains("1000"), "{reason}");
    let call = plane.call().await;
    call.send(&full("v1", "n1", vec![cluster("small")])).await;
    assert_eq!(names(&update(&mut events).await.content), ["small"]);
}

#[tokio::test]
async fn a_message_that_is_no_protobuf_ends_the_stream() {
    let mut plane = ControlPlane::start().await;
    let (source, mut events) = ads(&plane, Variant::StateOfTheWorld);
    source.subscribe(&type_url(CDS), Names::Wildcard, None);
    let call = plane.call().await;
    call.send_raw(bytes::Bytes::from_static(&[0, 0, 0, 0, 3, 0xff, 0xff, 0xff])).await;
    let reason = disconnected(&mut events).await;
    assert!(reason.contains("Internal"), "{reason}");
}

#[tokio::test]
async fn a_silent_server_is_waited_for_and_the_fetch_timeout_tells() {
    let address = peer(b"", false).await;
    let (source, mut events) = ads_with(settings(vec![target(address)], Variant::Delta));
    source.subscribe(&type_url(EDS), these(&["a", "b"]), Some(Duration::from_millis(50)));
    source.subscribe(&type_url(CDS), Names::Wildcard, Some(Duration::ZERO));
    let mut seen = Vec::new();
    while seen.len() < 2 {
        match next(&mut events).await {
            Event::Connected { .. } => seen.push("connected".to_owned()),
            Event::FetchTimeout { names, .. } => seen.push(names.join(",")),
            other => panic!("{other:?}"),
        }
    }
    seen.sort();
    assert!(seen == ["a,b", "connected"] || seen == ["b,a", "connected"], "{seen:?}");
}

#[tokio::test]
async fn pings_find_a_peer_that_is_gone() {
    let mut silent = target(peer(b"", false).await);
    let timeout = Duration::from_millis(100);
    silent.keepalive = Some(Keepalive { interval: timeout, timeout });
    let (_source, mut events) = ads_with(settings(vec![silent], Variant::Delta));
    assert!(!disconnected(&mut events).await.is_empty());
}

#[tokio::test]
async fn the_next_target_is_used_while_the_first_is_down_and_the_first_again_later() {
    let mut plane = ControlPlane::start().await;
    let down = nobody().await;
    let (source, mut events) = ads_with(settings(vec![target(down), plane.target()], Variant::Delta));
    source.subscribe(&type_url(CDS), Names::Wildcard, None);
    let call = plane.call().await;
    call.send(&delta("n1", &[("a", "1")])).await;
    update(&mut events).await.reply.accept();
    assert_eq!(source.status().streams[0].target, 1);
    call.cut();
    disconnected(&mut events).await;
    let call = plane.call().await;
    call.send(&delta("n1", &[("b", "1")])).await;
    assert_eq!(names(&update(&mut events).await.content), ["b"]);
}

#[tokio::test]
async fn reading_stops_while_nobody_takes_the_events() {
    let mut plane = ControlPlane::start().await;
    let (sender, mut events) = mpsc::channel(1);
    let settings = settings(vec![plane.target()], Variant::Delta);
    let source = Source::ads(SourceId::new("ads"), settings, sender);
    source.subscribe(&type_url(CDS), Names::Wildcard, None);
    let call = plane.call().await;
    let big = "x".repeat(200_000);
    let writer = tokio::spawn(async move {
        for n in 0..40 {
            call.send(&delta(&format!("n{n}"), &[("a", &n.to_string()), (&big, "1")])).await;
        }
        call
    });
    assert!(matches!(next(&mut events).await, Event::Connected { .. }));
    let mut most = 0;
    for n in 0..40_u64 {
        let update = update(&mut events).await;
        let (Content::Full(resources) | Content::Delta { resources, .. }) = update.content;
        assert_eq!(*resources[0].version, n.to_string());
        most = most.max(source.status().streams[0].types[0].counters.responses - n);
    }
    assert!(most <= 4, "{most} responses were taken in ahead of the reader");
    writer.await.unwrap();
}

#[tokio::test]
async fn the_last_handle_ends_the_stream() {
    let mut plane = ControlPlane::start().await;
    let (source, mut events) = ads(&plane, Variant::Delta);
    source.subscribe(&type_url(CDS), Names::Wildcard, None);
    let mut call = plane.call().await;
    call.request::<pb::DeltaDiscoveryRequest>().await.unwrap();
    let other = source.clone();
    drop(source);
    call.send(&delta("n1", &[("a", "1")])).await;
    let reply = update(&mut events).await.reply;
    drop(other);
    assert!(call.request::<pb::DeltaDiscoveryRequest>().await.is_none(), "the stream is over");
    while let Ok(Some(_)) = tokio::time::timeout(PATIENCE, events.recv()).await {}
    reply.accept();
}
