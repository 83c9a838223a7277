//! The live test in a real Istio: starts Kubernetes' API and istiod, is the kubelet, and runs scenarios in pods that istiod's webhook has injected: first with
//! a stock Envoy, whose answers are recorded, then with Sampan, whose answers are to be the same. Started by `tests/istio/run`.
//!
//! ```text
//! sampan-istio [--proxy sampan|envoy] [--settings default|plain] [--figures] [--hold] [SCENARIO]…
//! ```

#![forbid(unsafe_code)]

mod applied;
mod dns;
mod evidence;
mod figures;
mod http;
mod image;
mod kubelet;
mod kubernetes;
mod mesh;
mod podman;
mod process;
mod scenarios;
mod tools;
mod world;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::image::{Proxy, WORKLOAD};
use crate::kubelet::Kubelet;
use crate::kubernetes::Kubernetes;
use crate::mesh::{Istiod, Settings};
use crate::podman::Podman;
use crate::process::succeed;
use crate::tools::Tools;
use crate::world::World;

/// What to do.
struct Options {
    /// One, or both one after the other.
    proxies: Vec<Proxy>,
    /// What istiod sends to Sampan; Envoy gets what it has the filters for.
    settings: Settings,
    /// Whether to measure what the proxies cost; without names, in the place of all scenarios.
    figures: bool,
    /// Whether to wait, with all running, until the standard input ends.
    hold: bool,
    /// Parts of the names of the scenarios to run; all if there are none.
    only: Vec<String>,
}

/// What came of the scenarios with one proxy.
#[derive(Default)]
struct Outcome {
    passed: usize,
    failed: Vec<String>,
    /// What was seen, by scenario.
    answers: Map<String, Value>,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // There was no mesh to ask.
        Err(error) => {
            eprintln!("istio: {error:#}");
            ExitCode::from(3)
        }
    }
}

fn options() -> Result<Options> {
    let mut options = Options {
        proxies: vec![Proxy::Envoy, Proxy::Sampan],
        settings: Settings::Default,
        figures: false,
        hold: false,
        only: Vec::new(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--proxy" => {
                options.proxies = match value()?.as_str() {
                    "sampan" => vec![Proxy::Sampan],
                    "envoy" => vec![Proxy::Envoy],
                    other => bail!("--proxy {other}: sampan or envoy"),
                }
            }
            "--settings" => {
                options.settings = match value()?.as_str() {
                    "default" => Settings::Default,
                    "plain" => Settings::Plain,
                    other => bail!("--settings {other}: default or plain"),
                }
            }
            "--figures" => options.figures = true,
            "--hold" => options.hold = true,
            other if other.starts_with('-') => bail!("{other}: no such option"),
            name => options.only.push(name.to_owned()),
        }
    }
    Ok(options)
}

