//! The values of labels and metrics of one's own: literals, numbers and attributes of a stream, as CEL names them.
//!
//! Attributes are rendered by the operators of access logs. What `node` and `xds.node` hold does not change and becomes a literal.

use sampan_filters_api::NodeFacts;
use sampan_filters_api::format::{FormatContext, Template, write_metadata};
use sampan_filters_api::info::MetadataValue;

/// An expression.
#[derive(Debug)]
pub enum Expression {
    /// Always the same.
    Literal(String),
    /// What a stream has.
    Attribute(Template),
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
        let path = path(text).ok_or("it is neither a literal nor an attribute")?;
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        let format = match &*names {
            ["xds", "node", rest @ ..] | ["node", rest @ ..] => {
                return of_node(rest, node)
                    .map(Self::Literal)
                    .ok_or_else(|| "the node has no such value".into());
            }
            ["request", "headers", name] => format!("%REQ({name})%"),
            ["response", "headers", name] => format!("%RESP({name})%"),
            ["response", "trailers", name] => format!("%TRAILER({name})%"),
            ["metadata", "filter_metadata", rest @ ..] if !rest.is_empty() => {
                format!("%DYNAMIC_METADATA({})%", rest.join(":"))
            }
            ["filter_state", key] => format!("%FILTER_STATE({key}:PLAIN)%"),
            ["filter_state", key, field] | [key @ ("upstream_peer" | "downstream_peer"), field] => {
                format!("%FILTER_STATE({key}:FIELD:{field})%")
            }
            [_, _] => {
                let known = ATTRIBUTES.iter().find(|(name, _)| *name == names.join("."));
                known.map(|(_, format)| (*format).to_owned()).ok_or("there is no such attribute")?
            }
            _ => return Err("there is no such attribute".into()),
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
                match String::from_utf8_lossy(&out) {
                    text if text == "-" || text.is_empty() => UNKNOWN.to_owned(),
                    text => text.chars().take(LONGEST).collect(),
                }
            }
        }
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
    use super::*;
    use crate::testing::{info, request};

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
        ] {
            let parsed = Expression::parse(expression, &node).unwrap_or_else(|e| panic!("{expression}: {e}"));
            assert_eq!(parsed.text(&context), expected, "{expression}");
        }
        for (name, _) in ATTRIBUTES {
            assert!(Expression::parse(name, &node).is_ok(), "{name}");
        }
        for expression in
            ["", "a", "request.host == 'x'", "has(request.host)", "request.nothing", "'a'b'", "node.x"]
        {
            assert!(Expression::parse(expression, &node).is_err(), "{expression}");
        }
    }
}
