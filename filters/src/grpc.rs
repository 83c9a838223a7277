//! Unary gRPC calls over [side calls](sampan_filters_api::call): framing, `grpc-timeout`, and the status from trailers or head.
//!
//! Messages are bytes here: what is in them is the business of the filter that asks.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use sampan_filters_api::call::{Call, CallError, Calls, Retry};
use sampan_filters_api::format::{FormatContext, Template};
use sampan_filters_api::reply::grpc_status;
use sampan_filters_api::{Answer, Known, RequestHead, StreamInfo};

/// `config.core.v3.GrpcService`, with an `envoy_grpc` target.
#[derive(Debug)]
pub struct GrpcService {
    /// `envoy_grpc.cluster_name`
    pub cluster: Arc<str>,
    /// `envoy_grpc.authority`, or else the cluster's name.
    pub authority: Arc<str>,
    /// `initial_metadata`
    pub metadata: Vec<(Box<str>, Template)>,
    /// `timeout`
    pub timeout: Option<Duration>,
    /// `envoy_grpc.max_receive_message_length`
    pub longest: usize,
    /// Without `envoy_grpc.skip_envoy_headers`.
    pub marked: bool,
    /// `retry_policy`
    pub retry: Option<Arc<Retry>>,
}

/// How a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("gRPC status {status}: {message}")]
pub struct GrpcError {
    /// The status code, never 0.
    pub status: u32,
    /// What is known of it.
    pub message: String,
}

impl GrpcError {
    fn new(status: u32, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

/// Codes of gRPC.
const UNKNOWN: u32 = 2;
const DEADLINE_EXCEEDED: u32 = 4;
const RESOURCE_EXHAUSTED: u32 = 8;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;

/// The compressed flag and the length.
const PREFIX: usize = 5;

impl GrpcService {
    /// Calls a method (`/package.Service/Method`) with an encoded message; the encoded answer.
    pub fn unary(
        &self,
        calls: &dyn Calls,
        method: &str,
        message: &[u8],
        request: Option<&RequestHead>,
        info: &StreamInfo,
    ) -> impl Future<Output = Result<Bytes, GrpcError>> + use<> {
        let mut head = RequestHead::default();
        head.set_method(b"POST");
        head.set_path(method.as_bytes());
        head.set_authority(self.authority.as_bytes());
        head.headers.append_known(Known::Te, "trailers");
        if let Some(limit) = self.timeout {
            head.headers.append_known(Known::GrpcTimeout, grpc_timeout(limit));
        }
        head.headers.append_known(Known::ContentType, "application/grpc");
        let context =
            FormatContext { request, ..FormatContext::new(info, Instant::now(), SystemTime::now()) };
        for (name, value) in &self.metadata {
            let mut text = Vec::new();
            value.render(&context, &mut text);
            head.headers.append(name.as_bytes(), text);
        }
        let call = Call {
            body: framed(message),
            timeout: self.timeout,
            longest: self.longest.saturating_add(PREFIX),
            retry: self.retry.clone(),
            internal: self.marked,
            forwarded_for: self.marked,
            ..Call::new(Arc::clone(&self.cluster), head)
        };
        let answer = calls.call(call);
        async move { opened(answer.await.map_err(refused)?) }
    }
}

/// A message behind its prefix.
fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(message);
    framed.freeze()
}

/// `200m`: as gRPC writes a time, in at most eight digits.
fn grpc_timeout(limit: Duration) -> String {
    const MOST: u128 = 99_999_999;
    match limit.as_millis() {
        millis if millis <= MOST => format!("{millis}m"),
        millis if millis / 1000 <= MOST => format!("{}S", millis / 1000),
        millis => format!("{}M", (millis / 60_000).min(MOST)),
    }
}

/// The status that stands for a call that came to nothing.
fn refused(error: CallError) -> GrpcError {
    let status = match error {
        CallError::Timeout => DEADLINE_EXCEEDED,
        CallError::TooLong(_) => RESOURCE_EXHAUSTED,
        CallError::Unsendable(_) => INTERNAL,
        CallError::UnknownCluster(_) | CallError::NoHost | CallError::Overflow | CallError::Failed(_) => {
            UNAVAILABLE
        }
    };
    GrpcError::new(status, error.to_string())
}

/// The message of an answer whose status is OK.
fn opened(answer: Answer) -> Result<Bytes, GrpcError> {
    let told =
        answer.trailers.known(Known::GrpcStatus).or_else(|| answer.head.headers.known(Known::GrpcStatus));
    let status = match told {
        Some(told) => std::str::from_utf8(told).ok().and_then(|told| told.parse().ok()).unwrap_or(UNKNOWN),
        None if answer.head.status != 200 => grpc_status(answer.head.status),
        None => UNKNOWN,
    };
    if status != 0 {
        let message = answer
            .trailers
            .known(Known::GrpcMessage)
            .or_else(|| answer.head.headers.known(Known::GrpcMessage));
        return Err(GrpcError::new(status, String::from_utf8_lossy(message.unwrap_or_default())));
    }
    let mut body = answer.body;
    let prefix = body.get(..PREFIX).ok_or_else(|| GrpcError::new(INTERNAL, "the answer has no message"))?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    if prefix[0] != 0 {
        return Err(GrpcError::new(INTERNAL, "the answer is compressed"));
    }
    if body.len() != PREFIX + length {
        return Err(GrpcError::new(INTERNAL, "the answer is not one message"));
    }
    Ok(body.split_off(PREFIX))
}

#[cfg(test)]
mod tests {
    use sampan_filters_api::{Headers, ResponseHead};

    use super::*;

    fn answer(status: u16, fields: &[(&str, &str)], body: &'static [u8]) -> Answer {
        let mut trailers = Headers::new();
        for (name, value) in fields {
            trailers.append(name, value);
        }
        let head = ResponseHead { status, headers: Headers::new() };
        Answer { head, body: Bytes::from_static(body), trailers }
    }

    #[test]
    fn messages_are_framed() {
        assert_eq!(&framed(b"ab")[..], b"\0\0\0\0\x02ab");
        let good = opened(answer(200, &[("grpc-status", "0")], b"\0\0\0\0\x02ab"));
        assert_eq!(good.as_deref(), Ok(&b"ab"[..]));
        for bad in [&b""[..], b"\0\0\0\0\x03ab", b"\x01\0\0\0\x02ab"] {
            assert_eq!(opened(answer(200, &[("grpc-status", "0")], bad)).unwrap_err().status, INTERNAL);
        }
    }

    #[test]
    fn a_status_is_found_or_made() {
        let failed = opened(answer(200, &[("grpc-status", "7"), ("grpc-message", "no")], b"")).unwrap_err();
        assert_eq!((failed.status, &*failed.message), (7, "no"));
        assert_eq!(opened(answer(503, &[], b"")).unwrap_err().status, UNAVAILABLE);
        assert_eq!(opened(answer(200, &[], b"")).unwrap_err().status, UNKNOWN);
        assert_eq!(refused(CallError::Timeout).status, DEADLINE_EXCEEDED);
    }

    #[test]
    fn times_have_at_most_eight_digits() {
        let shown = [200, 100_000_000, 6_000_000_000_000].map(|m| grpc_timeout(Duration::from_millis(m)));
        assert_eq!(
            shown,
            ["200m", "100000S", "100000000M"].map(|text| text.replace("100000000M", "99999999M"))
        );
    }
}
