//! `%GRPC_STATUS%`: the status of a gRPC call, wherever it is to be found.

use super::context::FormatContext;
use crate::known::Known;

/// How a status is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum GrpcForm {
    Camel,
    Snake,
    Number,
}

/// The gRPC status of a stream: from the trailers, else the response head, else what the HTTP status
/// stands for. None when the request is not gRPC.
///
/// A status that is no number is `Unknown` (2) in Envoy as well.
pub fn grpc_status(context: &FormatContext<'_>) -> Option<u32> {
    if !context.request.is_some_and(crate::RequestHead::is_grpc) {
        return None;
    }
    response_grpc_status(context)
}

/// As [`grpc_status`], whatever the request was: what filters of access logs ask.
pub fn response_grpc_status(context: &FormatContext<'_>) -> Option<u32> {
    let told = context
        .trailers
        .and_then(|t| t.known(Known::GrpcStatus))
        .or_else(|| context.response.and_then(|r| r.headers.known(Known::GrpcStatus)));
    if let Some(text) = told {
        return Some(std::str::from_utf8(text).ok().and_then(|t| t.trim().parse().ok()).unwrap_or(UNKNOWN));
    }
    match context.info.response_code {
        0 => None,
        code => Some(of_http(code)),
    }
}

impl GrpcForm {
    pub(crate) fn parse(argument: &str) -> Option<Self> {
        match argument {
            "" | "CAMEL_STRING" => Some(GrpcForm::Camel),
            "SNAKE_STRING" => Some(GrpcForm::Snake),
            "NUMBER" => Some(GrpcForm::Number),
            _ => None,
        }
    }

    /// Appends the name of a status, or its number where it has none.
    pub(crate) fn write(self, status: u32, out: &mut Vec<u8>) {
        match (self, NAMES.get(status as usize)) {
            (GrpcForm::Camel, Some((camel, _))) => out.extend_from_slice(camel.as_bytes()),
            (GrpcForm::Snake, Some((_, snake))) => out.extend_from_slice(snake.as_bytes()),
            _ => out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes()),
        }
    }
}

const UNKNOWN: u32 = 2;

/// The gRPC project's table of HTTP status codes (doc/http-grpc-status-mapping.md).
fn of_http(code: u16) -> u32 {
    match code {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => UNKNOWN,
    }
}

const NAMES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];
