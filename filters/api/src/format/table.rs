//! Every operator by name: those that work, with how they are built, and those that are only known.
//!
//! The two lists are what the support report and the documentation print.

use super::address::Part;
use super::arguments::{self, Fault};
use super::error::FormatError;
use super::facts::{self, addresses, moments};
use super::operator::{AddressOf, HeaderSource, Moment, NumberOf, Operator, StateOf, TextOf, Unit};
use super::parse::Call;
use super::time::{TimeFormat, Zone};
use super::tls;
use crate::info::MetadataOf;

/// The names of all operators that this version renders, sorted.
pub fn supported() -> impl Iterator<Item = &'static str> {
    let mut names: Vec<_> = TABLE.iter().map(|row| row.name).collect();
    names.sort_unstable();
    names.into_iter()
}

/// The names of the operators that Envoy has and this version refuses, with what to do instead.
pub fn known_unsupported() -> impl Iterator<Item = (&'static str, &'static str)> {
    UNSUPPORTED.iter().flat_map(|(hint, names)| names.split_ascii_whitespace().map(move |name| (name, *hint)))
}

/// Builds the operator of a call.
pub(crate) fn build(call: &Call<'_>) -> Result<Operator, FormatError> {
    let Some(row) = TABLE.iter().find(|row| row.name == call.name) else {
        return Err(unknown(call));
    };
    let refuse = |reason: &str, hint: String| Err(FormatError::new(row.name, reason, hint));
    match row.takes {
        Takes::Nothing if !call.argument.is_empty() || call.length.is_some() => {
            return refuse("takes no argument and no length", format!("write %{}%", row.name));
        }
        Takes::Argument if call.length.is_some() => {
            return refuse("takes no length", "leave the `:length` out".into());
        }
        Takes::Required if call.argument.is_empty() => {
            return refuse("needs an argument", format!("write %{}(argument)%", row.name));
        }
        _ => {}
    }
    match row.build {
        Build::Number(number) => Ok(Operator::Number(number)),
        Build::Text(text) => Ok(Operator::Text(text)),
        Build::Address(which, part) => Ok(Operator::Address(which, part)),
        Build::Millis(from, to) => Ok(Operator::Elapsed { from, to, unit: Unit::Millis }),
        Build::With(with) => {
            with(call).map_err(|Fault { reason, hint }| FormatError::new(row.name, reason, hint))
        }
    }
}

/// What may follow the name.
#[derive(Clone, Copy)]
enum Takes {
    Nothing,
    /// An optional argument, no length.
    Argument,
    /// An optional argument and an optional length.
    ArgumentAndLength,
    /// An argument, and an optional length.
    Required,
}

