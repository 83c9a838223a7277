//! The image: its last stage is built by buildah from programs built as the Dockerfile builds them, and looked at; both programs run in an empty root.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use sampan_tests::harness::binaries;
use serde_json::Value;
use tempfile::TempDir;

use crate::shipped::repository;

/// What a node pulls may be this large: layers, compressed by gzip as registries have them.
const PULLED: u64 = 20_000_000;
/// What it takes unpacked. The program is 35 MB of it, of which LuaJIT, CEL and the compression libraries are 5.
const UNPACKED: u64 = 48_000_000;

/// An image, unpacked. Nothing of it is left when it is dropped.
pub struct Image {
    storage: TempDir,
    /// Its root.
    pub root: PathBuf,
    /// How it is run.
    config: Value,
}

/// Whether images can be built here. Where they must be (`CI=true`), it panics rather than say no.
pub fn can_build() -> bool {
    let reason = if !rustix::process::geteuid().is_root() {
        "not root"
    } else if Command::new("buildah").arg("--version").output().is_err() {
        "the program buildah is missing"
    } else {
        return true;
    };
    assert!(std::env::var("CI").as_deref() != Ok("true"), "the image must be tested in CI: {reason}");
    eprintln!("skipped: no image can be built here ({reason})");
    false
}

/// A folder with both programs, linked statically; built once. `SAMPAN_IMAGE_BINARIES` names one that is there already.
///
/// Whoever needs the programs under their usual names, in this process, calls this before: it builds both forms, and cargo gives
/// them the same names.
pub fn programs() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(given) = std::env::var_os("SAMPAN_IMAGE_BINARIES") {
            return given.into();
        }
        binaries::sampan();
        binaries::sampan_init();
        let out = binaries::target_dir().join("image");
        let script = repository().join("deploy/image/binaries");
        succeed(Command::new(script).arg(&out).env("CARGO_TARGET_DIR", binaries::target_dir()));
        out
    })
}

impl Image {
    /// The one that another test has at the moment, or a new one.
    pub fn shared() -> Arc<Self> {
        static LAST: Mutex<Weak<Image>> = Mutex::new(Weak::new());
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        let image = last.upgrade().unwrap_or_else(|| Arc::new(Self::build()));
        *last = Arc::downgrade(&image);
        image
    }

    fn build() -> Self {
        let storage = tempfile::tempdir().unwrap();
        let dir = storage.path();
        for stage in ["build", "base"] {
            std::fs::create_dir(dir.join(stage)).unwrap();
        }
        std::fs::create_dir(dir.join("build/out")).unwrap();
        let built = programs();
        for program in ["sampan", "sampan-init"] {
            std::fs::copy(built.join(program), dir.join("build/out").join(program)).unwrap();
        }
        succeed(Command::new(repository().join("deploy/image/base")).arg(dir.join("base/out")));
        let mut image = Self { root: PathBuf::new(), config: Value::Null, storage };
        let context = |stage: &str| format!("--build-context={stage}={}", image.path(stage));
        let (build, base) = (context("build"), context("base"));
        let bud = ["bud", "--isolation=chroot", "--target=image", "--tag=sampan", &build, &base];
        image.buildah(&[&bud[..], &["."]].concat());
        let inspected: Value =
            serde_json::from_str(&image.buildah(&["inspect", "--type=image", "sampan"])).unwrap();
        image.config = inspected["OCIv1"]["config"].clone();
        let container = image.buildah(&["from", "--pull-never", "sampan"]);
        image.root = image.buildah(&["mount", container.trim()]).trim().into();
        image
    }

    fn path(&self, name: &str) -> String {
        self.storage.path().join(name).to_str().unwrap().to_owned()
    }

    /// buildah with storage of our own, so that nothing of the machine's is touched.
    fn buildah(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("buildah");
        command.args(["--storage-driver=vfs", "--root", &self.path("root"), "--runroot", &self.path("run")]);
        succeed(command.args(arguments).current_dir(repository()))
    }

    /// The size of its compressed layers.
    fn pulled(&self) -> u64 {
        let layout = self.path("layout");
        self.buildah(&["push", "--quiet", "sampan", &format!("oci:{layout}")]);
        files(&Path::new(&layout).join("blobs")).iter().map(|file| file.metadata().unwrap().len()).sum()
    }
}

#[test]
fn it_is_small_has_no_right_and_nothing_to_change() {
    if !can_build() {
        return;
    }
    let image = Image::shared();
    assert_eq!(image.config["User"], "1337:1337");
    assert_eq!(image.config["Entrypoint"], serde_json::json!(["/usr/local/bin/sampan"]));
    let found = files(&image.root);
    let unpacked: u64 = found.iter().map(|file| file.metadata().unwrap().len()).sum();
    let pulled = image.pulled();
    println!("the image: {pulled} bytes to pull, {unpacked} unpacked");
    assert!(pulled <= PULLED && unpacked <= UNPACKED, "{pulled} bytes to pull, {unpacked} unpacked");
    // Owned by root, writable for nobody else, and nothing that gives rights: what runs as 1337 cannot change it.
    for file in &found {
        use std::os::unix::fs::MetadataExt;
        let data = file.metadata().unwrap();
        assert!(data.uid() == 0 && data.mode() & 0o6022 == 0, "{}: {:o}", file.display(), data.mode());
    }
    let names: Vec<_> = found.iter().filter_map(|file| file.file_name()?.to_str()).collect();
    for shell in ["sh", "bash", "busybox", "dash"] {
        assert!(!names.contains(&shell), "{names:?}");
    }
    assert!(names.contains(&"ca-certificates.crt"), "{names:?}");
}

#[test]
fn both_programs_run_in_an_empty_root() {
    if !can_build() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let built = programs();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    for program in ["sampan", "sampan-init"] {
        std::fs::copy(built.join(program), root.join(program)).unwrap();
    }
    let run = |line: &[&str]| {
        let chroot = ["--userspec=1337:1337", "--groups=", root.to_str().unwrap()];
        succeed(Command::new("chroot").args(chroot).args(line))
    };
    assert!(run(&["/sampan", "--version"]).contains("/RELEASE/"));
    let bootstrap = "static_resources: {clusters: [{name: web, type: STATIC, connect_timeout: 1s}]}";
    assert!(run(&["/sampan", "--mode", "validate", "--config-yaml", bootstrap]).contains("OK"));
    assert!(
        run(&["/sampan-init", "--dry-run", "--pod-ip", "10.0.0.1", "-i", "*"]).contains("ISTIO_REDIRECT")
    );
}

/// All regular files below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

/// Runs a command to its end; what it printed.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}:\n{out}{err}");
    out.into_owned()
}
