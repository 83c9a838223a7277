#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;

use sampan_filters_api::Address;
use sampan_filters_api::info::TlsInfo;
use sampan_model::route::StringMatch;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::net::io::Io;
use crate::reference::{Source, SourceKey, SourceSpec};
use crate::telemetry::stats::{Stats, StatsConfig, Writer};
use crate::tls::handshake::{self, Fault};
use crate::tls::params::{Parameters, Versions};
use crate::tls::secrets::{Delivered, SecretSource, Secrets};
use crate::tls::stats::TlsStats;
use crate::tls::testing::{Leaf, Mint};
use crate::tls::verify::{NameKind, NameRule};

fn parameters(tls12: bool, tls13: bool) -> Parameters {
    Parameters::new(Versions { tls12, tls13 }, &[], &[], &[])
}

fn inline(secrets: &Secrets, secret: Secret) -> Arc<Slot> {
    secrets.inline(Delivered { secret, watch: None })
}

fn identity_of(leaf: Leaf, mint: &Mint) -> Secret {
    Secret::Certificate(Arc::new(leaf.sign(mint).identity()))
}

fn trust(mint: &Mint) -> Rules {
    Rules { authorities: Some(mint.authorities()), ..Rules::default() }
}

fn server_spec(identity: Arc<Slot>, rules: RulesSource) -> ServerSpec {
    ServerSpec {
        scope: "listener.test".into(),
        parameters: parameters(true, true),
        alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        identities: vec![identity],
        rules,
        require_client_certificate: true,
        ticket_keys: None,
        stateless_resumption: true,
        stateful_resumption: true,
        session_timeout: None,
        full_scan: false,
        prefer_client_ciphers: false,
        dynamic: true,
    }
}

fn client_spec(identity: Option<Arc<Slot>>, rules: Rules, parameters: Parameters) -> ClientSpec {
    ClientSpec {
        scope: "cluster.test".into(),
        parameters,
        alpn: Vec::new(),
        identity,
        rules: RulesSource { fixed: Some(Arc::new(rules)), dynamic: None },
        sni: Some("server.example".into()),
        host_sni: false,
        sni_must_match: true,
        sessions: 8,
        dynamic: false,
    }
}

fn fixed(rules: Rules) -> RulesSource {
    RulesSource { fixed: Some(Arc::new(rules)), dynamic: None }
}

type Outcome = Result<TlsInfo, Fault>;

/// One handshake, and a byte each way: with TLS 1.3 a client learns only then whether the server took its certificate.
async fn shake(server: &ServerContext, client: &ClientContext, alpn: &[&[u8]]) -> (Outcome, Outcome) {
    let registry = Arc::new(Stats::new(&StatsConfig::default()).unwrap());
    let stats = TlsStats::new("test", &registry, Writer::CONTROL);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let peer = Address::Socket(address);
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut sni = None;
        let accepted = handshake::accept(server, stream.into(), &peer, &stats, &mut sni).await;
        let accepted = accepted.map_err(|failed| failed.fault)?;
        let _ = echo(&accepted.io, true).await;
        assert_eq!(sni.as_deref(), Some("server.example"));
        Ok(accepted.tls)
    };
    let ask = async {
        let io: Io = TcpStream::connect(address).await.unwrap().into();
        let connected = handshake::connect(client, io, &Peer::default(), &peer, alpn, &stats).await?;
        echo(&connected.io, false).await.map_err(Fault::Closed)?;
        Ok(connected.tls)
    };
    tokio::join!(serve, ask)
}

