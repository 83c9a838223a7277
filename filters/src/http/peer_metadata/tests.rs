//! Headers and their encoding, who is told and who is not: peer_metadata.cc of Istio's data plane.

use sampan_filters_api::{NodeFacts, RequestHead, ResponseHead, StreamInfo};

use super::*;
use crate::config::FilterContext;
use crate::testing::{bytes, context, info, request, shown, start};

const CLIENT: &str = "{upstream_discovery: [{istio_headers: {}}, {workload_discovery: {}}], upstream_propagation: [{istio_headers: {}}]}";
const SERVER: &str = "{downstream_discovery: [{istio_headers: {}}, {workload_discovery: {}}], downstream_propagation: [{istio_headers: {}}]}";

fn factory(yaml: &str, workload: &str) -> Arc<dyn HttpFilterFactory> {
    let text = |text: &str| MetadataValue::String(text.into());
    let labels = MetadataValue::Struct(vec![("role".into(), text("tester"))]);
    let fields = vec![("LABELS".into(), labels), ("WORKLOAD_NAME".into(), text(workload))];
    let node = NodeFacts {
        id: format!("node-of-{workload}").into(),
        metadata: MetadataValue::Struct(fields),
        region: "r1".into(),
        ..NodeFacts::default()
    };
    let wire = bytes::<sampan_api::istio::PeerMetadataConfig>(yaml);
    config::compile(&wire, &FilterContext { node: &node, ..context() }).unwrap()
}

struct Run<'f> {
    filter: Box<dyn HttpFilter + 'f>,
    request: RequestHead,
    response: ResponseHead,
    info: StreamInfo,
}

impl<'f> Run<'f> {
    fn new(factory: &'f dyn HttpFilterFactory, request: RequestHead, facts: Option<ClusterFacts>) -> Self {
        let (info, name, facts) = (info(), Arc::from("c"), facts.map(Rc::new));
        let upstream = || facts.clone();
        let filter = {
            let start = Start { cluster: Some(&name), upstream: &upstream, ..start(&request, &info, &[]) };
            factory.create(&start).unwrap()
        };
        Self { filter, request, response: ResponseHead { status: 200, ..ResponseHead::default() }, info }
    }

    fn ask(&mut self) {
        let mut stream = Stream {
            request: &mut self.request,
            response: None,
            info: &mut self.info,
            clear_route: &mut false,
        };
        assert!(matches!(self.filter.on_request_head(&mut stream, true), Flow::Continue));
    }

    fn answer(&mut self) {
        let mut stream = Stream {
            request: &mut self.request,
            response: Some(&mut self.response),
            info: &mut self.info,
            clear_route: &mut false,
        };
        assert!(matches!(self.filter.on_response_head(&mut stream, true), Flow::Continue));
    }

    fn peer(&self, key: &str) -> Option<String> {
        self.info.state(key).map(|object| object.plain())
    }
}

#[test]
fn two_proxies_learn_of_each_other_and_the_applications_see_nothing_of_it() {
    let (client, server) = (factory(CLIENT, "client"), factory(SERVER, "server"));
    let mut out = Run::new(&*client, request(&[("x", "1")]), None);
    out.ask();
    let sent = shown(&out.request.headers);
    assert_eq!(sent[1], "x-envoy-peer-metadata-id: node-of-client");
    let mut inward = Run::new(&*server, out.request.clone(), None);
    inward.ask();
    assert_eq!(shown(&inward.request.headers), ["x: 1"]);
    assert_eq!(inward.peer(peer::DOWNSTREAM).as_deref(), Some("workload=client,region=r1"));
    inward.answer();
    out.response.headers = inward.response.headers.clone();
    out.answer();
    assert_eq!(shown(&out.response.headers), [""; 0]);
    assert_eq!(out.peer(peer::UPSTREAM).as_deref(), Some("workload=server,region=r1"));
    assert_eq!(out.peer(peer::DOWNSTREAM), None);
}

#[test]
fn a_client_that_does_not_tell_is_not_told() {
    let server = factory(SERVER, "server");
    let mut run = Run::new(&*server, request(&[("x-envoy-peer-metadata-id", "me")]), None);
    run.ask();
    run.answer();
    assert_eq!(shown(&run.response.headers), ["x-envoy-peer-metadata-id: node-of-server"]);
    let mut run = Run::new(&*server, request(&[]), None);
    run.ask();
    run.answer();
    assert_eq!(shown(&run.response.headers), [""; 0]);
}

#[test]
fn what_is_outside_of_the_mesh_is_told_nothing() {
    let yaml = "{upstream_propagation: [{istio_headers: {skip_external_clusters: true}}]}";
    let (skips, tells) = (factory(yaml, "client"), factory(CLIENT, "client"));
    let with = |key: &str| {
        let fields = vec![(key.into(), MetadataValue::Bool(true))];
        let istio = MetadataValue::Struct(vec![("istio".into(), MetadataValue::Struct(fields))]);
        ClusterFacts { name: "c".into(), metadata: Some(Arc::new(istio)), ..ClusterFacts::default() }
    };
    let named = |name: &str| ClusterFacts { name: name.into(), ..ClusterFacts::default() };
    for (factory, facts, told) in [
        (&skips, with("external"), false),
        (&skips, with("disable_mx"), false),
        (&skips, named("PassthroughCluster"), false),
        (&skips, named("c"), true),
        (&tells, with("external"), true),
        (&tells, with("disable_mx"), false),
        (&tells, named("PassthroughCluster"), true),
    ] {
        let mut run = Run::new(&**factory, request(&[]), Some(facts.clone()));
        run.ask();
        assert_eq!(run.request.headers.value(peer::HEADER).is_some(), told, "{facts:?}");
    }
}

#[test]
fn the_first_way_that_works_counts() {
    let yaml = "{downstream_discovery: [{istio_headers: {}}, {baggage: {}}], additional_labels: [role]}";
    let server = factory(yaml, "server");
    let baggage = ("baggage", "service.name=b");
    let mut run = Run::new(&*server, request(&[baggage, ("x-envoy-peer-metadata", "!!")]), None);
    run.ask();
    assert_eq!(run.peer(peer::DOWNSTREAM).as_deref(), Some("service=b,app=b"));
    assert_eq!(shown(&run.request.headers), ["baggage: service.name=b"]);
    let yaml = "{upstream_propagation: [{istio_headers: {}}], additional_labels: [role]}";
    let client = factory(yaml, "client");
    let mut out = Run::new(&*client, request(&[baggage]), None);
    out.ask();
    let mut run = Run::new(&*server, out.request.clone(), None);
    run.ask();
    let peer = run.peer(peer::DOWNSTREAM).unwrap();
    assert_eq!(peer, "workload=client,region=r1,labels[]role=tester");
}

#[test]
fn hostile_values_are_no_peers_and_are_not_kept_without_end() {
    let server = factory(SERVER, "server");
    let values = (0..2 * MOST).map(|n| format!("AAAA{n}")).chain(["A".repeat(LONGEST + 1)]);
    for value in values {
        let mut run = Run::new(&*server, request(&[(peer::HEADER, &value)]), None);
        run.ask();
        assert!(run.info.state(peer::DOWNSTREAM).is_none_or(|object| object.plain().is_empty()));
    }
}
