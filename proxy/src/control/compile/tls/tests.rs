#![allow(clippy::unwrap_used)]

use sampan_api::envoy::config::cluster::v3::Cluster;
use sampan_api::envoy::config::core::v3::TransportSocket;
use sampan_api::envoy::extensions::transport_sockets::tls::v3::Secret;

use super::*;
use crate::control::compile::testing::compiled;
use crate::tls::testing::{Leaf, Mint};

/// A PEM text as an inline string in YAML flow style.
fn inline(pem: &str) -> String {
    format!("{{inline_string: {}}}", serde_json::to_string(pem).unwrap())
}

fn certificate(mint: &Mint) -> String {
    let signed = Leaf::named("x").dns("x.example").sign(mint);
    format!("{{certificate_chain: {}, private_key: {}}}", inline(&signed.pem), inline(&signed.key))
}

fn server(fields: &str) -> Result<bool, Vec<String>> {
    let yaml = format!(
        "{{name: envoy.transport_sockets.tls, typed_config: {{'@type': \
         type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, {fields}}}}}"
    );
    compiled(&yaml, |proto: &TransportSocket, context, at| {
        downstream(proto, "listener.x", &context.tls, at).map(|socket| socket.unwrap().current().is_some())
    })
}

fn client(fields: &str, cluster: &str) -> Result<bool, Vec<String>> {
    let yaml = format!(
        "{{name: c, {cluster} transport_socket: {{name: envoy.transport_sockets.tls, typed_config: {{'@type': \
         type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, {fields}}}}}}}"
    );
    compiled(&yaml, |proto: &Cluster, context, at| {
        let options = UpstreamOptions { auto_sni: false, auto_san_validation: false };
        transports(proto, options, &context.tls, at).map(|transports| transports.any_tls())
    })
}

fn refused(outcome: Result<bool, Vec<String>>, path: &str, reason: &str) {
    let told = outcome.unwrap_err().join("\n");
    assert!(told.contains(path) && told.contains(reason), "{told}");
}

#[test]
fn a_server_needs_a_certificate_that_fits() {
    let mint = Mint::new("root");
    let good = certificate(&mint);
    assert_eq!(
        server(&format!("common_tls_context: {{tls_certificates: [{good}], alpn_protocols: [h2]}}")),
        Ok(true)
    );
    refused(server("common_tls_context: {}"), "common_tls_context", "No TLS certificates found");
    refused(server(""), "common_tls_context", "is required");
    let (one, two) = (Leaf::named("1").sign(&mint), Leaf::named("2").sign(&mint));
    let mixed = format!("{{certificate_chain: {}, private_key: {}}}", inline(&one.pem), inline(&two.key));
    let mixed = server(&format!("common_tls_context: {{tls_certificates: [{mixed}]}}"));
    let told = mixed.unwrap_err().join("\n");
    assert!(told.contains("tls_certificates[0]") && told.contains("does not belong"), "{told}");
    assert!(!told.contains("PRIVATE KEY") && !told.contains("BEGIN"), "{told}");
    refused(
        server(
            "common_tls_context: {tls_certificates: [{certificate_chain: {filename: /nonexistent}, private_key: {filename: /nonexistent}}]}",
        ),
        "tls_certificates[0].certificate_chain.filename",
        "cannot be read",
    );
}

#[test]
fn parameters_are_checked_by_name() {
    let good = certificate(&Mint::new("root"));
    let with = |params: &str| {
        server(&format!("common_tls_context: {{tls_certificates: [{good}], tls_params: {{{params}}}}}"))
    };
    assert_eq!(with("cipher_suites: ['ECDHE-ECDSA-AES256-GCM-SHA384', 'AES256-GCM-SHA384']"), Ok(true));
    assert_eq!(with("tls_minimum_protocol_version: TLSv1_0, ecdh_curves: [X25519, P-521]"), Ok(true));
    refused(with("cipher_suites: [NOPE]"), "tls_params.cipher_suites", "no such cipher suite");
    refused(with("cipher_suites: ['AES128-SHA']"), "tls_params.cipher_suites", "none of these can be used");
    refused(with("ecdh_curves: [P-999]"), "tls_params.ecdh_curves", "no such group");
    refused(with("tls_maximum_protocol_version: TLSv1_1"), "tls_maximum_protocol_version", "below 1.2");
    refused(
        with("tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_2"),
        "tls_maximum_protocol_version",
        "below the minimum",
    );
}

