//! What differs between the two variants: how the server serves them, and which rules a request keeps.

use super::client::Lane;
use super::server::Server;
use crate::protocol::{Delta, DeltaRequest, Machine, Response, Sotw, SotwRequest};

pub(super) trait Variant: Machine {
    const IS_DELTA: bool;
    fn type_url(request: &Self::Request) -> &str;
    fn with_node(request: &Self::Request) -> bool;
    /// Holds a request against what is known at the client's side.
    fn check(request: &Self::Request, lane: &mut Lane);
    fn serve(server: &mut Server, request: Self::Request);
    /// What the server sends next; a lazy one leaves things for later, or says them in odd ways.
    fn push(server: &mut Server, at: usize, is_lazy: bool) -> Option<Response>;
}

impl Variant for Sotw {
    const IS_DELTA: bool = false;

    fn type_url(request: &SotwRequest) -> &str {
        &request.type_url
    }

    fn with_node(request: &SotwRequest) -> bool {
        request.with_node
    }

    fn check(request: &SotwRequest, lane: &mut Lane) {
        assert_eq!(request.nonce, lane.nonce, "the last nonce of the stream is echoed");
        assert_eq!(*request.version, lane.version, "the version is the last that was accepted");
        assert!(!lane.is_waiting(), "a request with the nonce of a response that is not answered yet");
        let owed = lane.owed.pop_front();
        let refused = owed.as_ref().is_some_and(|(_, refused)| *refused);
        assert_eq!(request.error.is_some(), refused, "error_detail tells of a refusal, once");
        let mut seen = std::collections::BTreeSet::new();
        assert!(request.names.iter().all(|name| seen.insert(name)), "a name is said twice");
        let is_wanted = |name: &String| lane.wanted.contains(name);
        let is_farewell = lane.wanted.is_empty() && request.names == ["*"];
        assert!(is_farewell || request.names.iter().all(is_wanted), "a name that nobody wants");
        lane.has_spoken = true;
    }

    fn serve(server: &mut Server, request: SotwRequest) {
        server.serve_sotw(request);
    }

    fn push(server: &mut Server, at: usize, is_lazy: bool) -> Option<Response> {
        server.push_sotw(at, is_lazy)
    }
}

impl Variant for Delta {
    const IS_DELTA: bool = true;

    fn type_url(request: &DeltaRequest) -> &str {
        &request.type_url
    }

    fn with_node(request: &DeltaRequest) -> bool {
        request.with_node
    }

    fn check(request: &DeltaRequest, lane: &mut Lane) {
        match (request.nonce.is_empty(), lane.owed.pop_front()) {
            (true, owed) => {
                assert!(owed.is_none(), "an answer that is due goes out with the next request");
                assert!(request.error.is_none(), "a refusal of nothing");
            }
            (false, None) => panic!("{} is answered without a reason", request.nonce),
            (false, Some((nonce, refused))) => {
                assert_eq!(
                    (&request.nonce, request.error.is_some()),
                    (&nonce, refused),
                    "answers go in order"
                );
            }
        }
        if std::mem::replace(&mut lane.has_spoken, true) {
            assert!(request.initial_versions.is_empty(), "known versions belong to the first request");
        } else {
            assert!(!lane.is_waiting(), "what is in force depends on answers that are still out");
            let known = request.initial_versions.iter();
            let known: std::collections::BTreeMap<String, String> =
                known.map(|(name, version)| (name.to_string(), version.to_string())).collect();
            let held = lane.in_force.iter().map(|(name, held)| (name.clone(), held.version.clone()));
            assert_eq!(known, held.collect(), "what is reported is what is in force");
        }
        assert!(request.subscribe.iter().all(|name| lane.wanted.contains(name)), "a name that nobody wants");
        assert!(
            request.unsubscribe.iter().all(|name| !lane.wanted.contains(name)),
            "a wanted name is given up"
        );
    }

    fn serve(server: &mut Server, request: DeltaRequest) {
        server.serve_delta(request);
    }

    fn push(server: &mut Server, at: usize, is_lazy: bool) -> Option<Response> {
        server.push_delta(at, is_lazy)
    }
}
