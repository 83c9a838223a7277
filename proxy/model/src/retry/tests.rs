//! Every condition, and ten thousand seeded requests that keep the rules.

use std::time::Duration;

use super::*;
use crate::route::{HeaderMatch, HeaderName, RequestView};

/// A head with headers alone.
#[derive(Default)]
struct Head(Vec<(&'static str, &'static str)>);

impl RequestView for Head {
    fn path(&self) -> &[u8] {
        b""
    }

    fn method(&self) -> &[u8] {
        b"GET"
    }

    fn authority(&self) -> &[u8] {
        b""
    }

    fn scheme(&self) -> &[u8] {
        b""
    }

    fn header_values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(|(known, _)| *known == name.as_str()).map(|(_, value)| value.as_bytes())
    }
}

fn state(on: &str) -> (RetryPolicy, RetryState) {
    let policy = RetryPolicy { on: Conditions::parse(on), ..RetryPolicy::default() };
    let state = RetryState::new(Some(&policy), &Head::default(), &Wishes::default()).unwrap();
    (policy, state)
}

fn responds(on: &str, status: u16, headers: &[(&'static str, &'static str)]) -> bool {
    let (policy, mut state) = state(on);
    let policy = RetryPolicy {
        status_codes: vec![418],
        headers: vec![HeaderMatch::new("x-again", crate::route::HeaderRule::Present(true))],
        ..policy
    };
    let head = Head(headers.to_vec());
    state.after_response(&policy, status, &head, Duration::ZERO, &mut fastrand::Rng::with_seed(1))
        != Decision::No
}

fn resets(on: &str, attempted: Attempted) -> bool {
    let (policy, mut state) = state(on);
    state.after_reset(&policy, attempted, &mut fastrand::Rng::with_seed(1)) != Decision::No
}

#[test]
fn responses() {
    assert!(responds("5xx", 500, &[]) && responds("5xx", 599, &[]) && !responds("5xx", 499, &[]));
    assert!(responds("gateway-error", 502, &[]) && !responds("gateway-error", 500, &[]));
    assert!(responds("retriable-4xx", 409, &[]) && !responds("retriable-4xx", 404, &[]));
    assert!(responds("retriable-status-codes", 418, &[]) && !responds("5xx", 418, &[]));
    assert!(
        responds("retriable-headers", 200, &[("x-again", "")]) && !responds("retriable-headers", 200, &[])
    );
    assert!(responds("unavailable", 200, &[("grpc-status", "14")]));
    assert!(
        !responds("unavailable", 200, &[("grpc-status", "13")])
            && !responds("5xx", 200, &[("grpc-status", "14")])
    );
    let limited = [("x-envoy-ratelimited", "true")];
    assert!(!responds("5xx", 503, &limited) && responds("envoy-ratelimited", 429, &limited));
}

#[test]
fn attempts_without_a_response() {
    let (sent, unsent) = (Attempted::Reset { sent: true }, Attempted::Reset { sent: false });
    assert!(resets("connect-failure", Attempted::ConnectFailure) && !resets("connect-failure", sent));
    assert!(resets("refused-stream", Attempted::RefusedStream) && !resets("refused-stream", unsent));
    assert!(resets("reset-before-request", unsent) && !resets("reset-before-request", sent));
    for on in ["reset", "5xx", "gateway-error"] {
        assert!(
            resets(on, sent) && resets(on, Attempted::PerTryTimeout) && resets(on, Attempted::ConnectFailure)
        );
        assert!(!resets(on, Attempted::Refused));
    }
}

#[test]
fn what_a_policy_covers() {
    let policy = RetryPolicy { on: Conditions::parse("reset"), ..RetryPolicy::default() };
    let mut state = RetryState::new(Some(&policy), &Head::default(), &Wishes::default()).unwrap();
    let reset = Attempted::Reset { sent: true };
    assert!(state.covers(reset) && !state.covers(Attempted::Refused));
    let late = state.after_reset(&policy, Attempted::Late, &mut fastrand::Rng::with_seed(1));
    assert!(matches!(late, Decision::Retry(_)), "whatever the conditions are");
    assert!(!state.covers(reset), "none is left");
}

