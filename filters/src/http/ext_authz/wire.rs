//! `envoy.service.auth.v3.Authorization/Check`: what is asked and answered, on the wire. The network filter asks in the same way.

use std::collections::HashMap;
use std::time::SystemTime;

use prost::Message;
use sampan_api::envoy::config::core::v3 as core;
use sampan_api::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use sampan_api::envoy::service::auth::v3 as pb;
use sampan_api::envoy::service::auth::v3::attribute_context as attributes;
use sampan_api::envoy::service::auth::v3::check_response::HttpResponse;
use sampan_api::google::protobuf;
use sampan_filters_api::info::{CertificateInfo, MetadataOf, MetadataValue, TlsInfo};
use sampan_filters_api::{Address, FieldName, Known, Protocol, StreamInfo};

use super::{Change, Outcome, PARTIAL_BODY, Question, Told, Verdict, joined, sanitized};
use crate::config::value::structure;
use crate::http::header_mutation::Action;

/// The method.
pub const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Asks about a request.
pub(super) fn request(question: &Question<'_>) -> Vec<u8> {
    let service = question.request.headers.known(Known::XEnvoyDownstreamServiceCluster);
    let mut context = connection(question.told, question.info);
    if let (Some(source), Some(service)) = (&mut context.source, service) {
        source.service = sanitized(service);
    }
    context.request =
        Some(attributes::Request { time: timestamp(question.info.start_time), http: Some(http(question)) });
    // Also where it is empty.
    context.route_metadata_context = Some(of_route(question));
    context.context_extensions =
        question.extensions.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    pb::CheckRequest { attributes: Some(context) }.encode_to_vec()
}

/// The metadata of the route, as far as it is told.
fn of_route(question: &Question<'_>) -> core::Metadata {
    let mut known = core::Metadata::default();
    for namespace in &question.told.route_namespaces {
        let none: &[&str] = &[];
        let value = question.info.metadata_of(MetadataOf::Route, namespace, none);
        if let Some(MetadataValue::Struct(fields)) = value {
            known.filter_metadata.insert(namespace.to_string(), to_struct(fields));
        }
    }
    known
}

/// Asks about a connection.
pub fn connection_request(told: &Told, info: &StreamInfo) -> Vec<u8> {
    pb::CheckRequest { attributes: Some(connection(told, info)) }.encode_to_vec()
}

fn connection(told: &Told, info: &StreamInfo) -> pb::AttributeContext {
    let connection = &info.connection;
    let tls = connection.tls.as_deref();
    let peer = |address: &Address, principal| attributes::Peer {
        address: Some(self::address(address)),
        principal,
        ..attributes::Peer::default()
    };
    let certificate = tls.and_then(TlsInfo::peer);
    let mut source = peer(&connection.remote, principal(certificate));
    if let (true, Some(certificate)) = (told.certificate, certificate) {
        source.certificate = certificate.url_encoded_pem();
    }
    let own = tls.and_then(|tls| tls.local.as_deref());
    let mut destination = peer(&connection.local, principal(own));
    destination.labels =
        told.labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let mut known = core::Metadata::default();
    let of_connection = connection.facts.as_ref().map(|facts| &facts.metadata);
    for namespace in &told.namespaces {
        let value = info.metadata.namespace(namespace);
        let value = value.or_else(|| of_connection.and_then(|metadata| metadata.namespace(namespace)));
        if let Some(MetadataValue::Struct(fields)) = value {
            known.filter_metadata.insert(namespace.to_string(), to_struct(fields));
        }
    }
    pb::AttributeContext {
        source: Some(source),
        destination: Some(destination),
        metadata_context: Some(known),
        tls_session: told.tls_session.then(|| attributes::TlsSession {
            sni: connection.requested_server_name.as_deref().unwrap_or_default().to_owned(),
        }),
        ..pb::AttributeContext::default()
    }
}

