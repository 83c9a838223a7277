//! The header names the proxy itself asks about, as small numbers.
//!
//! A name is classified once, when it enters a [`Headers`](crate::Headers); afterwards "is there a
//! `grpc-timeout`?" is a bit test, and most such questions have the answer no.

macro_rules! known_headers {
    ($($variant:ident => $name:literal),* $(,)?) => {
        /// A header name known to the proxy.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(u8)]
        pub enum Known {
            $(#[doc = $name] $variant,)*
        }

        impl Known {
            /// Every known name, in the order of its number.
            pub const ALL: &'static [Known] = &[$(Known::$variant,)*];

            /// The name in lower case.
            pub const fn name(self) -> &'static str {
                match self { $(Known::$variant => $name,)* }
            }
        }
    };
}

known_headers! {
    Host => "host",
    Connection => "connection",
    ContentLength => "content-length",
    TransferEncoding => "transfer-encoding",
    Upgrade => "upgrade",
    Te => "te",
    Trailer => "trailer",
    KeepAlive => "keep-alive",
    ProxyConnection => "proxy-connection",
    Http2Settings => "http2-settings",
    Expect => "expect",
    ContentType => "content-type",
    Date => "date",
    Server => "server",
    Via => "via",
    UserAgent => "user-agent",
    Accept => "accept",
    Cookie => "cookie",
    Location => "location",
    XForwardedFor => "x-forwarded-for",
    XForwardedProto => "x-forwarded-proto",
    XForwardedHost => "x-forwarded-host",
    XForwardedPort => "x-forwarded-port",
    XForwardedClientCert => "x-forwarded-client-cert",
    XRequestId => "x-request-id",
    XClientTraceId => "x-client-trace-id",
    XEnvoyInternal => "x-envoy-internal",
    XEnvoyExternalAddress => "x-envoy-external-address",
    XEnvoyDownstreamServiceCluster => "x-envoy-downstream-service-cluster",
    XEnvoyDownstreamServiceNode => "x-envoy-downstream-service-node",
    XEnvoyExpectedRqTimeoutMs => "x-envoy-expected-rq-timeout-ms",
    XEnvoyUpstreamRqTimeoutMs => "x-envoy-upstream-rq-timeout-ms",
    XEnvoyUpstreamRqPerTryTimeoutMs => "x-envoy-upstream-rq-per-try-timeout-ms",
    XEnvoyUpstreamAltStatName => "x-envoy-upstream-alt-stat-name",
    XEnvoyUpstreamRqTimeoutAltResponse => "x-envoy-upstream-rq-timeout-alt-response",
    XEnvoyUpstreamServiceTime => "x-envoy-upstream-service-time",
    XEnvoyUpstreamHealthcheckedCluster => "x-envoy-upstream-healthchecked-cluster",
    XEnvoyUpstreamCanary => "x-envoy-upstream-canary",
    XEnvoyImmediateHealthCheckFail => "x-envoy-immediate-health-check-fail",
    XEnvoyOverloaded => "x-envoy-overloaded",
    XEnvoyDegraded => "x-envoy-degraded",
    XEnvoyDecoratorOperation => "x-envoy-decorator-operation",
    XEnvoyAttemptCount => "x-envoy-attempt-count",
    XEnvoyOriginalPath => "x-envoy-original-path",
    XEnvoyOriginalHost => "x-envoy-original-host",
    XEnvoyOriginalDstHost => "x-envoy-original-dst-host",
    XEnvoyIpTags => "x-envoy-ip-tags",
    XEnvoyForceTrace => "x-envoy-force-trace",
    XEnvoyHedgeOnPerTryTimeout => "x-envoy-hedge-on-per-try-timeout",
    XEnvoyMaxRetries => "x-envoy-max-retries",
    XEnvoyRetryOn => "x-envoy-retry-on",
    XEnvoyRetryGrpcOn => "x-envoy-retry-grpc-on",
    XEnvoyRetriableStatusCodes => "x-envoy-retriable-status-codes",
    XEnvoyRetriableHeaderNames => "x-envoy-retriable-header-names",
    GrpcTimeout => "grpc-timeout",
    GrpcStatus => "grpc-status",
    GrpcMessage => "grpc-message",
    Authorization => "authorization",
    Forwarded => "forwarded",
    SecWebsocketKey => "sec-websocket-key",
    SecWebsocketAccept => "sec-websocket-accept",
    SecWebsocketVersion => "sec-websocket-version",
    XEnvoyPeerMetadata => "x-envoy-peer-metadata",
    XEnvoyPeerMetadataId => "x-envoy-peer-metadata-id",
}

/// Marks an entry whose name is none of [`Known`].
pub(crate) const UNKNOWN: u8 = u8::MAX;

/// The longest known name; longer ones need no lookup.
const LONGEST: usize = 40;

impl Known {
    /// Classifies a name, whatever its case.
    #[inline]
    pub fn classify(name: &[u8]) -> Option<Known> {
        let id = TABLE.find(name);
        if id == UNKNOWN { None } else { Known::ALL.get(usize::from(id)).copied() }
    }

    pub(crate) fn id_of(name: &[u8]) -> u8 {
        TABLE.find(name)
    }

    /// This name's bit in a presence mask.
    pub(crate) const fn bit(self) -> u64 {
        1 << (self as u8)
    }
}

const SLOTS: usize = 512;

/// An open-addressing table over [`Known::ALL`], filled at compile time.
struct Table {
    slots: [u8; SLOTS],
}

static TABLE: Table = Table::build();

impl Table {
    const fn build() -> Self {
        let mut slots = [UNKNOWN; SLOTS];
        let mut i = 0;
        while i < Known::ALL.len() {
            let mut at = hash(Known::ALL[i].name().as_bytes());
            while slots[at] != UNKNOWN {
                at = (at + 1) % SLOTS;
            }
            slots[at] = i as u8;
            i += 1;
        }
        Table { slots }
    }

    #[inline]
    fn find(&self, name: &[u8]) -> u8 {
        if name.len() < 2 || name.len() > LONGEST {
            return UNKNOWN;
        }
        let mut at = hash(name);
        loop {
            let id = self.slots[at];
            if id == UNKNOWN || Known::ALL[usize::from(id)].name().as_bytes().eq_ignore_ascii_case(name) {
                return id;
            }
            at = (at + 1) % SLOTS;
        }
    }
}

/// Length, first, middle and last byte tell the known names apart well enough.
const fn hash(name: &[u8]) -> usize {
    let len = name.len();
    let picked = [name[0], name[len - 1], name[len / 2], name[len * 3 / 4]];
    let mut hash = len as u32;
    let mut i = 0;
    while i < picked.len() {
        hash = hash.wrapping_mul(31).wrapping_add((picked[i] | 0x20) as u32);
        i += 1;
    }
    (hash ^ (hash >> 9)) as usize % SLOTS
}

const _: () = assert!(Known::ALL.len() <= 64, "a presence mask has 64 bits");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for &known in Known::ALL {
            assert_eq!(Known::classify(known.name().as_bytes()), Some(known));
            assert_eq!(Known::classify(known.name().to_uppercase().as_bytes()), Some(known));
            assert!(known.name().len() <= LONGEST, "{}", known.name());
        }
    }

    #[test]
    fn others_are_not() {
        for name in ["", "x", "hos", "hostt", "x-forwarded-fox", "a".repeat(300).as_str()] {
            assert_eq!(Known::classify(name.as_bytes()), None, "{name}");
        }
    }
}
