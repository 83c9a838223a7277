//! Handshakes of both sides: from a plain connection to one that encrypts, or to a [`Failure`] that says why not.
//!
//! Called by `listener/connection.rs` once the filter chain is chosen, and by `upstream/connect.rs` once the socket is open. The
//! callers hold the time limits; every failure is counted and told in one line here.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::{AlertDescription, CommonState, Error, HandshakeKind};
use sampan_filters_api::Address;
use sampan_filters_api::info::TlsInfo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, TlsStream, client};

use super::context::{ClientContext, Peer, ServerContext};
use super::report::{Refusal, Report, observed};
use super::stats::TlsStats;
use super::{certificate, params};
use crate::logging::target;
use crate::net::io::{Io, Records};

/// Why a handshake came to nothing.
#[derive(Debug)]
pub enum Fault {
    /// Our check of the peer's certificate.
    Refused(Refusal),
    /// The peer has no certificate and must have one.
    NoCertificate,
    /// The peer broke the protocol, or has nothing in common with us.
    Protocol(Error),
    /// The peer refused us.
    Alert(AlertDescription),
    /// The peer went away, or the connection broke.
    Closed(io::Error),
    /// It took too long.
    Timeout,
    /// These secrets have not arrived.
    NotReady(Vec<Arc<str>>),
    /// This is not a server name.
    Name(Box<str>),
}

impl Fault {
    /// The alert that the peer got, or that it sent.
    fn alert(&self) -> &'static str {
        match self {
            Self::Alert(alert) => alert_name(*alert),
            Self::Protocol(error) => sent_alert(error),
            Self::NoCertificate => "certificate_required",
            _ => "-",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => f.write_str(&refusal.reason),
            Self::NoCertificate => f.write_str("the peer presented no certificate"),
            Self::Protocol(error) => error.fmt(f),
            Self::Alert(alert) => write!(f, "the peer refused with alert {}", alert_name(*alert)),
            Self::Closed(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the peer closed the connection during the handshake")
            }
            Self::Closed(error) => error.fmt(f),
            Self::Timeout => f.write_str("the handshake took too long"),
            Self::NotReady(names) if names.is_empty() => f.write_str("a secret is missing"),
            Self::NotReady(names) => write!(f, "the secrets {} have not arrived", names.join(", ")),
            Self::Name(name) => write!(f, "{name:?} is not a server name"),
        }
    }
}

/// A handshake as a server that came to nothing.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub fault: Fault,
    /// What was learned until then.
    pub tls: TlsInfo,
}

/// A connection that encrypts.
pub struct Established {
    /// The connection.
    pub io: Io,
    /// What was settled on.
    pub tls: TlsInfo,
}

/// Answers a client.
///
/// # Errors
/// The fault, after it was counted and logged. What the client asked for goes into `sni` as soon as it is known.
pub async fn accept(
    context: &ServerContext,
    io: Io,
    peer: &Address,
    stats: &TlsStats,
    sni: &mut Option<Arc<str>>,
) -> Result<Established, Failed> {
    let Some(current) = context.current() else {
        io.reset_on_close();
        let fault = Fault::NotReady(context.missing());
        tell("downstream", peer, None, &fault, &Report::default());
        return Err(Failed { fault, tls: TlsInfo::default() });
    };
    let asked = &mut *sni;
    let mut began = false;
    let (stream, mut report) = observed(async {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), Records::from(io)).await?;
        began = true;
        let config = {
            let hello = start.client_hello();
            *asked = hello.server_name().map(Into::into);
            current.config(&hello)
        };
        start.into_stream(config).await
    })
    .await;
    let settled = stream.map_err(|error| fault(error, &mut report)).and_then(|stream| {
        let state = stream.get_ref().1;
        let resumed = state.handshake_kind() == Some(HandshakeKind::Resumed);
        if let (true, Some(verifier), Some([leaf, rest @ ..])) =
            (resumed, &current.verifier, state.peer_certificates())
        {
            recheck(&mut report, |now| verifier.verify_client_cert(leaf, rest, now).map(drop))?;
        }
        Ok(stream)
    });
    match settled {
        Ok(stream) => {
            let mut tls = info(stream.get_ref().1, &report);
            tls.sni.clone_from(sni);
            stats.succeeded(&tls, &report);
            Ok(Established { io: TlsStream::from(stream).into(), tls })
        }
        Err(fault) => {
            stats.failed(&fault);
            if began || !matches!(fault, Fault::Closed(_)) {
                tell("downstream", peer, sni.as_deref(), &fault, &report);
            } else {
                // A probe of the port, which never meant to shake hands.
                tracing::debug!(target: target::CONNECTION, "peer={peer} left before a handshake: {fault}");
            }
            let peer = report.peer.into_iter().collect();
            Err(Failed { fault, tls: TlsInfo { peer, local: report.local, ..TlsInfo::default() } })
        }
    }
}

