//! A control plane that dies, comes back, falls silent, drags, and sends garbage and messages of 64 MiB, under load: nothing is lost, the
//! proxy comes back within its back-off and takes the configuration of the day, memory stays flat.

use std::time::{Duration, Instant};

use sampan_tests::harness::invoke::programs;
use sampan_tests::harness::poll;
use sampan_tests::harness::process::Program;
use sampan_tests::harness::xds::{Manner, Resource, types};

use crate::setting::{Setting, count, routes, turn};

/// The longest back-off, and time to connect.
const BACK_OFF: Duration = Duration::from_secs(31);
/// What memory may grow over all of it, in KiB, besides what one message of 64 MiB takes while it is there.
const GROWTH_KIB: u64 = 8 * 1024;

#[derive(Debug, Default)]
struct Seen {
    kills: usize,
    slowest_return: Duration,
    lost: usize,
    losses: Vec<String>,
    answered: usize,
    resident_before: u64,
    resident_after_kills: u64,
    resident_at_end: u64,
}

fn play(program: Program) -> Seen {
    let mut setting = Setting::start(program);
    let mut seen = Seen::default();
    let mut generation = 0;
    // A first round, so that what is allocated once is not taken for growth.
    killed_and_restarted(&mut setting, &mut generation);
    seen.resident_before = setting.process.resident_kib();
    for _ in 0..count(100, 6) {
        let took = killed_and_restarted(&mut setting, &mut generation);
        seen.slowest_return = seen.slowest_return.max(took);
        seen.kills += 1;
    }
    seen.resident_after_kills = setting.process.resident_kib();
    for _ in 0..count(20, 3) {
        silent_then_slow(&setting, &mut generation);
        garbage(&setting, &mut generation);
    }
    too_big(&setting, &mut generation);
    let limit = seen.resident_before + GROWTH_KIB;
    poll(Duration::from_secs(10), || (setting.process.resident_kib() <= limit).then_some(()));
    seen.resident_at_end = setting.process.resident_kib();
    let figures = setting.load.stop();
    (seen.lost, seen.losses, seen.answered) = (figures.lost, figures.losses, figures.answered);
    seen
}

/// Kills the server, changes something meanwhile, starts it again; how long until the change is served.
fn killed_and_restarted(setting: &mut Setting, generation: &mut usize) -> Duration {
    setting.plane.stop();
    next(setting, generation);
    setting.plane.restart();
    returned(setting, *generation)
}

fn silent_then_slow(setting: &Setting, generation: &mut usize) {
    setting.plane.behave(Manner::Silent);
    next(setting, generation);
    let version = setting.plane.put(types::ROUTE, [routes(*generation)]);
    let answer = setting.plane.answer(types::ROUTE, &version, Duration::from_millis(200));
    assert!(answer.is_none(), "an answer to what was not sent");
    setting.plane.behave(Manner::Slow(Duration::from_millis(20)));
    returned(setting, *generation);
    setting.plane.behave(Manner::Prompt);
}

/// Bytes that are no response, and a response of a type nobody knows.
fn garbage(setting: &Setting, generation: &mut usize) {
    setting.plane.send_bytes(types::ROUTE, vec![0xff; 1 << 10]);
    next(setting, generation);
    returned(setting, *generation);
    let stranger = Resource::raw("stranger", "type.googleapis.com/nobody.knows.It", vec![8, 1]);
    setting.plane.send_listed(types::CLUSTER, "stranger", vec![stranger], &[]);
    next(setting, generation);
    returned(setting, *generation);
}

/// One message of 64 MiB: a route configuration that is good, and one message that is garbage throughout.
fn too_big(setting: &Setting, generation: &mut usize) {
    let filler = "x".repeat(1 << 20);
    let fields: Vec<String> = (0..63).map(|number| format!("f{number}: {filler}")).collect();
    let metadata = format!("{{filter_metadata: {{filler: {{{}}}}}}}", fields.join(", "));
    let route = format!("name: big\nvirtual_hosts: [{{name: all, domains: ['*'], metadata: {metadata}}}]\n");
    setting.plane.send_listed(types::ROUTE, "big", vec![Resource::yaml(types::ROUTE, &route)], &[]);
    next(setting, generation);
    returned(setting, *generation);
    setting.plane.send_bytes(types::ROUTE, vec![0xff; 64 << 20]);
    next(setting, generation);
    returned(setting, *generation);
}

fn next(setting: &Setting, generation: &mut usize) {
    *generation += 1;
    setting.plane.put(types::ROUTE, [routes(*generation)]);
}

fn returned(setting: &Setting, generation: usize) -> Duration {
    let began = Instant::now();
    let wanted = generation.to_string();
    let found = poll(BACK_OFF, || {
        let there = setting.generation() == wanted;
        if !there {
            std::thread::sleep(Duration::from_millis(10));
        }
        there.then_some(())
    });
    let (transcript, log) = (setting.plane.transcript(), setting.process.stderr());
    assert!(found.is_some(), "generation {wanted} was not served within {BACK_OFF:?}:\n{transcript}\n{log}");
    began.elapsed()
}

#[test]
fn a_control_plane_in_any_state_harms_no_traffic() {
    let _turn = turn();
    for program in programs() {
        let seen = play(program);
        println!(
            "chaos     {program:?}: {} kills, slowest return {:.1} s, {} requests, lost {}, resident {} KiB before, {} after the \
             kills, {} at the end",
            seen.kills,
            seen.slowest_return.as_secs_f32(),
            seen.answered,
            seen.lost,
            seen.resident_before,
            seen.resident_after_kills,
            seen.resident_at_end
        );
        assert!(seen.answered > 500, "{program:?}: hardly any load: {}", seen.answered);
        if program == Program::Sampan {
            assert_eq!(seen.lost, 0, "{:?}", seen.losses);
            let limit = seen.resident_before + GROWTH_KIB;
            assert!(seen.resident_after_kills <= limit, "memory grew with each reconnection");
            assert!(seen.resident_at_end <= limit, "memory did not come back");
        }
    }
}
