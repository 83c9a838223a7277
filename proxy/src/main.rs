//! The `sampan` binary: reads the command line, starts the log, and hands over to the library.

use std::io::Write as _;
use std::process::ExitCode;

use sampan_proxy::cli::{self, Invocation, Options};
use sampan_proxy::demo;
use sampan_proxy::diff;
use sampan_proxy::logging::{Format, Logging, LoggingError, Sink};
use sampan_proxy::process::limits;
use sampan_proxy::run;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments = std::env::args_os().map(|a| a.to_string_lossy().into_owned());
    match cli::parse(arguments) {
        Ok(Invocation::Run(options)) => start(*options),
        Ok(Invocation::Print(text)) => {
            // Whoever closed standard output does not want the text.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Ok(Invocation::Demo(arguments)) => demo::run(&arguments, start),
        Ok(Invocation::Diff(arguments)) => diff::run(&arguments),
        Err(error) => {
            eprint!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn start(options: Options) -> ExitCode {
    let log = match open_log(&options) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = limits::raise_open_files() {
        tracing::warn!("the limit of open files cannot be raised: {error}");
    }
    if options.enable_core_dump
        && let Err(error) = limits::allow_core_dumps()
    {
        tracing::warn!("core dumps cannot be enabled: {error}");
    }
    let code = run::run(options, &log);
    log.flush();
    code
}

fn open_log(options: &Options) -> Result<Logging, LoggingError> {
    let sink = Sink::open(options.log_path.as_deref())?;
    let format = Format::new(&options.log_format, options.log_format_escaped);
    let log = Logging::new(sink, format, options.log_level);
    for (name, level) in &options.component_log_levels {
        log.set_level(name, *level);
    }
    log.install()?;
    Ok(log)
}
