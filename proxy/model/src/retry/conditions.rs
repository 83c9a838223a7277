//! The conditions of `retry_on` and of `x-envoy-retry-on` and `x-envoy-retry-grpc-on`, as a set of bits.

/// One condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Condition {
    /// `5xx`
    ServerError = 1,
    /// `gateway-error`
    GatewayError = 1 << 1,
    /// `reset`
    Reset = 1 << 2,
    /// `reset-before-request`
    ResetBeforeRequest = 1 << 3,
    /// `connect-failure`
    ConnectFailure = 1 << 4,
    /// `retriable-4xx`
    Retriable4xx = 1 << 5,
    /// `refused-stream`
    RefusedStream = 1 << 6,
    /// `retriable-status-codes`
    StatusCodes = 1 << 7,
    /// `retriable-headers`
    Headers = 1 << 8,
    /// `envoy-ratelimited`
    RateLimited = 1 << 9,
    /// gRPC `cancelled`
    Cancelled = 1 << 10,
    /// gRPC `deadline-exceeded`
    DeadlineExceeded = 1 << 11,
    /// gRPC `internal`
    Internal = 1 << 12,
    /// gRPC `resource-exhausted`
    ResourceExhausted = 1 << 13,
    /// gRPC `unavailable`
    Unavailable = 1 << 14,
    /// `http3-post-connect-failure`, which cannot happen here.
    Http3PostConnectFailure = 1 << 15,
}

const NAMES: [(&str, Condition); 16] = [
    ("5xx", Condition::ServerError),
    ("gateway-error", Condition::GatewayError),
    ("reset", Condition::Reset),
    ("reset-before-request", Condition::ResetBeforeRequest),
    ("connect-failure", Condition::ConnectFailure),
    ("retriable-4xx", Condition::Retriable4xx),
    ("refused-stream", Condition::RefusedStream),
    ("retriable-status-codes", Condition::StatusCodes),
    ("retriable-headers", Condition::Headers),
    ("envoy-ratelimited", Condition::RateLimited),
    ("cancelled", Condition::Cancelled),
    ("deadline-exceeded", Condition::DeadlineExceeded),
    ("internal", Condition::Internal),
    ("resource-exhausted", Condition::ResourceExhausted),
    ("unavailable", Condition::Unavailable),
    ("http3-post-connect-failure", Condition::Http3PostConnectFailure),
];

/// A set of conditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions(u32);

impl Conditions {
    /// The conditions of a list with commas; names that are unknown are left out, as in Envoy.
    pub fn parse(list: &str) -> Self {
        let each = list.split(',').map(str::trim);
        let known = each.filter_map(|name| NAMES.iter().find(|(known, _)| *known == name));
        Self(known.fold(0, |bits, (_, condition)| bits | *condition as u32))
    }

    /// Both.
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those, and `condition`.
    pub fn with(self, condition: Condition) -> Self {
        Self(self.0 | condition as u32)
    }

    /// Whether it is in the set.
    pub fn has(self, condition: Condition) -> bool {
        self.0 & condition as u32 != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a gRPC status is one of those in the set.
    pub fn has_grpc(self, status: u32) -> bool {
        let condition = match status {
            1 => Condition::Cancelled,
            4 => Condition::DeadlineExceeded,
            8 => Condition::ResourceExhausted,
            13 => Condition::Internal,
            14 => Condition::Unavailable,
            _ => return false,
        };
        self.has(condition)
    }
}
