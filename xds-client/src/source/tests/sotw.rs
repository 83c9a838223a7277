//! State of the world over gRPC: conversations as the server sees them.

use super::*;
use crate::{KINDS, RateLimit};

#[tokio::test]
async fn an_update_is_acknowledged_and_then_one_request_asks_for_all_that_it_brought() {
    let mut plane = ControlPlane::start().await;
    let mut target = plane.target();
    target.metadata.insert("x-token", "secret".parse().unwrap());
    let (source, mut events) = ads_with(settings(vec![target], Variant::StateOfTheWorld));
    source.subscribe(&type_url(CDS), Names::Wildcard, None);
    let mut call = plane.call().await;
    assert_eq!(call.path, crate::ADS_STREAM);
    assert_eq!(call.authority, "xds-grpc");
    assert_eq!(call.headers["x-token"], "secret");
    let first: pb::DiscoveryRequest = call.request().await.unwrap();
    assert_eq!(first.node, Some(node()));
    assert_eq!((first.type_url.as_str(), first.resource_names.len()), (CDS, 0));
    assert!(first.version_info.is_empty() && first.response_nonce.is_empty());

    let plane_name = sampan_api::envoy::config::core::v3::ControlPlane { identifier: "istiod-1".into() };
    let response = full("v1", "n1", vec![cluster("a"), cluster("b")]);
    call.send(&pb::DiscoveryResponse { control_plane: Some(plane_name), ..response }).await;
    assert!(matches!(next(&mut events).await, Event::Connected { .. }));
    let update = update(&mut events).await;
    assert_eq!((&*update.version, update.control_plane.as_deref()), ("v1", Some("istiod-1")));
    assert_eq!(names(&update.content), ["a", "b"]);
    source.subscribe(&type_url(EDS), these(&["a"]), None);
    source.subscribe(&type_url(EDS), these(&["b"]), None);
    update.reply.accept();

    let ack: pb::DiscoveryRequest = call.request().await.unwrap();
    assert_eq!((ack.type_url.as_str(), ack.version_info.as_str()), (CDS, "v1"));
    assert_eq!((ack.response_nonce.as_str(), ack.error_detail, ack.node), ("n1", None, None));
    let endpoints: pb::DiscoveryRequest = call.request().await.unwrap();
    assert_eq!((endpoints.type_url.as_str(), endpoints.resource_names), (EDS, vec!["a".into(), "b".into()]));

    let status = source.status();
    assert!(status.is_connected());
    assert_eq!((status.identifier().as_deref(), status.pending_requests()), (Some("istiod-1"), 0));
    let clusters = &status.streams[0].types[0];
    assert_eq!((clusters.counters.requests, clusters.counters.responses, clusters.counters.acks), (2, 1, 1));
    assert_eq!((clusters.nonce.as_str(), clusters.version.as_deref()), ("n1", Some("v1")));
    assert_eq!(status.streams[0].types[1].pending, ["a", "b"]);
}

#[tokio::test]
async fn a_refused_update_keeps_the_version_and_so_does_one_that_is_dropped() {
    let mut plane = ControlPlane::start().await;
    let (source, mut events) = ads(&plane, Variant::StateOfTheWorld);
    source.subscribe(&type_url(CDS), Names::Wildcard, None);
    let mut call = plane.call().await;
    call.request::<pb::DiscoveryRequest>().await.unwrap();
    for (version, nonce) in [("v1", "n1"), ("v2", "n2"), ("v3", "n3")] {
        call.send(&full(version, nonce, vec![cluster("a")])).await;
        let update = update(&mut events).await;
        match version {
            "v1" => update.reply.accept(),
            "v2" => update.reply.reject("a: no such thing".into(), vec!["a".into()]),
            _ => drop(update),
        }
        let answer: pb::DiscoveryRequest = call.request().await.unwrap();
        assert_eq!((answer.version_info.as_str(), answer.response_nonce.as_str()), ("v1", nonce));
        match (version, answer.error_detail) {
            ("v1", detail) => assert_eq!(detail, None),
            ("v2", detail) => assert_eq!(detail.unwrap().message, "a: no such thing"),
            (_, detail) => assert!(detail.unwrap().message.contains("discarded")),
        }
    }
}

