//! `DiscoveryResponse` as text or bytes, as REST servers and files give it.

use sampan_api::envoy::service::discovery::v3::DiscoveryResponse;
use sampan_api::{Descriptors, Document, Format, Policy, TypedStructs, UnknownFields};

/// The language of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Json,
    Yaml,
    Binary,
}

/// Reads a response. Unknown fields are accepted, as they are over gRPC.
///
/// # Errors
/// What is wrong with it, each fault by its field path.
pub(super) fn read(bytes: &[u8], language: Language) -> Result<DiscoveryResponse, String> {
    let format = match language {
        Language::Json => Format::Json,
        Language::Yaml => Format::Yaml,
        Language::Binary => {
            return prost::Message::decode(bytes)
                .map_err(|error| format!("not a DiscoveryResponse: {error}"));
        }
    };
    let text = std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8 text: {error}"))?;
    let document = Document::parse(text, format).map_err(|error| error.to_string())?;
    let policy = Policy { unknown_fields: UnknownFields::Collect, typed_structs: TypedStructs::Resolve };
    let decoded = sampan_api::decode::<DiscoveryResponse>(Descriptors::load(), &document, policy);
    decoded.map(|decoded| decoded.value).map_err(|errors| {
        const SHOWN: usize = 20;
        let more = errors.len().saturating_sub(SHOWN);
        let mut lines: Vec<String> = errors.iter().take(SHOWN).map(ToString::to_string).collect();
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        lines.join("; ")
    })
}
