//! What the program asks of the machine around it: running other programs, its capabilities, another network namespace.
//! [`crate::run`] and the back-ends see the trait only, so that their tests can put a written machine in its place.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::process::{Command, Stdio};

use rustix::thread::{CapabilitySet, LinkNameSpaceType, capabilities, move_into_link_name_space};

use crate::environment::addresses_of_this_namespace;

/// Output of a program beyond this is cut off: a rule listing is far smaller, and nothing else is read.
const MAX_OUTPUT: u64 = 32 << 20;

/// A program to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// Name, looked for on `PATH`.
    pub program: String,
    /// Arguments.
    pub arguments: Vec<String>,
    /// What it reads on standard input.
    pub input: String,
    /// Environment variables besides our own.
    pub variables: Vec<(String, String)>,
}

/// What a program that ran said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Whether it exited with 0.
    pub success: bool,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub error: String,
}

/// What the process may do, of what matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Privileges {
    /// CAP_NET_ADMIN.
    pub net_admin: bool,
    /// CAP_NET_RAW.
    pub net_raw: bool,
}

/// The machine.
pub trait System {
    /// Runs a program to its end.
    ///
    /// # Errors
    /// It could not be started (`NotFound`: it is not on `PATH`) or listened to. That it failed is no error here.
    fn run(&self, call: &Call) -> io::Result<Answer>;

    /// What the process may do.
    fn privileges(&self) -> Privileges;

    /// Moves into a network namespace, for good, and says which addresses there are.
    ///
    /// # Errors
    /// As the kernel says.
    fn enter_network_namespace(&self, path: &str) -> io::Result<Vec<IpAddr>>;
}

/// The machine this process runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine;

impl Call {
    /// A call of `program` with the arguments in `line`, which are parted by blanks.
    pub fn new(program: impl Into<String>, line: &str) -> Self {
        let arguments = line.split_ascii_whitespace().map(str::to_owned).collect();
        Self { program: program.into(), arguments, ..Self::default() }
    }

    /// The same, with something to read.
    pub fn reading(mut self, input: String) -> Self {
        self.input = input;
        self
    }
}

impl Answer {
    /// Standard error in one line, for an error message; standard output if there is none.
    pub fn complaint(&self) -> String {
        let text = if self.error.trim().is_empty() { &self.output } else { &self.error };
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(6).collect();
        if lines.is_empty() { "it gave no reason".to_owned() } else { lines.join(" | ") }
    }
}

impl System for Machine {
    fn run(&self, call: &Call) -> io::Result<Answer> {
        let mut child = Command::new(&call.program)
            .args(&call.arguments)
            .envs(call.variables.iter().map(|(name, value)| (name, value)))
            // Messages are read by people and by `apply::diagnose`: in one language.
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // All three at once, or a program that writes much before it reads all would wait for us, and we for it.
        let (output, error) = std::thread::scope(|scope| {
            scope.spawn(move || {
                // A program that does not read everything has its reasons, and says them.
                let _ = stdin.map(|mut pipe| pipe.write_all(call.input.as_bytes()));
            });
            let error = scope.spawn(move || read_all(stderr));
            (read_all(stdout), error.join())
        });
        let error = error.map_err(|_| io::Error::other("reading standard error failed"))??;
        Ok(Answer { success: child.wait()?.success(), output: output?, error })
    }

    fn privileges(&self) -> Privileges {
        // A kernel that does not tell (seccomp) is taken at its best: the work itself then shows what is missing.
        let Ok(sets) = capabilities(None) else { return Privileges { net_admin: true, net_raw: true } };
        Privileges {
            net_admin: sets.effective.contains(CapabilitySet::NET_ADMIN),
            net_raw: sets.effective.contains(CapabilitySet::NET_RAW),
        }
    }

    fn enter_network_namespace(&self, path: &str) -> io::Result<Vec<IpAddr>> {
        let file = std::fs::File::open(path)?;
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))?;
        Ok(addresses_of_this_namespace())
    }
}

fn read_all(pipe: Option<impl Read>) -> io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(MAX_OUTPUT).read_to_end(&mut bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_fed_and_heard() {
        let text = "a line\n".repeat(100_000);
        let answer = Machine.run(&Call::new("cat", "").reading(text.clone())).unwrap();
        assert!(answer.success && answer.output == text);
        let answer = Machine.run(&Call::new("ls", "/no/such/place")).unwrap();
        assert!(!answer.success && answer.complaint().contains("/no/such/place"), "{answer:?}");
        // A program that reads nothing is not waited for.
        assert!(Machine.run(&Call::new("true", "").reading(text)).unwrap().success);
        let missing = Machine.run(&Call::new("no-such-program", "")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
