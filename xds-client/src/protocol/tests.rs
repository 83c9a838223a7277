//! Single rules, spelled out: what the simulation checks in the large is shown here in the small.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::event::{Content, Names, Resource, TypeUrl};

const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const EDS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
const VHDS: &str = "type.googleapis.com/envoy.config.route.v3.VirtualHost";

struct Side<M> {
    machine: M,
    now: Instant,
}

impl<M: Machine> Side<M> {
    fn open() -> Self {
        let mut machine = M::new(None, true);
        machine.open(true);
        Self { machine, now: Instant::now() }
    }

    fn want(&mut self, type_url: &str, names: Names) {
        let type_url: TypeUrl = type_url.into();
        self.machine.subscribe(&type_url, &names, Duration::ZERO, self.now);
    }

    fn leave(&mut self, type_url: &str, name: &str) {
        self.machine.unsubscribe(type_url, &[name.to_owned()]);
    }

    fn said(&mut self) -> Vec<M::Request> {
        std::iter::from_fn(|| self.machine.next_request(self.now)).collect()
    }

    fn hear(&mut self, type_url: &str, nonce: &str, resources: &[&str]) -> Option<Delivery> {
        let version: Arc<str> = format!("v-{nonce}").into();
        let resources = resources.iter().map(|name| Resource {
            name: (*name).into(),
            aliases: Vec::new(),
            version: Arc::clone(&version),
            type_url: type_url.into(),
            body: bytes::Bytes::new(),
            ttl: None,
        });
        let response = Response {
            type_url: type_url.into(),
            nonce: nonce.into(),
            resources: resources.collect(),
            version: Arc::clone(&version),
            ..Response::default()
        };
        match self.machine.receive(response, self.now) {
            Received::Deliver(delivery) => Some(delivery),
            _ => None,
        }
    }

    fn accept(&mut self, delivery: &Delivery) {
        self.machine.answer(delivery.ticket, Answer::Accept, self.now);
    }
}

