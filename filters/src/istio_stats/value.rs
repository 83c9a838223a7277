//! The values of labels and metrics of one's own: expressions in CEL.
//!
//! Most are a literal, a number or an attribute of a stream. These are not evaluated: attributes are rendered by the operators of access logs. What
//! `node` and `xds.node` hold does not change and becomes a literal, also within another expression.

use sampan_filters_api::NodeFacts;
use sampan_filters_api::cel::{self, Constant};
use sampan_filters_api::format::{FormatContext, Template, write_metadata};
use sampan_filters_api::info::MetadataValue;

use crate::peer;

/// An expression.
#[derive(Debug)]
pub enum Expression {
    /// Always the same.
    Literal(String),
    /// What a stream has.
    Attribute(Template),
    /// A field of the workload that serves the stream.
    OfHost(String),
    /// What is worked out of that.
    Cel(cel::Expression),
}

/// What is there instead of a value that a stream does not have.
const UNKNOWN: &str = "unknown";

/// Attributes without arguments, and the operator that renders them.
#[rustfmt::skip]
const ATTRIBUTES: &[(&str, &str)] = &[
    ("connection.id", "%CONNECTION_ID%"),
    ("connection.requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("connection.sha256_peer_certificate_digest", "%DOWNSTREAM_PEER_FINGERPRINT_256%"),
    ("connection.subject_local_certificate", "%DOWNSTREAM_LOCAL_SUBJECT%"),
    ("connection.subject_peer_certificate", "%DOWNSTREAM_PEER_SUBJECT%"),
    ("connection.termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("connection.tls_version", "%DOWNSTREAM_TLS_VERSION%"),
    ("connection.uri_san_local_certificate", "%DOWNSTREAM_LOCAL_URI_SAN%"),
    ("connection.uri_san_peer_certificate", "%DOWNSTREAM_PEER_URI_SAN%"),
    ("destination.address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("destination.port", "%DOWNSTREAM_LOCAL_PORT%"),
    ("request.duration", "%DURATION%"),
    ("request.host", "%REQ(:AUTHORITY)%"),
    ("request.id", "%REQ(X-REQUEST-ID)%"),
    ("request.method", "%REQ(:METHOD)%"),
    ("request.path", "%REQ(:PATH)%"),
    ("request.protocol", "%PROTOCOL%"),
    ("request.referer", "%REQ(REFERER)%"),
    ("request.scheme", "%REQ(:SCHEME)%"),
    ("request.size", "%BYTES_RECEIVED%"),
    ("request.useragent", "%REQ(USER-AGENT)%"),
    ("response.code", "%RESPONSE_CODE%"),
    ("response.code_details", "%RESPONSE_CODE_DETAILS%"),
    ("response.grpc_status", "%GRPC_STATUS_NUMBER%"),
    ("response.size", "%BYTES_SENT%"),
    ("source.address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("source.port", "%DOWNSTREAM_REMOTE_PORT%"),
    ("upstream.address", "%UPSTREAM_HOST%"),
    ("upstream.local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("upstream.transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("xds.cluster_name", "%UPSTREAM_CLUSTER_RAW%"),
    ("xds.filter_chain_name", "%FILTER_CHAIN_NAME%"),
    ("xds.route_name", "%ROUTE_NAME%"),
];

impl Expression {
    /// Reads an expression; the error says what it cannot be.
    pub fn parse(text: &str, node: &NodeFacts) -> Result<Self, String> {
        let text = text.trim();
        if let Some(literal) = literal(text) {
            return Ok(Self::Literal(literal.to_owned()));
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self::Literal(text.to_owned()));
        }
        let Some(path) = path(text) else { return worked_out(text, node) };
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        let format = match &*names {
            ["xds", "node", rest @ ..] | ["node", rest @ ..] => {
                return Ok(Self::Literal(of_node(rest, node).unwrap_or_else(|| UNKNOWN.to_owned())));
            }
            ["request", "headers", name] => format!("%REQ({name})%"),
            ["response", "headers", name] => format!("%RESP({name})%"),
            ["response", "trailers", name] => format!("%TRAILER({name})%"),
            ["metadata", "filter_metadata", rest @ ..] if !rest.is_empty() => {
                format!("%DYNAMIC_METADATA({})%", rest.join(":"))
            }
            ["filter_state", key] => format!("%FILTER_STATE({key}:PLAIN)%"),
            [peer::UPSTREAM, "labels", ..] => return worked_out(text, node),
            [peer::UPSTREAM, field] => return Ok(Self::OfHost((*field).to_owned())),
            ["filter_state", key, field] | [key @ peer::DOWNSTREAM, field] => {
                format!("%FILTER_STATE({key}:FIELD:{field})%")
            }
            _ => match ATTRIBUTES.iter().find(|(name, _)| *name == names.join(".")) {
                Some((_, format)) => (*format).to_owned(),
                None => return worked_out(text, node),
            },
        };
        Template::parse(&format).map(Self::Attribute).map_err(|error| error.reason.clone())
    }

    /// Its value for a stream.
    pub fn text(&self, context: &FormatContext<'_>) -> String {
        match self {
            Self::Literal(text) => text.clone(),
            Self::Attribute(template) => {
                let mut out = Vec::new();
                template.render(context, &mut out);
                if out == b"-" { UNKNOWN.to_owned() } else { bounded(&out) }
            }
            Self::OfHost(field) => {
                let peer = context.info.upstream_state(peer::UPSTREAM);
                let value = peer.and_then(|peer| peer.field(field));
                value.map_or_else(|| UNKNOWN.to_owned(), |value| bounded(value.as_bytes()))
            }
            Self::Cel(expression) => {
                let mut out = Vec::new();
                if expression.write(context, &mut out) { bounded(&out) } else { UNKNOWN.to_owned() }
            }
        }
    }
}

/// Any expression, in which the values of the node are literals.
fn worked_out(text: &str, node: &NodeFacts) -> Result<Expression, String> {
    let known = |path: &[&str]| match path {
        ["xds", "node", rest @ ..] | ["node", rest @ ..] => {
            of_node(rest, node).map_or(Constant::Absent, Constant::Text)
        }
        _ => Constant::Not,
    };
    cel::Expression::parse_with(text, &known).map(Expression::Cel).map_err(|error| error.reason)
}

fn bounded(out: &[u8]) -> String {
    match String::from_utf8_lossy(out) {
        text if text.is_empty() => UNKNOWN.to_owned(),
        text => text.chars().take(LONGEST).collect(),
    }
}

/// Characters that are kept of a value; it may be a client's.
const LONGEST: usize = 256;

/// What stands between quotes, if there is nothing else and no escape.
fn literal(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    (!inner.contains([quote, '\\'])).then_some(inner)
}

/// `a.b['c'].d` as its names.
fn path(text: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = text;
    loop {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return None;
        }
        names.push(name.to_owned());
        rest = behind;
        while let Some(inner) = rest.strip_prefix('[') {
            let (key, behind) = inner.split_once(']')?;
            // Keys go into the arguments of operators.
            let key = literal(key.trim()).filter(|key| !key.contains([':', '(', ')', '%']))?;
            names.push(key.to_owned());
            rest = behind;
        }
        match rest.strip_prefix('.') {
            Some(behind) => rest = behind,
            None if rest.is_empty() => return Some(names),
            None => return None,
        }
    }
}

/// A value of the node.
fn of_node(path: &[&str], node: &NodeFacts) -> Option<String> {
    match path {
        ["id"] => Some(node.id.to_string()),
        ["locality", "region"] => Some(node.region.to_string()),
        ["locality", "zone"] => Some(node.zone.to_string()),
        ["metadata", keys @ ..] if !keys.is_empty() => match node.metadata.at(keys)? {
            MetadataValue::String(text) => Some(text.to_string()),
            value => {
                let mut out = Vec::new();
                write_metadata(value, &mut out).then(|| String::from_utf8_lossy(&out).into_owned())
            }
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use sampan_filters_api::StreamInfo;
    use sampan_filters_api::info::{FilterState, StateObject};

    use super::*;
    use crate::peer::Peer;
    use crate::testing::{connection, info, request};

    #[test]
    fn a_peer_is_known_by_its_fields_and_labels() {
        let peer = |app: &str| -> Rc<dyn StateObject> {
            let labels = vec![("team".into(), "blue".into())];
            Rc::new(Peer { app: app.into(), labels, ..Peer::default() })
        };
        let texts = |info: &StreamInfo| {
            let context = FormatContext::new(info, std::time::Instant::now(), std::time::SystemTime::now());
            let expressions = [
                "upstream_peer.app",
                "upstream_peer.labels['team']",
                "upstream_peer.app + '!'",
                "downstream_peer.app",
                "downstream_peer.labels.team",
                "downstream_peer.app == 'client'",
            ];
            expressions.map(|text| Expression::parse(text, &NodeFacts::default()).unwrap().text(&context))
        };
        // By the stream, as metadata exchange by headers finds them.
        let mut stream = info();
        stream.filter_state.set(peer::UPSTREAM, peer("server"));
        stream.filter_state.set(peer::DOWNSTREAM, peer("client"));
        assert_eq!(texts(&stream), ["server", "blue", "server!", "client", "blue", "true"]);
        // By the connections, as it finds them before the first byte. What the client's has says nothing of the host.
        let mut host = FilterState::default();
        host.set(peer::UPSTREAM, peer("server"));
        let client = connection();
        client.state.borrow_mut().set(peer::DOWNSTREAM, peer("client"));
        client.state.borrow_mut().set(peer::UPSTREAM, peer("stranger"));
        let mut stream = info();
        stream.upstream.state = Some(Rc::new(RefCell::new(host)));
        stream.connection = Rc::new(client);
        assert_eq!(texts(&stream), ["server", "blue", "server!", "client", "blue", "true"]);
        stream.upstream.state = None;
        assert_eq!(texts(&stream), ["unknown", "unknown", "unknown", "client", "blue", "true"]);
    }

    #[test]
    fn literals_and_attributes_have_values() {
        let text = |text: &str| MetadataValue::String(text.into());
        let labels = MetadataValue::Struct(vec![("a.b/c".into(), text("d"))]);
        let node = NodeFacts {
            id: "me".into(),
            metadata: MetadataValue::Struct(vec![("LABELS".into(), labels)]),
            ..NodeFacts::default()
        };
        let (info, head) = (info(), request(&[("x-a", "1"), (":authority", "h:1")]));
        let context = FormatContext {
            request: Some(&head),
            ..FormatContext::new(&info, std::time::Instant::now(), std::time::SystemTime::now())
        };
        for (expression, expected) in [
            ("'a b'", "a b"),
            ("\"x\"", "x"),
            ("12", "12"),
            ("request.host", "h:1"),
            ("request.headers['x-a']", "1"),
            ("request.headers[\"x-b\"]", "unknown"),
            ("response.code", "0"),
            ("source.port", "1000"),
            ("node.id", "me"),
            ("xds.node.metadata['LABELS']['a.b/c']", "d"),
            ("node.metadata.LABELS['a.b/c']", "d"),
            ("filter_state.upstream_peer.app", "unknown"),
            ("upstream_peer.app", "unknown"),
            ("request.host == 'h:1' ? 'yes' : 'no'", "yes"),
            ("request.method + ' ' + string(size(request.headers))", "GET 5"),
            ("has(request.referer) ? request.referer : 'none'", "none"),
            ("request.headers['x-b']  + 'x'", "unknown"),
            ("request.headers['x-a'] == '1'", "true"),
            ("request.url_path", "/"),
            ("'at ' + node.metadata['LABELS']['a.b/c'] + ' of ' + xds.node.id", "at d of me"),
            ("upstream_peer.labels['a'] + ''", "unknown"),
            ("node.x", "unknown"),
            ("xds.node.metadata.NO + 'a'", "unknown"),
            ("has(node.metadata.NO) ? 'yes' : 'no'", "no"),
            ("has(node.metadata.LABELS) ? 'yes' : 'no'", "yes"),
            ("12 + 30", "42"),
            ("'' + ''", "unknown"),
        ] {
            let parsed = Expression::parse(expression, &node).unwrap_or_else(|e| panic!("{expression}: {e}"));
            assert_eq!(parsed.text(&context), expected, "{expression}");
        }
        for (name, _) in ATTRIBUTES {
            assert!(Expression::parse(name, &node).is_ok(), "{name}");
        }
        for expression in [
            "",
            "a",
            "request.host ==",
            "a == 'x'",
            "request.nothing",
            "request.nothing + 'a'",
            "'a'b'",
            "[1].map(x, x)",
        ] {
            assert!(Expression::parse(expression, &node).is_err(), "{expression}");
        }
    }
}
