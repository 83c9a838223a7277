//! What operators take between their parentheses.

use super::address::Part;
use super::facts::{self, moments};
use super::grpc::GrpcForm;
use super::header::HeaderName;
use super::operator::{AddressOf, HeaderSource, Operator, ServerName, StateOf, Unit};
use super::parse::Call;
use super::query::{PathForm, PathSource};
use crate::cel::Expression;
use crate::info::MetadataOf;

/// Wrong arguments.
pub(crate) struct Fault {
    pub(crate) reason: String,
    pub(crate) hint: &'static str,
}

fn fault(reason: impl Into<String>, hint: &'static str) -> Fault {
    Fault { reason: reason.into(), hint }
}

/// `(NAME?OTHER)`
pub(crate) fn header(call: &Call<'_>, source: HeaderSource) -> Result<Operator, Fault> {
    let name = |text: &str| {
        HeaderName::parse(text).ok_or_else(|| {
            fault(format!("'{text}' is no header name"), "write the name alone, without spaces")
        })
    };
    let (first, other) = match call.argument.split_once('?') {
        None => (call.argument, None),
        Some((_, other)) if other.contains('?') => {
            return Err(fault("more than one alternative header", "write (name?other)"));
        }
        Some((first, "")) => (first, None),
        Some(("", other)) => (other, None),
        Some((first, other)) => (first, Some(other)),
    };
    Ok(Operator::Header { source, name: name(first)?, other: other.map(name).transpose()? })
}

/// `(WQ|NQ:ORIG|PATH|ORIG_OR_PATH)`
pub(crate) fn path(call: &Call<'_>) -> Result<Operator, Fault> {
    let mut options = call.argument.splitn(3, ':');
    let with_query = match options.next().unwrap_or_default() {
        "" | "WQ" => true,
        "NQ" => false,
        other => return Err(fault(format!("'{other}' is no option"), "write WQ or NQ first")),
    };
    let source = match options.next() {
        None | Some("ORIG_OR_PATH") => PathSource::OriginalOrCurrent,
        Some("ORIG") => PathSource::Original,
        Some("PATH") => PathSource::Current,
        Some(other) => {
            return Err(fault(format!("'{other}' is no option"), "write ORIG, PATH or ORIG_OR_PATH second"));
        }
    };
    match options.next() {
        None => Ok(Operator::Path(PathForm { with_query, source })),
        Some(_) => Err(fault("more than two options", "write the length behind the parentheses")),
    }
}

/// `(expression)`
pub(crate) fn cel(call: &Call<'_>, operator: fn(Expression) -> Operator) -> Result<Operator, Fault> {
    let hint = "write an expression in CEL, such as request.headers['x-a']";
    Expression::parse(call.argument).map(operator).map_err(|error| fault(error.reason, hint))
}

/// `(ORIG|DECODED)`
pub(crate) fn query_params(call: &Call<'_>) -> Result<Operator, Fault> {
    match call.argument {
        "" | "ORIG" => Ok(Operator::QueryParams { decoded: false }),
        "DECODED" => Ok(Operator::QueryParams { decoded: true }),
        other => Err(fault(format!("'{other}' is no option"), "write ORIG or DECODED")),
    }
}

/// `namespace:key:...`
pub(crate) fn metadata(of: MetadataOf, path: &str) -> Operator {
    Operator::Metadata(of, path.split(':').map(Box::from).collect())
}

/// `(TYPE:namespace:key)`
pub(crate) fn typed_metadata(call: &Call<'_>) -> Result<Operator, Fault> {
    let of = |kind| match kind {
        "DYNAMIC" => Some(MetadataOf::Stream),
        "ROUTE" => Some(MetadataOf::Route),
        "VIRTUAL_HOST" => Some(MetadataOf::VirtualHost),
        "LISTENER" => Some(MetadataOf::Listener),
        "LISTENER_FILTER_CHAIN" => Some(MetadataOf::Chain),
        "CLUSTER" => Some(MetadataOf::Cluster),
        "UPSTREAM_HOST" => Some(MetadataOf::Host),
        _ => None,
    };
    let parts = call.argument.split_once(':').and_then(|(kind, path)| Some((of(kind)?, path)));
    match parts.filter(|(_, path)| !path.is_empty()) {
        Some((of, path)) => Ok(metadata(of, path)),
        None => Err(fault(
            format!("'{}' is not supported by this version", call.argument),
            "METADATA(TYPE:namespace:key) has the types DYNAMIC, LISTENER, LISTENER_FILTER_CHAIN, VIRTUAL_HOST, ROUTE, CLUSTER and UPSTREAM_HOST",
        )),
    }
}

