//! Which list is offered: alpn_filter.cc of Istio's data plane.

use std::rc::Rc;
use std::sync::Arc;

use sampan_filters_api::info::{ClusterFacts, HttpChoice, StreamInfo};

use super::*;
use crate::testing::{bytes, context, info, offered_by, request, start};

const YAML: &str = "
alpn_override:
- {alpn_override: [istio-http/1.0, istio, http/1.0]}
- {upstream_protocol: HTTP11, alpn_override: [istio-http/1.1, istio, http/1.1]}
- {upstreamProtocol: HTTP2, alpnOverride: [istio-h2, istio, h2]}
";

fn facts(tls: bool, http: HttpChoice) -> ClusterFacts {
    ClusterFacts { name: "c".into(), tls, http, metadata: None }
}

/// The first name that a request offers upstream.
fn first(facts: ClusterFacts, downstream: Protocol) -> Option<String> {
    let factory = config::compile(&bytes::<sampan_api::istio::AlpnFilterConfig>(YAML), &context()).unwrap();
    let mut request = request(&[]);
    let mut info = StreamInfo { protocol: Some(downstream), ..info() };
    let (facts, name) = (Rc::new(facts), Arc::from("c"));
    let upstream = || Some(Rc::clone(&facts));
    let mut filter = {
        let start = Start { cluster: Some(&name), upstream: &upstream, ..start(&request, &info, &[]) };
        factory.create(&start)?
    };
    offered_by(&mut *filter, &mut request, &mut info)
}

#[test]
fn the_list_goes_by_the_protocol_that_is_spoken_upstream() {
    for (http, downstream, expected) in [
        (HttpChoice::Http1, Protocol::Http2, "istio-http/1.1"),
        (HttpChoice::Http1, Protocol::Http10, "istio-http/1.1"),
        (HttpChoice::Http2, Protocol::Http11, "istio-h2"),
        (HttpChoice::Downstream, Protocol::Http11, "istio-http/1.1"),
        (HttpChoice::Downstream, Protocol::Http10, "istio-http/1.1"),
        (HttpChoice::Downstream, Protocol::Http2, "istio-h2"),
        (HttpChoice::Settled, Protocol::Http11, "istio-h2"),
    ] {
        assert_eq!(first(facts(true, http), downstream).as_deref(), Some(expected), "{http:?}");
    }
}

#[test]
fn nothing_is_done_without_tls_or_where_the_cluster_says_so() {
    assert_eq!(first(facts(false, HttpChoice::Http1), Protocol::Http11), None);
    for (word, expected) in [("false", None), ("true", Some("istio-http/1.1"))] {
        let word = MetadataValue::String(word.into());
        let istio = MetadataValue::Struct(vec![("alpn_override".into(), word)]);
        let metadata = Some(Arc::new(MetadataValue::Struct(vec![("istio".into(), istio)])));
        let facts = ClusterFacts { metadata, ..facts(true, HttpChoice::Http1) };
        assert_eq!(first(facts, Protocol::Http11).as_deref(), expected);
    }
}

#[test]
fn a_name_that_cannot_be_offered_is_refused() {
    let yaml = "alpn_override: [{alpn_override: ['']}]";
    let error = config::compile(&bytes::<sampan_api::istio::AlpnFilterConfig>(yaml), &context());
    assert_eq!(error.err().unwrap()[0].path, "alpn_override[0].alpn_override");
}
