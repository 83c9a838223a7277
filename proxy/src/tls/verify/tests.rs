#![allow(clippy::unwrap_used)]

use rcgen::ExtendedKeyUsagePurpose;
use sampan_model::route::StringMatch;

use super::*;
use crate::tls::material::revocation_lists;
use crate::tls::params::Versions;
use crate::tls::report::{Report, gather};
use crate::tls::testing::{Leaf, Mint, Signed};

fn parameters() -> Parameters {
    Parameters::new(Versions { tls12: true, tls13: true }, &[], &[], &[])
}

fn trusting(mint: &Mint) -> Rules {
    Rules { authorities: Some(mint.authorities()), ..Rules::default() }
}

/// The outcome for a client: whether it was validated, or the cause and the alert.
fn judged(rules: &Rules, leaf: &Signed, intermediates: &[&[u8]]) -> Result<bool, (Cause, String)> {
    let verifier = PeerVerifier::for_clients(Arc::new(rules.clone()), &parameters(), true);
    let leaf = CertificateDer::from(leaf.der.clone());
    let rest: Vec<_> = intermediates.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
    let mut report = Report::default();
    let outcome = gather(&mut report, || verifier.verify_client_cert(&leaf, &rest, UnixTime::now()));
    match (outcome, report.refusal) {
        (Ok(_), _) => Ok(report.validated),
        (Err(_), Some(refusal)) => Err((refusal.cause, format!("{:?}", report.alert.unwrap()))),
        (Err(error), None) => panic!("an error without a reason: {error}"),
    }
}

fn refused(alert: &str) -> Result<bool, (Cause, String)> {
    Err((Cause::Chain, alert.to_owned()))
}

#[test]
fn chains_are_judged_with_the_right_alert() {
    let (root, other) = (Mint::new("root"), Mint::new("other"));
    let middle = root.below("middle");
    let rules = trusting(&root);
    let good = Leaf::named("good").sign(&root);
    assert_eq!(judged(&rules, &good, &[]), Ok(true));
    assert_eq!(judged(&rules, &Leaf::named("x").sign(&other), &[]), refused("UnknownCA"));
    assert_eq!(
        judged(&rules, &Leaf::named("x").valid(2000, 2001).sign(&root), &[]),
        refused("CertificateExpired")
    );
    assert_eq!(
        judged(&rules, &Leaf::named("x").valid(2080, 2081).sign(&root), &[]),
        refused("CertificateExpired")
    );
    let server_only = Leaf::named("x").purpose(ExtendedKeyUsagePurpose::ServerAuth).sign(&root);
    assert_eq!(judged(&rules, &server_only, &[]), refused("UnsupportedCertificate"));
    let below = Leaf::named("x").sign(&middle);
    assert_eq!(judged(&rules, &below, &[]), refused("UnknownCA"));
    assert_eq!(judged(&rules, &below, &[&middle.der]), Ok(true));
    let shallow = Rules { max_depth: Some(0), ..rules.clone() };
    assert_eq!(judged(&shallow, &good, &[]), Ok(true));
    assert_eq!(judged(&shallow, &below, &[&middle.der]), refused("UnknownCA"));
    let odd = Signed { pem: String::new(), key: String::new(), der: vec![0x30, 0x03, 1, 2, 3] };
    assert_eq!(judged(&rules, &odd, &[]), refused("BadCertificate"));
}

#[test]
fn an_authority_may_be_in_the_middle_or_the_certificate_itself() {
    let root = Mint::new("root");
    let middle = root.below("middle");
    assert_eq!(judged(&trusting(&middle), &Leaf::named("x").sign(&middle), &[]), Ok(true));
    let own = Signed { pem: root.pem.clone(), key: String::new(), der: root.der.clone() };
    assert_eq!(judged(&trusting(&root), &own, &[]), Ok(true));
}

