//! One operator, ready to be rendered.

use std::borrow::Cow;
use std::rc::Rc;

use super::address::{self, Part};
use super::context::FormatContext;
use super::escape;
use super::grpc::{GrpcForm, grpc_status};
use super::header::{self, HeaderName};
use super::json;
use super::query::{self, PathForm};
use super::time::TimeFormat;
use super::tls::CertificateOf;
use crate::cel::Expression;
use crate::info::{Address, MetadataOf, MetadataValue, StateObject};

/// A fact that is a number.
pub(crate) type NumberOf = fn(&FormatContext<'_>) -> Option<u64>;
/// A fact that is text: appended, and whether there is one.
pub(crate) type TextOf = fn(&FormatContext<'_>, &mut Vec<u8>) -> bool;
/// An address of the stream.
pub(crate) type AddressOf = for<'a> fn(&FormatContext<'a>) -> Option<&'a Address>;
/// A moment of the stream's life.
pub(crate) type Moment = fn(&FormatContext<'_>) -> Option<std::time::Instant>;

/// The headers that an operator reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeaderSource {
    Request,
    /// The same, up to the query.
    RequestWithoutQuery,
    Response,
    Trailers,
}

/// The unit in which a duration is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unit {
    Millis,
    Micros,
    Nanos,
}

/// Where `%REQUESTED_SERVER_NAME%` looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ServerName {
    Sni,
    SniThenHost,
    HostThenSni,
}

/// Where an object of the filter state lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StateOf {
    /// With the stream or its client's connection.
    Stream,
    /// With the upstream connection.
    Upstream,
}

impl StateOf {
    fn object(self, context: &FormatContext<'_>, key: &str) -> Option<Rc<dyn StateObject>> {
        match self {
            StateOf::Stream => context.info.state(key),
            StateOf::Upstream => context.info.upstream.object(key),
        }
    }
}

/// An operator with its arguments.
#[derive(Clone, Debug)]
pub(crate) enum Operator {
    /// Known when the format was parsed: `%HOSTNAME%`, `%ENVIRONMENT(X)%`.
    Fixed(Box<[u8]>),
    Number(NumberOf),
    Text(TextOf),
    LocalReplyBody,
    StartTime(TimeFormat),
    EmitTime(TimeFormat),
    Elapsed {
        from: Moment,
        to: Moment,
        unit: Unit,
    },
    Header {
        source: HeaderSource,
        name: HeaderName,
        other: Option<HeaderName>,
    },
    CertificateTime {
        of: CertificateOf,
        ends: bool,
        format: TimeFormat,
    },
    Path(PathForm),
    QueryParam(Box<[u8]>),
    QueryParams {
        decoded: bool,
    },
    Grpc(GrpcForm),
    Address(AddressOf, Part),
    ServerName(ServerName),
    Metadata(MetadataOf, Box<[Box<str>]>),
    FilterState(StateOf, Box<str>),
    /// `%CEL(expression)%`
    Cel(Expression),
    /// `%TYPED_CEL(expression)%`: as JSON.
    TypedCel(Expression),
    /// `%FILTER_STATE(key)%`: as JSON.
    TypedFilterState(StateOf, Box<str>),
    /// `%FILTER_STATE(key:FIELD:name)%`
    FilterStateField(StateOf, Box<str>, Box<str>),
}

impl Operator {
    /// Appends the value; false, with nothing appended, if there is none.
    pub(crate) fn write(&self, context: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        match self {
            Operator::Fixed(text) => header::write(Some(text), out),
            Operator::Number(number) => write_number(number(context), out),
            Operator::Text(text) => text(context, out),
            Operator::LocalReplyBody => header::write(Some(context.local_reply_body), out),
            Operator::StartTime(format) => {
                format.write(context.info.start_time, out);
                true
            }
            Operator::EmitTime(format) => {
                format.write(context.wall, out);
                true
            }
            Operator::CertificateTime { of, ends, format } => of(context)
                .map(|found| format.write(if *ends { found.not_after } else { found.not_before }, out))
                .is_some(),
            Operator::Elapsed { from, to, unit } => {
                write_number(elapsed(from(context), to(context), *unit), out)
            }
            Operator::Header { source, name, other } => {
                write_header(context, *source, name, out)
                    || other.as_ref().is_some_and(|other| write_header(context, *source, other, out))
            }
            Operator::Path(form) => header::write(context.request.and_then(|head| form.of(head)), out),
            Operator::QueryParam(name) => {
                query::raw(context).is_some_and(|query| query::parameter(query, name, out))
            }
            Operator::QueryParams { decoded: false } => header::write(query::raw(context), out),
            Operator::QueryParams { decoded: true } => {
                query::raw(context).map(|query| query::decoded(query, out)).is_some()
            }
            Operator::Grpc(form) => grpc_status(context).map(|status| form.write(status, out)).is_some(),
            Operator::Address(which, part) => {
                which(context).is_some_and(|address| address::write(address, *part, out))
            }
            Operator::ServerName(order) => header::write(server_name(context, *order), out),
            Operator::Metadata(..) => self.metadata(context).is_some_and(|value| write_metadata(&value, out)),
            Operator::FilterState(of, key) => {
                let object = of.object(context, key);
                object.map(|object| out.extend_from_slice(object.plain().as_bytes())).is_some()
            }
            Operator::FilterStateField(of, key, name) => {
                let value = of.object(context, key).and_then(|object| object.field(name));
                value.map(|value| out.extend_from_slice(value.as_bytes())).is_some()
            }
            Operator::Cel(expression) | Operator::TypedCel(expression) => expression.write(context, out),
            Operator::TypedFilterState(..) => {
                let value = self.metadata(context).filter(|value| **value != MetadataValue::Null);
                value.map(|value| json::value(&value, out)).is_some()
            }
        }
    }

