//! What of Envoy's configuration is supported, and what a configuration asks for beyond that.
//!
//! Every compile module keeps the rows of the messages that it reads; [`table`] joins them. The loader walks each
//! resource with the table, the admin server prints what it found (`/support`), and `docs/configuration.md` is generated
//! from the same rows.

#[cfg(test)]
mod tests;

use sampan_api::{Message, MessageSupport, Support, SupportTable, UnsupportedField, unsupported};
use sampan_filters::registry;

use super::compile;
use crate::admin::source::Unsupported;

/// The rows of every module that reads configuration.
const ROWS: &[&[&[MessageSupport]]] = &[
    compile::cluster::SUPPORT,
    compile::http::SUPPORT,
    compile::listener::SUPPORT,
    compile::network::SUPPORT,
    compile::route::SUPPORT,
    compile::tls::SUPPORT,
    compile::trace::SUPPORT,
    &[
        compile::access_log::SUPPORT,
        compile::access_log::service::SUPPORT,
        compile::bootstrap::SUPPORT,
        compile::custom_tag::SUPPORT,
        compile::endpoints::SUPPORT,
        compile::extension::SUPPORT,
        compile::format::SUPPORT,
        compile::headers::SUPPORT,
        compile::local_reply::SUPPORT,
        compile::matcher::SUPPORT,
        compile::runtime::SUPPORT,
        compile::source::SUPPORT,
        compile::stats_config::SUPPORT,
        compile::value::SUPPORT,
    ],
];

/// All rows.
pub fn table() -> SupportTable {
    SupportTable::new(ROWS.iter().copied().flatten().copied().flatten().chain(registry::support()))
}

/// The messages that have rows.
#[cfg(test)]
pub fn messages() -> impl Iterator<Item = &'static str> {
    ROWS.iter().copied().flatten().copied().flatten().chain(registry::support()).map(|(message, _)| *message)
}

/// What a resource asks for and does not get, besides what does no harm.
pub fn examine(message: &Message, resource: &str, table: &SupportTable) -> Vec<Unsupported> {
    unsupported(message, table)
        .into_iter()
        .map(|field| (field.path.clone(), reason(&field)))
        .map(|(field, reason)| Unsupported { resource: resource.to_owned(), field, reason })
        .collect()
}

fn reason(field: &UnsupportedField) -> String {
    match field.support {
        Some(Support::Ignored(reason)) => format!("ignored: {reason}"),
        Some(Support::Later(reason)) => format!("not supported yet: {reason}"),
        _ if field.field.is_empty() => format!("not supported: {}", field.value),
        _ => "not supported".to_owned(),
    }
}

/// `docs/configuration.md`.
pub fn document() -> String {
    format!(
        "# Supported configuration\n\nGenerated from the rows beside the code that reads each field; do not edit. A \
         message that is not listed is not supported.\n\n{}",
        table().markdown(sampan_api::Descriptors::load())
    )
}
