//! The one type for failure on the data path, and the one table that says what becomes of it.
//!
//! Code that fails says what happened ([`Kind`]); status, response flags, details and body follow from
//! [`Failure::verdict`] and nowhere else. [`Failure::side`] and [`Failure::retry_safe`] serve retries and counters.

use std::borrow::Cow;

use sampan_filters_api::{Flag, Flags};

use crate::http::h1::{CodecError, encode::reason_phrase};

/// Where a failure began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The client, or the connection to it.
    Downstream,
    /// The upstream, or the connection to it.
    Upstream,
    /// Our own doing: routing, limits, timeouts of a stream.
    Internal,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The request breaks HTTP.
    Codec(CodecError),
    /// The client closed its connection, or half of it, before the response was complete.
    DownstreamClosed,
    /// The client reset the stream (HTTP/2).
    DownstreamReset,
    /// The client's frames broke the stream (HTTP/2).
    DownstreamBrokeStream,
    /// The request head did not arrive within `request_headers_timeout`.
    HeadTimeout,
    /// The request did not arrive within `request_timeout`.
    RequestTimeout,
    /// Nothing happened on the stream for `stream_idle_timeout`.
    StreamIdle {
        /// The request was complete, so it is the upstream that is late.
        request_complete: bool,
    },
    /// The stream is older than `max_stream_duration`, or than `grpc-timeout` allows.
    MaxDuration {
        /// The request was complete, so it is the upstream that is late.
        request_complete: bool,
    },
    /// No route matches.
    NoRoute,
    /// The route's cluster does not exist.
    NoCluster(u16),
    /// The cluster has no host to choose.
    NoHost,
    /// The one host that would do is not there; the status to answer with.
    NoSuchHost(u16),
    /// The original destination is an address that this process listens on.
    SelfConnect,
    /// A circuit breaker is open.
    Overflow,
    /// The source address of the upstream connection cannot be used; why, in words of the operating system.
    BindFailed(Cow<'static, str>),
    /// The upstream could not be connected to; why, in words of the operating system.
    ConnectFailed(Cow<'static, str>),
    /// The upstream did not accept within `connect_timeout`.
    ConnectTimeout,
    /// The upstream closed before the response was complete.
    UpstreamClosed,
    /// The upstream reset the stream (HTTP/2); `refused` for REFUSED_STREAM.
    UpstreamReset {
        /// The stream was refused before it was looked at.
        refused: bool,
    },
    /// The response breaks HTTP.
    UpstreamProtocol(&'static str),
    /// The response did not come within the route's timeout.
    ResponseTimeout,
    /// It did not come within the time of one try.
    PerTryTimeout,
    /// Its upstream was silent for longer than one try may be.
    PerTryIdleTimeout,
    /// The upstream stream is older than the cluster's `max_stream_duration`.
    UpstreamMaxDuration,
    /// A limit of this process (`overload_manager`).
    Overloaded,
    /// A filter failed.
    FilterFailed,
}

/// A failure on the data path.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{kind:?}")]
pub struct Failure {
    /// What happened.
    pub kind: Kind,
    /// Whether a part of the response was passed on already.
    pub after_head: bool,
    /// Whether there were other attempts before.
    pub retried: bool,
    /// Whether the client wants 204 for a timeout of the response (`x-envoy-upstream-rq-timeout-alt-response`).
    pub alternative: bool,
}

/// What becomes of a failed stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The status of the local reply; 0 where nobody is left to get one.
    pub status: u16,
    /// `%RESPONSE_FLAGS%`
    pub flags: Flags,
    /// `%RESPONSE_CODE_DETAILS%`
    pub details: Cow<'static, str>,
    /// The local reply's body.
    pub body: Cow<'static, str>,
    /// Whether the downstream connection must close after the reply.
    pub close: bool,
    /// `grpc-status` in place of the one that follows from `status`.
    pub grpc_status: Option<u32>,
}

impl From<Kind> for Failure {
    fn from(kind: Kind) -> Self {
        Self { kind, after_head: false, retried: false, alternative: false }
    }
}

impl From<CodecError> for Failure {
    fn from(error: CodecError) -> Self {
        Kind::Codec(error).into()
    }
}

impl Failure {
    /// The same failure, noticed after the response head was passed on.
    pub fn after_head(mut self) -> Self {
        self.after_head = true;
        self
    }

    /// Where it began.
    pub fn side(&self) -> Side {
        match self.kind {
            Kind::Codec(_)
            | Kind::DownstreamClosed
            | Kind::DownstreamReset
            | Kind::DownstreamBrokeStream
            | Kind::HeadTimeout
            | Kind::RequestTimeout => Side::Downstream,
            Kind::BindFailed(_)
            | Kind::ConnectFailed(_)
            | Kind::ConnectTimeout
            | Kind::UpstreamClosed
            | Kind::UpstreamReset { .. }
            | Kind::UpstreamProtocol(_)
            | Kind::ResponseTimeout
            | Kind::PerTryTimeout
            | Kind::PerTryIdleTimeout
            | Kind::UpstreamMaxDuration => Side::Upstream,
            Kind::StreamIdle { .. }
            | Kind::MaxDuration { .. }
            | Kind::NoRoute
            | Kind::NoCluster(_)
            | Kind::NoHost
            | Kind::NoSuchHost(_)
            | Kind::SelfConnect
            | Kind::Overflow
            | Kind::Overloaded
            | Kind::FilterFailed => Side::Internal,
        }
    }

    /// Whether there is nobody left downstream to answer.
    pub fn is_departure(&self) -> bool {
        matches!(self.kind, Kind::DownstreamClosed | Kind::DownstreamReset | Kind::DownstreamBrokeStream)
    }

    /// Whether one try took too long.
    pub fn is_try_timeout(&self) -> bool {
        matches!(self.kind, Kind::PerTryTimeout | Kind::PerTryIdleTimeout)
    }

    /// Whether no connection could be opened.
    pub fn is_connect(&self) -> bool {
        matches!(self.kind, Kind::BindFailed(_) | Kind::ConnectFailed(_) | Kind::ConnectTimeout)
    }

    /// Whether the upstream certainly did not act on the request, so that sending it again is harmless.
    pub fn retry_safe(&self) -> bool {
        !self.after_head
            && matches!(
                self.kind,
                Kind::BindFailed(_)
                    | Kind::ConnectFailed(_)
                    | Kind::ConnectTimeout
                    | Kind::Overflow
                    | Kind::UpstreamReset { refused: true }
            )
    }

    /// Status, flags, details and body. The only place that decides them.
    pub fn verdict(&self) -> Verdict {
        let verdict = self.plain_verdict();
        if self.alternative && (self.is_try_timeout() || self.kind == Kind::ResponseTimeout) {
            return Verdict { status: 204, body: "".into(), ..verdict };
        }
        verdict
    }

    fn plain_verdict(&self) -> Verdict {
        match &self.kind {
            Kind::Codec(e) => codec(e),
            Kind::DownstreamClosed => {
                plain(0, Flags::of(Flag::DownstreamConnectionTermination), "downstream_remote_disconnect", "")
            }
            Kind::DownstreamReset => {
                plain(0, Flags::of(Flag::DownstreamRemoteReset), "http2.remote_reset", "")
            }
            Kind::DownstreamBrokeStream => {
                plain(0, Flags::of(Flag::DownstreamProtocolError), "http2.remote_reset", "")
            }
            Kind::HeadTimeout => {
                plain(408, Flags::NONE, "request_header_timeout", "request header timeout").closing()
            }
            Kind::RequestTimeout => {
                plain(408, Flags::NONE, "request_overall_timeout", "request timeout").closing()
            }
            Kind::StreamIdle { request_complete } => late(
                plain(408, Flags::of(Flag::StreamIdleTimeout), "stream_idle_timeout", "stream timeout"),
                *request_complete,
            ),
            Kind::MaxDuration { request_complete } => Verdict {
                grpc_status: Some(4),
                ..late(
                    plain(408, Flags::NONE, "max_duration_timeout", "downstream duration timeout"),
                    *request_complete,
                )
            },
            Kind::NoRoute => plain(404, Flags::of(Flag::NoRouteFound), "route_not_found", ""),
            Kind::NoCluster(status) => {
                plain(*status, Flags::of(Flag::NoClusterFound), "cluster_not_found", "")
            }
            Kind::NoHost => no_host(503),
            Kind::NoSuchHost(status) => no_host(*status),
            Kind::SelfConnect => plain(
                503,
                Flags::of(Flag::NoHealthyUpstream),
                "original_destination_is_this_proxy",
                "the original destination is this proxy",
            ),
            Kind::ResponseTimeout if !self.after_head => plain(
                504,
                Flags::of(Flag::UpstreamRequestTimeout),
                "response_timeout",
                "upstream request timeout",
            ),
            Kind::ResponseTimeout => {
                plain(504, Flags::of(Flag::UpstreamRequestTimeout), "response_timeout", "")
            }
            Kind::PerTryTimeout => plain(
                504,
                Flags::of(Flag::UpstreamRequestTimeout),
                "upstream_per_try_timeout",
                "upstream request timeout",
            ),
            Kind::PerTryIdleTimeout => plain(
                504,
                Flags::of(Flag::UpstreamRequestTimeout),
                "upstream_per_try_idle_timeout",
                if self.after_head { "" } else { "upstream request timeout" },
            ),
            Kind::UpstreamMaxDuration => plain(
                504,
                Flags::of(Flag::UpstreamMaxStreamDurationReached),
                "upstream_max_stream_duration_reached",
                "upstream max stream duration reached",
            ),
            Kind::Overloaded => {
                plain(503, Flags::of(Flag::OverloadManagerTerminated), "overload", "envoy overloaded")
            }
            Kind::FilterFailed => plain(500, Flags::NONE, "filter_failure", ""),
            Kind::ConnectFailed(why) => self.reset(503, Flag::UpstreamConnectionFailure, Some(why)),
            Kind::BindFailed(why) => self.reset(503, Flag::UpstreamConnectionFailure, Some(why)),
            Kind::ConnectTimeout => self.reset(503, Flag::UpstreamConnectionFailure, None),
            Kind::Overflow => self.reset(503, Flag::UpstreamOverflow, None),
            Kind::UpstreamClosed => self.reset(503, Flag::UpstreamConnectionTermination, None),
            Kind::UpstreamReset { .. } => self.reset(503, Flag::UpstreamRemoteReset, None),
            Kind::UpstreamProtocol(_) => self.reset(502, Flag::UpstreamProtocolError, None),
        }
    }

    /// Why an upstream stream ended before its time, in Envoy's words; none for what did not end like that.
    pub fn reset_reason(&self) -> Option<&'static str> {
        Some(match self.kind {
            Kind::ConnectFailed(_) => "remote connection failure",
            Kind::BindFailed(_) => "local connection failure",
            Kind::ConnectTimeout => "connection timeout",
            Kind::Overflow => "overflow",
            Kind::UpstreamClosed => "connection termination",
            Kind::UpstreamReset { refused: false } => "remote reset",
            Kind::UpstreamReset { refused: true } => "remote refused stream reset",
            Kind::UpstreamProtocol(_) => "protocol error",
            _ => return None,
        })
    }

    /// The verdict on such an end.
    fn reset(&self, status: u16, flag: Flag, transport: Option<&str>) -> Verdict {
        let reason = self.reset_reason().unwrap_or_default();
        let when = if self.after_head { "after" } else { "before" };
        let word = reason.replace(' ', "_");
        let details = match transport {
            Some(why) => {
                format!("upstream_reset_{when}_response_started{{{word}|{}}}", why.replace(' ', "_"))
            }
            None => format!("upstream_reset_{when}_response_started{{{word}}}"),
        };
        let retried = if self.retried { "retried and the latest " } else { "" };
        let body = format!(
            "upstream connect error or disconnect/reset before headers. {retried}reset reason: {reason}"
        );
        Verdict {
            status,
            flags: Flags::of(flag),
            details: details.into(),
            body: body.into(),
            close: false,
            grpc_status: None,
        }
    }
}