#[derive(Clone, Copy)]
enum Build {
    Number(NumberOf),
    Text(TextOf),
    Address(AddressOf, Part),
    Millis(Moment, Moment),
    With(fn(&Call<'_>) -> Result<Operator, Fault>),
}

struct Row {
    name: &'static str,
    takes: Takes,
    build: Build,
}

const fn number(name: &'static str, number: NumberOf) -> Row {
    Row { name, takes: Takes::Nothing, build: Build::Number(number) }
}

const fn text(name: &'static str, text: TextOf) -> Row {
    Row { name, takes: Takes::Nothing, build: Build::Text(text) }
}

const fn part(name: &'static str, which: AddressOf, part: Part) -> Row {
    Row { name, takes: Takes::Nothing, build: Build::Address(which, part) }
}

const fn millis(name: &'static str, from: Moment, to: Moment) -> Row {
    Row { name, takes: Takes::Nothing, build: Build::Millis(from, to) }
}

const fn with(name: &'static str, takes: Takes, with: fn(&Call<'_>) -> Result<Operator, Fault>) -> Row {
    Row { name, takes, build: Build::With(with) }
}

use Takes::{Argument, ArgumentAndLength, Nothing, Required};

static TABLE: &[Row] = &[
    // Time
    with("START_TIME", Argument, |c| Ok(Operator::StartTime(TimeFormat::parse(c.argument, Zone::Utc)))),
    with("START_TIME_LOCAL", Argument, |c| {
        Ok(Operator::StartTime(TimeFormat::parse(c.argument, Zone::Local)))
    }),
    with("EMIT_TIME", Argument, |c| Ok(Operator::EmitTime(TimeFormat::parse(c.argument, Zone::Utc)))),
    with("EMIT_TIME_LOCAL", Argument, |c| Ok(Operator::EmitTime(TimeFormat::parse(c.argument, Zone::Local)))),
    millis("DURATION", moments::start, moments::end_or_now),
    with("COMMON_DURATION", Required, arguments::common_duration),
    millis("REQUEST_DURATION", moments::start, moments::request_end),
    millis("REQUEST_TX_DURATION", moments::start, moments::upstream_request_end),
    millis("RESPONSE_DURATION", moments::start, moments::upstream_response_start),
    millis("RESPONSE_TX_DURATION", moments::upstream_response_start, moments::response_end),
    millis("UPSTREAM_CONNECTION_POOL_READY_DURATION", moments::pool_requested, moments::pool_ready),
    // The exchange
    text("PROTOCOL", |c, out| facts::put(c.info.protocol.map(crate::Protocol::name), out)),
    text("UPSTREAM_PROTOCOL", |c, out| facts::put(c.info.upstream.protocol.map(crate::Protocol::name), out)),
    number("RESPONSE_CODE", |c| Some(u64::from(c.info.response_code))),
    with("RESPONSE_CODE_DETAILS", Argument, arguments::response_code_details),
    text("RESPONSE_FLAGS", facts::flags_short),
    text("RESPONSE_FLAGS_LONG", facts::flags_long),
    with("GRPC_STATUS", Argument, arguments::grpc_status),
    number("GRPC_STATUS_NUMBER", |c| super::grpc_status(c).map(u64::from)),
    text("CONNECTION_TERMINATION_DETAILS", |c, out| facts::put_full(&c.info.termination_details, out)),
    with("LOCAL_REPLY_BODY", Nothing, |_| Ok(Operator::LocalReplyBody)),
    // Bytes
    number("BYTES_RECEIVED", |c| Some(c.info.bytes.received)),
    number("BYTES_SENT", |c| Some(c.info.bytes.sent)),
    number("REQUEST_HEADERS_BYTES", |c| Some(c.info.bytes.request_headers)),
    number("RESPONSE_HEADERS_BYTES", |c| Some(c.info.bytes.response_headers)),
    number("RESPONSE_TRAILERS_BYTES", |c| Some(c.info.bytes.response_trailers)),
    number("DOWNSTREAM_WIRE_BYTES_RECEIVED", |c| Some(c.info.bytes.downstream_wire_received)),
    number("DOWNSTREAM_WIRE_BYTES_SENT", |c| Some(c.info.bytes.downstream_wire_sent)),
    number("UPSTREAM_WIRE_BYTES_RECEIVED", |c| Some(c.info.bytes.upstream_wire_received)),
    number("UPSTREAM_WIRE_BYTES_SENT", |c| Some(c.info.bytes.upstream_wire_sent)),
    // Headers
    with("REQ", Required, |c| arguments::header(c, HeaderSource::Request)),
    with("REQUEST_HEADER", Required, |c| arguments::header(c, HeaderSource::Request)),
    with("REQ_WITHOUT_QUERY", Required, |c| arguments::header(c, HeaderSource::RequestWithoutQuery)),
    with("STREAM_INFO_REQ", Required, |c| arguments::header(c, HeaderSource::Request)),
    with("RESP", Required, |c| arguments::header(c, HeaderSource::Response)),
    with("RESPONSE_HEADER", Required, |c| arguments::header(c, HeaderSource::Response)),
    with("TRAILER", Required, |c| arguments::header(c, HeaderSource::Trailers)),
    with("RESPONSE_TRAILER", Required, |c| arguments::header(c, HeaderSource::Trailers)),
    with("PATH", ArgumentAndLength, arguments::path),
    with("QUERY_PARAM", Required, |c| Ok(Operator::QueryParam(c.argument.as_bytes().into()))),
    with("QUERY_PARAMS", ArgumentAndLength, arguments::query_params),
    // Metadata, state, environment
    with("DYNAMIC_METADATA", Required, |c| Ok(arguments::metadata(MetadataOf::Stream, c.argument))),
    with("CLUSTER_METADATA", Required, |c| Ok(arguments::metadata(MetadataOf::Cluster, c.argument))),
    with("UPSTREAM_METADATA", Required, |c| Ok(arguments::metadata(MetadataOf::Host, c.argument))),
    with("METADATA", Required, arguments::typed_metadata),
    with("FILTER_STATE", Required, |c| arguments::filter_state(StateOf::Stream, c)),
    with("UPSTREAM_FILTER_STATE", Required, |c| arguments::filter_state(StateOf::Upstream, c)),
    with("ENVIRONMENT", Required, |c| Ok(facts::environment(c.argument))),
    with("HOSTNAME", Nothing, |_| Ok(facts::hostname())),
    // Names and numbers
    text("ROUTE_NAME", |c, out| facts::put(c.info.route_name(), out)),
    text("VIRTUAL_CLUSTER_NAME", |c, out| facts::put(c.info.virtual_cluster.as_deref(), out)),
    text("FILTER_CHAIN_NAME", |c, out| facts::put_full(c.info.connection.chain_name(), out)),
    text("LISTENER_NAME", |c, out| facts::put_full(&c.info.connection.listener.name, out)),
    text("ACCESS_LOG_TYPE", |c, out| facts::put(Some(c.log_type.name()), out)),
    text("STREAM_ID", |c, out| facts::put_lossy(c.info.stream_id.as_deref(), out)),
    text("UNIQUE_ID", facts::unique_id),
    text("TRACE_ID", facts::trace_id),
    text("SPAN_ID", facts::span_id),
    number("CONNECTION_ID", |c| Some(c.info.connection.id)),
    with("REQUESTED_SERVER_NAME", Argument, arguments::requested_server_name),
    // Upstream
    part("UPSTREAM_HOST", addresses::host, Part::Whole),
    text("UPSTREAM_HOST_NAME", |c, out| facts::host_name(c, Part::Whole, out)),
    text("UPSTREAM_HOST_NAME_WITHOUT_PORT", |c, out| facts::host_name(c, Part::WithoutPort, out)),
    text("UPSTREAM_HOSTS_ATTEMPTED", |c, out| facts::attempted(c, Part::Whole, out)),
    text("UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT", |c, out| facts::attempted(c, Part::WithoutPort, out)),
    text("UPSTREAM_CLUSTER", |c, out| {
        let upstream = &c.info.upstream;
        facts::put(upstream.cluster_alt.as_deref().or(upstream.cluster.as_deref()), out)
    }),
    text("UPSTREAM_CLUSTER_RAW", |c, out| facts::put(c.info.upstream.cluster.as_deref(), out)),
    number("UPSTREAM_CONNECTION_ID", |c| Some(c.info.upstream.connection_id.unwrap_or(0))),
    number("UPSTREAM_REQUEST_ATTEMPT_COUNT", |c| Some(u64::from(c.info.upstream.attempts))),
    text("UPSTREAM_TRANSPORT_FAILURE_REASON", facts::transport_failure),
    part("UPSTREAM_LOCAL_ADDRESS", addresses::upstream_local, Part::Whole),
    with("UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", Argument, |c| {
        arguments::without_port(c, addresses::upstream_local)
    }),
    part("UPSTREAM_LOCAL_PORT", addresses::upstream_local, Part::Port),
    part("UPSTREAM_REMOTE_ADDRESS", addresses::upstream_remote, Part::Whole),
    with("UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Argument, |c| {
        arguments::without_port(c, addresses::upstream_remote)
    }),
    part("UPSTREAM_REMOTE_PORT", addresses::upstream_remote, Part::Port),
    // Downstream
    part("DOWNSTREAM_LOCAL_ADDRESS", addresses::local, Part::Whole),
    with("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", Argument, |c| arguments::without_port(c, addresses::local)),
    part("DOWNSTREAM_LOCAL_PORT", addresses::local, Part::Port),
    part("DOWNSTREAM_DIRECT_LOCAL_ADDRESS", addresses::direct_local, Part::Whole),
    with("DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT", Argument, |c| {
        arguments::without_port(c, addresses::direct_local)
    }),
    part("DOWNSTREAM_DIRECT_LOCAL_PORT", addresses::direct_local, Part::Port),
    part("DOWNSTREAM_REMOTE_ADDRESS", addresses::remote, Part::Whole),
    with("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Argument, |c| {
        arguments::without_port(c, addresses::remote)
    }),
    part("DOWNSTREAM_REMOTE_PORT", addresses::remote, Part::Port),
    part("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", addresses::direct_remote, Part::Whole),
    with("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", Argument, |c| {
        arguments::without_port(c, addresses::direct_remote)
    }),
    part("DOWNSTREAM_DIRECT_REMOTE_PORT", addresses::direct_remote, Part::Port),
    text("DOWNSTREAM_TLS_VERSION", |c, out| facts::put(tls::downstream(c).map(|tls| tls.version), out)),
    text("DOWNSTREAM_TLS_CIPHER", |c, out| facts::put(tls::downstream(c).map(|tls| tls.cipher), out)),
    text("DOWNSTREAM_TLS_GROUP", |c, out| facts::put(tls::downstream(c).map(|tls| tls.group), out)),
    text("UPSTREAM_TLS_VERSION", |c, out| facts::put(tls::upstream(c).map(|tls| tls.version), out)),
    text("UPSTREAM_TLS_CIPHER", |c, out| facts::put(tls::upstream(c).map(|tls| tls.cipher), out)),
    text("UPSTREAM_TLS_GROUP", |c, out| facts::put(tls::upstream(c).map(|tls| tls.group), out)),
    text("DOWNSTREAM_TRANSPORT_FAILURE_REASON", tls::FAILURE),
    text("UPSTREAM_SERVER_NAME", |c, out| {
        facts::put(tls::upstream(c).and_then(|tls| tls.sni.as_deref()), out)
    }),
    text("DOWNSTREAM_PEER_SUBJECT", |c, out| tls::field(tls::client(c), |x| &x.subject, out)),
    text("DOWNSTREAM_PEER_ISSUER", |c, out| tls::field(tls::client(c), |x| &x.issuer, out)),
    text("DOWNSTREAM_PEER_CERT", |c, out| tls::pem(tls::client(c), out)),
    with("DOWNSTREAM_PEER_CERT_V_START", Argument, |c| Ok(tls::starts(tls::client, c))),
    with("DOWNSTREAM_PEER_CERT_V_END", Argument, |c| Ok(tls::ends(tls::client, c))),
    text("DOWNSTREAM_PEER_URI_SAN", |c, out| tls::names(tls::client(c), |x| &x.uri_sans, out)),
    text("DOWNSTREAM_PEER_DNS_SAN", |c, out| tls::names(tls::client(c), |x| &x.dns_sans, out)),
    text("DOWNSTREAM_PEER_IP_SAN", |c, out| tls::names(tls::client(c), |x| &x.ip_sans, out)),
    text("UPSTREAM_PEER_SUBJECT", |c, out| tls::field(tls::server(c), |x| &x.subject, out)),
    text("UPSTREAM_PEER_ISSUER", |c, out| tls::field(tls::server(c), |x| &x.issuer, out)),
    text("UPSTREAM_PEER_CERT", |c, out| tls::pem(tls::server(c), out)),
    with("UPSTREAM_PEER_CERT_V_START", Argument, |c| Ok(tls::starts(tls::server, c))),
    with("UPSTREAM_PEER_CERT_V_END", Argument, |c| Ok(tls::ends(tls::server, c))),
    text("UPSTREAM_PEER_URI_SAN", |c, out| tls::names(tls::server(c), |x| &x.uri_sans, out)),
    text("UPSTREAM_PEER_DNS_SAN", |c, out| tls::names(tls::server(c), |x| &x.dns_sans, out)),
    text("UPSTREAM_PEER_IP_SAN", |c, out| tls::names(tls::server(c), |x| &x.ip_sans, out)),
    text("DOWNSTREAM_PEER_SERIAL", |c, out| tls::field(tls::client(c), |x| &x.serial, out)),
    text("DOWNSTREAM_PEER_FINGERPRINT_1", |c, out| tls::field(tls::client(c), |x| &x.sha1, out)),
    text("DOWNSTREAM_PEER_FINGERPRINT_256", |c, out| tls::field(tls::client(c), |x| &x.sha256, out)),
    text("DOWNSTREAM_PEER_CHAIN_SERIALS", |c, out| tls::chain(c, |x| &x.serial, out)),
    text("DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1", |c, out| tls::chain(c, |x| &x.sha1, out)),
    text("DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256", |c, out| tls::chain(c, |x| &x.sha256, out)),
    text("DOWNSTREAM_PEER_ISSUER_SERIAL", |c, out| tls::field(tls::issuer(c), |x| &x.serial, out)),
    text("DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256", |c, out| tls::field(tls::issuer(c), |x| &x.sha256, out)),
    text("DOWNSTREAM_PEER_EMAIL_SAN", |c, out| tls::names(tls::client(c), |x| &x.email_sans, out)),
    text("DOWNSTREAM_PEER_OTHERNAME_SAN", |c, out| tls::other_names(tls::client(c), out)),
    text("DOWNSTREAM_LOCAL_SUBJECT", |c, out| tls::field(tls::shown(c), |x| &x.subject, out)),
    text("DOWNSTREAM_LOCAL_URI_SAN", |c, out| tls::names(tls::shown(c), |x| &x.uri_sans, out)),
    text("DOWNSTREAM_LOCAL_DNS_SAN", |c, out| tls::names(tls::shown(c), |x| &x.dns_sans, out)),
    text("DOWNSTREAM_LOCAL_IP_SAN", |c, out| tls::names(tls::shown(c), |x| &x.ip_sans, out)),
    text("DOWNSTREAM_LOCAL_EMAIL_SAN", |c, out| tls::names(tls::shown(c), |x| &x.email_sans, out)),
    text("DOWNSTREAM_LOCAL_OTHERNAME_SAN", |c, out| tls::other_names(tls::shown(c), out)),
    text("UPSTREAM_LOCAL_URI_SAN", |c, out| tls::names(tls::shown_upstream(c), |x| &x.uri_sans, out)),
    text("UPSTREAM_LOCAL_DNS_SAN", |c, out| tls::names(tls::shown_upstream(c), |x| &x.dns_sans, out)),
    with("CEL", Required, |c| arguments::cel(c, Operator::Cel)),
    with("TYPED_CEL", Required, |c| arguments::cel(c, Operator::TypedCel)),
    text("UPSTREAM_LOCAL_IP_SAN", |c, out| tls::names(tls::shown_upstream(c), |x| &x.ip_sans, out)),
];

