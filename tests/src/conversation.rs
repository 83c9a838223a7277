//! One script of a control plane's behaviour, played to a proxy, and what the proxy said, in a form that can be compared.
//!
//! Each step changes something and waits until the proxy has answered. What it asked meanwhile becomes one fact for each type: the
//! requests in order, each with version, names, whether its nonce is that of the last response, whether it refuses, whether it
//! has a node. What depends on chance is left out: times, the numbers of streams, how requests of different types interleave.
//!
//! Called by `tests/tests/xds_conversation.rs`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::harness::process::Program;
use crate::harness::xds::bootstrap::Way;
use crate::harness::xds::mesh::Mesh;
use crate::harness::xds::{ANSWER, Happened, Resource, Seen, Transport, sample, types};

/// What a proxy said: `step/type` to its requests.
pub type Said = BTreeMap<String, String>;

/// How long nothing must come before a step counts as over, once what the step waits for has come.
const QUIET: Duration = Duration::from_millis(150);

/// Plays the whole script to a program.
pub fn play(program: Program, way: Way) -> Said {
    let mut script =
        Script { mesh: Mesh::start(program, way), told: 0, said: Said::new(), streams: BTreeMap::new() };
    script.run();
    script.said
}

struct Script {
    mesh: Mesh,
    /// How much of the record earlier steps have used.
    told: usize,
    said: Said,
    /// Each stream's state as of the last step.
    streams: BTreeMap<usize, Stream>,
}

/// What the requests of a stream are read against.
#[derive(Default)]
struct Stream {
    /// Of each type, the nonce of the last response.
    nonces: BTreeMap<String, String>,
    /// Whether the step before this one saw it.
    old: bool,
}

impl Script {
    fn run(&mut self) {
        self.starts();
        self.changes();
        self.refuses();
        self.reconnects();
        self.removes();
        self.refuses_whole();
    }

    fn starts(&mut self) {
        self.mesh.await_status(200);
        for type_url in [types::CLUSTER, types::ENDPOINT, types::LISTENER, types::ROUTE] {
            self.mesh.plane.await_ack(type_url, "1");
        }
        self.end("01-start");
    }

    fn changes(&mut self) {
        let teapot = sample::routes("main", &["{match: {prefix: /}, direct_response: {status: 418}}"]);
        self.accepts("02-route-changed", types::ROUTE, |mesh| mesh.plane.put(types::ROUTE, [teapot]));
        self.accepts("03-endpoints-changed", types::ENDPOINT, |mesh| {
            let ports = [mesh.upstream.port, mesh.upstream.port];
            mesh.plane.put(types::ENDPOINT, [sample::endpoints("a", &ports)])
        });
        self.accepts("04-cluster-added", types::ENDPOINT, |mesh| {
            mesh.plane.put(types::CLUSTER, [mesh.eds_cluster("b")]);
            mesh.plane.put(types::ENDPOINT, [sample::endpoints("b", &[mesh.upstream.port])])
        });
        self.accepts("05-listener-added", types::ROUTE, |mesh| {
            mesh.plane.put(types::LISTENER, [mesh.listener("other", "more")]);
            mesh.plane.put(types::ROUTE, [sample::route_to("more", "b")])
        });
    }

    fn refuses(&mut self) {
        let without_action = sample::routes("main", &["{match: {prefix: /}}"]);
        self.refuses_one("06-route-refused", types::ROUTE, |mesh| {
            mesh.plane.put(types::ROUTE, [without_action])
        });
        self.accepts("07-route-repaired", types::ROUTE, |mesh| {
            mesh.plane.put(types::ROUTE, [sample::route_to("main", "a")])
        });
        self.refuses_one("08-good-and-bad-clusters", types::CLUSTER, |mesh| {
            let good = sample::cluster("good", mesh.upstream.port);
            mesh.plane.put(types::CLUSTER, [good, bad_cluster()])
        });
        self.accepts("09-bad-cluster-gone", types::CLUSTER, |mesh| {
            mesh.plane.remove(types::CLUSTER, &["bad"])
        });
    }

    fn reconnects(&mut self) {
        self.reconnects_after("10-stream-ended", |mesh| mesh.plane.end_streams(14));
        self.reconnects_after("11-stream-reset", |mesh| mesh.plane.reset_streams());
        self.reconnects_after("12-server-restarted", |mesh| mesh.plane.restart());
    }

    fn removes(&mut self) {
        self.accepts("13-listener-removed", types::LISTENER, |mesh| {
            mesh.plane.remove(types::LISTENER, &["other"])
        });
        self.accepts("14-cluster-removed", types::CLUSTER, |mesh| mesh.plane.remove(types::CLUSTER, &["b"]));
        self.accepts("15-no-clusters", types::CLUSTER, |mesh| mesh.plane.set(types::CLUSTER, []));
    }

    /// What an update may not be as a whole. Last, because the proxies need not agree on what of it was applied.
    fn refuses_whole(&mut self) {
        self.refuses_one("16-duplicate-names", types::CLUSTER, |mesh| {
            let twin = |port| sample::cluster("twin", port);
            mesh.plane.send_listed(types::CLUSTER, "twins", vec![twin(1), twin(2)], &[]);
            "twins".to_owned()
        });
        self.refuses_one("17-wrong-type", types::CLUSTER, |mesh| {
            let stranger = sample::route_to("stranger", "a");
            mesh.plane.send_listed(types::CLUSTER, "stranger", vec![stranger], &[]);
            "stranger".to_owned()
        });
    }