/// A timeout of a stream: the upstream's fault (504) once the request is complete, else the client's (408, and the connection
/// ends, for the rest of the request may still come).
fn late(verdict: Verdict, request_complete: bool) -> Verdict {
    if request_complete { Verdict { status: 504, ..verdict } } else { verdict.closing() }
}

fn plain(status: u16, flags: Flags, details: &'static str, body: &'static str) -> Verdict {
    Verdict { status, flags, details: details.into(), body: body.into(), close: false, grpc_status: None }
}

fn no_host(status: u16) -> Verdict {
    plain(status, Flags::of(Flag::NoHealthyUpstream), "no_healthy_upstream", "no healthy upstream")
}

fn codec(error: &CodecError) -> Verdict {
    let body = if error.details == "missing_host_header" { "" } else { reason_phrase(error.status) };
    plain(error.status, Flags::of(Flag::DownstreamProtocolError), error.details, body).closing()
}

impl Verdict {
    fn closing(mut self) -> Self {
        self.close = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The golden table: what Envoy 1.40 answers.
    #[test]
    fn a_client_may_want_no_error_for_a_timeout() {
        let failure = |kind: Kind| Failure { alternative: true, ..kind.into() };
        let verdict = failure(Kind::ResponseTimeout).verdict();
        assert_eq!((verdict.status, &*verdict.body, &*verdict.details), (204, "", "response_timeout"));
        assert_eq!(failure(Kind::PerTryIdleTimeout).verdict().status, 204);
        assert_eq!(failure(Kind::UpstreamClosed).verdict().status, 503);
    }

    #[test]
    fn golden_table() {
        let connect: Failure = Kind::ConnectFailed("delayed connect error: Connection refused".into()).into();
        for (failure, status, flags, details, body) in [
            (Kind::ResponseTimeout.into(), 504, "UT", "response_timeout", "upstream request timeout"),
            (
                connect,
                503,
                "UF",
                "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
                "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
            ),
            (
                Kind::BindFailed("failed to bind to 10.9.9.9:0: Cannot assign requested address".into())
                    .into(),
                503,
                "UF",
                "upstream_reset_before_response_started{local_connection_failure|failed_to_bind_to_10.9.9.9:0:_Cannot_assign_requested_address}",
                "upstream connect error or disconnect/reset before headers. reset reason: local connection failure",
            ),
            (
                Kind::UpstreamClosed.into(),
                503,
                "UC",
                "upstream_reset_before_response_started{connection_termination}",
                "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
            ),
            (
                Kind::UpstreamProtocol("x").into(),
                502,
                "UPE",
                "upstream_reset_before_response_started{protocol_error}",
                "upstream connect error or disconnect/reset before headers. reset reason: protocol error",
            ),
            (Kind::NoHost.into(), 503, "UH", "no_healthy_upstream", "no healthy upstream"),
            (
                Kind::SelfConnect.into(),
                503,
                "UH",
                "original_destination_is_this_proxy",
                "the original destination is this proxy",
            ),
            (
                Kind::Overflow.into(),
                503,
                "UO",
                "upstream_reset_before_response_started{overflow}",
                "upstream connect error or disconnect/reset before headers. reset reason: overflow",
            ),
            (Kind::NoCluster(503).into(), 503, "NC", "cluster_not_found", ""),
            (Kind::NoRoute.into(), 404, "NR", "route_not_found", ""),
            (Kind::DownstreamClosed.into(), 0, "DC", "downstream_remote_disconnect", ""),
        ] {
            let failure: Failure = failure;
            let verdict = failure.verdict();
            assert_eq!((verdict.status, verdict.flags.to_string().as_str()), (status, flags), "{failure:?}");
            assert_eq!((&*verdict.details, &*verdict.body), (details, body), "{failure:?}");
        }
        let cut = Failure::from(Kind::UpstreamProtocol("x")).after_head().verdict();
        assert_eq!(cut.details, "upstream_reset_after_response_started{protocol_error}");
    }

    #[test]
    fn only_what_never_reached_the_upstream_is_safe_to_repeat() {
        assert!(Failure::from(Kind::ConnectTimeout).retry_safe());
        assert!(Failure::from(Kind::UpstreamReset { refused: true }).retry_safe());
        assert!(!Failure::from(Kind::UpstreamClosed).retry_safe());
        assert!(!Failure::from(Kind::ConnectTimeout).after_head().retry_safe());
    }
}
