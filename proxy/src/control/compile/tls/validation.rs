//! `CertificateValidationContext` -> [`Rules`].

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sampan_api::envoy::config::core::v3::DataSource;
use sampan_api::envoy::extensions::transport_sockets::tls::v3 as pb;
use sampan_api::envoy::extensions::transport_sockets::tls::v3::certificate_validation_context::TrustChainVerification;
use sampan_api::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use sampan_api::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use sampan_api::envoy::r#type::matcher::v3::StringMatcher;
use sampan_api::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use sampan_api::{MessageSupport, Support};

use super::super::{Scope, extension, matcher, value};
use super::source::{self, Files, Inputs};
use super::{REFUSED, YES, secret};
use crate::tls::certificate::sha256;
use crate::tls::context::RulesSource;
use crate::tls::files::Watch;
use crate::tls::material::{Authorities, revocation_lists};
use crate::tls::secrets::{Delivered, Secret};
use crate::tls::verify::{NameKind, NameRule, Rules, TrustDomains};

const SPIFFE: &str = "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig";

pub(super) const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext",
        &[
            ("trusted_ca", YES),
            ("watched_directory", YES),
            ("verify_certificate_spki", YES),
            ("verify_certificate_hash", YES),
            ("match_typed_subject_alt_names", YES),
            ("match_subject_alt_names", YES),
            ("crl", YES),
            ("allow_expired_certificate", YES),
            ("trust_chain_verification", YES),
            ("custom_validator_config", YES),
            ("only_verify_leaf_cert_crl", YES),
            ("max_verify_depth", YES),
            ("suppress_client_ca_list", YES),
            ("ca_certificate_provider_instance", REFUSED),
            ("system_root_certs", REFUSED),
            ("require_signed_certificate_timestamp", REFUSED),
        ],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher",
        &[("san_type", YES), ("matcher", YES), ("oid", YES)],
    ),
    (SPIFFE, &[("trust_domains", YES), ("trust_bundles", REFUSED)]),
    (
        "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig.TrustDomain",
        &[("name", YES), ("trust_bundle", YES)],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext.SystemRootCerts",
        &[("*", Support::Later("name the file of the system's certificates as trusted_ca"))],
    ),
];

/// The validation context of a TLS context, and whether SDS fills a part of it.
pub(super) fn compile(
    proto: Option<&ValidationContextType>,
    inputs: &Inputs,
    at: &Scope<'_>,
) -> Option<(RulesSource, bool)> {
    match proto {
        None => Some((RulesSource::default(), false)),
        Some(ValidationContextType::ValidationContext(context)) => {
            let at = at.field("validation_context");
            let delivered = delivered(context, "", &inputs.files(), false, &at)?;
            let Secret::Validation(rules) = &delivered.secret else { return None };
            if let Err(error) = rules.check() {
                return at.reject(error.to_string());
            }
            if delivered.watch.is_none() {
                return Some((RulesSource { fixed: Some(rules.clone()), dynamic: None }, false));
            }
            let slot = inputs.secrets.inline(delivered);
            Some((RulesSource { fixed: None, dynamic: Some(slot) }, false))
        }
        Some(ValidationContextType::ValidationContextSdsSecretConfig(config)) => {
            let at = at.field("validation_context_sds_secret_config");
            let (slot, sds) = secret::reference(config, inputs, &at)?;
            Some((RulesSource { fixed: None, dynamic: Some(slot) }, sds))
        }
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            combined_context(combined, inputs, &at.field("combined_validation_context"))
        }
        Some(_) => at.reject("certificate providers are not supported"),
    }
}

fn combined_context(
    proto: &pb::common_tls_context::CombinedCertificateValidationContext,
    inputs: &Inputs,
    at: &Scope<'_>,
) -> Option<(RulesSource, bool)> {
    let fixed = match &proto.default_validation_context {
        None => return at.field("default_validation_context").reject("is required"),
        Some(context) => rules(context, "", &inputs.files(), &at.field("default_validation_context"))?,
    };
    let Some(config) = &proto.validation_context_sds_secret_config else {
        return at.field("validation_context_sds_secret_config").reject("is required");
    };
    let (slot, sds) = secret::reference(config, inputs, &at.field("validation_context_sds_secret_config"))?;
    Some((RulesSource { fixed: Some(Arc::new(fixed)), dynamic: Some(slot) }, sds))
}

