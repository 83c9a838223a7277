//! Bad resources between good ones, under load: each is refused by its name, what comes with it is applied, nothing is lost.

use std::time::Duration;

use sampan_tests::harness::invoke::programs;
use sampan_tests::harness::process::Program;
use sampan_tests::harness::xds::{ANSWER, Resource, sample, types};
use sampan_tests::harness::{PATIENCE, poll};

use crate::setting::{CLUSTERS, Setting, cluster, count, routes, turn};

/// A kind of bad resource: its type, its name, itself, and a good resource of the same type to send along.
struct Bad {
    type_url: &'static str,
    name: String,
    resource: Resource,
    company: Resource,
    /// What is served under the name afterwards; none if it is removed.
    repaired: Option<Resource>,
}

fn bad(number: usize, setting: &Setting) -> Bad {
    let company = cluster(CLUSTERS[number % CLUSTERS.len()], number);
    let of_cluster = |name: String, fields: &str| Bad {
        type_url: types::CLUSTER,
        resource: Resource::yaml(types::CLUSTER, &format!("name: {name}\n{fields}\n")),
        name,
        company: company.clone(),
        repaired: None,
    };
    let of_side_routes = |route: &str| Bad {
        type_url: types::ROUTE,
        name: "side".to_owned(),
        resource: sample::routes("side", &[route]),
        company: routes(number),
        repaired: Some(sample::route_to("side", "c0")),
    };
    let of_listener = |name: String, resource: Resource| Bad {
        type_url: types::LISTENER,
        resource,
        name,
        company: sample::direct_listener("good", 200 + u16::try_from(number % 50).unwrap()),
        repaired: None,
    };
    match number % 8 {
        0 => of_cluster(format!("no-timeout-{number}"), "type: STATIC\nconnect_timeout: 0s"),
        1 => of_cluster(
            format!("no-policy-{number}"),
            "type: STATIC\nconnect_timeout: 1s\nlb_policy: LOAD_BALANCING_POLICY_CONFIG",
        ),
        2 => of_side_routes("{match: {prefix: /}}"),
        3 => of_side_routes("{match: {safe_regex: {regex: '('}}, route: {cluster: c0}}"),
        4 => {
            let name = format!("unknown-filter-{number}");
            let chains = "[{filters: [{name: nobody.knows.it, typed_config: {'@type': \
                          type.googleapis.com/google.protobuf.StringValue, value: x}}]}]";
            of_listener(name.clone(), sample::listener_with(&name, "", chains))
        }
        5 => {
            let name = format!("no-prefix-{number}");
            let chain = format!("[{{filters: [{}]}}]", sample::http_filter("''", "{ads: {}}", "x", ""));
            of_listener(name.clone(), sample::listener_with(&name, "", &chain))
        }
        6 => {
            let name = format!("garbage-{number}");
            let resource = Resource::raw(&name, types::CLUSTER, vec![0xff; 16]);
            Bad { type_url: types::CLUSTER, name, resource, company, repaired: None }
        }
        _ => {
            let at = number / 8 % CLUSTERS.len();
            let assignment = format!(
                "cluster_name: {}\nendpoints: [{{priority: 1, lb_endpoints: [{{endpoint: {{address: {{socket_address: \
                 {{address: not-an-address, port_value: 1}}}}}}}}]}}]\n",
                CLUSTERS[at]
            );
            let good = |at: usize| sample::endpoints(CLUSTERS[at], &[setting.upstreams[at].port]);
            let spare = [setting.upstreams[(at + 1) % CLUSTERS.len()].port, setting.spare.port];
            Bad {
                type_url: types::ENDPOINT,
                name: CLUSTERS[at].to_owned(),
                resource: Resource::yaml(types::ENDPOINT, &assignment),
                company: sample::endpoints(CLUSTERS[(at + 1) % CLUSTERS.len()], &spare),
                repaired: Some(good(at)),
            }
        }
    }
}

/// What became of all of them.
#[derive(Debug, Default)]
struct Seen {
    sent: usize,
    refused: usize,
    named: usize,
    unnamed: Vec<String>,
    accepted: Vec<String>,
    lost: usize,
    losses: Vec<String>,
    good_routes: usize,
    route_rounds: usize,
}

fn play(program: Program) -> Seen {
    let setting = Setting::start(program);
    let plane = &setting.plane;
    let mut seen = Seen::default();
    for number in 0..count(200, 32) {
        let bad = bad(number, &setting);
        let version = plane.put(bad.type_url, [bad.company, bad.resource]);
        if bad.type_url == types::CLUSTER {
            plane.renew(types::ENDPOINT, CLUSTERS);
        }
        let answer = plane.answer(bad.type_url, &version, ANSWER);
        let Some(answer) = answer else {
            panic!("{program:?}: no answer to {} {version}:\n{}", bad.name, plane.transcript());
        };
        seen.sent += 1;
        match answer.error {
            Some(error) => {
                seen.refused += 1;
                let named = error.contains(&bad.name);
                seen.named += usize::from(named);
                if !named && seen.unnamed.len() < 8 {
                    seen.unnamed.push(format!("{}: {error}", bad.name));
                }
            }
            None => seen.accepted.push(bad.name.clone()),
        }
        if bad.type_url == types::ROUTE {
            seen.route_rounds += 1;
            seen.good_routes += usize::from(setting.generation() == number.to_string());
        }
        let version = match bad.repaired {
            Some(good) => plane.put(bad.type_url, [good]),
            None => plane.remove(bad.type_url, &[&bad.name]),
        };
        // A removal of what was never taken may have nothing to say to the proxy.
        plane.answer(bad.type_url, &version, Duration::from_millis(50));
    }
    // The bad ones go as fast as they are answered; the load is to be felt all the same.
    poll(PATIENCE, || (setting.load.answered() > 500).then_some(()));
    let Setting { load, .. } = setting;
    let figures = load.stop();
    seen.lost = figures.lost;
    seen.losses = figures.losses;
    assert!(figures.answered > 500, "{program:?}: hardly any load: {}", figures.answered);
    seen
}

#[test]
fn bad_resources_are_refused_by_name_and_harm_nobody() {
    let _turn = turn();
    for program in programs() {
        let seen = play(program);
        println!(
            "invalid   {program:?}: {} sent, {} refused, {} by name, good routes beside bad ones applied {}/{}, lost {}",
            seen.sent, seen.refused, seen.named, seen.good_routes, seen.route_rounds, seen.lost
        );
        if program == Program::Sampan {
            assert!(seen.accepted.is_empty(), "accepted: {:?}", seen.accepted);
            assert_eq!(seen.named, seen.sent, "refused without the name: {:#?}", seen.unnamed);
            assert_eq!(
                seen.good_routes, seen.route_rounds,
                "good routes that came with bad ones were not applied"
            );
            assert_eq!(seen.lost, 0, "{:?}", seen.losses);
        } else {
            println!("          {:#?} {:#?}", seen.unnamed, seen.accepted);
        }
    }
}
