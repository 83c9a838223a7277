//! `local_reply_config`: what the proxy's own answers look like.

use sampan_filters_api::format::{StructTemplate, Template};

use super::config::HeaderAdd;
use crate::telemetry::access_log::Filter;

/// The compiled form of `LocalReplyConfig`.
#[derive(Default)]
pub struct LocalReplyConfig {
    /// `mappers`; the first whose filter matches applies.
    pub mappers: Vec<Mapper>,
    /// `body_format`
    pub format: Option<BodyFormat>,
}

/// One of `mappers`.
pub struct Mapper {
    /// `filter`
    pub filter: Filter,
    /// `status_code`
    pub status: Option<u16>,
    /// `body`
    pub body: Option<Box<[u8]>>,
    /// `headers_to_add`
    pub headers: Vec<HeaderAdd>,
    /// `body_format_override`
    pub format: Option<BodyFormat>,
}

/// `SubstitutionFormatString`
pub struct BodyFormat {
    /// `content_type`; by the kind of body if empty
    pub content_type: Option<Box<str>>,
    /// The body.
    pub body: Body,
}

/// What a body is made of.
pub enum Body {
    /// `text_format_source`
    Text(Template),
    /// `json_format`
    Json(StructTemplate),
}
