//! Custom tags (`envoy.type.tracing.v3.CustomTag`) of an entry.

use sampan_filters_api::format::{FormatContext, HeaderName, Template, write_metadata};
use sampan_filters_api::info::MetadataOf;

/// A named text.
#[derive(Clone, Debug)]
pub struct CustomTag {
    /// `tag`
    pub name: Box<str>,
    /// Where its value comes from.
    pub source: TagSource,
}

/// Where a tag's value comes from.
#[derive(Clone, Debug)]
pub enum TagSource {
    /// `literal`, and `environment`, which is read when the tag is compiled.
    Fixed(Box<str>),
    /// `request_header`: the first value, or the default.
    RequestHeader {
        /// `name`
        name: HeaderName,
        /// `default_value`
        default: Box<str>,
    },
    /// `metadata`, or the default.
    Metadata {
        /// `kind`
        of: MetadataOf,
        /// `metadata_key.key`
        namespace: Box<str>,
        /// `metadata_key.path`
        path: Vec<Box<str>>,
        /// `default_value`
        default: Box<str>,
    },
    /// `value`: a format.
    Format(Template),
}

impl CustomTag {
    /// Appends the value; false if it is empty, for then Envoy leaves the tag out.
    pub fn write(&self, context: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        match &self.source {
            TagSource::Fixed(text) => out.extend_from_slice(text.as_bytes()),
            TagSource::RequestHeader { name, default } => {
                let value = context.request.and_then(|head| name.in_request(head));
                out.extend_from_slice(value.unwrap_or(default.as_bytes()));
            }
            TagSource::Metadata { of, namespace, path, default } => {
                let value = context.info.metadata_of(*of, namespace, path);
                if !value.is_some_and(|value| write_metadata(value, out)) {
                    out.extend_from_slice(default.as_bytes());
                }
            }
            TagSource::Format(template) => template.render(context, out),
        }
        out.len() > start
    }
}