#[tokio::test]
async fn the_version_survives_a_reconnect_and_the_nonce_does_not() {
    let mut plane = ControlPlane::start().await;
    let (source, mut events) = ads(&plane, Variant::StateOfTheWorld);
    source.subscribe(&type_url(CDS), these(&["a", "b"]), None);
    let mut call = plane.call().await;
    call.request::<pb::DiscoveryRequest>().await.unwrap();
    call.send(&full("v1", "n1", vec![cluster("a")])).await;
    update(&mut events).await.reply.accept();
    assert_eq!(call.request::<pb::DiscoveryRequest>().await.unwrap().response_nonce, "n1");
    call.end("14", "going away").await;
    let reason = disconnected(&mut events).await;
    assert!(reason.contains("Unavailable") && reason.contains("going away"), "{reason}");

    let mut call = plane.call().await;
    let first: pb::DiscoveryRequest = call.request().await.unwrap();
    assert_eq!((first.version_info.as_str(), first.response_nonce.as_str()), ("v1", ""));
    assert_eq!(first.resource_names, ["a", "b"]);
    assert_eq!(first.node, Some(node()), "each stream begins with the node");
}

#[tokio::test]
async fn each_type_has_its_own_service_in_both_variants() {
    let mut plane = ControlPlane::start().await;
    for variant in [Variant::StateOfTheWorld, Variant::Delta] {
        for kind in KINDS {
            let url = type_url(&sampan_api::type_url::of(kind.full_name));
            let (sender, mut events) = mpsc::channel(8);
            let source = Source::grpc(SourceId::new("own"), settings(vec![plane.target()], variant), sender);
            source.subscribe(&url, these(&["x"]), None);
            if let Some(path) = kind.path(variant == Variant::Delta) {
                assert_eq!(plane.call().await.path, path);
            } else {
                assert_eq!(kind.short, "vhds");
                assert!(matches!(next(&mut events).await, Event::Failed { .. }));
            }
        }
    }
    let (sender, mut events) = mpsc::channel(8);
    let source = Source::grpc(SourceId::new("own"), settings(vec![plane.target()], Variant::Delta), sender);
    source.subscribe(&type_url("type.googleapis.com/istio.workload.Workload"), Names::Wildcard, None);
    assert!(matches!(next(&mut events).await, Event::Failed { .. }));
}

#[tokio::test]
async fn a_response_of_a_services_own_stream_need_not_say_its_type() {
    let mut plane = ControlPlane::start().await;
    let (sender, mut events) = mpsc::channel(8);
    let settings = settings(vec![plane.target()], Variant::StateOfTheWorld);
    let source = Source::grpc(SourceId::new("own"), settings, sender);
    source.subscribe(&type_url(CDS), Names::Wildcard, None);
    let call = plane.call().await;
    call.send(&pb::DiscoveryResponse { type_url: String::new(), ..full("v1", "n1", vec![cluster("a")]) })
        .await;
    assert_eq!(names(&update(&mut events).await.content), ["a"]);
}

#[tokio::test]
async fn the_rate_limit_delays_requests_and_is_counted() {
    let mut plane = ControlPlane::start().await;
    let mut limited = settings(vec![plane.target()], Variant::StateOfTheWorld);
    limited.rate_limit = Some(RateLimit { max_tokens: 1, fill_rate: 20.0 });
    let (source, _events) = ads_with(limited);
    let mut call = {
        source.subscribe(&type_url(CDS), Names::Wildcard, None);
        plane.call().await
    };
    call.request::<pb::DiscoveryRequest>().await.unwrap();
    for n in 0..3 {
        source.subscribe(&type_url(EDS), these(&[&format!("e{n}")]), None);
        let request: pb::DiscoveryRequest = call.request().await.unwrap();
        assert_eq!(request.resource_names.len(), n + 1);
    }
    assert!(source.status().rate_limit_enforced() >= 2);
}
