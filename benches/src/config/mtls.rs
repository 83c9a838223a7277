//! What makes two proxies a mesh's pair: certificates with SPIFFE names, and the TLS contexts that check them. Used by
//! [`super::envoy`] for the configuration, and by the runner, which writes the files before it starts a pair.

use super::{Setup, block};
use anyhow::{Context, Result};
use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use std::fmt::{self, Write};
use std::fs;
use std::path::Path;

/// The client's name.
const CLIENT: &str = "spiffe://bench.example/ns/default/sa/client";
/// The server's name.
const SERVER: &str = "spiffe://bench.example/ns/default/sa/server";

/// Issues a certificate (ECDSA, P-256) for either side by an authority of this moment, and writes `ca.pem`,
/// `client.pem`, `client.key`, `server.pem` and `server.key` into `dir`.
///
/// # Errors
/// A file cannot be written.
pub fn write_certificates(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    let key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    // Names that differ: a certificate whose issuer is called as it is itself passes for one that signs itself.
    authority.distinguished_name.push(DnType::CommonName, "bench authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(dir.join("ca.pem"), authority.self_signed(&key)?.pem()).context("writing certificates")?;
    let issuer = Issuer::new(authority, key);
    for (file, name) in [("client", CLIENT), ("server", SERVER)] {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, file);
        params.subject_alt_names.push(SanType::URI(Ia5String::try_from(name)?));
        fs::write(dir.join(format!("{file}.pem")), params.signed_by(&key, &issuer)?.pem())?;
        fs::write(dir.join(format!("{file}.key")), key.serialize_pem())?;
    }
    Ok(())
}

/// The transport socket of the listener.
pub(super) fn write_downstream(out: &mut String, setup: &Setup) -> fmt::Result {
    block(
        out,
        r#"
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true"#,
    )?;
    write_common(out, setup, "server", CLIENT)
}

/// The transport socket of the cluster.
pub(super) fn write_upstream(out: &mut String, setup: &Setup) -> fmt::Result {
    block(
        out,
        r#"
    transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          sni: outbound_.80_._.server.default.svc.cluster.local"#,
    )?;
    write_common(out, setup, "client", SERVER)
}

/// The server tells its application who calls, as a mesh has it.
pub(super) fn write_forwarded_certificate(out: &mut String) -> fmt::Result {
    block(
        out,
        "          forward_client_cert_details: APPEND_FORWARD\n          \
         set_current_client_cert_details: {subject: true, dns: true, uri: true}",
    )
}

fn write_common(out: &mut String, setup: &Setup, own: &str, peer: &str) -> fmt::Result {
    let dir = setup.certificates.display();
    writeln!(
        out,
        "          common_tls_context:
            alpn_protocols: [h2]
            tls_certificates:
            - {{certificate_chain: {{filename: {dir}/{own}.pem}}, private_key: {{filename: {dir}/{own}.key}}}}
            validation_context:
              trusted_ca: {{filename: {dir}/ca.pem}}
              match_typed_subject_alt_names: [{{san_type: URI, matcher: {{exact: \"{peer}\"}}}}]"
    )
}
