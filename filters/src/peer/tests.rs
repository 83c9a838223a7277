use super::*;
use crate::config::peer as wire;

fn string(text: &str) -> MetadataValue {
    MetadataValue::String(text.into())
}

fn fields(fields: &[(&str, MetadataValue)]) -> MetadataValue {
    MetadataValue::Struct(fields.iter().map(|(key, value)| ((*key).into(), value.clone())).collect())
}

/// The node of a client's sidecar, as Istio's bootstrap has it; what counts of it.
fn node() -> MetadataValue {
    fields(&[
        ("CLUSTER_ID", string("Kubernetes")),
        (
            "LABELS",
            fields(&[
                ("app", string("client")),
                ("role", string("tester")),
                ("service.istio.io/canonical-name", string("client")),
                ("service.istio.io/canonical-revision", string("latest")),
            ]),
        ),
        ("NAME", string("client")),
        ("NAMESPACE", string("demo")),
        ("OWNER", string("kubernetes://apis/v1/namespaces/demo/pods/client")),
        ("WORKLOAD_NAME", string("client")),
    ])
}

#[test]
fn a_peer_survives_the_wire() {
    // Field names and the owner's form: metadata_object.cc of Istio's data plane.
    let labels = ["role".into()];
    let own = Peer::of_metadata(&node(), &labels);
    assert_eq!((&*own.workload, &*own.app, own.kind), ("client", "client", Kind::Pod));
    let there = wire::decode(&wire::encode(&own.to_metadata())).unwrap();
    let there = Peer::of_metadata(&there, &labels);
    assert_eq!(there.number, own.number);
    assert_ne!(there.number, Peer::of_metadata(&node(), &[]).number);
    assert_eq!(there.plain(), own.plain());
    assert_eq!(
        there.plain(),
        "type=pod,workload=client,name=client,cluster=Kubernetes,namespace=demo,service=client,\
         revision=latest,app=client,labels[]role=tester"
    );
    assert_eq!(there.field("service").as_deref(), Some("client"));
    assert_eq!(there.field("version"), None);
    assert_eq!(there.typed().at(&["labels", "role"]), Some(&string("tester")));
    assert_eq!(Peer::of_metadata(&node(), &[]).labels, []);
}

#[test]
fn the_same_workload_has_the_same_bytes() {
    let bytes = || wire::encode(&Peer::of_metadata(&node(), &[]).to_metadata());
    assert_eq!(bytes(), bytes());
}

#[test]
fn endpoints_and_baggage_tell_as_well() {
    let peer = Peer::of_endpoint("echo-v1;demo;echo;v1;Kubernetes").unwrap();
    assert_eq!(peer.plain(), "workload=echo-v1,cluster=Kubernetes,namespace=demo,service=echo,revision=v1");
    assert!(Peer::of_endpoint("echo;demo;echo;v1").is_none());
    let peer = Peer::of_baggage(
        "k8s.deployment.name=echo,service.name=echo,service.version=v1,k8s.namespace.name=demo,x,y=1",
    );
    assert_eq!(
        peer.plain(),
        "type=deployment,workload=echo,namespace=demo,service=echo,revision=v1,app=echo,version=v1"
    );
}

#[test]
fn what_is_hostile_is_cut_or_not_understood() {
    let long = "é".repeat(LONGEST);
    let peer = Peer::of_metadata(&fields(&[("WORKLOAD_NAME", string(&long))]), &[]);
    assert_eq!(peer.workload.len(), LONGEST);
    assert!(wire::decode(b"\x0a\xff").is_none());
    let odd = fields(&[("OWNER", string("x")), ("WORKLOAD_NAME", string("longer")), ("LABELS", string("x"))]);
    assert_eq!(Peer::of_metadata(&odd, &[]).plain(), "workload=longer");
    let mut state = 1u64;
    for length in 0..200 {
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        let _ = wire::decode(&bytes).map(|metadata| Peer::of_metadata(&metadata, &[]));
        let _ = wire::decode_any(&bytes);
    }
}