#[test]
fn rules_that_would_look_stricter_than_they_are_are_refused() {
    let mint = Mint::new("root");
    let good = certificate(&mint);
    let with = |context: &str| {
        server(&format!(
            "common_tls_context: {{tls_certificates: [{good}], validation_context: {{{context}}}}}"
        ))
    };
    let ca = inline(&mint.pem);
    let uri = "match_typed_subject_alt_names: [{san_type: URI, matcher: {prefix: 'spiffe://td/'}}]";
    assert_eq!(with(&format!("trusted_ca: {ca}, {uri}")), Ok(true));
    refused(with(uri), "validation_context", "without trusted CA is insecure");
    refused(with("trusted_ca: {inline_string: nothing}"), "trusted_ca", "no certificate");
    refused(
        with("verify_certificate_hash: [abc]"),
        "verify_certificate_hash[0]",
        "Invalid hex-encoded SHA-256",
    );
    refused(
        with("verify_certificate_spki: [abc]"),
        "verify_certificate_spki[0]",
        "Invalid base64-encoded SHA-256",
    );
    refused(
        with(&format!(
            "trusted_ca: {ca}, custom_validator_config: {{name: x, typed_config: {{'@type': type.googleapis.com/google.protobuf.Struct, value: {{}}}}}}"
        )),
        "custom_validator_config",
        "no such certificate validator",
    );
    refused(with("crl: {inline_string: x}"), "crl", "Failed to load CRL");
    let list = inline(&mint.revoking(&[1]));
    refused(with(&format!("crl: {list}")), "validation_context", "without trusted CA");
    assert_eq!(with(&format!("trusted_ca: {ca}, crl: {list}")), Ok(true));
    assert_eq!(with(&format!("trusted_ca: {ca}, crl: {{inline_bytes: ''}}")), Ok(true));
}

#[test]
fn secrets_are_referred_to_by_name() {
    let yaml = "common_tls_context: {tls_certificate_sds_secret_configs: [{name: nowhere}]}";
    refused(server(yaml), "tls_certificate_sds_secret_configs[0].name", "unknown static secret");
    let sds = "{name: default, sds_config: {ads: {}, resource_api_version: V3}}";
    let yaml = format!("common_tls_context: {{tls_certificate_sds_secret_configs: [{sds}]}}");
    assert_eq!(server(&yaml), Ok(false), "accepted, and serves nothing until the secret arrives");
}

#[test]
fn clients_are_checked_too() {
    let mint = Mint::new("root");
    let ca = inline(&mint.pem);
    let trusting = format!("common_tls_context: {{validation_context: {{trusted_ca: {ca}}}}}");
    assert_eq!(client(&format!("{trusting}, sni: a.example"), ""), Ok(true));
    assert_eq!(client("", ""), Ok(true), "with a warning");
    let istio = "outbound_.8080_._.reviews.default.svc.cluster.local";
    assert_eq!(client(&format!("{trusting}, sni: {istio}"), ""), Ok(true));
    refused(client("sni: 'a b'", ""), "typed_config.sni", "not a DNS name");
    let (one, two) = (certificate(&mint), certificate(&mint));
    refused(
        client(&format!("common_tls_context: {{tls_certificates: [{one}, {two}]}}"), ""),
        "common_tls_context",
        "Multiple TLS certificates",
    );
    let matches = "transport_socket_matches: [{name: m, match: {tlsMode: istio}, transport_socket: {name: x, typed_config: \
                   {'@type': type.googleapis.com/envoy.extensions.transport_sockets.starttls.v3.UpstreamStartTlsConfig}}}],";
    refused(client(&trusting, matches), "transport_socket_matches[0]", "STARTTLS is not supported");
}

#[test]
fn secrets_of_every_kind_are_read() {
    let mint = Mint::new("root");
    let read = |fields: &str| {
        compiled(&format!("{{name: s, {fields}}}"), |proto: &Secret, _, at| {
            secret(proto, &Files::default(), true, at)
                .map(|delivered| (delivered.secret.kind(), delivered.watch.is_some()))
        })
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, &mint.pem).unwrap();
    assert_eq!(read(&format!("tls_certificate: {}", certificate(&mint))), Ok(("tls_certificate", false)));
    assert_eq!(
        read(&format!("validation_context: {{trusted_ca: {{filename: '{}'}}}}", file.display())),
        Ok(("validation_context", true))
    );
    let key = "A".repeat(80);
    assert_eq!(
        read(&format!("session_ticket_keys: {{keys: [{{inline_string: {key}}}]}}")),
        Ok(("session_ticket_keys", false))
    );
    assert!(
        read("session_ticket_keys: {keys: [{inline_string: short}]}").unwrap_err()[0]
            .contains("must have 80")
    );
    assert!(read("").is_err());
}
