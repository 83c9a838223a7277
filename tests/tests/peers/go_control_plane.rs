//! The integration test of the go-control-plane library, in its six modes.
//!
//! Its driver holds a control plane, serves three snapshots one after the other, and sends requests to each listener after each; it
//! passes when all of them succeed at least once for each snapshot. Held against it besides: the proxy refuses nothing, and every HTTP
//! listener's requests arrive in the driver's gRPC access log (in REST mode its own bootstrap gives that cluster no HTTP/2, so that
//! no proxy can send it any).

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use sampan_tests::harness::invoke::programs;
use sampan_tests::harness::peer::{FixedPorts, Peer, prepare};
use sampan_tests::harness::process::{Program, call};

/// The driver's own: control plane, REST gateway, upstream, access log, the bootstraps' admin port, listeners.
const PORTS: &[u16] = &[18000, 18001, 18080, 18090, 19000, 9000, 9001, 9002, 9003, 9004, 9005, 9006, 9007];
/// Two listeners with routes by name and two with scoped routes; 9004 and 9005 are TCP.
const HTTP: &[u16] = &[9000, 9001, 9002, 9003];
/// And two whose virtual hosts come on demand.
const WITH_VHDS: &[u16] = &[9000, 9001, 9002, 9003, 9006, 9007];
const MESSAGE: &str = "Hi, there!\n";
/// A real Envoy takes 5 to 8 s.
const LIMIT: Duration = Duration::from_secs(40);

/// One of the driver's modes: its name, which bootstrap, the driver's flags, the ports of its HTTP listeners.
struct Mode {
    name: &'static str,
    bootstrap: &'static str,
    flags: &'static [&'static str],
    http: &'static [u16],
}

impl Mode {
    /// Plays the mode with each program.
    fn check(&self) {
        let home = prepare("go-control-plane");
        for program in programs() {
            let _turn = FixedPorts::take();
            self.play(program, &home);
        }
    }

    fn play(&self, program: Program, home: &std::path::Path) {
        for port in PORTS {
            let free = TcpListener::bind(("127.0.0.1", *port));
            assert!(free.is_ok(), "port {port}, which the library has fixed, is in use");
        }
        let dir = tempfile::tempdir().unwrap();
        let began = Instant::now();
        let bootstrap = home.join(format!("bootstrap-{}.yaml", self.bootstrap));
        let bootstrap = bootstrap.to_str().expect("a path that is text");
        let message = format!("-message={MESSAGE}");
        let _upstream = Peer::start("upstream", &home.join("upstream"), &[&message], dir.path());
        let flags = ["-c", bootstrap, "--drain-time-s", "1", "-l", "debug", "--disable-hot-restart"];
        let mut proxy = Peer::start("proxy", &program.path(), &flags, dir.path());
        let flags = [&["-debug", &message], self.flags].concat();
        let mut driver = Peer::start("driver", &home.join("main"), &flags, dir.path());
        let mut refusals = BTreeMap::new();
        let status = loop {
            refusals.extend(refused());
            let ended = proxy.ended();
            assert!(ended.is_none(), "{program:?} ended ({ended:?}):\n{}", last_lines(&proxy.output()));
            if let Some(status) = driver.ended() {
                break status;
            }
            assert!(began.elapsed() < LIMIT, "no end in sight:\n{}", last_lines(&driver.output()));
            std::thread::sleep(Duration::from_millis(50));
        };
        let took = began.elapsed();
        let (driver, proxy) = (driver.output(), proxy.output());
        assert!(status.success(), "{program:?}: {status}:\n{}\n{}", last_lines(&driver), last_lines(&proxy));
        assert!(driver.contains("passed!"), "{}", last_lines(&driver));
        assert!(refusals.is_empty(), "{program:?} refused updates: {refusals:?}\n{}", last_lines(&proxy));
        let nacks: Vec<&str> = proxy.lines().filter(|line| tells_of_a_nack(line)).take(5).collect();
        assert!(nacks.is_empty(), "{program:?} refused: {nacks:#?}");
        self.check_access_log(program, &driver);
        println!("{}: {program:?} passed in {:.1} s", self.name, took.as_secs_f32());
    }

    /// Every HTTP listener's requests were reported.
    fn check_access_log(&self, program: Program, driver: &str) {
        for port in self.http {
            let scheme = if self.flags.contains(&"-tls") { "https" } else { "http" };
            let authority = format!(" 127.0.0.1:{port} / {scheme} 200 ");
            let found = driver.lines().any(|line| line.contains(&authority));
            assert!(found, "{program:?}: no access log line of {port}:\n{}", last_lines(driver));
        }
    }
}

/// The counters of refused updates that are not zero. They come and go with what they count, so one asks often.
fn refused() -> Vec<(String, String)> {
    let (_, body) =
        call(([127, 0, 0, 1], 19000).into(), "GET", "/stats?filter=update_rejected").unwrap_or_default();
    let pairs = body.lines().filter_map(|line| line.split_once(": "));
    pairs
        .filter(|(_, value)| *value != "0")
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// A line of either proxy's log that says an update was refused; not one about something named so.
fn tells_of_a_nack(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    let refused = line.contains(" rejected: ") || line.contains(" rejected again");
    (refused && (line.contains("config for type.googleapis.com") || line.contains(": version ")))
        || line.split(|c: char| !c.is_alphanumeric()).any(|word| word == "nack" || word == "nacked")
}

#[test]
fn a_refusal_is_seen_in_either_log() {
    assert!(tells_of_a_nack(
        "[warning][config] [a.cc:193] delta config for type.googleapis.com/envoy.config.cluster.v3.Cluster rejected: Error"
    ));
    assert!(tells_of_a_nack(
        "[warning][config] [update.rs:154] ads listener: version \"v0\" rejected: listener listener-0: x"
    ));
    assert!(!tells_of_a_nack(
        "[debug][main] No overload action is configured for envoy.overload_actions.reject_incoming_connections."
    ));
    assert!(!tells_of_a_nack("[info] cluster.update_rejected: 0"));
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

#[test]
fn ads() {
    Mode { name: "ads", bootstrap: "ads", flags: &["--xds=ads", "--runtimes=2"], http: HTTP }.check();
}

#[test]
fn xds() {
    Mode { name: "xds", bootstrap: "xds", flags: &["--xds=xds"], http: HTTP }.check();
}

#[test]
fn rest() {
    Mode { name: "rest", bootstrap: "rest", flags: &["--xds=rest"], http: &[] }.check();
}

#[test]
fn delta() {
    Mode { name: "delta", bootstrap: "delta", flags: &["--xds=delta"], http: WITH_VHDS }.check();
}

#[test]
fn delta_ads() {
    Mode { name: "delta-ads", bootstrap: "delta-ads", flags: &["--xds=delta-ads"], http: HTTP }.check();
}

#[test]
fn mux() {
    Mode { name: "mux", bootstrap: "xds", flags: &["--xds=xds", "-mux"], http: HTTP }.check();
}

/// The listeners speak TLS; their certificates come by secret discovery.
#[test]
fn with_tls() {
    Mode { name: "ads-tls", bootstrap: "ads", flags: &["--xds=ads", "--runtimes=2", "-tls"], http: HTTP }
        .check();
    let flags = &["--xds=delta-ads", "-tls"];
    Mode { name: "delta-ads-tls", bootstrap: "delta-ads", flags, http: HTTP }.check();
}