fn these(names: &[&str]) -> Names {
    Names::These(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn state_of_the_world_goes_from_wildcard_to_names_and_back() {
    let mut side = Side::<Sotw>::open();
    let names = |side: &mut Side<Sotw>| side.said().into_iter().map(|one| one.names).collect::<Vec<_>>();
    side.want(CDS, Names::Wildcard);
    assert_eq!(names(&mut side), [Vec::<String>::new()], "at first the wildcard is no names");
    side.want(CDS, these(&["b", "a"]));
    assert_eq!(names(&mut side), [["*", "a", "b"]]);
    side.leave(CDS, "*");
    assert_eq!(names(&mut side), [["a", "b"]]);
    side.leave(CDS, "a");
    side.leave(CDS, "b");
    assert_eq!(names(&mut side), [Vec::<String>::new()], "now no names are nothing");
    side.want(CDS, Names::Wildcard);
    assert_eq!(names(&mut side), [["*"]], "so the wildcard must be named");
}

#[test]
fn leaving_the_first_wildcard_takes_two_requests() {
    let mut side = Side::<Sotw>::open();
    side.want(CDS, Names::Wildcard);
    side.said();
    side.leave(CDS, "*");
    let names = |side: &mut Side<Sotw>| side.said().into_iter().map(|one| one.names).collect::<Vec<_>>();
    let farewell = [vec!["*".to_owned()], Vec::new()];
    assert_eq!(names(&mut side), farewell);
    assert!(side.hear(CDS, "1", &["a"]).is_none(), "nobody wants it");
    assert_eq!(
        names(&mut side),
        farewell,
        "the server had sent before it could hear that, and took it for stale"
    );
}

#[test]
fn a_name_given_up_and_wanted_again_is_announced_again() {
    let mut side = Side::<Sotw>::open();
    side.want(EDS, these(&["a", "b"]));
    side.said();
    side.leave(EDS, "a");
    side.want(EDS, these(&["a"]));
    let names: Vec<_> = side.said().into_iter().map(|one| one.names).collect();
    assert_eq!(names, [vec!["b"], vec!["a", "b"]]);

    let mut side = Side::<Delta>::open();
    side.want(EDS, these(&["a", "b"]));
    side.said();
    side.leave(EDS, "a");
    side.want(EDS, these(&["a"]));
    let said = side.said();
    assert_eq!((&said[0].subscribe, said[0].unsubscribe.len()), (&vec!["a".to_owned()], 0));
}

#[test]
fn delta_names_the_wildcard_as_soon_as_there_are_other_names() {
    let mut side = Side::<Delta>::open();
    side.want(CDS, Names::Wildcard);
    assert!(side.said()[0].subscribe.is_empty());
    side.want(CDS, these(&["a"]));
    assert_eq!(side.said()[0].subscribe, ["a", "*"]);
    side.leave(CDS, "*");
    assert_eq!(side.said()[0].unsubscribe, ["*"]);
}

#[test]
fn children_wait_for_their_parents_update_and_others_do_not() {
    let mut side = Side::<Delta>::open();
    side.want(CDS, Names::Wildcard);
    side.said();
    let update = side.hear(CDS, "1", &["a", "b"]).unwrap();
    side.want(EDS, these(&["a"]));
    side.want("type.googleapis.com/envoy.service.runtime.v3.Runtime", these(&["r"]));
    let types: Vec<_> = side.said().into_iter().map(|one| one.type_url).collect();
    assert_eq!(types.len(), 1, "{types:?}");
    assert!(types[0].ends_with("Runtime"));
    side.want(EDS, these(&["b"]));
    side.accept(&update);
    let said = side.said();
    assert_eq!((&*said[0].type_url, said[0].nonce.as_str()), (CDS, "1"), "the parent is answered first");
    assert_eq!((&*said[1].type_url, &said[1].subscribe), (EDS, &vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn only_what_was_asked_for_is_handed_over() {
    let mut side = Side::<Delta>::open();
    side.want(EDS, these(&["a"]));
    side.want(VHDS, these(&["routes"]));
    side.said();
    let names = |delivery: Option<Delivery>| match delivery.unwrap().content {
        Content::Full(resources) | Content::Delta { resources, .. } => {
            resources.into_iter().map(|one| one.name).collect::<Vec<_>>()
        }
    };
    assert_eq!(names(side.hear(EDS, "1", &["a", "b", "a/x"])), ["a"]);
    let hosts = side.hear(VHDS, "2", &["routes/host.example", "other/host.example"]);
    assert_eq!(
        names(hosts),
        ["routes/host.example"],
        "a route configuration's virtual hosts have its name in front"
    );
    assert!(side.hear(CDS, "3", &["a"]).is_none());
}

#[test]
fn a_late_answer_counts_for_the_version_and_is_sent_to_nobody() {
    let mut side = Side::<Sotw>::open();
    side.want(CDS, Names::Wildcard);
    side.said();
    let update = side.hear(CDS, "1", &["a"]).unwrap();
    side.machine.close();
    side.machine.open(true);
    assert!(side.said().is_empty(), "what to report depends on the answer that is still out");
    side.accept(&update);
    let said = side.said();
    assert_eq!((&*said[0].version, said[0].nonce.as_str()), ("v-1", ""));
    assert!(said[0].with_node && said.len() == 1);
}

#[test]
fn with_two_responses_out_only_the_newer_one_is_answered() {
    let mut side = Side::<Sotw>::open();
    side.want(CDS, Names::Wildcard);
    side.said();
    let one = side.hear(CDS, "1", &["a"]).unwrap();
    let two = side.hear(CDS, "2", &["a"]).unwrap();
    side.accept(&one);
    assert!(side.said().is_empty());
    side.machine.answer(two.ticket, Answer::Reject { detail: "no".into(), refused: Vec::new() }, side.now);
    let said = side.said();
    let last = (&*said[0].version, said[0].nonce.as_str(), said[0].error.as_deref());
    assert_eq!(last, ("v-1", "2", Some("no")));
}

#[test]
fn zero_waits_for_ever_and_a_removal_ends_the_wait() {
    let mut side = Side::<Delta>::open();
    side.want(EDS, these(&["patient"]));
    assert_eq!(side.machine.deadline(), None);
    let type_url: TypeUrl = EDS.into();
    let second = Duration::from_secs(1);
    side.machine.subscribe(&type_url, &these(&["late", "gone"]), second, side.now);
    let removed = Response { type_url: EDS.into(), removed: vec!["gone".into()], ..Response::default() };
    side.machine.receive(removed, side.now);
    assert!(side.machine.expire(side.now + second / 2).is_empty());
    let late = Notice::FetchTimeout(type_url, vec!["late".into()]);
    assert_eq!(side.machine.expire(side.now + second), [late]);
    assert_eq!(side.machine.deadline(), None, "it is told once");
}