/// Asks a server.
///
/// # Errors
/// The fault, after it was counted and logged.
pub async fn connect(
    context: &ClientContext,
    io: Io,
    peer: &Peer<'_>,
    address: &Address,
    alpn: &[&[u8]],
    stats: &TlsStats,
) -> Result<Established, Fault> {
    let asked = ask(context, Records::from(io), peer, alpn).await;
    match asked.outcome {
        Ok((stream, tls)) => {
            stats.succeeded(&tls, &asked.report);
            Ok(Established { io: TlsStream::from(stream).into(), tls })
        }
        Err(fault) => {
            stats.failed(&fault);
            tell("upstream", address, asked.sni.as_deref(), &fault, &asked.report);
            Err(fault)
        }
    }
}

/// What came of a handshake as a client.
pub struct Asked<S> {
    /// The stream that encrypts and what was settled on, or why there is none.
    pub outcome: Result<(client::TlsStream<S>, TlsInfo), Fault>,
    /// What was learned.
    pub report: Report,
    /// The server name that was sent.
    pub sni: Option<Arc<str>>,
}

impl<S> Asked<S> {
    fn not_begun(fault: Fault) -> Self {
        Self { outcome: Err(fault), report: Report::default(), sni: None }
    }
}

/// Makes a stream of any kind one that encrypts. Neither counts nor logs.
pub async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    context: &ClientContext,
    stream: S,
    peer: &Peer<'_>,
    alpn: &[&[u8]],
) -> Asked<S> {
    let Some(current) = context.current() else {
        return Asked::not_begun(Fault::NotReady(context.missing()));
    };
    let start = match context.start(&current, peer) {
        Ok(start) => start,
        Err(bad) => return Asked::not_begun(Fault::Name(bad.0)),
    };
    let names = |names: &[&[u8]]| names.iter().map(|protocol| protocol.to_vec()).collect();
    let alpn = match (peer.protocols, context.alpn()) {
        (Some(set), _) => names(set.names()),
        (None, []) => names(alpn),
        (None, configured) => configured.to_vec(),
    };
    let connector = TlsConnector::from(start.config);
    let handshake = connector.with_alpn(alpn).connect(start.name.clone(), stream);
    let (stream, mut report) = observed(handshake).await;
    let outcome = stream.map_err(|error| fault(error, &mut report)).and_then(|stream| {
        let state = stream.get_ref().1;
        let resumed = state.handshake_kind() == Some(HandshakeKind::Resumed);
        if let (true, Some([leaf, rest @ ..])) = (resumed, state.peer_certificates()) {
            recheck(&mut report, |now| {
                start.verifier.verify_server_cert(leaf, rest, &start.name, &[], now).map(drop)
            })?;
        }
        let mut tls = info(state, &report);
        tls.sni.clone_from(&start.sni);
        if tls.local.is_none() && tls.resumed {
            tls.local = current.identity().and_then(|identity| identity.leaf().cloned());
        }
        Ok((stream, tls))
    });
    Asked { outcome, report, sni: start.sni }
}

/// Checks the certificate of a resumed session by today's rules: it may have expired or been revoked since.
fn recheck(report: &mut Report, check: impl FnOnce(UnixTime) -> Result<(), Error>) -> Result<(), Fault> {
    let mut now_report = Report::default();
    let checked = super::report::gather(&mut now_report, || check(UnixTime::now()));
    report.validated = now_report.validated;
    report.peer = now_report.peer.or(report.peer.take());
    match (checked, now_report.refusal) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(refusal)) => Err(Fault::Refused(refusal)),
        (Err(error), None) => Err(Fault::Protocol(error)),
    }
}

