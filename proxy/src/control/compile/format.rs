//! `envoy.config.core.v3.SubstitutionFormatString`: of access logs and local replies.

#![expect(deprecated, reason = "1.40 accepts `text_format`")]

use sampan_api::envoy::config::core::v3::data_source::Specifier;
use sampan_api::envoy::config::core::v3::substitution_format_string::Format;
use sampan_api::envoy::config::core::v3::{DataSource, SubstitutionFormatString};
use sampan_api::google::protobuf;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::format::{FormatError, StructTemplate, Template};

use super::{Scope, extension, value};
use crate::telemetry::access_log::LineFormat;

const YES: Support = Support::Supported;

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.config.core.v3.SubstitutionFormatString",
        &[
            ("text_format", YES),
            ("json_format", YES),
            ("text_format_source", YES),
            ("omit_empty_values", YES),
            ("content_type", Support::Later("only local replies have a content type")),
            (
                "formatters",
                Support::Later(
                    "only those of CEL, of metadata, for dynamic metadata, and of requests without their query are there",
                ),
            ),
            ("json_format_options", Support::Ignored("keys are always sorted, as in Envoy")),
        ],
    ),
    (
        "envoy.config.core.v3.JsonFormatOptions",
        &[("sort_properties", Support::Ignored("keys are always sorted, as in Envoy"))],
    ),
    ("envoy.extensions.formatter.metadata.v3.Metadata", &[]),
    ("envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery", &[]),
    (
        "envoy.extensions.formatter.cel.v3.Cel",
        &[("cel_config", Support::Ignored("the functions that it allows are always there"))],
    ),
    (
        "envoy.config.core.v3.DataSource",
        &[
            ("filename", YES),
            ("inline_bytes", YES),
            ("inline_string", YES),
            ("environment_variable", YES),
            ("watched_directory", Support::Later("a file is read once")),
        ],
    ),
];

/// The extensions that are accepted.
const FORMATTERS: [&str; 3] = [
    "envoy.extensions.formatter.cel.v3.Cel",
    "envoy.extensions.formatter.metadata.v3.Metadata",
    "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery",
];

/// A format, of text or JSON.
pub fn substitution(proto: &SubstitutionFormatString, at: &Scope<'_>) -> Option<LineFormat> {
    let before = at.rejects().len();
    formatters(proto, at);
    let omit = proto.omit_empty_values;
    let format = match &proto.format {
        Some(Format::TextFormat(source)) => text(source, omit, &at.field("text_format")),
        Some(Format::TextFormatSource(source)) => {
            let at = at.field("text_format_source");
            self::source(source, &at).and_then(|source| text(&source, omit, &at))
        }
        Some(Format::JsonFormat(tree)) => json(tree, omit, &at.field("json_format")),
        None => at.reject("no format is given"),
    };
    format.filter(|_| at.rejects().len() == before)
}

/// A text format. `omit` prints nothing, instead of `-`, for what is absent.
pub fn text(source: &str, omit: bool, at: &Scope<'_>) -> Option<LineFormat> {
    match Template::parse(source) {
        Ok(template) => Some(LineFormat::Text(template.omitting_empty(omit))),
        Err(error) => refuse(error, at),
    }
}

/// A JSON format.
pub fn json(tree: &protobuf::Struct, omit: bool, at: &Scope<'_>) -> Option<LineFormat> {
    match StructTemplate::parse(&value::structure(tree), omit) {
        Ok(template) => Some(LineFormat::Json(template)),
        Err(error) => refuse(error.error, &at.field(&error.path)),
    }
}

/// The text of a data source.
pub fn source(proto: &DataSource, at: &Scope<'_>) -> Option<String> {
    match &proto.specifier {
        Some(Specifier::InlineString(text)) => Some(text.clone()),
        Some(Specifier::InlineBytes(bytes)) => match String::from_utf8(bytes.clone()) {
            Ok(text) => Some(text),
            Err(_) => at.field("inline_bytes").reject("the bytes are not UTF-8"),
        },
        Some(Specifier::Filename(path)) => match std::fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) => at.field("filename").reject_value(path, format!("cannot be read: {error}"), ""),
        },
        Some(Specifier::EnvironmentVariable(name)) => match std::env::var(name) {
            Ok(text) => Some(text),
            Err(error) => at.field("environment_variable").reject_value(name, error.to_string(), ""),
        },
        None => at.reject("no source is given"),
    }
}

/// Extensions that add operators: theirs are always there, so all that is left to do is to accept them.
fn formatters(proto: &SubstitutionFormatString, at: &Scope<'_>) {
    for (index, formatter) in proto.formatters.iter().enumerate() {
        if !formatter
            .typed_config
            .as_ref()
            .is_some_and(|any| FORMATTERS.iter().any(|name| extension::is(any, name)))
        {
            at.field("formatters").index(index).reject_value::<()>(
                extension::shown(formatter),
                "this formatter is not supported by this version",
                "remove it, and the operators that it adds",
            );
        }
    }
}

fn refuse<T>(error: FormatError, at: &Scope<'_>) -> Option<T> {
    at.reject_value(format!("%{}%", error.operator.trim_matches('%')), error.reason, error.hint)
}