/// `(key:FORM)`
pub(crate) fn filter_state(of: StateOf, call: &Call<'_>) -> Result<Operator, Fault> {
    match call.argument.split_once(':') {
        Some((key, "PLAIN")) if !key.is_empty() => Ok(Operator::FilterState(of, key.into())),
        Some((key, "TYPED")) if !key.is_empty() => Ok(Operator::TypedFilterState(of, key.into())),
        Some((key, form)) if !key.is_empty() && form.len() > "FIELD:".len() && form.starts_with("FIELD:") => {
            Ok(Operator::FilterStateField(of, key.into(), form["FIELD:".len()..].into()))
        }
        None if !call.argument.is_empty() => Ok(Operator::TypedFilterState(of, call.argument.into())),
        _ => Err(fault(
            "only the forms PLAIN, TYPED and FIELD are supported by this version",
            "write FILTER_STATE(key:PLAIN)",
        )),
    }
}

/// `(FORM)`
pub(crate) fn grpc_status(call: &Call<'_>) -> Result<Operator, Fault> {
    match GrpcForm::parse(call.argument) {
        Some(form) => Ok(Operator::Grpc(form)),
        None => Err(fault(
            format!("'{}' is no form", call.argument),
            "write CAMEL_STRING, SNAKE_STRING or NUMBER",
        )),
    }
}

/// nothing, yet
pub(crate) fn response_code_details(call: &Call<'_>) -> Result<Operator, Fault> {
    match call.argument {
        "" => Ok(Operator::Text(|c, out| facts::put_full(&c.info.details, out))),
        other => Err(fault(
            format!("'{other}' is not supported by this version"),
            "details never hold whitespace; write %RESPONSE_CODE_DETAILS%",
        )),
    }
}

/// `(SNI_ONLY|SNI_FIRST|HOST_FIRST)`
pub(crate) fn requested_server_name(call: &Call<'_>) -> Result<Operator, Fault> {
    match call.argument {
        "" | "SNI_ONLY" => Ok(Operator::ServerName(ServerName::Sni)),
        "SNI_FIRST" => Ok(Operator::ServerName(ServerName::SniThenHost)),
        "HOST_FIRST" => Ok(Operator::ServerName(ServerName::HostThenSni)),
        other => Err(fault(
            format!("'{other}' is not supported by this version"),
            "write SNI_ONLY, SNI_FIRST or HOST_FIRST",
        )),
    }
}

/// nothing, or a prefix length
pub(crate) fn without_port(call: &Call<'_>, which: AddressOf) -> Result<Operator, Fault> {
    if call.argument.is_empty() {
        return Ok(Operator::Address(which, Part::WithoutPort));
    }
    match call.argument.parse::<u8>() {
        Ok(bits) => Ok(Operator::Address(which, Part::Network(bits))),
        Err(_) => {
            Err(fault(format!("'{}' is no prefix length", call.argument), "write a number, such as (16)"))
        }
    }
}

/// `(start:end:unit)`
pub(crate) fn common_duration(call: &Call<'_>) -> Result<Operator, Fault> {
    let mut parts = call.argument.split(':');
    let (Some(from), Some(to), Some(unit), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(fault("needs three parts", "write (start:end:unit), as in (DS_RX_BEG:DS_TX_END:us)"));
    };
    let moment = |name: &str| {
        moments::named(name).ok_or_else(|| {
            fault(
                format!("the time point '{name}' is not recorded by this version"),
                "write one of DS_RX_BEG, DS_RX_END, US_CX_BEG, US_CX_END, US_TX_BEG, US_TX_END, US_RX_BEG, \
                 US_RX_END, DS_TX_BEG, DS_TX_END",
            )
        })
    };
    let unit = match unit {
        "ms" => Unit::Millis,
        "us" => Unit::Micros,
        "ns" => Unit::Nanos,
        other => return Err(fault(format!("'{other}' is no unit"), "write ms, us or ns")),
    };
    Ok(Operator::Elapsed { from: moment(from)?, to: moment(to)?, unit })
}