fn run() -> Result<bool> {
    let options = options()?;
    let tools = Tools::find()?;
    let began = Instant::now();
    let say = |what: &str| println!("[{:5.1} s] {what}", began.elapsed().as_secs_f32());
    let podman = Arc::new(Podman::start(&tools)?);
    let size = image::build(&tools, &podman)?;
    say(&format!("the images are built; Sampan's has {:.1} MB", size as f64 / 1e6));
    let kubernetes = Arc::new(Kubernetes::start(&tools)?);
    say("Kubernetes' API is there");
    // The bridge exists while somebody is on it.
    let anchor = podman.address(0);
    succeed(podman.command().args([
        "run",
        "--detach",
        "--name=anchor",
        "--network",
        podman.network(),
        "--ip",
        &anchor,
        WORKLOAD,
        "/echo",
        "pause",
    ]))?;
    let gateway = podman.gateway();
    mesh::install(&tools, &kubernetes, &gateway)?;
    say("Istio is installed");
    let names = dns::Names::default();
    names.serve(&gateway)?;
    let settings = |proxy: Proxy| if proxy == Proxy::Envoy { Settings::Plain } else { options.settings };
    let first = options.proxies[0];
    let istiod = Istiod::start(&tools, &kubernetes, &gateway, settings(first))?;
    say("istiod is ready");
    let kubelet = Kubelet::start(Arc::clone(&podman), Arc::clone(&kubernetes), &tools, names.clone())?;
    let mut world = World {
        tools,
        kubernetes,
        podman,
        names,
        kubelet,
        istiod: Mutex::new(istiod),
        proxy: first,
        settings: settings(first),
        applied: Mutex::default(),
    };
    let mut outcomes: Vec<(Proxy, Outcome)> = Vec::new();
    let mut figures = Vec::new();
    for proxy in &options.proxies {
        if *proxy != first {
            world.clear()?;
            world.istiod().kill();
            world.settings = settings(*proxy);
            world.proxy = *proxy;
            world.start_istiod()?;
        }
        proxy.inject(&world.podman)?;
        let populated = world.populate();
        if let Err(error) = populated {
            evidence::collect(&world, "start");
            hold(&options);
            return Err(error.context(format!("the mesh of {}", proxy.name())));
        }
        say(&format!("the pods with {} are ready, istiod's settings: {:?}", proxy.name(), world.settings));
        if !options.figures || !options.only.is_empty() {
            outcomes.push((*proxy, scenarios(&world, &options, &say)));
        }
        if options.figures {
            figures.push((proxy.name(), figures::measure(&world)?));
            world.undo()?;
            print!("{}", figures::table(&figures));
        }
    }
    hold(&options);
    let well = report(&world, outcomes);
    // Now, rather than one pod after the other.
    world.podman.clear();
    Ok(well)
}

/// Runs them all; one that fails leaves what is needed to find out why.
fn scenarios(world: &World, options: &Options, say: &dyn Fn(&str)) -> Outcome {
    let mut outcome = Outcome::default();
    for scenario in scenarios::all() {
        if !options.only.is_empty() && !options.only.iter().any(|part| scenario.name.contains(part.as_str()))
        {
            continue;
        }
        let began = Instant::now();
        let ran = (scenario.run)(world);
        if ran.is_err() {
            // While what it has applied is still there.
            evidence::collect(world, scenario.name);
        }
        match (ran, world.undo().context("what it has applied stays")) {
            (Ok(answers), Ok(())) => {
                say(&format!(
                    "{} {}: ok after {:.1} s",
                    world.proxy.name(),
                    scenario.name,
                    began.elapsed().as_secs_f32()
                ));
                outcome.passed += 1;
                outcome.answers.insert(scenario.name.to_owned(), answers);
            }
            (ran, undone) => {
                for error in [ran.err(), undone.err()].into_iter().flatten() {
                    say(&format!("{} {}: FAILED: {error:#}", world.proxy.name(), scenario.name));
                }
                outcome.failed.push(scenario.name.to_owned());
            }
        }
    }
    outcome
}

/// Writes down what was seen, and compares. Whether all is well.
fn report(world: &World, outcomes: Vec<(Proxy, Outcome)>) -> bool {
    let (mut passed, mut failed) = (0, 0);
    for (proxy, outcome) in &outcomes {
        let file = world.tools.dir.join(format!("answers-{}.json", proxy.name()));
        let text = serde_json::to_string_pretty(&outcome.answers).unwrap_or_default();
        let _ = std::fs::write(file, text);
        passed += outcome.passed;
        failed += outcome.failed.len();
        for name in &outcome.failed {
            println!("{} {name}: failed; see {}", proxy.name(), world.tools.dir.join("evidence").display());
        }
    }
    if let [(_, envoy), (_, sampan)] = &outcomes[..] {
        let network = world.podman.gateway();
        let network = network.trim_end_matches("0.1");
        for (name, expected) in &envoy.answers {
            let Some(seen) = sampan.answers.get(name) else { continue };
            let [expected, seen] =
                [expected, seen].map(|answer| evidence::without_addresses(answer, network));
            if seen != expected {
                failed += 1;
                passed -= 1;
                println!("{name}: Sampan's answer is another than Envoy's");
                evidence::differences(name, &expected, &seen);
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    failed == 0
}

/// Waits for the end of the standard input.
fn hold(options: &Options) {
    if options.hold {
        println!("held: everything runs until the standard input ends");
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    }
}