/// Reads a validation context, with the files to watch.
pub(super) fn delivered(
    proto: &pb::CertificateValidationContext,
    name: &str,
    files: &Files,
    watched: bool,
    at: &Scope<'_>,
) -> Option<Delivered> {
    let rules = rules(proto, name, files, at)?;
    let paths = source::files_of([proto.trusted_ca.as_ref(), proto.crl.as_ref()]);
    let watch = secret::watched_files(paths, proto.watched_directory.as_ref(), watched).map(|paths| {
        let (proto, name) = (proto.clone(), name.to_owned());
        Watch::new(paths, move || {
            secret::reading(|at| {
                self::rules(&proto, &name, &Files::default(), at)
                    .map(|rules| Secret::Validation(Arc::new(rules)))
            })
        })
    });
    Some(Delivered { secret: Secret::Validation(Arc::new(rules)), watch })
}

#[allow(deprecated)] // `match_subject_alt_names`
fn rules(
    proto: &pb::CertificateValidationContext,
    name: &str,
    files: &Files,
    at: &Scope<'_>,
) -> Option<Rules> {
    let before = at.rejects().len();
    refuse(proto, at);
    let mut rules = Rules {
        revoked_leaf_only: proto.only_verify_leaf_cert_crl,
        allow_expired: proto.allow_expired_certificate,
        accept_untrusted: proto.trust_chain_verification() == TrustChainVerification::AcceptUntrusted,
        max_depth: value::number(proto.max_verify_depth.as_ref()),
        suppress_authority_list: proto.suppress_client_ca_list,
        ..Rules::default()
    };
    if let Some(source) = &proto.trusted_ca {
        rules.authorities = authorities(source, name, files, &at.field("trusted_ca"));
    }
    if let Some(source) = &proto.crl {
        let at = at.field("crl");
        // None at all, as in Envoy: Istio's agent sends the field whether there is a list or not.
        if let Some(pem) = source::bytes(source, files, &at).filter(|pem| !pem.is_empty()) {
            rules.revoked_digest = sha256(&pem);
            match revocation_lists(&pem) {
                Ok(lists) => rules.revoked = lists.into_iter().map(Arc::new).collect(),
                Err(error) => drop(at.reject::<()>(format!("Failed to load CRL: {error}"))),
            }
        }
    }
    let list = at.field("verify_certificate_spki");
    for (index, pin) in proto.verify_certificate_spki.iter().enumerate() {
        rules.key_pins.extend(key_pin(pin, &list.index(index)));
    }
    let list = at.field("verify_certificate_hash");
    for (index, pin) in proto.verify_certificate_hash.iter().enumerate() {
        rules.certificate_pins.extend(certificate_pin(pin, &list.index(index)));
    }
    let list = at.field("match_typed_subject_alt_names");
    for (index, proto) in proto.match_typed_subject_alt_names.iter().enumerate() {
        rules.names.extend(name_rule(proto, &list.index(index)));
    }
    let list = at.field("match_subject_alt_names");
    for (index, proto) in proto.match_subject_alt_names.iter().enumerate() {
        for kind in [NameKind::Dns, NameKind::Uri, NameKind::Email, NameKind::Ip] {
            rules.names.extend(rule_of(kind, proto, &list.index(index)));
        }
    }
    rules.spiffe = spiffe(proto, files, at);
    (at.rejects().len() == before).then_some(rules)
}

fn refuse(proto: &pb::CertificateValidationContext, at: &Scope<'_>) {
    if proto.ca_certificate_provider_instance.is_some() {
        at.field("ca_certificate_provider_instance").reject::<()>("certificate providers are not supported");
    }
    if proto.system_root_certs.is_some() {
        at.field("system_root_certs").reject_value::<()>(
            "",
            "the system's certificates are not read by themselves",
            "name their file as trusted_ca, such as /etc/ssl/certs/ca-certificates.crt",
        );
    }
    if value::switch(proto.require_signed_certificate_timestamp.as_ref()) == Some(true) {
        at.field("require_signed_certificate_timestamp")
            .reject::<()>("certificate transparency is not supported");
    }
}

