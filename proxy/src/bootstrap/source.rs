//! From files and flags to one message.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use sampan_api::{
    Document, FieldError, Format, Message, Note, ParseError, Policy, UnknownFields, decode_message,
};

use super::API;
use crate::cli::Options;

/// The most a configuration file may hold.
const MAX_BYTES: u64 = 256 << 20;
const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";

/// What the configuration is called in messages: the file, or the flag.
pub fn name_of(options: &Options) -> &str {
    options.config_path.as_deref().unwrap_or("--config-yaml")
}

/// The message that `-c` and `--config-yaml` make together.
pub(super) fn read(options: &Options) -> Result<(Message, Vec<Note>), Vec<FieldError>> {
    let policy = Policy {
        unknown_fields: if options.allow_unknown_static_fields {
            UnknownFields::Collect
        } else {
            UnknownFields::Reject
        },
        ..Policy::default()
    };
    let mut errors = Vec::new();
    let mut merged: Option<(Message, Vec<Note>)> = None;
    let file =
        options.config_path.as_deref().filter(|path| !path.is_empty()).map(|path| from_file(path, policy));
    let flag =
        options.config_yaml.as_deref().filter(|text| !text.is_empty()).map(|text| from_flag(text, policy));
    for part in file.into_iter().chain(flag) {
        match (part, &mut merged) {
            (Ok(part), None) => merged = Some(part),
            (Ok((message, notes)), Some((whole, all))) => {
                whole.merge(message);
                all.extend(notes);
            }
            (Err(found), _) => errors.extend(found),
        }
    }
    match merged {
        Some(merged) if errors.is_empty() => Ok(merged),
        Some(_) => Err(errors),
        None if errors.is_empty() => Err(vec![problem("there is no configuration")]),
        None => Err(errors),
    }
}

fn from_flag(text: &str, policy: Policy) -> Result<(Message, Vec<Note>), Vec<FieldError>> {
    from_text(text, Format::Yaml, "--config-yaml", policy)
}

fn from_file(path: &str, policy: Policy) -> Result<(Message, Vec<Note>), Vec<FieldError>> {
    let format = match Path::new(path).extension().and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml") => Some(Format::Yaml),
        Some("json") => Some(Format::Json),
        Some("pb") => None,
        _ => {
            return Err(vec![problem(format!(
                "Unable to parse file \"{path}\" as a text protobuf (type {BOOTSTRAP}): text protobuf is not supported; name the file .yaml, .yml, .json or .pb"
            ))]);
        }
    };
    let bytes = once(path).map_err(|error| vec![problem(format!("unable to read file: {path}: {error}"))])?;
    let Some(format) = format else { return from_wire(&bytes, path, policy) };
    match std::str::from_utf8(&bytes) {
        Ok(text) => from_text(text, format, path, policy),
        Err(error) => Err(vec![problem(format!("{path}: the text is not UTF-8: {error}"))]),
    }
}

/// Reads a file, which may be a pipe, exactly once.
fn once(path: &str) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(std::io::Error::other(format!("it is larger than {} MiB", MAX_BYTES >> 20)));
    }
    Ok(bytes)
}

fn from_text(
    text: &str,
    format: Format,
    path: &str,
    policy: Policy,
) -> Result<(Message, Vec<Note>), Vec<FieldError>> {
    let document = Document::parse(text, format)
        .map_err(|error: ParseError| vec![problem(format!("{path}: {error}"))])?;
    decode_message(API, BOOTSTRAP, &document, policy)
}

fn from_wire(bytes: &[u8], path: &str, policy: Policy) -> Result<(Message, Vec<Note>), Vec<FieldError>> {
    let Some(message_type) = API.message(BOOTSTRAP) else {
        return Err(vec![problem("the API has no bootstrap")]);
    };
    let mut read = Message::from_wire(message_type, bytes).map_err(|error| {
        vec![problem(format!("Unable to parse file \"{path}\" as a binary protobuf: {error}"))]
    })?;
    read.notes.extend(sampan_api::resolve_typed_structs(&mut read.message, policy.unknown_fields)?);
    Ok((read.message, read.notes))
}

fn problem(reason: impl Into<String>) -> FieldError {
    FieldError { path: String::new(), value: String::new(), reason: reason.into(), hint: None }
}