async fn echo(io: &Io, first: bool) -> std::io::Result<()> {
    let mut buffer = bytes::BytesMut::new();
    if first {
        io.write_all(b"x").await?;
    }
    if io.read(&mut buffer, 16).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    if !first {
        io.write_all(b"y").await?;
    }
    Ok(())
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn both_sides_learn_who_the_other_is() {
    run(async {
        let (mint, secrets) = (Mint::new("root"), Secrets::default());
        let server = inline(&secrets, identity_of(Leaf::named("server").dns("server.example"), &mint));
        let server = ServerContext::new(server_spec(server, fixed(trust(&mint))), &secrets).unwrap();
        for (tls12, tls13, version) in [(true, false, "TLSv1.2"), (false, true, "TLSv1.3")] {
            let identity =
                inline(&secrets, identity_of(Leaf::named("client").uri("spiffe://td/client"), &mint));
            let spec = client_spec(Some(identity), trust(&mint), parameters(tls12, tls13));
            let client = ClientContext::new(spec, &secrets).unwrap();
            let (accepted, connected) = shake(&server, &client, &[b"http/1.1"]).await;
            let (accepted, connected) = (accepted.unwrap(), connected.unwrap());
            assert_eq!((accepted.version, accepted.alpn.as_deref()), (version, Some(&b"http/1.1"[..])));
            assert_eq!(accepted.peer().unwrap().uri_sans, ["spiffe://td/client"]);
            assert_eq!(accepted.local.unwrap().subject, "CN=server");
            assert!(accepted.validated && connected.validated && !accepted.resumed);
            assert_eq!(connected.peer().unwrap().subject, "CN=server");
            assert_eq!(connected.local.unwrap().subject, "CN=client");
            let group = if tls13 { "X25519MLKEM768" } else { "X25519" };
            assert_eq!((accepted.group, connected.sni.as_deref()), (group, Some("server.example")));
            // The second time the session is resumed, with the same facts on both sides.
            let (accepted, connected) = shake(&server, &client, &[b"http/1.1"]).await;
            let (accepted, connected) = (accepted.unwrap(), connected.unwrap());
            assert!(accepted.resumed && connected.resumed, "{version}");
            assert!(accepted.validated && connected.validated);
            assert_eq!(accepted.peer().unwrap().uri_sans, ["spiffe://td/client"]);
            assert_eq!(connected.local.unwrap().subject, "CN=client");
            // Without a protocol in common, the connection has none.
            let (accepted, connected) = shake(&server, &client, &[b"istio"]).await;
            assert_eq!((accepted.unwrap().alpn, connected.unwrap().alpn), (None, None));
        }
    });
}

#[test]
fn a_client_without_certificate_or_with_the_wrong_one_is_refused() {
    run(async {
        let (mint, other, secrets) = (Mint::new("root"), Mint::new("other"), Secrets::default());
        let server = inline(&secrets, identity_of(Leaf::named("server").dns("server.example"), &mint));
        let rules = Rules {
            names: vec![NameRule {
                kind: NameKind::Uri,
                pattern: StringMatch::prefix("spiffe://td/", false),
                exact_dns: None,
            }],
            ..trust(&mint)
        };
        let server = ServerContext::new(server_spec(server, fixed(rules)), &secrets).unwrap();
        for (tls12, tls13) in [(true, false), (false, true)] {
            let mut tried = Vec::new();
            for leaf in [
                None,
                Some(identity_of(Leaf::named("x").uri("spiffe://td/x"), &other)),
                Some(identity_of(Leaf::named("x").uri("spiffe://no/x"), &mint)),
            ] {
                let identity = leaf.map(|leaf| inline(&secrets, leaf));
                let spec = client_spec(identity, trust(&mint), parameters(tls12, tls13));
                let client = ClientContext::new(spec, &secrets).unwrap();
                let (accepted, connected) = shake(&server, &client, &[]).await;
                assert!(connected.is_err());
                tried.push(accepted.unwrap_err().to_string());
            }
            assert_eq!(
                tried,
                [
                    "the peer presented no certificate",
                    "no trusted CA issued the certificate",
                    "no SAN of the certificate matches; it has spiffe://no/x",
                ]
            );
        }
    });
}

#[test]
fn a_context_serves_nothing_until_its_secrets_are_there_and_keeps_what_works() {
    run(async {
        let (mint, secrets) = (Mint::new("root"), Secrets::default());
        let source =
            Source { key: SourceKey("test".into()), spec: Arc::new(SourceSpec::Ads), fetch_timeout: None };
        let slot = secrets.slot(SecretSource::Sds(source.clone()), "default");
        let root = secrets.slot(SecretSource::Sds(source.clone()), "ROOTCA");
        let rules = RulesSource { fixed: Some(Arc::default()), dynamic: Some(root.clone()) };
        let server = ServerContext::new(server_spec(slot.clone(), rules), &secrets).unwrap();
        let identity = inline(&secrets, identity_of(Leaf::named("client"), &mint));
        let spec = client_spec(Some(identity), trust(&mint), parameters(true, true));
        let client = ClientContext::new(spec, &secrets).unwrap();
        let mut wanted: Vec<_> = secrets.wanted().into_iter().map(|(_, name)| name.to_string()).collect();
        wanted.sort();
        assert_eq!(wanted, ["ROOTCA", "default"]);
        let deliver =
            |name: &str, secret: Secret| secrets.update(&source.key, name, Delivered { secret, watch: None });
        let (accepted, connected) = shake(&server, &client, &[]).await;
        assert!(
            matches!(accepted, Err(Fault::NotReady(ref names)) if names.len() == 2) && connected.is_err()
        );
        deliver("default", identity_of(Leaf::named("one").dns("server.example"), &mint)).unwrap();
        assert!(server.current().is_none(), "one is still missing");
        deliver("ROOTCA", Secret::Validation(Arc::new(trust(&mint)))).unwrap();
        assert_eq!(shake(&server, &client, &[]).await.1.unwrap().peer().unwrap().subject, "CN=one");
        // A secret of the wrong kind, or rules that cannot be kept, change nothing.
        let error = deliver("default", Secret::Generic).unwrap_err().to_string();
        assert!(error.contains("generic_secret") && error.contains("listener.test"), "{error}");
        let nameless = Rules {
            names: vec![NameRule {
                kind: NameKind::Uri,
                pattern: StringMatch::exact("a", false),
                exact_dns: None,
            }],
            ..Rules::default()
        };
        assert!(deliver("ROOTCA", Secret::Validation(Arc::new(nameless))).is_err());
        assert_eq!(shake(&server, &client, &[]).await.1.unwrap().peer().unwrap().subject, "CN=one");
        // A new certificate serves the next handshake.
        deliver("default", identity_of(Leaf::named("two").dns("server.example"), &mint)).unwrap();
        let (accepted, connected) = shake(&server, &client, &[]).await;
        assert_eq!(connected.unwrap().peer().unwrap().subject, "CN=two");
        assert!(!accepted.unwrap().resumed, "sessions are not carried over");
        assert_eq!(secrets.inventory().iter().find(|c| c.is_server).unwrap().updates, 2);
        secrets.remove(&source.key, "default");
        assert!(server.current().is_none());
    });
}

#[test]
fn a_removed_authority_ends_resumption_too() {
    run(async {
        let (mint, next, secrets) = (Mint::new("root"), Mint::new("next"), Secrets::default());
        let server = inline(&secrets, identity_of(Leaf::named("server").dns("server.example"), &mint));
        let root = inline(&secrets, Secret::Validation(Arc::new(trust(&mint))));
        let rules = RulesSource { fixed: None, dynamic: Some(root.clone()) };
        // With keys from the configuration, tickets outlive a rebuild; they must not outlive their rules.
        let keys =
            Secret::TicketKeys(Arc::new(crate::tls::tickets::TicketKeys::new(vec![vec![7; 80]]).unwrap()));
        let spec = ServerSpec { ticket_keys: Some(inline(&secrets, keys)), ..server_spec(server, rules) };
        let server = ServerContext::new(spec, &secrets).unwrap();
        let identity = inline(&secrets, identity_of(Leaf::named("client"), &mint));
        let spec = client_spec(Some(identity), trust(&mint), parameters(false, true));
        let client = ClientContext::new(spec, &secrets).unwrap();
        assert!(!shake(&server, &client, &[]).await.0.unwrap().resumed);
        assert!(shake(&server, &client, &[]).await.0.unwrap().resumed);
        secrets.switch(&root, Some(Secret::Validation(Arc::new(trust(&mint))))).unwrap();
        assert!(shake(&server, &client, &[]).await.0.unwrap().resumed, "the same rules, read anew");
        secrets.switch(&root, Some(Secret::Validation(Arc::new(trust(&next))))).unwrap();
        let refused = shake(&server, &client, &[]).await.0.unwrap_err();
        assert_eq!(refused.to_string(), "no trusted CA issued the certificate");
    });
}

#[test]
fn a_server_is_called_by_the_first_name_there_is() {
    let secrets = Secrets::default();
    let spec = ClientSpec {
        host_sni: true,
        sni_must_match: false,
        ..client_spec(None, Rules::default(), parameters(true, true))
    };
    let context = ClientContext::new(spec, &secrets).unwrap();
    let current = context.current().unwrap();
    let called =
        |peer: Peer<'_>| context.start(&current, &peer).map(|start| start.sni.map(|sni| sni.to_string()));
    let all = Peer { requested: Some("asked"), hostname: "host", ..Peer::default() };
    assert_eq!(called(all), Ok(Some("asked".into())));
    assert_eq!(called(Peer { requested: None, ..all }), Ok(Some("host".into())));
    assert_eq!(called(Peer::default()), Ok(Some("server.example".into())));
    assert_eq!(called(Peer { requested: Some("10.0.0.1"), ..all }), Ok(None));
    let istio = "outbound_.8080_.v1_.reviews.default.svc.cluster.local";
    assert_eq!(called(Peer { requested: Some(istio), ..all }), Ok(Some(istio.into())));
    assert!(called(Peer { requested: Some("a b"), ..all }).is_err());
    assert!(secrets.inventory()[0].trusts_anybody);
}
