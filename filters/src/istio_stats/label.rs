//! The standard labels, in Istio's order.

macro_rules! labels {
    ($($label:ident = $name:literal,)*) => {
        /// The standard labels.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Label { $(#[doc = $name] $label,)* }

        impl Label {
            const ALL: &'static [Label] = &[$(Label::$label,)*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Label::$label => $name,)* }
            }
        }
    };
}

labels! {
    Reporter = "reporter",
    SourceWorkload = "source_workload",
    SourceCanonicalService = "source_canonical_service",
    SourceCanonicalRevision = "source_canonical_revision",
    SourceWorkloadNamespace = "source_workload_namespace",
    SourcePrincipal = "source_principal",
    SourceApp = "source_app",
    SourceVersion = "source_version",
    SourceCluster = "source_cluster",
    DestinationWorkload = "destination_workload",
    DestinationWorkloadNamespace = "destination_workload_namespace",
    DestinationPrincipal = "destination_principal",
    DestinationApp = "destination_app",
    DestinationVersion = "destination_version",
    DestinationService = "destination_service",
    DestinationCanonicalService = "destination_canonical_service",
    DestinationCanonicalRevision = "destination_canonical_revision",
    DestinationServiceName = "destination_service_name",
    DestinationServiceNamespace = "destination_service_namespace",
    DestinationCluster = "destination_cluster",
    RequestProtocol = "request_protocol",
    ResponseCode = "response_code",
    GrpcResponseStatus = "grpc_response_status",
    ResponseFlags = "response_flags",
    ConnectionSecurityPolicy = "connection_security_policy",
}

impl Label {
    /// The label of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|label| label.name() == name)
    }
}