/// Who a certificate is for: its first URI, else its first DNS name, else its subject.
fn principal(certificate: Option<&CertificateInfo>) -> String {
    let Some(certificate) = certificate else { return String::new() };
    let name = certificate.uri_sans.first().or_else(|| certificate.dns_sans.first());
    name.unwrap_or(&certificate.subject).clone()
}

fn http(question: &Question<'_>) -> attributes::HttpRequest {
    let (told, request, info) = (question.told, question.request, question.info);
    let fields = told.fields(request);
    let body = question.body();
    let mut http = attributes::HttpRequest {
        id: fastrand::u64(..).to_string(),
        method: sanitized(request.method()),
        path: sanitized(request.path()),
        host: sanitized(request.authority()),
        scheme: sanitized(request.scheme()),
        size: question.body.map_or(info.bytes.received as i64, |(body, _)| body.length() as i64),
        protocol: info.protocol.map(Protocol::name).unwrap_or_default().to_owned(),
        ..attributes::HttpRequest::default()
    };
    let partial = body.as_ref().map(|(.., partial)| partial.to_string());
    if told.raw {
        let mut headers: Vec<core::HeaderValue> = fields
            .into_iter()
            .map(|(key, value)| core::HeaderValue { key, raw_value: value.to_vec(), ..Default::default() })
            .collect();
        headers.extend(partial.map(|partial| core::HeaderValue {
            key: PARTIAL_BODY.to_owned(),
            raw_value: partial.into_bytes(),
            ..Default::default()
        }));
        http.header_map = Some(core::HeaderMap { headers });
    } else {
        http.headers = joined(fields).into_iter().collect::<HashMap<_, _>>();
        http.headers.extend(partial.map(|partial| (PARTIAL_BODY.to_owned(), partial)));
    }
    match body {
        Some((sent, how, _)) if how.as_bytes => http.raw_body = sent.to_vec(),
        Some((sent, ..)) => http.body = sanitized(&sent),
        None => {}
    }
    http
}

/// What the service answered; an error where that cannot be read.
pub(super) fn verdict(message: &[u8]) -> Verdict {
    let Ok(response) = pb::CheckResponse::decode(message) else { return Verdict::default() };
    let passes = response.status.as_ref().is_none_or(|status| status.code == 0);
    let mut verdict = Verdict::default();
    let mut metadata = response.dynamic_metadata;
    match (passes, response.http_response) {
        (true, Some(HttpResponse::OkResponse(ok))) => {
            verdict.outcome = Outcome::Ok;
            #[expect(deprecated, reason = "1.40 accepts it")]
            let own = ok.dynamic_metadata;
            metadata = own.or(metadata);
            verdict.request = plain(ok.headers);
            verdict.response = changes(ok.response_headers_to_add, &mut verdict.unknown_action);
            verdict.remove =
                ok.headers_to_remove.iter().map(|name| name.to_ascii_lowercase().into()).collect();
            verdict.query =
                ok.query_parameters_to_set.into_iter().map(|query| (query.key, query.value)).collect();
            verdict.query_remove = ok.query_parameters_to_remove;
        }
        (true, _) => verdict.outcome = Outcome::Ok,
        (false, Some(HttpResponse::ErrorResponse(error))) => answer(&mut verdict, error),
        (false, other) => {
            verdict.outcome = Outcome::Denied;
            if let Some(HttpResponse::DeniedResponse(denied)) = other {
                answer(&mut verdict, denied);
            }
        }
    }
    if let Some(MetadataValue::Struct(fields)) = metadata.as_ref().map(structure) {
        verdict.metadata = fields;
    }
    verdict
}

/// Whether a connection may pass, and the metadata that the service gives along.
pub fn connection_verdict(message: &[u8]) -> (Outcome, Vec<(std::sync::Arc<str>, MetadataValue)>) {
    let verdict = verdict(message);
    (verdict.outcome, verdict.metadata)
}

