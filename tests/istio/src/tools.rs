//! Where things are: the programs that tests/istio/run has prepared, and the folder of this run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// Told by tests/istio/run through the environment.
pub struct Tools {
    kubernetes: PathBuf,
    pub istio: PathBuf,
    pub workload: PathBuf,
    /// The kubelet's endpoint for streams.
    pub streams: PathBuf,
    /// sampan and sampan-init, linked statically.
    pub binaries: PathBuf,
    /// The Envoy to compare with.
    pub envoy: PathBuf,
    /// The root of the source tree.
    pub tree: PathBuf,
    /// Everything that this run writes.
    pub dir: PathBuf,
}

impl Tools {
    /// From the environment.
    pub fn find() -> Result<Self> {
        let path = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .with_context(|| format!("{name} is not set: start this by tests/istio/run"))
        };
        let dir = path("SAMPAN_ISTIO_DIR")?;
        std::fs::create_dir_all(dir.join("logs"))?;
        Ok(Self {
            kubernetes: path("SAMPAN_ISTIO_KUBERNETES")?,
            istio: path("SAMPAN_ISTIO_ISTIO")?,
            workload: path("SAMPAN_ISTIO_WORKLOAD")?,
            streams: path("SAMPAN_ISTIO_STREAMS")?,
            binaries: path("SAMPAN_IMAGE_BINARIES")?,
            envoy: path("ENVOY_BIN")?,
            tree: Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?,
            dir,
        })
    }

    /// One of Kubernetes' programs.
    pub fn kubernetes(&self, name: &str) -> Command {
        Command::new(self.kubernetes.join(name))
    }

    /// One of Istio's programs.
    pub fn istio(&self, name: &str) -> Command {
        Command::new(self.istio.join(name))
    }
}
