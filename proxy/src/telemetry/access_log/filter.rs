//! Which events are logged (`envoy.config.accesslog.v3.AccessLogFilter`).

use sampan_filters_api::cel::Expression;
use sampan_filters_api::format::{AccessLogType, response_grpc_status};
use sampan_filters_api::{Flags, RequestHead};
use sampan_model::fraction::{FractionalPercent, RuntimeValues};
use sampan_model::route::{HeaderMatch, HeaderName, RequestView};
use sampan_model::trace::decision::number_of_id;

use super::LogEvent;
use sampan_filters::matcher::MetadataMatch;

/// A condition on an event.
#[derive(Clone, Debug)]
pub enum Filter {
    /// `status_code_filter`: 0 if no response was sent.
    StatusCode(Comparison),
    /// `duration_filter`, in milliseconds.
    Duration(Comparison),
    /// `not_health_check_filter`
    NotHealthCheck,
    /// `traceable_filter`: those that a service wants to have traced.
    Traceable,
    /// `runtime_filter`
    Sampled(Sampled),
    /// `and_filter`
    All(Vec<Filter>),
    /// `or_filter`
    Any(Vec<Filter>),
    /// `header_filter`, on the request.
    Header(HeaderMatch),
    /// `response_flag_filter`: one of these, or any flag at all if none is named.
    Flags(Flags),
    /// `grpc_status_filter`
    GrpcStatus {
        /// One bit per status.
        statuses: u32,
        /// Whether these are the unwanted ones.
        exclude: bool,
    },
    /// `metadata_filter`, on dynamic metadata.
    Metadata(MetadataMatch),
    /// `extension_filter` by `envoy.access_loggers.extension_filters.cel`
    Cel(Expression),
    /// `log_type_filter`
    LogType {
        /// One bit per [`AccessLogType`].
        types: u32,
        /// Whether these are the unwanted ones.
        exclude: bool,
    },
}

/// A number held against a value that runtime may override.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Comparison {
    /// How they are compared.
    pub operation: Operation,
    /// The right-hand side.
    pub value: u32,
    /// The runtime key that overrides it; empty for none.
    pub runtime_key: Box<str>,
}

/// How numbers are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// equal
    Equal,
    /// greater or equal
    AtLeast,
    /// less or equal
    AtMost,
    /// not equal
    NotEqual,
}

/// A share of all streams.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sampled {
    /// The runtime key that overrides the share.
    pub runtime_key: Box<str>,
    /// The share.
    pub percent: FractionalPercent,
    /// Whether to ignore the request id, which otherwise makes all logs choose the same streams.
    pub independent: bool,
}

impl Filter {
    /// Whether the event is to be logged.
    pub fn wants(&self, event: &LogEvent<'_>) -> bool {
        let context = &event.context;
        let info = context.info;
        match self {
            Filter::StatusCode(comparison) => comparison.holds(info.response_code.into(), event.runtime),
            Filter::Duration(comparison) => {
                comparison.holds(info.duration(context.now).as_millis() as u64, event.runtime)
            }
            Filter::NotHealthCheck => !info.health_check,
            Filter::Traceable => info.force_traced && !info.health_check,
            Filter::Sampled(sampled) => sampled.picks(event),
            Filter::All(filters) => filters.iter().all(|filter| filter.wants(event)),
            Filter::Any(filters) => filters.iter().any(|filter| filter.wants(event)),
            Filter::Header(matcher) => matcher.is_match(&Head(context.request)),
            Filter::Flags(Flags::NONE) => !info.flags.is_empty(),
            Filter::Flags(flags) => info.flags.intersects(*flags),
            Filter::GrpcStatus { statuses, exclude } => {
                let status = response_grpc_status(context).unwrap_or(GRPC_UNKNOWN);
                (statuses.checked_shr(status).unwrap_or(0) & 1 == 1) != *exclude
            }
            Filter::Cel(expression) => expression.holds(context),
            Filter::Metadata(matcher) => matcher.is_match(&info.metadata),
            Filter::LogType { types, exclude } => (types >> context.log_type as u32 & 1 == 1) != *exclude,
        }
    }

    /// A `log_type_filter` of these types.
    pub fn log_types(types: impl IntoIterator<Item = AccessLogType>, exclude: bool) -> Self {
        let types = types.into_iter().fold(0, |bits, log_type| bits | 1 << log_type as u32);
        Filter::LogType { types, exclude }
    }

    /// A `grpc_status_filter` of these statuses; those above 31 do not exist.
    pub fn grpc_statuses(statuses: impl IntoIterator<Item = u32>, exclude: bool) -> Self {
        let statuses =
            statuses.into_iter().fold(0, |bits, status| bits | 1u32.checked_shl(status).unwrap_or(0));
        Filter::GrpcStatus { statuses, exclude }
    }
}

impl Comparison {
    fn holds(&self, left: u64, runtime: &dyn RuntimeValues) -> bool {
        let overridden = if self.runtime_key.is_empty() { None } else { runtime.integer(&self.runtime_key) };
        let right = overridden.unwrap_or(self.value.into());
        match self.operation {
            Operation::Equal => left == right,
            Operation::AtLeast => left >= right,
            Operation::AtMost => left <= right,
            Operation::NotEqual => left != right,
        }
    }
}

impl Sampled {
    fn picks(&self, event: &LogEvent<'_>) -> bool {
        let percent = event.runtime.fraction(&self.runtime_key).unwrap_or(self.percent);
        let of_id = || event.context.info.stream_id.as_deref().and_then(number_of_id);
        let number = if self.independent { None } else { of_id() };
        percent.contains(number.unwrap_or(event.random))
    }
}

const GRPC_UNKNOWN: u32 = 2;

/// A request head as header matchers see it; TCP has an empty one.
struct Head<'a>(Option<&'a RequestHead>);

impl RequestView for Head<'_> {
    fn path(&self) -> &[u8] {
        self.0.map_or(b"", RequestHead::path)
    }

    fn method(&self) -> &[u8] {
        self.0.map_or(b"", RequestHead::method)
    }

    fn authority(&self) -> &[u8] {
        self.0.map_or(b"", RequestHead::authority)
    }

    fn scheme(&self) -> &[u8] {
        self.0.map_or(b"", RequestHead::scheme)
    }

    fn header_values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.0.into_iter().flat_map(|head| head.headers.values(name.as_bytes()))
    }
}