#[test]
fn expired_certificates_pass_where_that_is_allowed() {
    let expired = Mint::expired("root");
    let leaf = Leaf::named("x").valid(2000, 2001).sign(&expired);
    assert_eq!(
        judged(&trusting(&expired), &Leaf::named("x").sign(&expired), &[]),
        refused("CertificateExpired")
    );
    assert_eq!(judged(&Rules { allow_expired: true, ..trusting(&expired) }, &leaf, &[]), Ok(true));
}

#[test]
fn revoked_certificates_are_refused() {
    let (root, other) = (Mint::new("root"), Mint::new("other"));
    let lists = |pem: String| revocation_lists(pem.as_bytes()).unwrap().into_iter().map(Arc::new).collect();
    let rules = Rules { revoked: lists(root.revoking(&[7])), ..trusting(&root) };
    assert_eq!(judged(&rules, &Leaf::named("x").serial(8).sign(&root), &[]), Ok(true));
    assert_eq!(judged(&rules, &Leaf::named("x").serial(7).sign(&root), &[]), refused("CertificateRevoked"));
    let rules = Rules { revoked: lists(other.revoking(&[7])), ..trusting(&root) };
    assert_eq!(judged(&rules, &Leaf::named("x").serial(8).sign(&root), &[]), refused("UnknownCA"));
}

fn rule(kind: NameKind, pattern: StringMatch) -> NameRule {
    NameRule { kind, pattern, exact_dns: None }
}

#[test]
fn names_match_by_kind() {
    let root = Mint::new("root");
    let leaf =
        Leaf::named("x").uri("spiffe://td/ns/a/sa/b").dns("*.example.com").ip([10, 1, 2, 3]).sign(&root);
    let judged = |rule: NameRule| judged(&Rules { names: vec![rule], ..trusting(&root) }, &leaf, &[]);
    let no = Err((Cause::Name, "CertificateUnknown".to_owned()));
    assert_eq!(judged(rule(NameKind::Uri, StringMatch::prefix("spiffe://td/", false))), Ok(true));
    assert_eq!(judged(rule(NameKind::Uri, StringMatch::prefix("spiffe://other/", false))), no);
    assert_eq!(
        judged(rule(NameKind::Dns, StringMatch::prefix("spiffe://td/", false))),
        no,
        "a URI is no DNS name"
    );
    assert_eq!(
        judged(rule(NameKind::Uri, StringMatch::suffix("example.com", false))),
        no,
        "nor the other way about"
    );
    assert_eq!(judged(rule(NameKind::Ip, StringMatch::exact("10.1.2.3", false))), Ok(true));
    let exact = NameRule {
        exact_dns: Some("a.example.com".into()),
        ..rule(NameKind::Dns, StringMatch::exact("a.example.com", false))
    };
    assert_eq!(judged(exact), Ok(true));
    assert_eq!(judged(rule(NameKind::Dns, StringMatch::suffix(".example.com", false))), Ok(true));
}

#[test]
fn a_nul_hides_nothing() {
    let root = Mint::new("root");
    let leaf = Leaf::named("x").uri("spiffe://td/a\0/evil").dns("good.example\0.evil.test").sign(&root);
    for rule in [
        rule(NameKind::Uri, StringMatch::prefix("spiffe://td/", false)),
        rule(NameKind::Dns, StringMatch::prefix("good.example", false)),
    ] {
        let rules = Rules { names: vec![rule], ..trusting(&root) };
        assert_eq!(judged(&rules, &leaf, &[]), Err((Cause::Name, "CertificateUnknown".to_owned())));
    }
}

#[test]
fn pins_are_alternatives() {
    let root = Mint::new("root");
    let (one, two) = (Leaf::named("one").sign(&root), Leaf::named("two").sign(&root));
    let rules = Rules {
        certificate_pins: vec![certificate::sha256(&one.der)],
        key_pins: vec![certificate::spki_sha256(&two.der).unwrap()],
        ..Rules::default()
    };
    assert_eq!(judged(&rules, &one, &[]), Ok(true));
    assert_eq!(judged(&rules, &two, &[]), Ok(true));
    let third = Leaf::named("three").sign(&root);
    assert_eq!(judged(&rules, &third, &[]), Err((Cause::Pin, "CertificateUnknown".to_owned())));
}