    /// As [`Operator::write`], in a text that must stay one line.
    pub(crate) fn write_safely(&self, context: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let written = self.write(context, out);
        if written && self.is_foreign() {
            escape::controls(out, start);
        }
        written
    }

    /// The value itself, where it is structured.
    pub(crate) fn metadata<'a>(&self, context: &FormatContext<'a>) -> Option<Cow<'a, MetadataValue>> {
        match self {
            Operator::Metadata(of, path) => {
                let (namespace, keys) = path.split_first()?;
                context.info.metadata_of(*of, namespace, keys).map(Cow::Borrowed)
            }
            Operator::TypedFilterState(of, key) => {
                of.object(context, key).map(|object| Cow::Owned(object.typed()))
            }
            Operator::TypedCel(expression) => expression.metadata(context).map(Cow::Owned),
            _ => None,
        }
    }

    /// Whether JSON shows the value as a number.
    pub(crate) fn is_number(&self) -> bool {
        matches!(
            self,
            Operator::Number(_)
                | Operator::Elapsed { .. }
                | Operator::Grpc(GrpcForm::Number)
                | Operator::Address(_, Part::Port)
        )
    }

    /// Whether a peer may have had a hand in the value. A local reply's body is the proxy's own, line ends included.
    fn is_foreign(&self) -> bool {
        !self.is_number()
            && !matches!(
                self,
                Operator::Fixed(_)
                    | Operator::LocalReplyBody
                    | Operator::StartTime(_)
                    | Operator::EmitTime(_)
                    | Operator::Address(..)
            )
    }
}

/// Appends a metadata value: text as it is, the rest as JSON. False, with nothing appended, for a null.
pub fn write_metadata(value: &MetadataValue, out: &mut Vec<u8>) -> bool {
    match value {
        MetadataValue::Null => return false,
        MetadataValue::String(text) => out.extend_from_slice(text.as_bytes()),
        value => json::value(value, out),
    }
    true
}

fn write_header(
    context: &FormatContext<'_>,
    source: HeaderSource,
    name: &HeaderName,
    out: &mut Vec<u8>,
) -> bool {
    match source {
        HeaderSource::Request => header::write(context.request.and_then(|head| name.in_request(head)), out),
        HeaderSource::RequestWithoutQuery => {
            let value = context.request.and_then(|head| name.in_request(head));
            header::write(value.map(query::without), out)
        }
        HeaderSource::Response => context.response.is_some_and(|head| name.write_response(head, out)),
        HeaderSource::Trailers => {
            header::write(context.trailers.and_then(|fields| name.in_fields(fields)), out)
        }
    }
}

fn write_number(number: Option<u64>, out: &mut Vec<u8>) -> bool {
    if let Some(number) = number {
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
    number.is_some()
}

/// None when either end is unknown, or they are in the wrong order.
fn elapsed(from: Option<std::time::Instant>, to: Option<std::time::Instant>, unit: Unit) -> Option<u64> {
    let span = to?.checked_duration_since(from?)?;
    Some(match unit {
        Unit::Millis => span.as_millis() as u64,
        Unit::Micros => span.as_micros() as u64,
        Unit::Nanos => span.as_nanos() as u64,
    })
}

fn server_name<'a>(context: &FormatContext<'a>, order: ServerName) -> Option<&'a [u8]> {
    let sni = || context.info.connection.requested_server_name.as_deref().map(str::as_bytes);
    let host = || context.request.and_then(|head| HeaderName::Authority.in_request(head));
    match order {
        ServerName::Sni => sni(),
        ServerName::SniThenHost => sni().or_else(host),
        ServerName::HostThenSni => host().or_else(sni),
    }
}
