//! What our verifiers and resolvers learn during a handshake and rustls does not pass on.
//!
//! rustls keeps neither the certificate that it refused nor the one that it presented as a server, and tells its peer an
//! alert that depends on the error's variant. So the verifiers answer with the variant that makes the right alert, and leave
//! the rest in a report. Verifiers are shared by all connections of a configuration; what ties a report to a connection is
//! that a poll of its handshake runs on one thread without interruption: [`observed`] puts the connection's report in
//! place before each poll and takes it away after.

use std::cell::RefCell;
use std::future::poll_fn;
use std::mem::take;
use std::pin::pin;
use std::sync::Arc;

use rustls::{AlertDescription, SignatureScheme};
use sampan_filters_api::info::CertificateInfo;

/// Why a peer's certificate was refused, as the counters sort it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The chain: issuer, validity, revocation, use.
    Chain,
    /// No name matches.
    Name,
    /// No pin matches.
    Pin,
}

/// A refused certificate.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What was wrong.
    pub cause: Cause,
    /// The same in words.
    pub reason: String,
}

/// What was learned.
#[derive(Default, Debug)]
pub struct Report {
    /// The certificate that was refused, and why.
    pub refusal: Option<Refusal>,
    /// The peer's certificate, refused or not.
    pub peer: Option<Arc<CertificateInfo>>,
    /// The certificate that was presented.
    pub local: Option<Arc<CertificateInfo>>,
    /// What the peer signed with.
    pub scheme: Option<SignatureScheme>,
    /// The peer's certificate was checked and found good.
    pub validated: bool,
    /// The alert that a refusal made.
    pub alert: Option<AlertDescription>,
}

thread_local! {
    static CURRENT: RefCell<Report> = RefCell::default();
}

/// Adds to the report of the handshake that is being polled.
pub(super) fn note(edit: impl FnOnce(&mut Report)) {
    CURRENT.with_borrow_mut(edit);
}

/// Runs a handshake and gathers what is noted meanwhile.
pub async fn observed<F: Future>(handshake: F) -> (F::Output, Report) {
    let mut handshake = pin!(handshake);
    let mut report = Report::default();
    let output = poll_fn(|cx| {
        CURRENT.set(take(&mut report));
        let polled = handshake.as_mut().poll(cx);
        report = CURRENT.take();
        polled
    })
    .await;
    (output, report)
}

/// Runs a check outside of a handshake and gathers what it notes.
pub(super) fn gather<T>(report: &mut Report, check: impl FnOnce() -> T) -> T {
    let before = CURRENT.replace(take(report));
    let result = check();
    *report = CURRENT.replace(before);
    result
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn interleaved_handshakes_do_not_mix() {
        let handshake = |scheme| {
            let mut polls = 0;
            observed(poll_fn(move |_| {
                polls += 1;
                if polls == 1 {
                    note(|report| report.scheme = Some(scheme));
                    return Poll::Pending;
                }
                note(|report| report.validated = true);
                Poll::Ready(())
            }))
        };
        let mut cx = Context::from_waker(Waker::noop());
        let mut one = Box::pin(handshake(SignatureScheme::ED25519));
        let mut two = Box::pin(handshake(SignatureScheme::RSA_PSS_SHA256));
        assert!(one.as_mut().poll(&mut cx).is_pending());
        assert!(two.as_mut().poll(&mut cx).is_pending());
        for (future, scheme) in
            [(&mut one, SignatureScheme::ED25519), (&mut two, SignatureScheme::RSA_PSS_SHA256)]
        {
            let Poll::Ready(((), report)) = future.as_mut().poll(&mut cx) else { panic!("not ready") };
            assert_eq!((report.scheme, report.validated), (Some(scheme), true));
        }
    }
}
