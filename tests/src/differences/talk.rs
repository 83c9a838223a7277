//! Where Sampan means to talk to a control plane differently than Envoy does: the reviewed list.

use crate::harness::xds::bootstrap::Way;

/// One intended difference in a conversation.
pub struct Talk {
    /// By which way.
    pub way: Way,
    /// `step/type` of [`crate::conversation`].
    pub fact: &'static str,
    /// What Envoy says; `-` for nothing.
    pub envoy: &'static str,
    /// What Sampan says; `-` for nothing.
    pub sampan: &'static str,
    /// The id in `docs/differences.md`.
    pub id: &'static str,
}

const fn talk(
    way: Way,
    fact: &'static str,
    id: &'static str,
    envoy: &'static str,
    sampan: &'static str,
) -> Talk {
    Talk { way, fact, envoy, sampan, id }
}

/// All of them.
#[rustfmt::skip]
pub const TALK: &[Talk] = &[
    talk(Way::Ads, "15-no-clusters/ClusterLoadAssignment", "xds-forgotten-version", "same stream, last nonce, version \"3\", names ", "same stream, last nonce, version \"\", names "),
    talk(Way::Grpc, "04-cluster-added/ClusterLoadAssignment", "xds-one-stream", "new stream, no nonce, version \"\", names b, node; new stream, last nonce, version \"3\", names b", "same stream, last nonce, version \"2\", names a b; same stream, last nonce, version \"3\", names a b"),
    talk(Way::Grpc, "05-listener-added/RouteConfiguration", "xds-one-stream", "new stream, no nonce, version \"\", names more, node; new stream, last nonce, version \"3\", names more", "same stream, last nonce, version \"2\", names main more; same stream, last nonce, version \"3\", names main more"),
    talk(Way::Grpc, "06-route-refused/RouteConfiguration", "xds-one-stream", "same stream, last nonce, version \"2\", names main, refused", "same stream, last nonce, version \"3\", names main more, refused"),
    talk(Way::Grpc, "07-route-repaired/RouteConfiguration", "xds-one-stream", "same stream, last nonce, version \"5\", names main", "same stream, last nonce, version \"5\", names main more"),
    talk(Way::Grpc, "10-stream-ended/ClusterLoadAssignment", "xds-one-stream", "new stream, no nonce, version \"2\", names a, node; new stream, last nonce, version \"3\", names a; new stream, no nonce, version \"3\", names b, node; new stream, last nonce, version \"3\", names b", "new stream, no nonce, version \"3\", names a b, node; new stream, last nonce, version \"3\", names a b"),
    talk(Way::Grpc, "10-stream-ended/RouteConfiguration", "xds-one-stream", "new stream, no nonce, version \"5\", names main, node; new stream, last nonce, version \"5\", names main; new stream, no nonce, version \"3\", names more, node; new stream, last nonce, version \"5\", names more", "new stream, no nonce, version \"5\", names main more, node; new stream, last nonce, version \"5\", names main more"),
    talk(Way::Grpc, "11-stream-reset/ClusterLoadAssignment", "xds-one-stream", "new stream, no nonce, version \"3\", names a, node; new stream, last nonce, version \"3\", names a; new stream, no nonce, version \"3\", names b, node; new stream, last nonce, version \"3\", names b", "new stream, no nonce, version \"3\", names a b, node; new stream, last nonce, version \"3\", names a b"),
    talk(Way::Grpc, "11-stream-reset/RouteConfiguration", "xds-one-stream", "new stream, no nonce, version \"5\", names main, node; new stream, last nonce, version \"5\", names main; new stream, no nonce, version \"5\", names more, node; new stream, last nonce, version \"5\", names more", "new stream, no nonce, version \"5\", names main more, node; new stream, last nonce, version \"5\", names main more"),
    talk(Way::Grpc, "12-server-restarted/ClusterLoadAssignment", "xds-one-stream", "new stream, no nonce, version \"3\", names a, node; new stream, last nonce, version \"3\", names a; new stream, no nonce, version \"3\", names b, node; new stream, last nonce, version \"3\", names b", "new stream, no nonce, version \"3\", names a b, node; new stream, last nonce, version \"3\", names a b"),
    talk(Way::Grpc, "12-server-restarted/RouteConfiguration", "xds-one-stream", "new stream, no nonce, version \"5\", names main, node; new stream, last nonce, version \"5\", names main; new stream, no nonce, version \"5\", names more, node; new stream, last nonce, version \"5\", names more", "new stream, no nonce, version \"5\", names main more, node; new stream, last nonce, version \"5\", names main more"),
    talk(Way::Grpc, "14-cluster-removed/ClusterLoadAssignment", "xds-one-stream", "-", "same stream, last nonce, version \"3\", names a"),
    talk(Way::Grpc, "15-no-clusters/ClusterLoadAssignment", "xds-one-stream", "-", "same stream, last nonce, version \"\", names "),
    talk(Way::DeltaAds, "10-stream-ended/Cluster", "xds-partial-apply", "new stream, no nonce, +[] -[], has {\"a\": \"1\", \"b\": \"2\"}, node; new stream, last nonce, +[] -[]", "new stream, no nonce, +[] -[], has {\"a\": \"1\", \"b\": \"2\", \"good\": \"3\"}, node"),
    talk(Way::DeltaGrpc, "04-cluster-added/ClusterLoadAssignment", "xds-one-stream", "new stream, last nonce, +[] -[]; new stream, no nonce, +[b] -[], node", "same stream, last nonce, +[] -[]; same stream, no nonce, +[b] -[]"),
    talk(Way::DeltaGrpc, "05-listener-added/RouteConfiguration", "xds-one-stream", "new stream, last nonce, +[] -[]; new stream, no nonce, +[more] -[], node", "same stream, last nonce, +[] -[]; same stream, no nonce, +[more] -[]"),
    talk(Way::DeltaGrpc, "10-stream-ended/Cluster", "xds-partial-apply", "new stream, no nonce, +[] -[], has {\"a\": \"1\", \"b\": \"2\"}, node; new stream, last nonce, +[] -[]", "new stream, no nonce, +[] -[], has {\"a\": \"1\", \"b\": \"2\", \"good\": \"3\"}, node"),
    talk(Way::DeltaGrpc, "10-stream-ended/ClusterLoadAssignment", "xds-one-stream", "new stream, no nonce, +[a] -[], has {\"a\": \"2\"}, node; new stream, no nonce, +[b] -[], has {\"b\": \"3\"}, node", "new stream, no nonce, +[a b] -[], has {\"a\": \"2\", \"b\": \"3\"}, node"),
    talk(Way::DeltaGrpc, "10-stream-ended/RouteConfiguration", "xds-one-stream", "new stream, no nonce, +[main] -[], has {\"main\": \"5\"}, node; new stream, no nonce, +[more] -[], has {\"more\": \"3\"}, node", "new stream, no nonce, +[main more] -[], has {\"main\": \"5\", \"more\": \"3\"}, node"),
    talk(Way::DeltaGrpc, "11-stream-reset/ClusterLoadAssignment", "xds-one-stream", "new stream, no nonce, +[a] -[], has {\"a\": \"2\"}, node; new stream, no nonce, +[b] -[], has {\"b\": \"3\"}, node", "new stream, no nonce, +[a b] -[], has {\"a\": \"2\", \"b\": \"3\"}, node"),
    talk(Way::DeltaGrpc, "11-stream-reset/RouteConfiguration", "xds-one-stream", "new stream, no nonce, +[main] -[], has {\"main\": \"5\"}, node; new stream, no nonce, +[more] -[], has {\"more\": \"3\"}, node", "new stream, no nonce, +[main more] -[], has {\"main\": \"5\", \"more\": \"3\"}, node"),
    talk(Way::DeltaGrpc, "12-server-restarted/ClusterLoadAssignment", "xds-one-stream", "new stream, no nonce, +[a] -[], has {\"a\": \"2\"}, node; new stream, no nonce, +[b] -[], has {\"b\": \"3\"}, node", "new stream, no nonce, +[a b] -[], has {\"a\": \"2\", \"b\": \"3\"}, node"),
    talk(Way::DeltaGrpc, "12-server-restarted/RouteConfiguration", "xds-one-stream", "new stream, no nonce, +[main] -[], has {\"main\": \"5\"}, node; new stream, no nonce, +[more] -[], has {\"more\": \"3\"}, node", "new stream, no nonce, +[main more] -[], has {\"main\": \"5\", \"more\": \"3\"}, node"),
    talk(Way::DeltaGrpc, "14-cluster-removed/ClusterLoadAssignment", "xds-one-stream", "-", "same stream, no nonce, +[] -[b]"),
    talk(Way::DeltaGrpc, "15-no-clusters/ClusterLoadAssignment", "xds-one-stream", "-", "same stream, no nonce, +[] -[a]"),
];
