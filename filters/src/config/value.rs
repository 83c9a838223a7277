//! `google.protobuf.Struct` and `Value` as metadata, and format strings.

use prost::Message as _;
use sampan_api::envoy::config::core::v3::SubstitutionFormatString;
use sampan_api::envoy::config::core::v3::substitution_format_string::Format;
use sampan_api::google::protobuf;
use sampan_api::google::protobuf::value::Kind;
use sampan_filters_api::format::Template;
use sampan_filters_api::info::MetadataValue;

use super::matcher::under;
use super::{ConfigError, data_source};

/// The longest format string that a file may hold.
const LIMIT: usize = 64 * 1024;

/// A struct as a metadata value.
pub fn structure(proto: &protobuf::Struct) -> MetadataValue {
    let fields = proto.fields.iter().map(|(key, value)| (key.as_str().into(), self::value(value)));
    MetadataValue::Struct(fields.collect())
}

/// A value as a metadata value.
pub fn value(proto: &protobuf::Value) -> MetadataValue {
    match &proto.kind {
        None | Some(Kind::NullValue(_)) => MetadataValue::Null,
        Some(Kind::NumberValue(number)) => MetadataValue::Number(*number),
        Some(Kind::StringValue(text)) => MetadataValue::String(text.as_str().into()),
        Some(Kind::BoolValue(truth)) => MetadataValue::Bool(*truth),
        Some(Kind::StructValue(tree)) => structure(tree),
        Some(Kind::ListValue(list)) => MetadataValue::List(list.values.iter().map(value).collect()),
    }
}

/// The metadata value that the wire form of a `google.protobuf.Value` stands for; none if it is malformed.
pub fn decode(bytes: &[u8]) -> Option<MetadataValue> {
    protobuf::Value::decode(bytes).ok().as_ref().map(value)
}

/// A format of text at `path`.
#[expect(deprecated, reason = "1.40 accepts `text_format`")]
pub fn template(proto: &SubstitutionFormatString, path: &str) -> Result<Template, ConfigError> {
    let (text, at) = match &proto.format {
        Some(Format::TextFormat(text)) => (text.clone(), under(path, "text_format")),
        Some(Format::TextFormatSource(source)) => {
            let at = under(path, "text_format_source");
            let bytes = data_source(source, LIMIT, &at)?;
            let text =
                String::from_utf8(bytes).map_err(|_| ConfigError::new(&*at, "the text is not UTF-8"))?;
            (text, at)
        }
        Some(Format::JsonFormat(_)) => {
            return Err(ConfigError::new(under(path, "json_format"), "only text is supported here"));
        }
        None => return Err(ConfigError::new(path, "no format is given")),
    };
    if let Some(formatter) = proto.formatters.first() {
        let error = ConfigError::new(under(path, "formatters"), "formatters are not supported here");
        return Err(error.value(&formatter.name));
    }
    let template = Template::parse(&text)
        .map_err(|error| ConfigError::new(at, error.reason).value(error.operator).hint(error.hint))?;
    Ok(template.omitting_empty(proto.omit_empty_values))
}
