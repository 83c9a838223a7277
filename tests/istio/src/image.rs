//! The images of the pods: the proxy's, as the Dockerfile has it; the same with Envoy in Sampan's place; and the application's.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::podman::Podman;
use crate::process::succeed;
use crate::tools::Tools;

/// The name that injection gives the proxy's image, with the hub and tag that istiod is installed with.
pub const PROXY: &str = "localhost/proxyv2:dev";
/// The application's.
pub const WORKLOAD: &str = "localhost/workload:dev";

/// Which proxy the pods have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proxy {
    Sampan,
    Envoy,
}

impl Proxy {
    /// Its name, in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sampan => "sampan",
            Self::Envoy => "envoy",
        }
    }

    /// The name of the image with it.
    pub fn image(self) -> String {
        format!("localhost/proxyv2:{}", self.name())
    }

    /// What is injected from now on.
    pub fn inject(self, podman: &Podman) -> Result<()> {
        succeed(podman.command().args(["tag", &self.image(), PROXY])).map(drop)
    }
}

/// Builds all three; the size of the one with Sampan, in bytes.
pub fn build(tools: &Tools, podman: &Podman) -> Result<u64> {
    let stages = tools.dir.join("stages");
    let build = stages.join("build/out");
    let agent = stages.join("agent/out");
    std::fs::create_dir_all(&build)?;
    for program in ["sampan", "sampan-init"] {
        copy(&tools.binaries.join(program), &build.join(program))?;
    }
    copy(&tools.istio.join("pilot-agent"), &agent.join("usr/local/bin/pilot-agent"))?;
    let template = "envoy_bootstrap_tmpl.json";
    copy(&tools.istio.join(template), &agent.join("var/lib/istio/envoy").join(template))?;
    let base = stages.join("base/out");
    succeed(Command::new(tools.tree.join("deploy/image/base")).arg(&base))?;
    // None, unless somebody tries a build that is not static.
    for library in libraries(&tools.binaries.join("sampan"))? {
        copy(&library, &base.join(library.strip_prefix("/")?))?;
    }

    let mut bud = podman.buildah();
    bud.args(["bud", "--quiet", "--isolation=chroot", "--target=istio", "--tag", &Proxy::Sampan.image()]);
    for stage in ["build", "agent", "base"] {
        bud.arg(format!("--build-context={stage}={}", stages.join(stage).display()));
    }
    succeed(bud.arg(".").current_dir(&tools.tree))?;

    let envoy = stages.join("envoy");
    copy(&tools.envoy, &envoy.join("usr/local/bin/envoy"))?;
    for library in libraries(&tools.envoy)? {
        copy(&library, &envoy.join(library.strip_prefix("/")?))?;
    }
    from_folder(podman, &Proxy::Sampan.image(), &envoy, &Proxy::Envoy.image())?;

    let workload = stages.join("workload");
    for program in ["echo", "fortio"] {
        copy(&tools.workload.join(program), &workload.join(program))?;
    }
    from_folder(podman, "scratch", &workload, WORKLOAD)?;
    let size =
        succeed(podman.command().args(["image", "inspect", "--format={{.Size}}", &Proxy::Sampan.image()]))?;
    size.trim().parse().with_context(|| format!("no size: {size}"))
}

/// An image with the files of a folder on top of another.
fn from_folder(podman: &Podman, base: &str, folder: &Path, tag: &str) -> Result<()> {
    let file = folder.with_extension("containerfile");
    std::fs::write(&file, format!("FROM {base}\nCOPY . /\n"))?;
    let mut bud = podman.buildah();
    bud.args(["bud", "--quiet", "--isolation=chroot", "--pull-never", "--tag", tag, "--file"]);
    succeed(bud.arg(&file).arg(folder)).map(drop)
}

/// The shared libraries that a program names, and its loader.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    // It fails for one that is static.
    let named = Command::new("ldd").arg(program).output()?.stdout;
    let named = String::from_utf8_lossy(&named);
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(named.lines().filter_map(path).collect())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::copy(from, to).with_context(|| format!("{} to {}", from.display(), to.display()))?;
    Ok(())
}
