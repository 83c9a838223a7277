//! Cost of one host pick, by policy and number of hosts.

use std::net::SocketAddr;

use divan::{Bencher, black_box};
use sampan_model::cluster::{HostSet, HostSetOptions, HostSpec};
use sampan_model::lb::{LbPolicy, LeastRequest, LoadBalancer, PickContext};

fn main() {
    divan::main();
}

fn hosts(count: u16, weighted: bool) -> HostSet {
    let spec = |port: u16| {
        let address = SocketAddr::from(([10, 0, 0, 1], port));
        HostSpec {
            weight: if weighted { u32::from(port % 7) + 1 } else { 1 },
            ..HostSpec::new(address.into())
        }
    };
    HostSet::new((0..count).map(spec), None, HostSetOptions::default())
}

fn run(bencher: Bencher<'_, '_>, policy: LbPolicy, hosts: &HostSet) {
    let mut balancer = LoadBalancer::new(policy);
    let mut rng = fastrand::Rng::with_seed(1);
    bencher.bench_local(|| {
        let pick = balancer.pick(black_box(hosts), &mut PickContext::new(&mut rng));
        pick.map(|pick| std::ptr::from_ref(pick.member))
    });
}

#[divan::bench(args = [3, 1_000])]
fn round_robin(bencher: Bencher<'_, '_>, count: u16) {
    run(bencher, LbPolicy::RoundRobin, &hosts(count, false));
}

#[divan::bench(args = [3, 1_000])]
fn round_robin_weighted(bencher: Bencher<'_, '_>, count: u16) {
    run(bencher, LbPolicy::RoundRobin, &hosts(count, true));
}

#[divan::bench(args = [3, 1_000])]
fn least_request(bencher: Bencher<'_, '_>, count: u16) {
    run(bencher, LbPolicy::LeastRequest(LeastRequest::default()), &hosts(count, false));
}

#[divan::bench(args = [3, 1_000])]
fn least_request_weighted(bencher: Bencher<'_, '_>, count: u16) {
    run(bencher, LbPolicy::LeastRequest(LeastRequest::default()), &hosts(count, true));
}

#[divan::bench(args = [3, 1_000])]
fn random(bencher: Bencher<'_, '_>, count: u16) {
    run(bencher, LbPolicy::Random, &hosts(count, false));
}