#[test]
fn the_untrusted_are_let_in_where_that_is_configured_but_not_as_validated() {
    let (root, other) = (Mint::new("root"), Mint::new("other"));
    let rules = Rules { accept_untrusted: true, ..trusting(&root) };
    assert_eq!(judged(&rules, &Leaf::named("x").sign(&other), &[]), Ok(false));
    assert_eq!(judged(&rules, &Leaf::named("x").sign(&root), &[]), Ok(true));
}

#[test]
fn a_trust_domain_chooses_its_authorities() {
    let (one, two) = (Mint::new("one"), Mint::new("two"));
    let mut domains = TrustDomains::default();
    domains.insert("one.test".into(), one.authorities());
    domains.insert("two.test".into(), two.authorities());
    let rules = Rules { spiffe: Some(Arc::new(domains)), ..Rules::default() };
    let signed = |uri: &str, mint: &Mint| Leaf::named("x").uri(uri).sign(mint);
    assert_eq!(judged(&rules, &signed("spiffe://one.test/a", &one), &[]), Ok(true));
    assert_eq!(judged(&rules, &signed("spiffe://two.test/a", &two), &[]), Ok(true));
    assert_eq!(judged(&rules, &signed("spiffe://one.test/a", &two), &[]), refused("UnknownCA"));
    assert_eq!(judged(&rules, &signed("spiffe://three.test/a", &one), &[]), refused("UnknownCA"));
    assert_eq!(judged(&rules, &signed("https://one.test/a", &one), &[]), refused("AccessDenied"));
    let two_names = Leaf::named("x").uri("spiffe://one.test/a").uri("spiffe://one.test/b").sign(&one);
    assert_eq!(judged(&rules, &two_names, &[]), refused("AccessDenied"));
    let authority = Signed { pem: String::new(), key: String::new(), der: one.der.clone() };
    assert_eq!(judged(&rules, &authority, &[]), refused("UnsupportedCertificate"));
}

#[test]
fn servers_are_checked_by_the_name_they_are_called() {
    let root = Mint::new("root");
    let leaf = Leaf::named("x").dns("a.example").ip([127, 0, 0, 1]).sign(&root);
    let der = CertificateDer::from(leaf.der.clone());
    let verified = |by_name: bool, name: &str| {
        let rules = Rules {
            names: vec![rule(NameKind::Dns, StringMatch::exact("a.example", false))],
            ..trusting(&root)
        };
        let verifier = PeerVerifier::for_servers(Arc::new(rules), &parameters(), by_name);
        let name = ServerName::try_from(name).unwrap();
        verifier.verify_server_cert(&der, &[], &name, &[], UnixTime::now()).is_ok()
    };
    assert!(verified(false, "b.example"), "only configured names count");
    assert!(!verified(true, "b.example"));
    assert!(verified(true, "A.example"));
    assert!(verified(true, "127.0.0.1"));
    assert!(!verified(true, "127.0.0.2"));
    let client_only =
        Leaf::named("x").dns("a.example").purpose(ExtendedKeyUsagePurpose::ClientAuth).sign(&root);
    let verifier = PeerVerifier::for_servers(Arc::new(trusting(&root)), &parameters(), false);
    let name = ServerName::try_from("a.example").unwrap();
    let der = CertificateDer::from(client_only.der);
    assert!(verifier.verify_server_cert(&der, &[], &name, &[], UnixTime::now()).is_err());
}

#[test]
fn rules_that_differ_have_other_digests() {
    let (root, other) = (Mint::new("root"), Mint::new("other"));
    let rules = trusting(&root);
    assert_eq!(rules.digest(), trusting(&root).digest());
    assert_ne!(rules.digest(), trusting(&other).digest());
    let named = Rules { names: vec![rule(NameKind::Uri, StringMatch::exact("a", false))], ..trusting(&root) };
    assert_ne!(rules.digest(), named.digest());
    assert_ne!(rules.digest(), Rules { revoked_digest: [1; 32], ..trusting(&root) }.digest());
}
