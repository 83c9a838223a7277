//! Programs: those that run to their end, and those that run until we go.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Runs a command to its end; what it printed. An error has its whole output.
pub fn succeed(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    Ok(out.into_owned())
}

/// As [`succeed`], with something to read.
pub fn feed(command: &mut Command, input: &str) -> Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let mut pipe = child.stdin.take().context("no standard input")?;
    let written = input.as_bytes().to_vec();
    // Apart, so that neither side waits for the other.
    let writer = std::thread::spawn(move || pipe.write_all(&written));
    let output = child.wait_with_output()?;
    let _ = writer.join();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?}: {}\n{out}{err}\ninput:\n{input}", output.status);
    Ok(out.into_owned())
}

/// A program in the background; it ends with this value. What it prints goes to `NAME.log`.
pub struct Background {
    name: String,
    child: Child,
}

impl Background {
    /// Starts it. Its id is noted in `dir/pids`, for the script that cleans up should we be killed.
    pub fn start(name: &str, dir: &Path, command: &mut Command) -> Result<Self> {
        let path = dir.join("logs").join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(&path)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let mut pids = File::options().create(true).append(true).open(dir.join("pids"))?;
        writeln!(pids, "{}", child.id())?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// An error if it has ended.
    pub fn alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} ended with {status}; see logs/{}.log", self.name, self.name),
            None => Ok(()),
        }
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks again and again until there is an answer or the time is up; then the last error is the answer.
pub fn until<T>(what: &str, patience: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let began = Instant::now();
    loop {
        match attempt() {
            Ok(found) => return Ok(found),
            Err(error) if began.elapsed() > patience => {
                return Err(error.context(format!("{what}: not within {} s", patience.as_secs())));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// A port that nobody listens on at the moment.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
