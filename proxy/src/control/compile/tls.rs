//! `envoy.extensions.transport_sockets.tls.v3` -> certificates, rules and contexts ([`crate::tls`]).
//!
//! [`source`] reads data sources, [`secret`] certificates and secrets, [`validation`] what a peer must be, [`params`] versions and
//! algorithms, [`server`] and [`client`] the two kinds of context. A part that would make a connection less safe than
//! configured is refused; a part that rustls does better or not at all is in the support rows.

mod client;
mod params;
mod secret;
mod server;
mod source;
#[cfg(test)]
mod tests;
mod validation;

pub use client::{Options as UpstreamOptions, transports};
pub use secret::secret;
pub use server::transport_socket as downstream;
pub use source::{Files, Inputs, LocalCluster};

use sampan_api::{MessageSupport, Support};

const YES: Support = Support::Supported;
const REFUSED: Support = Support::Later("a context that sets it is refused");

/// What is read here; the parts have rows of their own.
pub const SUPPORT: &[&[MessageSupport]] = &[
    COMMON,
    client::SUPPORT,
    params::SUPPORT,
    secret::SUPPORT,
    server::SUPPORT,
    source::SUPPORT,
    validation::SUPPORT,
];

const COMMON: &[MessageSupport] = &[
    (
        "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext",
        &[
            ("tls_params", YES),
            ("tls_certificates", YES),
            ("tls_certificate_sds_secret_configs", YES),
            ("validation_context", YES),
            ("validation_context_sds_secret_config", YES),
            ("combined_validation_context", YES),
            ("alpn_protocols", YES),
            ("tls_certificate_provider_instance", REFUSED),
            ("tls_certificate_certificate_provider", REFUSED),
            ("tls_certificate_certificate_provider_instance", REFUSED),
            ("validation_context_certificate_provider", REFUSED),
            ("validation_context_certificate_provider_instance", REFUSED),
            ("custom_tls_certificate_selector", REFUSED),
            ("custom_handshaker", REFUSED),
            ("key_log", REFUSED),
        ],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext",
        &[
            ("default_validation_context", YES),
            ("validation_context_sds_secret_config", YES),
            ("validation_context_certificate_provider", REFUSED),
            ("validation_context_certificate_provider_instance", REFUSED),
        ],
    ),
];
