//! What the control group of this process allows: processor time and memory, for cgroup v1 and v2.
//!
//! A limit may stand on any group above ours, so the tightest one on the way up counts. In a container the
//! group's own folder is often mounted as the root while `/proc/self/cgroup` names the path outside; walking
//! up to the root covers that. Called by `concurrency` and `memory`.

use std::fs;
use std::path::{Path, PathBuf};

/// Where to read; tests point it at a folder of their own.
#[derive(Debug, Clone)]
pub struct Cgroups {
    mount: PathBuf,
    membership: PathBuf,
}

impl Default for Cgroups {
    fn default() -> Self {
        Self { mount: "/sys/fs/cgroup".into(), membership: "/proc/self/cgroup".into() }
    }
}

impl Cgroups {
    /// Reads below `mount` (`/sys/fs/cgroup`) and from the file `membership` (`/proc/self/cgroup`).
    pub fn at(mount: &Path, membership: &Path) -> Self {
        Self { mount: mount.to_owned(), membership: membership.to_owned() }
    }

    /// The processor quota in processors (1.5 is a processor and a half); `None` without one.
    pub fn cpu_quota(&self) -> Option<f64> {
        let v2 = self.groups("").into_iter().filter_map(|g| quota_v2(&read(&g, "cpu.max")?));
        let v1 = self
            .groups("cpu")
            .into_iter()
            .filter_map(|g| quota(&read(&g, "cpu.cfs_quota_us")?, &read(&g, "cpu.cfs_period_us")?));
        v2.chain(v1).min_by(f64::total_cmp)
    }

    /// The memory limit in bytes; `None` without one.
    pub fn memory_limit(&self) -> Option<u64> {
        // v1 has no word for "unlimited": it shows a number near the end of the address space.
        const UNLIMITED: u64 = 1 << 62;
        let v2 = self.groups("").into_iter().filter_map(|g| read(&g, "memory.max")?.parse().ok());
        let v1 =
            self.groups("memory").into_iter().filter_map(|g| read(&g, "memory.limit_in_bytes")?.parse().ok());
        v2.chain(v1).filter(|limit| *limit < UNLIMITED).min()
    }

    /// The memory that our own group uses, in bytes.
    pub fn memory_usage(&self) -> Option<u64> {
        let v2 = self.groups("").first().and_then(|g| read(g, "memory.current"));
        let v1 = || self.groups("memory").first().and_then(|g| read(g, "memory.usage_in_bytes"));
        v2.or_else(v1)?.parse().ok()
    }

    /// The folders of our group and of those above it, for one v1 controller or (with "") for v2.
    fn groups(&self, controller: &str) -> Vec<PathBuf> {
        let membership = fs::read_to_string(&self.membership).unwrap_or_default();
        let path = membership.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            controllers.split(',').any(|c| c == controller).then(|| path.to_owned())
        });
        let Some(path) = path else { return Vec::new() };
        let mount = if controller.is_empty() { self.mount.clone() } else { self.mount.join(controller) };
        let inside = Path::new(path.trim_start_matches('/'));
        inside.ancestors().map(|group| mount.join(group)).filter(|folder| folder.is_dir()).collect()
    }
}

fn read(group: &Path, file: &str) -> Option<String> {
    Some(fs::read_to_string(group.join(file)).ok()?.trim().to_owned())
}

fn quota_v2(text: &str) -> Option<f64> {
    let (allowed, period) = text.split_once(' ')?;
    quota(allowed, period)
}

fn quota(allowed: &str, period: &str) -> Option<f64> {
    let (allowed, period): (f64, f64) = (allowed.parse().ok()?, period.parse().ok()?);
    (allowed > 0.0 && period > 0.0).then_some(allowed / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroups(membership: &str, files: &[(&str, &str)]) -> (tempfile::TempDir, Cgroups) {
        let folder = tempfile::tempdir().expect("a folder");
        let mount = folder.path().join("mount");
        for (path, text) in files {
            let path = mount.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            fs::write(path, text).expect("a file");
        }
        let file = folder.path().join("membership");
        fs::write(&file, membership).expect("a file");
        let cgroups = Cgroups::at(&mount, &file);
        (folder, cgroups)
    }

    #[test]
    fn v2_takes_the_tightest_limit_on_the_way_up() {
        let (_folder, c) = cgroups(
            "0::/a/b\n",
            &[
                ("a/cpu.max", "150000 100000\n"),
                ("a/b/cpu.max", "max 100000\n"),
                ("a/memory.max", "max"),
                ("a/b/memory.max", "1048576\n"),
                ("a/b/memory.current", "4096\n"),
            ],
        );
        assert_eq!(c.cpu_quota(), Some(1.5));
        assert_eq!(c.memory_limit(), Some(1_048_576));
        assert_eq!(c.memory_usage(), Some(4096));
    }

    #[test]
    fn v1_controllers_and_a_path_from_outside_the_container() {
        let (_folder, c) = cgroups(
            "4:memory:/docker/x\n2:cpu,cpuacct:/docker/x\n",
            &[
                ("cpu/cpu.cfs_quota_us", "50000"),
                ("cpu/cpu.cfs_period_us", "100000"),
                ("memory/memory.limit_in_bytes", "9223372036854771712"),
                ("memory/memory.usage_in_bytes", "77"),
            ],
        );
        assert_eq!(c.cpu_quota(), Some(0.5));
        assert_eq!(c.memory_limit(), None);
        assert_eq!(c.memory_usage(), Some(77));
    }

    #[test]
    fn no_limit_and_no_cgroups() {
        let (_folder, c) =
            cgroups("2:cpu:/\n", &[("cpu/cpu.cfs_quota_us", "-1"), ("cpu/cpu.cfs_period_us", "100000")]);
        assert_eq!(c.cpu_quota(), None);
        let nowhere = Cgroups::at(Path::new("/nonexistent"), Path::new("/nonexistent"));
        assert_eq!((nowhere.cpu_quota(), nowhere.memory_limit(), nowhere.memory_usage()), (None, None, None));
    }
}