#[test]
fn the_client_may_ask_for_more() {
    let new =
        |policy: Option<&RetryPolicy>, wishes: Wishes<'_>| RetryState::new(policy, &Head::default(), &wishes);
    assert!(new(None, Wishes { max_retries: "3", ..Wishes::default() }).is_none());
    let mut state = new(None, Wishes { on: "5xx", max_retries: "3", ..Wishes::default() }).unwrap();
    let policy = RetryPolicy::default();
    let mut rng = fastrand::Rng::with_seed(1);
    let decisions: Vec<bool> = (0..4)
        .map(|_| state.after_reset(&policy, Attempted::ConnectFailure, &mut rng) == Decision::LimitExceeded)
        .collect();
    assert_eq!(decisions, [false, false, false, true]);
    let wishes = Wishes {
        on: "retriable-status-codes,retriable-headers",
        status_codes: "404, 410",
        header_names: "X-No",
        ..Wishes::default()
    };
    let mut state = new(None, Wishes { max_retries: "9", ..wishes }).unwrap();
    let mut wants = |status, headers: &[(&'static str, &'static str)]| {
        state.after_response(&policy, status, &Head(headers.to_vec()), Duration::ZERO, &mut rng)
            != Decision::No
    };
    assert!(wants(410, &[]) && !wants(411, &[]) && wants(200, &[("x-no", "1")]));
}

#[test]
fn only_requests_that_match_are_retried() {
    let rule = HeaderMatch::new("x-mine", crate::route::HeaderRule::Present(true));
    let policy =
        RetryPolicy { on: Conditions::parse("5xx"), request_headers: vec![rule], ..RetryPolicy::default() };
    let new = |head: Head| RetryState::new(Some(&policy), &head, &Wishes::default());
    assert!(new(Head::default()).is_none() && new(Head(vec![("x-mine", "1")])).is_some());
}

#[test]
fn the_response_may_say_when() {
    let header = |name, format| ResetHeader { name: HeaderName::new(name), format };
    let limited = RateLimitedBackOff {
        headers: vec![
            header("retry-after", ResetFormat::Seconds),
            header("x-reset", ResetFormat::UnixTimestamp),
        ],
        max_interval: Duration::from_mins(1),
    };
    let wait = |headers: &[(&'static str, &'static str)]| {
        limited.wait(Duration::from_secs(1000), &Head(headers.to_vec()))
    };
    assert_eq!(wait(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
    assert_eq!(wait(&[("retry-after", "soon"), ("x-reset", "1030")]), Some(Duration::from_secs(30)));
    assert_eq!((wait(&[("retry-after", "61")]), wait(&[("x-reset", "999")]), wait(&[])), (None, None, None));
}

/// Whatever happens: no more retries than allowed, each wait within its bound, and nothing after an outcome that no condition names.
#[test]
fn histories_keep_the_rules() {
    for seed in 0..10_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let names = ["5xx", "reset", "connect-failure", "refused-stream", "unavailable", "gateway-error"];
        let on: Vec<&str> = names.iter().copied().filter(|_| rng.bool()).collect();
        let policy = RetryPolicy {
            on: Conditions::parse(&on.join(",")),
            retries: rng.u32(0..5),
            base_interval: Duration::from_millis(rng.u64(1..50)),
            max_interval: Duration::from_millis(rng.u64(50..300)),
            ..RetryPolicy::default()
        };
        let Some(mut state) = RetryState::new(Some(&policy), &Head::default(), &Wishes::default()) else {
            assert!(on.is_empty());
            continue;
        };
        let mut retries = 0;
        for _ in 0..10 {
            let decision = if rng.bool() {
                let statuses = [200, 404, 500, 503];
                let status = statuses[rng.usize(..4)];
                let decision =
                    state.after_response(&policy, status, &Head::default(), Duration::ZERO, &mut rng);
                assert!(status >= 500 || decision == Decision::No, "seed {seed}");
                decision
            } else {
                state.after_reset(&policy, Attempted::Reset { sent: rng.bool() }, &mut rng)
            };
            if let Decision::Retry(wait) = decision {
                let bound = policy.base_interval * (1 << retries);
                retries += 1;
                assert!(wait <= bound.min(policy.max_interval), "seed {seed}: {wait:?}");
            }
            assert!(retries <= policy.retries && state.done() == retries, "seed {seed}");
            assert!(decision != Decision::LimitExceeded || retries == policy.retries, "seed {seed}");
        }
    }
}