const NOT_YET: &str = "this version does not record the value; remove the operator";
const EXTENSION: &str = "this version has no formatter extensions; remove the operator";
const TLS: &str = "this version does not record this part of a certificate or handshake; remove the operator";

/// Operators that Envoy accepts: a hint and the names.
static UNSUPPORTED: &[(&str, &str)] = &[
    (EXTENSION, "COALESCE XFCC_VALUE"),
    (
        NOT_YET,
        "BYTES_RETRANSMITTED PACKETS_RETRANSMITTED CUSTOM_FLAGS ROUTE_RESOLUTION_TIME_US \
         ROUTE_RESOLUTION_COUNT DOWNSTREAM_HEADER_BYTES_RECEIVED DOWNSTREAM_HEADER_BYTES_SENT \
         DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT \
         UPSTREAM_HEADER_BYTES_RECEIVED UPSTREAM_HEADER_BYTES_SENT UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED \
         UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT UPSTREAM_HOST_NAMES_ATTEMPTED \
         UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT UPSTREAM_CONNECTION_IDS_ATTEMPTED \
         UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID \
         DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID DOWNSTREAM_LOCAL_CLOSE_REASON \
         UPSTREAM_LOCAL_CLOSE_REASON DOWNSTREAM_DETECTED_CLOSE_TYPE UPSTREAM_DETECTED_CLOSE_TYPE \
         DOWNSTREAM_CX_RTT",
    ),
    (
        TLS,
        "DOWNSTREAM_HANDSHAKE_DURATION TLS_JA3_FINGERPRINT TLS_JA4_FINGERPRINT DOWNSTREAM_TLS_SESSION_ID \
         UPSTREAM_TLS_SESSION_ID",
    ),
];

fn unknown(call: &Call<'_>) -> FormatError {
    match known_unsupported().find(|(name, _)| *name == call.name) {
        Some((name, hint)) => FormatError::new(name, "known to Envoy, not supported by this version", hint),
        None => FormatError::new(
            call.name,
            "unknown operator",
            "check the spelling; the supported operators are listed in the documentation",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_listed_twice() {
        let mut names: Vec<_> =
            TABLE.iter().map(|row| row.name).chain(known_unsupported().map(|(name, _)| name)).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
