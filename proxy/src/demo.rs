//! `sampan demo`: the whole proxy on one command, with nothing to set up, driven by a real control plane.
//!
//! ```text
//! control plane (one thread) --delta ADS over gRPC--> proxy, started exactly as by `sampan -c`
//!                             <------ACK, NACK-------- (control thread, admin API, workers)
//! load threads, your curl --------------------------------> listener --> v1, v2-a, v2-b (one thread)
//! report thread: plays the script; one line per second --> standard output
//! ```
//!
//! Ports are found free at the start, so nothing on the machine is in its way; everything listens on loopback.
//! Called by `main.rs`, which brings the function that runs the proxy: the demo takes the same path as a real start.

mod arguments;
mod control_plane;
mod load;
mod report;
mod resources;
mod script;
mod upstream;

use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

use sampan_xds::server::ItemError;

use self::arguments::{Arguments, HELP, Wish};
use self::control_plane::ControlPlane;
use self::load::Load;
use self::report::{Place, Report, say};
use self::script::Script;
use self::upstream::Upstreams;
use crate::cli::{self, Invocation, Options};

/// The port of the listener, if it is free.
const PORT: u16 = 10_000;
/// The port of the admin API, if it is free.
const ADMIN_PORT: u16 = 9901;
/// What is configured; the words in capitals are replaced by ports.
const BOOTSTRAP: &str = include_str!("demo/bootstrap.yaml");

/// Why the demo cannot begin.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    /// The port that was asked for is taken.
    #[error("port {0} cannot be used: {1}; leave --port out to have a free one chosen")]
    Port(u16, std::io::Error),
    /// No port, thread or runtime is to be had.
    #[error("cannot set the demo up: {0}")]
    System(#[from] std::io::Error),
    /// A resource of the script is none.
    #[error("the demo's own configuration: {0}")]
    Script(#[from] ItemError),
    /// The proxy does not take the options that are made here.
    #[error("the demo's own options are refused: {0}")]
    Options(String),
}

/// Runs `sampan demo` with the arguments after the verb. `start` runs the proxy until it should end.
pub fn run(arguments: &[String], start: impl FnOnce(Options) -> ExitCode) -> ExitCode {
    let arguments = match Arguments::parse(arguments) {
        Ok(Wish::Run(arguments)) => arguments,
        Ok(Wish::Help) => {
            say(HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error}\n\n{HELP}");
            return ExitCode::FAILURE;
        }
    };
    match Demo::prepare(&arguments) {
        Ok((demo, options)) => demo.play(options, start),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What runs beside the proxy.
struct Demo {
    stop: Arc<AtomicBool>,
    report: JoinHandle<Report>,
}

impl Demo {
    /// Starts the upstreams, the control plane and the report, which waits for the proxy; and the options to start that with.
    fn prepare(arguments: &Arguments) -> Result<(Self, Options), DemoError> {
        let upstreams = Upstreams::start()?;
        let (port, admin_port) = ports(arguments.port)?;
        let control_plane = ControlPlane::start(Script::opening(port, upstreams.ports)?)?;
        let options = options(&bootstrap(admin_port, control_plane.port))?;
        let script = Script::new(control_plane, upstreams.ports)?;
        let stop = Arc::new(AtomicBool::new(false));
        let load = Load::new(port, arguments.rate, stop.clone());
        let report = Report::new(Place { port, admin_port }, upstreams.served);
        let (pace, forever) = (arguments.seconds / Script::STEPS, arguments.forever);
        let stopped = stop.clone();
        let report = std::thread::Builder::new()
            .name("demo_report".to_owned())
            .spawn(move || report.run(&load, script, pace, forever, &stopped))?;
        Ok((Self { stop, report }, options))
    }

    /// Runs the proxy to its end and says what was seen.
    fn play(self, options: Options, start: impl FnOnce(Options) -> ExitCode) -> ExitCode {
        let code = start(options);
        self.stop.store(true, Relaxed);
        let Ok(report) = self.report.join() else {
            eprintln!("error: the demo's report broke off");
            return ExitCode::FAILURE;
        };
        report.summary();
        if report.is_good() { code } else { ExitCode::FAILURE }
    }
}

fn bootstrap(admin_port: u16, xds_port: u16) -> String {
    BOOTSTRAP.replace("PORT_ADMIN", &admin_port.to_string()).replace("PORT_XDS", &xds_port.to_string())
}

fn options(bootstrap: &str) -> Result<Options, DemoError> {
    let drain = ["--drain-time-s", "5", "--drain-strategy", "immediate"];
    let arguments = ["sampan", "-l", "error", "--config-yaml", bootstrap].into_iter().chain(drain);
    match cli::parse(arguments.map(str::to_owned)) {
        Ok(Invocation::Run(options)) => Ok(*options),
        Ok(_) => Err(DemoError::Options("they do not ask for a run".to_owned())),
        Err(error) => Err(DemoError::Options(error.to_string())),
    }
}

/// The ports of the listener and of the admin API. Both are held until both are known, so they differ.
fn ports(wanted: Option<u16>) -> Result<(u16, u16), DemoError> {
    let listener = match wanted {
        Some(port) => bind(port).map_err(|error| DemoError::Port(port, error))?,
        None => bind(PORT).or_else(|_| bind(0))?,
    };
    let admin = bind(ADMIN_PORT).or_else(|_| bind(0))?;
    Ok((listener.local_addr()?.port(), admin.local_addr()?.port()))
}

fn bind(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bootstrap_has_every_port_and_the_options_are_taken() {
        let text = bootstrap(1001, 1002);
        assert!([1001, 1002].iter().all(|port| text.contains(&format!("port_value: {port}"))));
        assert!(!text.contains(" PORT_"));
        let options = options(&text).unwrap();
        assert_eq!(options.config_yaml.as_deref(), Some(text.as_str()));
    }

    #[test]
    fn a_taken_port_is_an_error_only_when_it_was_asked_for() {
        let held = bind(0).unwrap();
        let taken = held.local_addr().unwrap().port();
        assert!(matches!(ports(Some(taken)), Err(DemoError::Port(port, _)) if port == taken));
        let (listener, admin) = ports(None).unwrap();
        assert!(listener != admin && listener != taken && admin != taken);
    }
}
