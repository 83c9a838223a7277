//! Delta over gRPC: conversations as the server sees them.

use super::*;

fn known(request: &pb::DeltaDiscoveryRequest) -> Vec<(&str, &str)> {
    let mut all: Vec<_> =
        request.initial_resource_versions.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    all.sort_unstable();
    all
}

#[tokio::test]
async fn after_a_reconnect_the_server_is_told_what_is_in_force_and_not_what_was_refused() {
    let mut plane = ControlPlane::start().await;
    let (source, mut events) = ads(&plane, Variant::Delta);
    source.subscribe(&type_url(CDS), Names::Wildcard, None);
    let mut call = plane.call().await;
    assert_eq!(call.path, crate::ADS_DELTA);
    let first: pb::DeltaDiscoveryRequest = call.request().await.unwrap();
    assert!(first.resource_names_subscribe.is_empty() && first.initial_resource_versions.is_empty());
    assert_eq!(first.node, Some(node()));

    call.send(&delta("n1", &[("a", "1"), ("b", "1"), ("c", "1")])).await;
    let one = update(&mut events).await;
    assert_eq!(names(&one.content), ["a", "b", "c"]);
    one.reply.reject("b: broken".into(), vec!["b".into()]);
    let nack: pb::DeltaDiscoveryRequest = call.request().await.unwrap();
    assert_eq!(
        (nack.response_nonce.as_str(), nack.error_detail.unwrap().message),
        ("n1", "b: broken".into())
    );

    let gone =
        pb::DeltaDiscoveryResponse { removed_resources: vec!["c".into()], ..delta("n2", &[("a", "2")]) };
    call.send(&gone).await;
    let two = update(&mut events).await;
    assert!(matches!(&two.content, Content::Delta { removed, .. } if removed == &["c"]));
    two.reply.accept();
    let ack: pb::DeltaDiscoveryRequest = call.request().await.unwrap();
    assert_eq!((ack.response_nonce.as_str(), ack.error_detail, ack.node), ("n2", None, None));

    // A newer version of what is in force is refused: what is in force is still reported.
    call.send(&delta("n3", &[("a", "3")])).await;
    update(&mut events).await.reply.reject("a: broken".into(), Vec::new());
    call.request::<pb::DeltaDiscoveryRequest>().await.unwrap();
    call.cut();
    disconnected(&mut events).await;

    let mut call = plane.call().await;
    let again: pb::DeltaDiscoveryRequest = call.request().await.unwrap();
    assert_eq!(known(&again), [("a", "2")]);
    assert!(again.response_nonce.is_empty());
}

#[tokio::test]
async fn a_server_that_takes_over_is_told_names_but_no_versions_of_the_other() {
    let mut first = ControlPlane::start().await;
    let mut second = ControlPlane::start().await;
    let settings = settings(vec![first.target(), second.target()], Variant::Delta);
    let (source, mut events) = ads_with(settings);
    source.subscribe(&type_url(CDS), Names::Wildcard, None);
    let call = first.call().await;
    call.send(&delta("n1", &[("a", "1")])).await;
    update(&mut events).await.reply.accept();
    let status = source.status();
    assert_eq!((status.streams[0].target, status.streams[0].connects), (0, 1));
    drop(first);
    call.cut();

    let mut call = second.call().await;
    let request: pb::DeltaDiscoveryRequest = call.request().await.unwrap();
    assert_eq!(known(&request), [("a", "")]);
    call.send(&delta("n1", &[("b", "9")])).await;
    assert_eq!(names(&update(&mut events).await.content), ["b"]);
    assert_eq!(source.status().streams[0].target, 1);
}

#[tokio::test]
async fn a_heartbeat_renews_and_silence_expires() {
    let mut plane = ControlPlane::start().await;
    let (source, mut events) = ads(&plane, Variant::Delta);
    source.subscribe(&type_url(CDS), these(&["a"]), None);
    let mut call = plane.call().await;
    let ttl = |seconds| Some(sampan_api::google::protobuf::Duration { seconds, nanos: 0 });
    let mut response = delta("n1", &[("a", "1")]);
    response.resources[0].ttl = ttl(2);
    call.send(&response).await;
    let start = std::time::Instant::now();
    update(&mut events).await.reply.accept();
    call.request::<pb::DeltaDiscoveryRequest>().await.unwrap();
    call.request::<pb::DeltaDiscoveryRequest>().await.unwrap();
    for n in 0..3 {
        tokio::time::sleep(Duration::from_millis(800)).await;
        let mut heartbeat = delta(&format!("h{n}"), &[("a", "1")]);
        heartbeat.resources[0].ttl = ttl(2);
        heartbeat.resources[0].resource = None;
        call.send(&heartbeat).await;
        let ack: pb::DeltaDiscoveryRequest = call.request().await.unwrap();
        assert_eq!(ack.response_nonce, format!("h{n}"), "nobody but the client sees a heartbeat");
    }
    match next(&mut events).await {
        Event::Expired { names, .. } => assert_eq!(names, ["a"]),
        other => panic!("{other:?}"),
    }
    assert!(start.elapsed() >= Duration::from_millis(4_400), "{:?}", start.elapsed());
    call.cut();
    disconnected(&mut events).await;
    let again: pb::DeltaDiscoveryRequest = plane.call().await.request().await.unwrap();
    assert!(again.initial_resource_versions.is_empty(), "what has expired is not reported");
}

#[tokio::test]
async fn names_come_and_go_by_what_has_changed() {
    let mut plane = ControlPlane::start().await;
    let (source, mut events) = ads(&plane, Variant::Delta);
    source.subscribe(&type_url(EDS), these(&["a", "b"]), None);
    let mut call = plane.call().await;
    let first: pb::DeltaDiscoveryRequest = call.request().await.unwrap();
    assert_eq!(first.resource_names_subscribe, ["a", "b"]);
    source.unsubscribe(&type_url(EDS), &["a".to_owned()]);
    source.subscribe(&type_url(EDS), these(&["b", "c"]), None);
    let mut change: pb::DeltaDiscoveryRequest = call.request().await.unwrap();
    if change.resource_names_subscribe.is_empty() {
        change.resource_names_subscribe =
            call.request::<pb::DeltaDiscoveryRequest>().await.unwrap().resource_names_subscribe;
    }
    assert_eq!(change.resource_names_subscribe, ["c"]);
    assert_eq!(change.resource_names_unsubscribe, ["a"]);
    assert!(matches!(next(&mut events).await, Event::Connected { .. }));
}
