//! The `sampan-init` binary: hands the process's arguments and surroundings to the library and exits with its answer, or becomes Istio's agent
//! where [`sampan_init::entrypoint`] says so. Everything that can be tested lives in [`sampan_init`]; nothing else calls this file.

#![forbid(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use sampan_init::entrypoint::{AGENT, Meant, meant};
use sampan_init::environment::Environment;
use sampan_init::system::Machine;

/// What a shell says when there is no such program.
const NOT_FOUND: u8 = 127;

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let arguments = match meant(arguments) {
        Meant::Init(arguments) => arguments,
        Meant::Agent(arguments) => {
            // Returns only if it fails.
            let error = Command::new(AGENT).args(arguments).exec();
            eprintln!("sampan-init: error: cannot become {AGENT}: {error}");
            return ExitCode::from(NOT_FOUND);
        }
    };
    let environment = Environment::of_this_process();
    let code =
        sampan_init::run(&arguments, &environment, &Machine, &mut std::io::stdout(), &mut std::io::stderr());
    ExitCode::from(code)
}
