//! A small certificate authority whose certificates lie in files, and clients that speak TLS and tell how it went.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, version};

use super::PATIENCE;

/// An authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

/// What a certificate is to have.
#[derive(Clone, Copy, Default)]
pub struct Wanted<'w> {
    /// URI SANs.
    pub uris: &'w [&'w str],
    /// DNS SANs.
    pub dns: &'w [&'w str],
    /// The first and last year of its validity; around now if `None`.
    pub years: Option<(i32, i32)>,
    /// Its serial number; a random one if `None`.
    pub serial: Option<u64>,
}

impl Authority {
    /// A root with this common name.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self { issuer: Issuer::new(params, key), pem, der }
    }

    /// Writes the certificate of the authority to `dir/<name>.pem`.
    pub fn save(&self, dir: &Path, name: &str) {
        put(&dir.join(format!("{name}.pem")), &self.pem);
    }

    /// Issues a certificate and writes it and its key to `dir/<name>.pem` and `dir/<name>.key`.
    pub fn issue(&self, dir: &Path, name: &str, wanted: Wanted<'_>) {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let text = |name: &str| Ia5String::try_from(name).expect("ASCII");
        params.subject_alt_names.extend(wanted.uris.iter().map(|&uri| SanType::URI(text(uri))));
        params.subject_alt_names.extend(wanted.dns.iter().map(|&name| SanType::DnsName(text(name))));
        if let Some((first, last)) = wanted.years {
            params.not_before = date_time_ymd(first, 1, 1);
            params.not_after = date_time_ymd(last, 1, 1);
        }
        params.serial_number = wanted.serial.map(SerialNumber::from);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        put(&dir.join(format!("{name}.key")), &key.serialize_pem());
        put(&dir.join(format!("{name}.pem")), &certificate.pem());
    }

    /// Writes a revocation list with one serial number to `dir/<name>.pem`.
    pub fn revoke(&self, dir: &Path, name: &str, serial: u64) {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect("a list").pem().expect("PEM");
        put(&dir.join(format!("{name}.pem")), &list);
    }
}

/// Replaces a file at once, as those who rotate certificates do.
fn put(path: &Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).expect("the directory is writable");
    std::fs::rename(&next, path).expect("the directory is writable");
}

/// A client and what it offers.
#[derive(Clone)]
pub struct TlsClient {
    dir: PathBuf,
    roots: Arc<RootCertStore>,
    identity: Option<String>,
    versions: Vec<&'static SupportedProtocolVersion>,
    alpn: Vec<Vec<u8>>,
    sni: &'static str,
}

/// How a conversation went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A response: TLS version, ALPN, status and the value of `x-echo`.
    Answered {
        /// `TLSv1_3`
        version: String,
        /// The settled protocol; empty if none.
        alpn: String,
        /// Status.
        status: u16,
        /// What the proxy knows of the client.
        echo: String,
        /// The serial number of the server's certificate, or any other bytes that tell it from others.
        server: Vec<u8>,
        /// The session was resumed.
        resumed: bool,
    },
    /// The proxy refused with this alert.
    Alert(String),
    /// The connection was closed or reset without an alert.
    Closed,
    /// The client refused the proxy.
    Refused(String),
}

