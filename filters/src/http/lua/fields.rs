//! Header fields as scripts see them: pseudo-headers among the others, several values as one list.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mlua::{Error, LuaString, Table, Value};
use sampan_filters_api::{Call, Headers, Known, RequestHead};

use super::job::{Job, wrong};

/// The pseudo-headers of requests, in the order in which they are told.
const PSEUDO: &[&[u8]] = &[b":authority", b":path", b":method", b":scheme"];

fn headers(job: &mut Job, trailers: bool) -> &mut Headers {
    match (trailers, job.response_side) {
        (true, _) => &mut job.trailers,
        (false, true) => &mut job.response.headers,
        (false, false) => &mut job.request.headers,
    }
}

/// The value of a pseudo-header; none if there is no such.
fn pseudo(job: &Job, name: &[u8]) -> Option<Vec<u8>> {
    if job.response_side {
        return (name == b":status").then(|| job.response.status.to_string().into_bytes());
    }
    job.request.pseudo(name).flatten().map(<[u8]>::to_vec)
}

/// All values of a field.
pub(super) fn values(job: &mut Job, trailers: bool, name: &[u8]) -> Vec<Vec<u8>> {
    if !trailers && let Some(value) = pseudo(job, name) {
        return vec![value];
    }
    headers(job, trailers).values(name).map(<[u8]>::to_vec).collect()
}

/// The values of a field as one list.
pub(super) fn value(job: &mut Job, trailers: bool, name: &[u8]) -> Option<Vec<u8>> {
    let values = values(job, trailers, name);
    (!values.is_empty()).then(|| values.join(&b","[..]))
}

/// Every field, pseudo-headers first.
pub(super) fn all(job: &mut Job, trailers: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    if !trailers {
        let names: &[&[u8]] = if job.response_side { &[b":status"] } else { PSEUDO };
        found.extend(names.iter().filter_map(|name| Some((name.to_vec(), pseudo(job, name)?))));
    }
    let fields = headers(job, trailers);
    found.extend(fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec())));
    found
}

/// A name and value that can be sent.
fn sendable(name: &[u8], value: &[u8]) -> Result<(), Error> {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"(),/;<=>?@[\\]{}".contains(byte);
    let name = name.strip_prefix(b":").unwrap_or(name);
    if name.is_empty() || !name.iter().all(|byte| plain(byte) && *byte != b':') {
        return Err(wrong("the name of a header is malformed"));
    }
    if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(wrong("the value of a header has a line end in it"));
    }
    Ok(())
}

/// Adds a field.
pub(super) fn add(job: &mut Job, trailers: bool, name: &[u8], value: &[u8]) -> Result<(), Error> {
    if name.starts_with(b":") {
        return replace(job, trailers, name, value);
    }
    sendable(name, value)?;
    job.headers_changed |= !trailers;
    headers(job, trailers).append(name.to_ascii_lowercase(), value);
    Ok(())
}

/// Puts a value in place of all others of a field.
pub(super) fn replace(job: &mut Job, trailers: bool, name: &[u8], value: &[u8]) -> Result<(), Error> {
    sendable(name, value)?;
    job.headers_changed |= !trailers;
    if !name.starts_with(b":") {
        headers(job, trailers).set(name.to_ascii_lowercase(), value);
        return Ok(());
    }
    if job.response_side {
        let status = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u16>().ok());
        return match status.filter(|status| name == b":status" && (200..1000).contains(status)) {
            Some(status) => {
                job.response.status = status;
                Ok(())
            }
            None => Err(wrong("a response has no pseudo-header but :status, between 200 and 999")),
        };
    }
    match name {
        b":path" => job.request.set_path(value),
        b":method" => job.request.set_method(value),
        b":authority" => job.request.set_authority(value),
        b":scheme" => job.request.set_scheme(value),
        _ => return Err(wrong("a request has no such pseudo-header")),
    }
    Ok(())
}

/// Removes a field. What a message cannot be without stays.
pub(super) fn remove(job: &mut Job, trailers: bool, name: &[u8]) {
    if !name.starts_with(b":") {
        job.headers_changed |= !trailers;
        headers(job, trailers).remove(name);
    }
}

/// The fields of a table, whose values are texts or lists of texts.
pub(super) fn table(table: &Table) -> Result<Headers, Error> {
    let mut found = Headers::new();
    for pair in table.pairs::<LuaString, Value>() {
        let (name, value) = pair?;
        let name = name.as_bytes().to_ascii_lowercase();
        let mut push = |value: &Value| {
            let text = match value {
                Value::String(text) => text.as_bytes().to_vec(),
                Value::Integer(_) | Value::Number(_) => value.to_string()?.into_bytes(),
                _ => return Err(wrong("header values are strings or lists of strings")),
            };
            sendable(&name, &text)?;
            found.append(&name, text);
            Ok(())
        };
        match &value {
            Value::Table(list) => {
                for value in list.sequence_values::<Value>() {
                    push(&value?)?;
                }
            }
            value => push(value)?,
        }
    }
    Ok(found)
}

/// A call that a script asks for.
pub(super) fn call(
    cluster: &str,
    headers: &Table,
    body: Option<LuaString>,
    timeout: f64,
    longest: usize,
) -> Result<Call, Error> {
    if timeout < 0.0 {
        return Err(wrong("http call timeout must be >= 0"));
    }
    let mut fields = table(headers)?;
    let mut head = RequestHead::default();
    let mut taken = |name: &str| {
        let value = fields.value(name).map(<[u8]>::to_vec);
        fields.remove(name);
        value
    };
    let (Some(path), Some(method), Some(authority)) = (taken(":path"), taken(":method"), taken(":authority"))
    else {
        return Err(wrong("http call headers must include ':path', ':method', and ':authority'"));
    };
    head.set_path(&path);
    head.set_method(&method);
    head.set_authority(&authority);
    head.set_scheme(&taken(":scheme").unwrap_or_else(|| b"http".to_vec()));
    fields.retain(|_, name, _| !name.starts_with(b":"));
    fields.remove_known(Known::ContentLength);
    head.headers.extend_from(&fields);
    let mut call = Call::new(Arc::from(cluster), head);
    call.body = body.map(|text| Bytes::copy_from_slice(&text.as_bytes())).unwrap_or_default();
    call.timeout = (timeout > 0.0).then(|| Duration::from_secs_f64(timeout / 1000.0));
    call.longest = longest;
    Ok(call)
}
