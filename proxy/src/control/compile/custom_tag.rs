//! `envoy.type.tracing.v3.CustomTag` -> [`CustomTag`], for access log services and for spans.

use sampan_api::envoy::r#type::metadata::v3::metadata_key::path_segment::Segment;
use sampan_api::envoy::r#type::metadata::v3::metadata_kind::Kind;
use sampan_api::envoy::r#type::tracing::v3::{CustomTag as CustomTagProto, custom_tag};
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::format::{HeaderName, Template};
use sampan_filters_api::info::MetadataOf;

use super::Scope;
use crate::telemetry::access_log::{CustomTag, TagSource};

const YES: Support = Support::Supported;

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    ("envoy.type.tracing.v3.CustomTag", &[("*", YES)]),
    ("envoy.type.tracing.v3.CustomTag.Literal", &[("*", YES)]),
    ("envoy.type.tracing.v3.CustomTag.Environment", &[("*", YES)]),
    ("envoy.type.tracing.v3.CustomTag.Header", &[("*", YES)]),
    ("envoy.type.tracing.v3.CustomTag.Metadata", &[("*", YES)]),
    ("envoy.type.metadata.v3.MetadataKind", &[("*", YES)]),
    ("envoy.type.metadata.v3.MetadataKind.Request", &[]),
    ("envoy.type.metadata.v3.MetadataKind.Route", &[]),
    ("envoy.type.metadata.v3.MetadataKind.Cluster", &[]),
    ("envoy.type.metadata.v3.MetadataKind.Host", &[]),
    ("envoy.type.metadata.v3.MetadataKey", &[("*", YES)]),
    (
        "envoy.type.metadata.v3.MetadataKey.PathSegment",
        &[("key", YES), ("index", Support::Later("an element of a list cannot be named"))],
    ),
];

/// `custom_tags`
pub fn all(protos: &[CustomTagProto], at: &Scope<'_>) -> Vec<CustomTag> {
    protos.iter().enumerate().filter_map(|(i, tag)| custom_tag(tag, &at.index(i))).collect()
}

fn custom_tag(proto: &CustomTagProto, at: &Scope<'_>) -> Option<CustomTag> {
    let source = match &proto.r#type {
        Some(custom_tag::Type::Literal(literal)) => TagSource::Fixed(literal.value.as_str().into()),
        Some(custom_tag::Type::Environment(variable)) => {
            let value = std::env::var(&variable.name).unwrap_or_else(|_| variable.default_value.clone());
            TagSource::Fixed(value.into())
        }
        Some(custom_tag::Type::RequestHeader(header)) => request_header(header),
        Some(custom_tag::Type::Metadata(metadata)) => self::metadata(metadata, &at.field("metadata"))?,
        Some(custom_tag::Type::Value(format)) => match Template::parse(format) {
            // Envoy puts nothing in the place of what is absent.
            Ok(template) => TagSource::Format(template.omitting_empty(true)),
            Err(error) => return at.field("value").reject_value(format, error.to_string(), ""),
        },
        None => return at.reject("no kind of tag is given"),
    };
    Some(CustomTag { name: proto.tag.as_str().into(), source })
}

fn request_header(proto: &custom_tag::Header) -> TagSource {
    let default = proto.default_value.as_str().into();
    match HeaderName::parse(&proto.name) {
        Some(name) => TagSource::RequestHeader { name, default },
        // No request has a header of such a name.
        None => TagSource::Fixed(default),
    }
}

fn metadata(proto: &custom_tag::Metadata, at: &Scope<'_>) -> Option<TagSource> {
    let of = match proto.kind.as_ref().and_then(|kind| kind.kind.as_ref()) {
        Some(Kind::Request(_)) => MetadataOf::Stream,
        Some(Kind::Route(_)) => MetadataOf::Route,
        Some(Kind::Cluster(_)) => MetadataOf::Cluster,
        Some(Kind::Host(_)) => MetadataOf::Host,
        None => return at.field("kind").reject("is required"),
    };
    let Some(key) = &proto.metadata_key else { return at.field("metadata_key").reject("is required") };
    let at = at.field("metadata_key");
    let at = at.field("path");
    let mut path = Vec::new();
    for (i, step) in key.path.iter().enumerate() {
        match &step.segment {
            Some(Segment::Key(key)) => path.push(key.as_str().into()),
            Some(Segment::Index(index)) => {
                return at.index(i).reject_value(
                    index,
                    "an element of a list cannot be named",
                    "use keys alone",
                );
            }
            None => return at.index(i).reject("is empty"),
        }
    }
    Some(TagSource::Metadata {
        of,
        namespace: key.key.as_str().into(),
        path,
        default: proto.default_value.as_str().into(),
    })
}