impl TlsClient {
    /// A client that trusts `authority` and finds its certificates in `dir`.
    pub fn new(dir: &Path, authority: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der.clone()).expect("a root");
        Self {
            dir: dir.to_owned(),
            roots: Arc::new(roots),
            identity: None,
            versions: vec![&version::TLS12, &version::TLS13],
            alpn: Vec::new(),
            sni: "server.example",
        }
    }

    /// With the certificate `<name>.pem`.
    pub fn identity(mut self, name: &str) -> Self {
        self.identity = Some(name.to_owned());
        self
    }

    /// Speaks TLS 1.2 only.
    pub fn only_12(mut self) -> Self {
        self.versions = vec![&version::TLS12];
        self
    }

    /// Speaks TLS 1.3 only.
    pub fn only_13(mut self) -> Self {
        self.versions = vec![&version::TLS13];
        self
    }

    /// Offers a protocol.
    pub fn alpn(mut self, protocol: &str) -> Self {
        self.alpn.push(protocol.as_bytes().to_vec());
        self
    }

    /// The rustls configuration; connections that share one may resume.
    pub fn config(&self) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .expect("versions")
            .with_root_certificates(self.roots.clone());
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let read = |end: &str| {
                    std::fs::read(self.dir.join(format!("{name}.{end}"))).expect("an issued certificate")
                };
                let chain = CertificateDer::pem_slice_iter(&read("pem")).collect::<Result<_, _>>();
                let key = PrivateKeyDer::from_pem_slice(&read("key")).expect("a key");
                builder.with_client_auth_cert(chain.expect("a chain"), key).expect("an identity")
            }
        };
        config.alpn_protocols.clone_from(&self.alpn);
        Arc::new(config)
    }

    /// One GET on a connection of its own.
    pub fn get(&self, port: u16) -> Outcome {
        self.get_with(&self.config(), port)
    }

    /// One GET with a shared configuration.
    pub fn get_with(&self, config: &Arc<ClientConfig>, port: u16) -> Outcome {
        match self.connect(config, port) {
            Ok(mut stream) => stream.get(),
            Err(outcome) => outcome,
        }
    }

    /// Opens a connection and makes the handshake.
    ///
    /// # Errors
    /// How it failed.
    pub fn connect(&self, config: &Arc<ClientConfig>, port: u16) -> Result<TlsWire, Outcome> {
        let name = ServerName::try_from(self.sni).expect("a name");
        let connection = ClientConnection::new(config.clone(), name).expect("a configuration");
        let socket = TcpStream::connect(("127.0.0.1", port)).map_err(|_| Outcome::Closed)?;
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut wire = TlsWire { stream: rustls::StreamOwned::new(connection, socket) };
        while wire.stream.conn.is_handshaking() {
            let stream = &mut wire.stream;
            stream.conn.complete_io(&mut stream.sock).map_err(outcome)?;
        }
        Ok(wire)
    }
}

/// A connection that encrypts.
pub struct TlsWire {
    stream: rustls::StreamOwned<ClientConnection, TcpStream>,
}

impl TlsWire {
    /// One GET.
    pub fn get(&mut self) -> Outcome {
        let request = "GET / HTTP/1.1\r\nhost: server.example\r\nx-forwarded-client-cert: By=forged\r\n\r\n";
        if let Err(error) = self.stream.write_all(request.as_bytes()) {
            // What the proxy said comes before the end of the connection.
            return self.read_head().err().map_or_else(|| outcome(error), outcome);
        }
        let head = match self.read_head() {
            Ok(head) => head,
            Err(error) => return outcome(error),
        };
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
        let echo = lines.find_map(|line| line.strip_prefix("x-echo: ")).unwrap_or_default().to_owned();
        let connection = &self.stream.conn;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Outcome::Answered {
            version: connection.protocol_version().map(|v| format!("{v:?}")).unwrap_or_default(),
            alpn: connection.alpn_protocol().map(text).unwrap_or_default(),
            status,
            echo,
            server: connection.peer_certificates().map(|chain| chain[0].to_vec()).unwrap_or_default(),
            resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        }
    }

    fn read_head(&mut self) -> std::io::Result<String> {
        let mut head = Vec::new();
        let mut buffer = [0; 1024];
        while !head.windows(4).any(|window| window == b"\r\n\r\n") {
            match self.stream.read(&mut buffer)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                n => head.extend_from_slice(&buffer[..n]),
            }
        }
        Ok(String::from_utf8_lossy(&head).into_owned())
    }
}

fn outcome(error: std::io::Error) -> Outcome {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => Outcome::Alert(format!("{alert:?}")),
        Some(other) => Outcome::Refused(other.to_string()),
        None => Outcome::Closed,
    }
}
