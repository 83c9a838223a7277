//! The `sampan-init` binary: hands the process's arguments and surroundings to the library and exits with its answer.
//! Everything that can be tested lives in [`sampan_init`]; nothing else calls this file.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use sampan_init::environment::Environment;

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let environment = Environment::of_this_process();
    let code = sampan_init::run(&arguments, &environment, &mut std::io::stdout(), &mut std::io::stderr());
    ExitCode::from(code)
}