fn authorities(source: &DataSource, name: &str, files: &Files, at: &Scope<'_>) -> Option<Arc<Authorities>> {
    let pem = source::bytes(source, files, at)?;
    let path = source::path(Some(source));
    match Authorities::new(&pem, name, path) {
        Ok(authorities) => Some(Arc::new(authorities)),
        Err(error) => {
            at.reject_value("", format!("Failed to load trusted CA certificates from {path}: {error}"), "")
        }
    }
}

/// `verify_certificate_spki`: base64 of a SHA-256.
fn key_pin(pin: &str, at: &Scope<'_>) -> Option<[u8; 32]> {
    match STANDARD.decode(pin).ok().and_then(|bytes| bytes.try_into().ok()) {
        Some(hash) => Some(hash),
        None => at.reject_value(pin, "Invalid base64-encoded SHA-256", ""),
    }
}

/// `verify_certificate_hash`: a SHA-256 in hex, perhaps with colons.
fn certificate_pin(pin: &str, at: &Scope<'_>) -> Option<[u8; 32]> {
    let digits: Vec<u32> = pin.chars().filter(|c| *c != ':').filter_map(|c| c.to_digit(16)).collect();
    let clean = pin.chars().filter(|c| *c != ':').count() == digits.len();
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect();
    match (clean && digits.len() == 64).then(|| bytes.try_into().ok()).flatten() {
        Some(hash) => Some(hash),
        None => at.reject_value(pin, "Invalid hex-encoded SHA-256", ""),
    }
}

fn name_rule(proto: &pb::SubjectAltNameMatcher, at: &Scope<'_>) -> Option<NameRule> {
    let kind = match proto.san_type() {
        SanType::Dns => NameKind::Dns,
        SanType::Uri => NameKind::Uri,
        SanType::Email => NameKind::Email,
        SanType::IpAddress => NameKind::Ip,
        SanType::OtherName if proto.oid.is_empty() => {
            return at.field("oid").reject("an OTHER_NAME needs its OID");
        }
        SanType::OtherName => NameKind::Other(proto.oid.as_str().into()),
        SanType::Unspecified => return at.field("san_type").reject("the kind of name is not given"),
    };
    match &proto.matcher {
        Some(matcher) => rule_of(kind, matcher, &at.field("matcher")),
        None => at.field("matcher").reject("is required"),
    }
}

fn rule_of(kind: NameKind, proto: &StringMatcher, at: &Scope<'_>) -> Option<NameRule> {
    let exact_dns = match (&kind, &proto.match_pattern) {
        (NameKind::Dns, Some(MatchPattern::Exact(text))) => Some(text.as_str().into()),
        _ => None,
    };
    Some(NameRule { kind, pattern: matcher::string(proto, at)?, exact_dns })
}

/// `custom_validator_config`
fn spiffe(
    proto: &pb::CertificateValidationContext,
    files: &Files,
    at: &Scope<'_>,
) -> Option<Arc<TrustDomains>> {
    let custom = proto.custom_validator_config.as_ref()?;
    let at = at.field("custom_validator_config");
    let Some(any) = custom.typed_config.as_ref().filter(|any| extension::is(any, SPIFFE)) else {
        return at.reject_value(
            extension::shown(custom),
            "there is no such certificate validator",
            "envoy.tls.cert_validator.spiffe is supported",
        );
    };
    let at = at.field("typed_config");
    let config: pb::SpiffeCertValidatorConfig = value::payload(any, &at)?;
    if config.trust_bundles.is_some() {
        return at.field("trust_bundles").reject_value(
            "",
            "bundles in one document are not supported",
            "give each trust domain its trust_bundle",
        );
    }
    let list = at.field("trust_domains");
    let mut domains = TrustDomains::default();
    for (index, domain) in config.trust_domains.iter().enumerate() {
        let at = list.index(index);
        let Some(bundle) = &domain.trust_bundle else {
            return at.field("trust_bundle").reject("is required");
        };
        let authorities = authorities(bundle, &domain.name, files, &at.field("trust_bundle"))?;
        if domains.insert(domain.name.as_str().into(), authorities).is_some() {
            return at.field("name").reject_value(
                &domain.name,
                "Multiple trust bundles are given for one trust domain",
                "",
            );
        }
    }
    if domains.is_empty() {
        return list.reject("no trust domain is given");
    }
    Some(Arc::new(domains))
}
