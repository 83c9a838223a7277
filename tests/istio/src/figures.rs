//! What the proxies cost: fortio in the client's pod asks the servers, through the sidecars of all, at full speed and at a fixed rate; and what a
//! thousand more services take. Not judged here: the machine is shared with the load, istiod and Kubernetes' API.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::{succeed, until};
use crate::world::{World, get};

/// The pods through whose sidecars requests go: those of the client and of both servers.
const PODS: [&str; 3] = ["client", "web/v1", "web/v2"];
/// Requests per second of the fixed rate.
const RATE: &str = "400";
const LOAD: &str = "10s";
const SERVICES: usize = 1000;
/// What a proxy may still do after something, and give back.
const REST: Duration = Duration::from_secs(8);

/// What was measured with one proxy; a name and a number.
pub type Figures = Vec<(&'static str, f64)>;

/// Measures it all.
pub fn measure(world: &World) -> Result<Figures> {
    world.expect("an answer", &get("http://web.shop/"), |seen| seen.status == 200)?;
    let proxies = PODS.iter().map(|app| proxy(world, app)).collect::<Result<Vec<_>>>()?;
    let mut figures = Figures::new();
    figures.push(("ready after, s", ready(world)?));
    load(world, &proxies, "0", "3s")?;
    let full = load(world, &proxies, "0", LOAD)?;
    figures.push(("full speed: requests/s", full.rate));
    figures.push(("full speed: CPU us/request", full.micros));
    let fixed = load(world, &proxies, RATE, LOAD)?;
    figures.push(("fixed rate: CPU us/request", fixed.micros));
    figures.push(("fixed rate: p50, ms", fixed.p50));
    figures.push(("fixed rate: p99, ms", fixed.p99));
    sleep(REST);
    let private = proxies.iter().map(|pid| memory(*pid, "Private_")).collect::<Result<Vec<_>>>()?;
    figures.push(("private memory of one, MiB", private.iter().sum::<f64>() / private.len() as f64));
    figures.push(("resident memory of the client's, MiB", memory(proxies[0], "Rss:")?));
    world.apply(&services())?;
    until("the clusters of all services", Duration::from_mins(2), || {
        let stat = world.admin("client", "stats?filter=cluster_manager.active_clusters")?;
        let known: usize = stat.trim().rsplit(' ').next().unwrap_or_default().parse()?;
        ensure!(known > SERVICES, "{known}");
        Ok(())
    })?;
    sleep(REST);
    figures.push(("private memory with 1,000 services, MiB", memory(proxies[0], "Private_")?));
    figures.push(("resident memory with 1,000 services, MiB", memory(proxies[0], "Rss:")?));
    Ok(figures)
}

/// A table of all, with the ratio where there are two.
pub fn table(of: &[(&str, Figures)]) -> String {
    let mut text = String::new();
    let Some((_, first)) = of.first() else { return text };
    for (row, (name, _)) in first.iter().enumerate() {
        let _ = write!(text, "{name:44}");
        for (proxy, figures) in of {
            let _ = write!(text, " {proxy} {:9.2}", figures[row].1);
        }
        if let [(_, envoy), (_, sampan)] = of {
            let _ = write!(text, "   {:.2}", sampan[row].1 / envoy[row].1);
        }
        text.push('\n');
    }
    text
}

struct Load {
    rate: f64,
    micros: f64,
    p50: f64,
    p99: f64,
}

fn load(world: &World, proxies: &[u32], rate: &str, time: &str) -> Result<Load> {
    let before = proxies.iter().map(|pid| used(*pid)).sum::<Duration>();
    let arguments = [
        "/fortio",
        "load",
        "-quiet",
        "-json=-",
        "-p=50,99",
        "-c=16",
        "-uniform",
        "-nocatchup",
        "-allow-initial-errors",
        "-timeout=10s",
        "-qps",
        rate,
        "-t",
        time,
        "http://web.shop/",
    ];
    let container = container(world, "client", "app")?;
    let told = succeed(world.podman.command().args(["exec", &container]).args(arguments))?;
    let told: Value = serde_json::from_str(told.get(told.find('{').unwrap_or(0)..).unwrap_or_default())
        .context("fortio's report")?;
    let used = proxies.iter().map(|pid| used(*pid)).sum::<Duration>().saturating_sub(before);
    let requests = told["DurationHistogram"]["Count"].as_f64().context("no requests")?;
    let good = told["RetCodes"]["200"].as_f64().unwrap_or_default();
    ensure!(good > 0.0 && (good - requests).abs() < 0.5, "{}", told["RetCodes"]);
    let percentile =
        |n: usize| told["DurationHistogram"]["Percentiles"][n]["Value"].as_f64().unwrap_or(f64::NAN);
    Ok(Load {
        rate: told["ActualQPS"].as_f64().unwrap_or(f64::NAN),
        micros: used.as_secs_f64() * 1e6 / requests,
        p50: percentile(0) * 1e3,
        p99: percentile(1) * 1e3,
    })
}

fn container(world: &World, app: &str, name: &str) -> Result<String> {
    let pod = world.pod(app)?;
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(format!("{}_{}_{name}", text("/metadata/namespace"), text("/metadata/name")))
}

/// The proxy of a pod: the agent's child.
fn proxy(world: &World, app: &str) -> Result<u32> {
    let container = container(world, app, "istio-proxy")?;
    let agent = succeed(world.podman.command().args(["inspect", "--format={{.State.Pid}}", &container]))?;
    let agent = agent.trim();
    let tasks = fs::read_dir(format!("/proc/{agent}/task"))?.flatten().map(|task| task.path());
    let children: Vec<u32> = tasks
        .filter_map(|task| fs::read_to_string(task.join("children")).ok())
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect();
    let proxy = |pid: &u32| {
        fs::read_link(format!("/proc/{pid}/exe"))
            .is_ok_and(|path| path.ends_with(PathBuf::from("usr/local/bin/envoy")))
    };
    children.into_iter().find(proxy).with_context(|| format!("the agent {agent} of {app} has no proxy"))
}

/// The time that a process has run, by the scheduler's count.
fn used(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_task = |path: PathBuf| {
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    };
    tasks.filter_map(|task| of_task(task.path())).sum()
}

/// The sum of the fields of `smaps_rollup` that begin so, in MiB.
fn memory(pid: u32, field: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kib = |line: &str| line.split_whitespace().nth(1)?.parse::<f64>().ok();
    Ok(text.lines().filter(|line| line.starts_with(field)).filter_map(kib).sum::<f64>() / 1024.0)
}

/// How long the agents took until their proxies were ready, as they say themselves; the mean.
fn ready(world: &World) -> Result<f64> {
    let mut seconds = Vec::new();
    for app in PODS {
        let container = container(world, app, "istio-proxy")?;
        let output = world.podman.command().args(["logs", &container]).output()?;
        let log = [output.stdout, output.stderr].concat();
        let log = String::from_utf8_lossy(&log);
        let said = log
            .split("Readiness succeeded in ")
            .nth(1)
            .context("the agent does not say when it was ready")?;
        let said = said.split_whitespace().next().unwrap_or_default();
        let time = match said.strip_suffix("ms") {
            Some(millis) => millis.parse::<f64>().map(|millis| millis / 1e3),
            None => said.trim_end_matches('s').parse(),
        };
        seconds.push(time.with_context(|| format!("{said:?} is no time"))?);
    }
    Ok(seconds.iter().sum::<f64>() / seconds.len() as f64)
}

fn services() -> String {
    let mut manifests = String::from("apiVersion: v1\nkind: Namespace\nmetadata: {name: many}\n");
    for n in 0..SERVICES {
        let _ = write!(
            manifests,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: service-{n}, namespace: many}}\n\
             spec: {{selector: {{app: service-{n}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}\n"
        );
    }
    manifests
}