/// What the client is to get.
fn answer(verdict: &mut Verdict, response: pb::DeniedHttpResponse) {
    let code = response.status.map_or(0, |status| status.code);
    verdict.status = u16::try_from(code).ok().filter(|code| (200..600).contains(code));
    verdict.body = response.body.into();
    verdict.reply = plain(response.headers);
    // Several of a name are several, and what is to be appended is left out, as in Envoy.
    verdict.reply.retain(|change| !change.joined);
    verdict.reply.iter_mut().for_each(|change| change.action = Action::Append);
}

/// Fields of a request or of a local reply: only the older `append` says what becomes of values that are there.
fn plain(options: Vec<core::HeaderValueOption>) -> Vec<Change> {
    let each = options.into_iter().filter_map(|option| {
        let joined = appends(&option).unwrap_or(false);
        let action = if joined { Action::Append } else { Action::Overwrite };
        change(option, action, joined)
    });
    each.collect()
}

/// Fields of the response.
fn changes(options: Vec<core::HeaderValueOption>, unknown: &mut bool) -> Vec<Change> {
    let each = options.into_iter().filter_map(|option| {
        let action = match (appends(&option), HeaderAppendAction::try_from(option.append_action)) {
            (Some(true), _) | (None, Ok(HeaderAppendAction::AppendIfExistsOrAdd)) => Action::Append,
            (Some(false), _) | (None, Ok(HeaderAppendAction::OverwriteIfExistsOrAdd)) => Action::Overwrite,
            (None, Ok(HeaderAppendAction::AddIfAbsent)) => Action::IfAbsent,
            (None, Ok(HeaderAppendAction::OverwriteIfExists)) => Action::OverwriteIfThere,
            (None, Err(_)) => {
                *unknown = true;
                Action::Overwrite
            }
        };
        change(option, action, false)
    });
    each.collect()
}

#[expect(deprecated, reason = "1.40 accepts it")]
fn appends(option: &core::HeaderValueOption) -> Option<bool> {
    option.append.map(|append| append.value)
}

fn change(option: core::HeaderValueOption, action: Action, joined: bool) -> Option<Change> {
    let header = option.header?;
    let value = if header.value.is_empty() { header.raw_value } else { header.value.into_bytes() };
    Some(Change { name: FieldName::new(&header.key), value, action, joined })
}

fn address(address: &Address) -> core::Address {
    let kind = match address {
        Address::Socket(socket) => core::address::Address::SocketAddress(core::SocketAddress {
            address: socket.ip().to_string(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(socket.port().into())),
            ..core::SocketAddress::default()
        }),
        Address::Pipe(path) => {
            core::address::Address::Pipe(core::Pipe { path: path.to_string(), ..core::Pipe::default() })
        }
    };
    core::Address { address: Some(kind) }
}

fn timestamp(time: SystemTime) -> Option<protobuf::Timestamp> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(protobuf::Timestamp { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() as i32 })
}

fn to_struct(fields: &[(std::sync::Arc<str>, MetadataValue)]) -> protobuf::Struct {
    protobuf::Struct {
        fields: fields.iter().map(|(key, value)| (key.to_string(), to_value(value))).collect(),
    }
}

fn to_value(value: &MetadataValue) -> protobuf::Value {
    use protobuf::value::Kind;
    let kind = match value {
        MetadataValue::Null => Kind::NullValue(0),
        MetadataValue::Bool(truth) => Kind::BoolValue(*truth),
        MetadataValue::Number(number) => Kind::NumberValue(*number),
        MetadataValue::String(text) => Kind::StringValue(text.to_string()),
        MetadataValue::List(values) => {
            Kind::ListValue(protobuf::ListValue { values: values.iter().map(to_value).collect() })
        }
        MetadataValue::Struct(fields) => Kind::StructValue(to_struct(fields)),
    };
    protobuf::Value { kind: Some(kind) }
}