/// What rustls and the report say of a failure.
fn fault(error: io::Error, report: &mut Report) -> Fault {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).cloned();
    match tls {
        None => Fault::Closed(error),
        Some(Error::AlertReceived(alert)) => Fault::Alert(alert),
        Some(Error::NoCertificatesPresented) => Fault::NoCertificate,
        Some(error) => match report.refusal.take() {
            Some(refusal) => Fault::Refused(refusal),
            None => Fault::Protocol(error),
        },
    }
}

fn info(state: &CommonState, report: &Report) -> TlsInfo {
    let peer = state.peer_certificates().unwrap_or_default();
    let known = |der: &CertificateDer<'_>| {
        report.peer.clone().filter(|peer| *peer.der == **der).or_else(|| certificate::parse(der).ok())
    };
    TlsInfo {
        version: state.protocol_version().map_or("", params::version_name),
        cipher: state.negotiated_cipher_suite().map_or("", |suite| params::cipher_name(suite.suite())),
        group: state.negotiated_key_exchange_group().map_or("", |group| params::group_name(group.name())),
        alpn: state.alpn_protocol().map(Into::into),
        sni: None,
        peer: peer.iter().filter_map(known).collect(),
        local: report.local.clone(),
        validated: report.validated,
        resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
        forwarded: std::sync::OnceLock::new(),
    }
}

/// One line for each failure.
pub fn tell(side: &str, peer: &Address, sni: Option<&str>, fault: &Fault, report: &Report) {
    let subject = report.peer.as_deref().map_or("-", |certificate| &certificate.subject);
    tracing::info!(
        target: target::CONNECTION,
        "TLS handshake failed: {side} peer={peer} sni={:?} alert={} reason={:?} certificate={subject:?}",
        sni.unwrap_or("-"),
        alert_of(fault, report),
        fault.to_string(),
    );
}

/// The alert that went with a failure.
fn alert_of(fault: &Fault, report: &Report) -> &'static str {
    match (fault, report.alert) {
        (Fault::Refused(_), Some(alert)) => alert_name(alert),
        _ => fault.alert(),
    }
}

/// The alert by which rustls tells its peer of an error.
fn sent_alert(error: &Error) -> &'static str {
    match error {
        Error::InvalidCertificate(error) => alert_name(AlertDescription::from(error.clone())),
        Error::PeerIncompatible(_) => "handshake_failure",
        Error::PeerMisbehaved(_) => "illegal_parameter",
        Error::InvalidMessage(_) => "decode_error",
        Error::NoApplicationProtocol => "no_application_protocol",
        Error::DecryptError => "bad_record_mac",
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "unexpected_message"
        }
        _ => "-",
    }
}

/// An alert as RFC 8446 names it.
fn alert_name(alert: AlertDescription) -> &'static str {
    use AlertDescription as A;
    match alert {
        A::CloseNotify => "close_notify",
        A::UnexpectedMessage => "unexpected_message",
        A::BadRecordMac => "bad_record_mac",
        A::RecordOverflow => "record_overflow",
        A::HandshakeFailure => "handshake_failure",
        A::BadCertificate => "bad_certificate",
        A::UnsupportedCertificate => "unsupported_certificate",
        A::CertificateRevoked => "certificate_revoked",
        A::CertificateExpired => "certificate_expired",
        A::CertificateUnknown => "certificate_unknown",
        A::IllegalParameter => "illegal_parameter",
        A::UnknownCA => "unknown_ca",
        A::AccessDenied => "access_denied",
        A::DecodeError => "decode_error",
        A::DecryptError => "decrypt_error",
        A::ProtocolVersion => "protocol_version",
        A::InsufficientSecurity => "insufficient_security",
        A::InternalError => "internal_error",
        A::UserCanceled => "user_canceled",
        A::MissingExtension => "missing_extension",
        A::UnsupportedExtension => "unsupported_extension",
        A::UnrecognisedName => "unrecognized_name",
        A::CertificateRequired => "certificate_required",
        A::NoApplicationProtocol => "no_application_protocol",
        _ => "another alert",
    }
}
