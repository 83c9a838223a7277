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
    Origin => "origin",
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

/// A name that is known before there are fields: in lower case, and classified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldName {
    text: Box<str>,
    known: Option<Known>,
}

impl FieldName {
    /// A name, in any case.
    pub fn new(name: &str) -> Self {
        Self { text: name.to_ascii_lowercase().into(), known: Known::classify(name.as_bytes()) }
    }

    /// Which of the known names it is.
    pub fn known(&self) -> Option<Known> {
        self.known
    }
}

impl std::ops::Deref for FieldName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl From<&str> for FieldName {
    fn from(name: &str) -> Self {
        Self::new(name)
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
            if id == UNKNOWN || is_known(name, NAMES[usize::from(id)].as_bytes()) {
                return id;
            }
            at = (at + 1) % SLOTS;
        }
    }
}

/// The names by number.
static NAMES: [&str; Known::ALL.len()] = {
    let mut names = [""; Known::ALL.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = Known::ALL[i].name();
        i += 1;
    }
    names
};

/// Whether a name is a known one but for its case: eight bytes at a time, the last eight again where they are fewer.
fn is_known(name: &[u8], known: &[u8]) -> bool {
    if name.len() != known.len() {
        return false;
    }
    let (Some(last), Some(known_last)) = (name.last_chunk(), known.last_chunk()) else {
        return name.eq_ignore_ascii_case(known);
    };
    let pairs = name.as_chunks().0.iter().zip(known.as_chunks().0);
    let last = differ_but_for_case(*last, *known_last);
    pairs.fold(last, |differ, (name, known)| differ | differ_but_for_case(*name, *known)) == 0
}

/// Not zero if a text differs from one in lower case by more than capital letters. Case is the bit 0x20 of a letter; of what known names
/// consist of, letters alone have the bit 0x40.
fn differ_but_for_case(text: [u8; 8], lower: [u8; 8]) -> u64 {
    let (text, lower) = (u64::from_ne_bytes(text), u64::from_ne_bytes(lower));
    (text ^ lower) & !((lower & 0x4040_4040_4040_4040) >> 1)
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
        // Every byte counts, and in its case alone.
        for &known in Known::ALL {
            for at in 0..known.name().len() {
                for other in 0..=u8::MAX {
                    let mut name = known.name().as_bytes().to_vec();
                    name[at] = other;
                    let same = other.eq_ignore_ascii_case(&known.name().as_bytes()[at]);
                    let found = Known::classify(&name);
                    assert!(found == Some(known) || !same, "{known:?} {at} {other}");
                    assert!(found.is_none_or(|found| name.eq_ignore_ascii_case(found.name().as_bytes())));
                }
            }
        }
    }
}
