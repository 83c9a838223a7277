//! What a format is rendered from.

use std::time::{Instant, SystemTime};

use crate::head::{RequestHead, ResponseHead};
use crate::headers::Headers;
use crate::info::StreamInfo;

/// Everything an operator may look at. Cheap to copy.
#[derive(Clone, Copy)]
pub struct FormatContext<'a> {
    /// The request head; none for TCP and where it could not be parsed.
    pub request: Option<&'a RequestHead>,
    /// The response head, once there is one.
    pub response: Option<&'a ResponseHead>,
    /// The response trailers.
    pub trailers: Option<&'a Headers>,
    /// The facts of the stream.
    pub info: &'a StreamInfo,
    /// Monotonic clock: the end of what has not ended.
    pub now: Instant,
    /// Wall clock, for `%EMIT_TIME%`.
    pub wall: SystemTime,
    /// Which event is logged.
    pub log_type: AccessLogType,
    /// `%LOCAL_REPLY_BODY%`: set while a local reply is formatted, empty otherwise.
    pub local_reply_body: &'a [u8],
}

impl<'a> FormatContext<'a> {
    /// A context of the stream alone; add heads by struct update.
    pub fn new(info: &'a StreamInfo, now: Instant, wall: SystemTime) -> Self {
        Self {
            request: None,
            response: None,
            trailers: None,
            info,
            now,
            wall,
            log_type: AccessLogType::NotSet,
            local_reply_body: b"",
        }
    }
}

macro_rules! log_types {
    ($($name:ident),* $(,)?) => {
        /// The event that an access log line tells of (`envoy.data.accesslog.v3.AccessLogType`).
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
        #[repr(u8)]
        pub enum AccessLogType {
            /// None: a header value or a local reply is formatted.
            #[default]
            NotSet,
            $(#[doc = stringify!($name)] $name,)*
        }

        impl AccessLogType {
            /// Every type, in the order of its proto number.
            pub const ALL: &'static [AccessLogType] = &[AccessLogType::NotSet, $(AccessLogType::$name,)*];

            /// As `%ACCESS_LOG_TYPE%` prints it.
            pub const fn name(self) -> &'static str {
                match self {
                    AccessLogType::NotSet => "NotSet",
                    $(AccessLogType::$name => stringify!($name),)*
                }
            }
        }
    };
}

log_types! {
    TcpUpstreamConnected,
    TcpPeriodic,
    TcpConnectionEnd,
    DownstreamStart,
    DownstreamPeriodic,
    DownstreamEnd,
    UpstreamPoolReady,
    UpstreamPeriodic,
    UpstreamEnd,
    DownstreamTunnelSuccessfullyEstablished,
    UdpTunnelUpstreamConnected,
    UdpPeriodic,
    UdpSessionEnd,
}
