//! Values between Lua and the stream: metadata, addresses, facts of TLS.

use std::time::{SystemTime, UNIX_EPOCH};

use mlua::{Error, Lua, Value};
use sampan_filters_api::StreamInfo;
use sampan_filters_api::info::MetadataValue;

use super::job::wrong;

/// Tables are looked into no deeper than this.
const DEEPEST: usize = 16;

/// A value for a script.
pub(super) fn to_lua(lua: &Lua, value: &MetadataValue) -> Result<Value, Error> {
    Ok(match value {
        MetadataValue::Null => Value::Nil,
        MetadataValue::Bool(truth) => Value::Boolean(*truth),
        MetadataValue::Number(number) => Value::Number(*number),
        MetadataValue::String(text) => Value::String(lua.create_string(&**text)?),
        MetadataValue::List(list) => {
            let table = lua.create_table()?;
            for one in list {
                table.raw_push(to_lua(lua, one)?)?;
            }
            Value::Table(table)
        }
        MetadataValue::Struct(fields) => {
            let table = lua.create_table()?;
            for (key, value) in fields {
                table.raw_set(&**key, to_lua(lua, value)?)?;
            }
            Value::Table(table)
        }
    })
}

/// A value of a script. A table with a first element is a list.
pub(super) fn from_lua(value: &Value, depth: usize) -> Result<MetadataValue, Error> {
    if depth > DEEPEST {
        return Err(wrong("the table is nested too deep"));
    }
    Ok(match value {
        Value::Nil => MetadataValue::Null,
        Value::Boolean(truth) => MetadataValue::Bool(*truth),
        Value::Integer(number) => MetadataValue::Number(*number as f64),
        Value::Number(number) => MetadataValue::Number(*number),
        Value::String(text) => MetadataValue::String(text.to_string_lossy().into()),
        Value::Table(table) if table.raw_len() > 0 => {
            let each = table.sequence_values::<Value>();
            MetadataValue::List(each.map(|one| from_lua(&one?, depth + 1)).collect::<Result<_, _>>()?)
        }
        Value::Table(table) => {
            let each = table.pairs::<String, Value>();
            let each = each.map(|pair| {
                let (key, value) = pair?;
                Ok::<_, Error>((key.into(), from_lua(&value, depth + 1)?))
            });
            MetadataValue::Struct(each.collect::<Result<_, _>>()?)
        }
        _ => return Err(wrong("only nil, booleans, numbers, strings and tables of them can be kept")),
    })
}

/// A fact of a stream, by the name of its method.
pub(super) fn fact(info: &StreamInfo, name: &str) -> Option<String> {
    let connection = &info.connection;
    match name {
        "protocol" => info.protocol.map(|protocol| protocol.name().to_owned()),
        "routeName" => Some(info.route_name().unwrap_or_default().to_owned()),
        "virtualClusterName" => Some(info.virtual_cluster.as_deref().unwrap_or_default().to_owned()),
        "downstreamLocalAddress" => Some(connection.local.to_string()),
        "downstreamDirectLocalAddress" => Some(connection.direct_local().to_string()),
        "downstreamRemoteAddress" => Some(info.remote().to_string()),
        "downstreamDirectRemoteAddress" => Some(connection.direct_remote.to_string()),
        "requestedServerName" => {
            Some(connection.requested_server_name.as_deref().unwrap_or_default().to_owned())
        }
        _ => None,
    }
}

/// A fact of the client's TLS session, by the name of its method; `is` asks whether there is one.
pub(super) fn ssl(lua: &Lua, info: &StreamInfo, name: &str) -> Result<Value, Error> {
    let Some(tls) = &info.connection.tls else {
        return Ok(if name == "is" { Value::Boolean(false) } else { Value::Nil });
    };
    let (peer, local) = (tls.peer(), tls.local.as_deref());
    let text = |text: Option<&str>| lua.create_string(text.unwrap_or_default()).map(Value::String);
    let list = |list: Option<&Vec<String>>| {
        let list = list.map(Vec::as_slice).unwrap_or_default();
        lua.create_sequence_from(list.iter().map(String::as_str)).map(Value::Table)
    };
    let seconds = |time: Option<SystemTime>| {
        let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Value::Number(since.map_or(0.0, |since| since.as_secs() as f64))
    };
    match name {
        "is" => Ok(Value::Boolean(true)),
        "peerCertificatePresented" => Ok(Value::Boolean(peer.is_some())),
        "peerCertificateValidated" => Ok(Value::Boolean(tls.validated)),
        "uriSanPeerCertificate" => list(peer.map(|certificate| &certificate.uri_sans)),
        "uriSanLocalCertificate" => list(local.map(|certificate| &certificate.uri_sans)),
        "dnsSansPeerCertificate" => list(peer.map(|certificate| &certificate.dns_sans)),
        "dnsSansLocalCertificate" => list(local.map(|certificate| &certificate.dns_sans)),
        "sha256PeerCertificateDigest" => text(peer.map(|certificate| &*certificate.sha256)),
        "serialNumberPeerCertificate" => text(peer.map(|certificate| &*certificate.serial)),
        "issuerPeerCertificate" => text(peer.map(|certificate| &*certificate.issuer)),
        "subjectPeerCertificate" => text(peer.map(|certificate| &*certificate.subject)),
        "subjectLocalCertificate" => text(local.map(|certificate| &*certificate.subject)),
        "validFromPeerCertificate" => Ok(seconds(peer.map(|certificate| certificate.not_before))),
        "expirationPeerCertificate" => Ok(seconds(peer.map(|certificate| certificate.not_after))),
        "urlEncodedPemEncodedPeerCertificate" => {
            text(peer.map(sampan_filters_api::info::CertificateInfo::url_encoded_pem).as_deref())
        }
        "ciphersuiteString" => text(Some(tls.cipher)),
        "tlsVersion" => text(Some(tls.version)),
        _ => Ok(Value::Nil),
    }
}