    /// A step that ends with the acceptance of the version that `act` gives.
    fn accepts(&mut self, step: &str, type_url: &str, act: impl FnOnce(&mut Mesh) -> String) {
        let version = act(&mut self.mesh);
        self.mesh.plane.await_ack(type_url, &version);
        self.end(step);
    }

    /// A step that ends with the refusal of the version that `act` gives.
    fn refuses_one(&mut self, step: &str, type_url: &str, act: impl FnOnce(&mut Mesh) -> String) {
        let version = act(&mut self.mesh);
        self.mesh.plane.await_nack(type_url, &version);
        self.end(step);
    }

    /// A step that ends when everything that was subscribed to has been asked for again, on as many streams as before.
    fn reconnects_after(&mut self, step: &str, act: impl FnOnce(&mut Mesh)) {
        let told = self.told;
        let streams = self.mesh.plane.open_streams();
        act(&mut self.mesh);
        self.mesh.plane.await_event("a request for each type again", |events| {
            let fresh = &events[told..];
            let asked = |type_url: &str, stream: usize| {
                fresh.iter().filter_map(asked).any(|seen| seen.type_url == type_url && seen.stream == stream)
            };
            let opened: Vec<usize> = fresh.iter().filter_map(opened).collect();
            let all = [types::CLUSTER, types::ENDPOINT, types::LISTENER, types::ROUTE];
            let on_some = |type_url: &&str| opened.iter().any(|stream| asked(type_url, *stream));
            let busy = opened.iter().filter(|stream| all.iter().any(|type_url| asked(type_url, **stream)));
            (busy.count() >= streams && all.iter().all(on_some)).then_some(())
        });
        self.end(step);
    }

    /// Waits until nothing more comes, and turns what came into facts.
    fn end(&mut self, step: &str) {
        let events = self.settled();
        let mut requests: BTreeMap<&str, Vec<(Vec<String>, String)>> = BTreeMap::new();
        let mut first_of_new = Vec::new();
        for event in &events[self.told..] {
            match event {
                Happened::Opened(number, _) => {
                    self.streams.entry(*number).or_default();
                }
                Happened::Answered { stream, type_url, nonce, .. } => {
                    let stream = self.streams.entry(*stream).or_default();
                    stream.nonces.insert(type_url.clone(), nonce.clone());
                }
                Happened::Asked(seen) => {
                    let stream = self.streams.entry(seen.stream).or_default();
                    let of_type = requests.entry(types::short(&seen.type_url)).or_default();
                    if !stream.old && seen.nonce.is_empty() {
                        first_of_new.push(types::short(&seen.type_url));
                    }
                    of_type.push((seen.names.clone(), describe(seen, stream)));
                }
                Happened::Garbled(_, why) => {
                    requests.entry("garbled").or_default().push((Vec::new(), why.clone()));
                }
                Happened::Closed(_) => {}
            }
        }
        let aggregated = matches!(self.mesh.way, Way::Ads | Way::DeltaAds);
        let mut said: Vec<(String, String)> = Vec::new();
        for (name, mut list) in requests {
            // Streams of their own come in any order.
            if !aggregated {
                list.sort_by(|(one, _), (other, _)| one.cmp(other));
            }
            let texts: Vec<String> = list.into_iter().map(|(_, text)| text).collect();
            said.push((name.to_owned(), texts.join("; ")));
        }
        if aggregated && !first_of_new.is_empty() {
            said.push(("order".to_owned(), first_of_new.join(" ")));
        }
        self.said.extend(said.into_iter().map(|(name, text)| (format!("{step}/{name}"), text)));
        self.told = events.len();
        for stream in self.streams.values_mut() {
            stream.old = true;
        }
    }

    fn settled(&self) -> Vec<Happened> {
        let began = Instant::now();
        let (mut count, mut since) = (0, Instant::now());
        loop {
            let events = self.mesh.plane.conversation();
            if events.len() != count {
                (count, since) = (events.len(), Instant::now());
            }
            if since.elapsed() >= QUIET {
                return events;
            }
            assert!(
                began.elapsed() < ANSWER,
                "the proxy does not stop talking:\n{}",
                self.mesh.plane.transcript()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A cluster that the rules of the API refuse: a connect timeout must be positive.
fn bad_cluster() -> Resource {
    Resource::yaml(types::CLUSTER, "name: bad\ntype: STATIC\nconnect_timeout: 0s\n")
}

fn opened(event: &Happened) -> Option<usize> {
    match event {
        Happened::Opened(number, _) => Some(*number),
        _ => None,
    }
}

fn asked(event: &Happened) -> Option<&Seen> {
    match event {
        Happened::Asked(seen) => Some(seen),
        _ => None,
    }
}

/// One request, without what depends on chance.
fn describe(seen: &Seen, stream: &Stream) -> String {
    let mut text = String::from(if stream.old { "same stream" } else { "new stream" });
    let last = stream.nonces.get(&seen.type_url);
    let nonce = match (&seen.nonce, last) {
        (nonce, _) if nonce.is_empty() => "no nonce",
        (nonce, Some(last)) if nonce == last => "last nonce",
        _ => "other nonce",
    };
    write!(text, ", {nonce}").ok();
    if seen.transport == Transport::Sotw {
        write!(text, ", version {:?}", seen.version).ok();
        write!(text, ", names {}", seen.names.join(" ")).ok();
    } else {
        write!(text, ", +[{}] -[{}]", seen.names.join(" "), seen.unsubscribed.join(" ")).ok();
        if !seen.initial_versions.is_empty() {
            write!(text, ", has {:?}", seen.initial_versions).ok();
        }
    }
    if seen.node.is_some() {
        text.push_str(", node");
    }
    if seen.error.is_some() {
        text.push_str(", refused");
    }
    text
}
